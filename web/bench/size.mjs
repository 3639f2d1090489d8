/** How large the core is, as a browser loads it: minified and compressed. */

import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = ["src/core/index.ts", "src/core/msgpack.ts"];

const { outputFiles, metafile } = await build({
  entryPoints: ENTRIES,
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: "esm",
  target: "es2022",
  outdir: "size",
  write: false,
});

/** What is loaded with an entry: itself, and what it imports without being asked. */
function loaded(path, found = new Set()) {
  if (found.has(path)) return found;
  found.add(path);
  for (const { path: other, kind } of metafile.outputs[path].imports) {
    if (kind === "import-statement") loaded(other, found);
  }
  return found;
}

function report(name, paths) {
  const files = outputFiles.filter(file => paths.some(path => file.path.endsWith(path)));
  const sum = size => files.reduce((total, file) => total + size(file.contents), 0);
  const [minified, gzip, brotli] = [
    sum(bytes => bytes.length),
    sum(bytes => gzipSync(bytes, { level: 9 }).length),
    sum(bytes => brotliCompressSync(bytes).length),
  ];
  console.log(`${name.padEnd(24)} ${minified} B minified, ${gzip} B gzip, ${brotli} B brotli`);
}

const chunks = Object.entries(metafile.outputs);
const [core] = chunks.find(([, chunk]) => chunk.entryPoint === ENTRIES[0]);
const inCore = loaded(core);
report("core (JSON)", [...inCore]);
for (const [path, chunk] of chunks) {
  if (inCore.has(path)) continue;
  const name = chunk.entryPoint?.replace(/.*\/|\.ts$/g, "") ?? "shared by the optional ones";
  report(`+ ${name}`, [path]);
}

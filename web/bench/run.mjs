/** Build the benchmark and run it. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const directory = await mkdtemp(join(tmpdir(), "xoproxy-bench-"));
try {
  const outfile = join(directory, "bench.mjs");
  const entryPoints = ["bench/bench.ts"];
  await build({ entryPoints, outfile, bundle: true, platform: "node", format: "esm" });
  await import(pathToFileURL(outfile).href);
} finally {
  await rm(directory, { recursive: true });
}

/**
 * What the core costs: a snapshot of 10,000 machines, and 300 patches a second on it.
 *
 * Frames go the way that they go in a page: decoded, handled by a session, told to a listener.
 */

import { json, messages } from "../src/core/codec.ts";
import { summarise } from "../src/core/digests.ts";
import { LiveView, type Owner } from "../src/core/live.ts";
import type { Value } from "../src/core/messages.ts";
import { encode, msgpack } from "../src/core/msgpack.ts";
import { type Host, Session } from "../src/core/session.ts";

const MACHINES = 10_000;
const PATCHES = 3_000;
const ROUNDS = 7;
const CHUNK_ROWS = 50;

/** Thirteen fields that a list shows, or as many as a record of XAPI has. */
function record(i: number, wide: boolean): Record<string, Value> {
  const listed = {
    $ref: `OpaqueRef:${i.toString(16).padStart(8, "0")}-1c2d-4e5f-8a9b-0123456789ab`,
    uuid: `${i.toString(16).padStart(8, "0")}-7c2d-4e5f-8a9b-0123456789ab`,
    name_label: `web-${i}`,
    name_description: "made for a measurement",
    power_state: i % 3 ? "Running" : "Halted",
    is_a_template: false,
    is_a_snapshot: false,
    tags: ["prod", `team-${i % 7}`],
    resident_on: `OpaqueRef:host-${i % 16}`,
    memory_dynamic_max: 4_294_967_296 + i,
    VCPUs_max: 4,
    allowed_operations: ["start", "clone", "copy", "snapshot", "destroy", "export"],
    current_operations: {},
  };
  if (!wide) return listed;
  const fields = Array.from({ length: 70 }, (_, n) => [`field_${n}`, n % 4 ? `value ${n}` : {}]);
  return { ...listed, ...Object.fromEntries(fields), other_config: { folder: "/a", owner: "me" } };
}

function snapshot(wide: boolean): object[] {
  const fields = Object.keys(record(0, wide));
  const frames: object[] = [];
  for (let start = 0; start < MACHINES; start += CHUNK_ROWS) {
    const numbers = Array.from({ length: CHUNK_ROWS }, (_, n) => start + n);
    const keys = numbers.map(n => n.toString(36));
    const rows = numbers.map(n => Object.values(record(n, wide)));
    const last = start + CHUNK_ROWS === MACHINES;
    frames.push({ type: "snapshot", view: 1, seq: 1, last, class: "VM", fields, keys, rows });
  }
  return frames;
}

function patch(i: number): object {
  const path = `/VM/${((i * 7919) % MACHINES).toString(36)}`;
  const ops = [
    { op: "replace", path: `${path}/power_state`, value: i % 2 ? "Running" : "Halted" },
    { op: "replace", path: `${path}/allowed_operations`, value: ["start", `clone-${i % 5}`] },
  ];
  return { type: "patch", view: 1, from: i + 1, to: i + 2, ops };
}

const owner: Owner = { statusOf: () => "live", closed: () => {}, moved: () => {} };

function subscribed(): { session: Session; view: LiveView; heard: () => number } {
  const host: Host = {
    send: () => {},
    welcome: () => {},
    failed: () => {},
    refused: () => {},
    summarise: () => {},
  };
  const session = new Session(host);
  const view = new LiveView(owner, { classes: ["VM"] }, { compareFrom: 0 });
  let changes = 0;
  view.onChange(batch => {
    changes += batch.changes.length;
  });
  session.subscribe(view);
  const info = {
    view: 1,
    pool: "p",
    epoch: "e",
    seq: 1,
    classes: ["VM"],
    mode: "snapshot",
  } as const;
  session.receive({ type: "subscribed", id: 1, views: [info] });
  return { session, view, heard: () => changes };
}

const median = (all: number[]) => all.sort((a, b) => a - b)[all.length >> 1] as number;
/** Time of the processor: other processes do not count, the collector's threads do. */
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const heap = () => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
};

function measure(name: string, wide: boolean): void {
  const codec = name === "JSON" ? json : msgpack;
  const frame = (message: object): string | ArrayBuffer => {
    return name === "JSON" ? JSON.stringify(message) : encode(message as Value & object).buffer;
  };
  const chunks = snapshot(wide).map(frame);
  const patches = Array.from({ length: PATCHES }, (_, i) => frame(patch(i)));
  const load: number[] = [];
  const change: number[] = [];
  const decode: number[] = [];
  const held: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = heap();
    const { session, view, heard } = subscribed();
    const play = (frames: readonly (string | ArrayBuffer)[]) => {
      const start = cpuMs();
      for (const one of frames) for (const m of messages(codec, one)) session.receive(m);
      return cpuMs() - start;
    };
    load.push(play(chunks));
    held.push(heap() - before);
    change.push(play(patches));
    const start = cpuMs();
    for (const one of patches) messages(codec, one);
    decode.push(cpuMs() - start);
    if (view.size !== MACHINES || heard() !== MACHINES + PATCHES) throw new Error("it went wrong");
  }
  const bytes = chunks.reduce(
    (sum, c) => sum + (typeof c === "string" ? c.length : c.byteLength),
    0,
  );
  const micros = (median(change) / PATCHES) * 1000;
  const decoding = (median(decode) / PATCHES) * 1000;
  const figures = [
    `${(bytes / 1e6).toFixed(1)} MB`,
    `snapshot ${median(load).toFixed(0)} ms`,
    `${(median(held) / 1e6).toFixed(1)} MB of heap`,
    `patch ${micros.toFixed(1)} us (decoding ${decoding.toFixed(1)}), so 300/s take ${((micros * 300) / 1e4).toFixed(2)} % of a core`,
  ];
  console.log(`${name.padEnd(12)} ${wide ? "84" : "13"} fields: ${figures.join("; ")}`);
}

function measureDigests(): void {
  const { session, view } = subscribed();
  for (const chunk of snapshot(true)) session.receive(chunk as never);
  const document = view.document("p");
  if (!document) throw new Error("it went wrong");
  const start = cpuMs();
  const steps = summarise(document);
  while (!steps.next().done);
  const all = cpuMs() - start;
  console.log(`digests of 84 fields: ${all.toFixed(0)} ms`);
}

console.log(`${MACHINES} machines, node ${process.version}, CPU time, medians of ${ROUNDS} rounds`);
for (const wide of [false, true]) {
  for (const name of ["JSON", "MessagePack"]) measure(name, wide);
}
measureDigests();

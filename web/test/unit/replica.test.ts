/** What a view refuses, beyond the golden conversations. */

import { expect, test } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { Snapshot } from "../../src/core/messages.ts";
import { Replica } from "../../src/core/replica.ts";

const INFO = { view: 7, pool: "p", epoch: "e", seq: 1, classes: ["VM"], mode: "snapshot" } as const;
const ROWS: Snapshot = {
  type: "snapshot",
  view: 7,
  seq: 1,
  last: false,
  class: "VM",
  fields: ["$ref"],
  keys: ["a"],
  rows: [["r"]],
};
const PATCH = { type: "patch", view: 7, from: 1, to: 2, ops: [] } as const;

function complete(): Replica {
  const replica = new Replica(INFO);
  replica.handle({ ...ROWS, last: true });
  return replica;
}

test("a move whose patch did not come can only be followed by a reset", () => {
  const replica = complete();
  replica.moved(8, 5);
  expect(() => replica.handle({ ...PATCH, view: 8 })).toThrow(Fault);
  expect(() => replica.handle({ ...PATCH, view: 8, from: 5, to: 6 })).toThrow("the way");
  replica.handle({ type: "reset", view: 8, reason: "rights_changed", epoch: "e", seq: 5 });
  replica.handle({ ...ROWS, view: 8, seq: 5, last: true });
  replica.handle({ ...PATCH, view: 8, from: 5, to: 6 });
  expect(replica.position).toBe(6);
});

test("a bookmark ahead of the document would make a hole", () => {
  const replica = complete();
  expect(() => {
    replica.handle({ type: "bookmark", view: 7, seq: 2, resume: "t" });
  }).toThrow(Fault);
  expect(replica.resumePoint(0)).toBeUndefined();
});

test.each([
  ["a key comes twice", { keys: ["b", "b"], rows: [["s"], ["t"]] }],
  ["a key came before", { keys: ["a"] }],
  ["a row is missing", { keys: ["b", "c"] }],
  ["there is no reference", { keys: ["b"], fields: ["name_label"] }],
  ["a key is no text", { keys: [1] as never }],
  ["a row is no list", { keys: ["b"], rows: ["r"] as never }],
  ["the class was not asked for", { keys: ["b"], class: "SR" }],
])("rows of which %s change nothing", (_, wrong) => {
  const replica = new Replica(INFO);
  replica.handle(ROWS);
  expect(() => replica.handle({ ...ROWS, ...wrong })).toThrow(Fault);
  expect([...replica.shown].map(({ key }) => key)).toEqual(["a"]);
});

test("a comparison that is not answered begins again with the next connection", () => {
  const replica = complete();
  replica.handle({ type: "bookmark", view: 7, seq: 1, resume: "t" });
  replica.resume({ ...INFO, view: 3, mode: "compare", seq: 9 });
  expect(replica.complete).toBe(false);
  expect(() => replica.handle({ ...ROWS, keys: ["b"], last: true })).toThrow("digests");
  replica.freeze();
  expect(replica.resumePoint(0)).toEqual({ token: "t", seq: 1, compare: true });
});

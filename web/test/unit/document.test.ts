import fc from "fast-check";
import { expect, test } from "vitest";
import { difference, keepEqual } from "../../src/core/document.ts";
import { rowReader, same } from "../../src/core/values.ts";
import { documentOf, Mirror, plain, plainOf, value } from "../documents.ts";

test("a difference leads from one document to the other, and equal objects stay the same", () => {
  fc.assert(
    fc.property(plain, plain, (one, other) => {
      const before = documentOf(one);
      const after = documentOf(other);
      const mirror = new Mirror(before);
      keepEqual(before, after);
      const changes = difference(before, after);
      mirror.apply(changes);
      expect(mirror.is(after)).toBe(true);
      expect(plainOf(after)).toEqual(other);
    }),
    { numRuns: 1000 },
  );
});

test("there is no difference between equal documents", () => {
  fc.assert(
    fc.property(plain, data => {
      const before = documentOf(data);
      const after = documentOf(data);
      expect(difference(before, after)).toEqual([]);
      keepEqual(before, after);
      expect([...after].every(found => before.get(found.class, found.key) === found.object)).toBe(
        true,
      );
    }),
  );
});

test("removals come first, so that an object found under a new key is never lost", () => {
  const before = documentOf({ VM: { a: { $ref: "1" }, b: { $ref: "2" } } });
  const after = documentOf({ VM: { a: { $ref: "2" }, c: { $ref: "1" } } });
  const kinds = difference(before, after).map(({ kind, key }) => `${kind} ${key}`);
  expect(kinds).toEqual(["removed b", "removed a", "added a", "added c"]);
});

test("a copy shares objects and nothing else", () => {
  const document = documentOf({ VM: { a: { $ref: "1" } } });
  const copy = document.copy();
  copy.delete("VM", "a");
  expect(document.size).toBe(1);
  expect(copy.size).toBe(0);
});

test("values are compared by type and content", () => {
  fc.assert(
    fc.property(value, value, (a, b) => {
      expect(same(a, structuredClone(a))).toBe(true);
      expect(same(a, b)).toBe(same(b, a));
      const texts = [a, b].map(one => JSON.stringify(one));
      if (same(a, b)) expect(texts[0]?.length).toBe(texts[1]?.length);
    }),
  );
  expect(same(1, true)).toBe(false);
  expect(same([], {})).toBe(false);
  expect(same({ a: 1 }, { b: 1 })).toBe(false);
  expect(same(null, {})).toBe(false);
  expect(same({}, undefined)).toBe(false);
});

test("rows become objects, whatever the fields are called", () => {
  const read = rowReader(["$ref", "__proto__", "x"]);
  const object = read(["r", { polluted: 1 }, 2]);
  expect(Object.entries(object)).toEqual([
    ["$ref", "r"],
    ["__proto__", { polluted: 1 }],
    ["x", 2],
  ]);
  expect(Object.getPrototypeOf(object)).toBe(Object.prototype);
  expect(read(["s", 0, 0])).not.toBe(object);
});

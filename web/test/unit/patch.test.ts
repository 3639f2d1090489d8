import fc from "fast-check";
import { applyPatch as oracle } from "rfc6902";
import { describe, expect, test } from "vitest";
import { Document } from "../../src/core/document.ts";
import { Fault } from "../../src/core/errors.ts";
import type { Operation, Value, XapiObject } from "../../src/core/messages.ts";
import { applyPatch, segments } from "../../src/core/patch.ts";
import { changedMembers } from "../../src/core/values.ts";
import { documentOf, Mirror, operation, plain, plainOf } from "../documents.ts";

/** What a plain implementation of RFC 6902 makes of it; undefined where the protocol forbids it. */
function expected(before: object, operations: readonly Operation[]): unknown {
  const data = structuredClone(before) as Record<string, Record<string, Record<string, Value>>>;
  for (const one of operations) {
    const path = segments(one.path);
    if (path.length === 4) {
      const parent = data[path[0] as string]?.[path[1] as string]?.[path[2] as string];
      if (typeof parent !== "object" || parent === null) return undefined;
      if (Array.isArray(parent) && !isIndex(path[3] as string, parent, one.op)) return undefined;
    }
    const [error] = oracle(data, [structuredClone(one) as never]);
    if (error) return undefined;
  }
  return data;
}

/** Members of sets are named by plain numbers, and `-` is none. */
function isIndex(name: string, set: readonly Value[], op: Operation["op"]): boolean {
  return String(Number(name)) === name && Number(name) < set.length + (op === "add" ? 1 : 0);
}

describe("a patch", () => {
  test("does what RFC 6902 says, all of it or nothing, and tells exactly what changed", () => {
    fc.assert(
      fc.property(plain, fc.array(operation, { maxLength: 12 }), (before, operations) => {
        const document = documentOf(before);
        const mirror = new Mirror(document);
        const wanted = expected(before, operations);
        if (wanted === undefined) {
          expect(() => applyPatch(document, operations)).toThrow(Fault);
          expect(plainOf(document)).toEqual(before);
          expect(mirror.is(document)).toBe(true);
          return;
        }
        const { changes } = applyPatch(document, operations);
        expect(plainOf(document)).toEqual(wanted);
        mirror.apply(changes);
        expect(mirror.is(document)).toBe(true);
        for (const change of changes) {
          if (change.kind !== "updated") continue;
          const differ = changedMembers(change.previous, change.object);
          expect([...change.fields].sort()).toEqual(differ.sort());
          expect(change.fields).not.toEqual([]);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("keeps its references findable", () => {
    /** Give each place references of its own: in a pool, one stands once. */
    const placed = (cls: string, key: string, object: XapiObject): XapiObject => {
      return { ...object, $ref: `${cls}/${key}/${object.$ref}` };
    };
    fc.assert(
      fc.property(plain, fc.array(operation, { maxLength: 6 }), (before, operations) => {
        const document = new Document(Object.keys(before));
        document.byRef(""); // from now on there is an index
        for (const { class: cls, key, object } of documentOf(before)) {
          document.put(cls, key, placed(cls, key, object));
        }
        const every = new Set([...document].map(({ object }) => object.$ref));
        for (const one of operations) {
          const [cls = "", key = "", field] = segments(one.path);
          const whole = field === undefined && one.op !== "remove";
          const value = whole ? placed(cls, key, one.value as unknown as XapiObject) : one.value;
          if (whole) every.add((value as XapiObject).$ref);
          if (expected(plainOf(document), [one]) === undefined) continue;
          applyPatch(document, [{ ...one, ...(value !== undefined && { value }) } as Operation]);
        }
        const held = new Map([...document].map(found => [found.object.$ref, found]));
        for (const ref of every) expect(document.byRef(ref)).toEqual(held.get(ref));
      }),
    );
  });

  test("that changes nothing says nothing, and the object stays the same one", () => {
    const document = documentOf({ VM: { a: { $ref: "r", tags: ["x"] } } });
    const before = document.get("VM", "a");
    const operations = [{ op: "replace", path: "/VM/a/tags", value: ["x"] }] as const;
    expect(applyPatch(document, operations)).toEqual({ changes: [], members: [] });
    expect(document.get("VM", "a")).toBe(before);
  });

  test("leaves the prototypes of objects alone", () => {
    const document = documentOf({ VM: { a: { $ref: "r", map: {} } } });
    applyPatch(document, [
      { op: "add", path: "/VM/a/__proto__", value: "x" },
      { op: "add", path: "/VM/a/map/__proto__", value: { polluted: true } },
    ]);
    const object = document.get("VM", "a") as object;
    expect(Object.keys(object)).toContain("__proto__");
    expect(Object.getPrototypeOf(object)).toBe(Object.prototype);
    expect("polluted" in {}).toBe(false);
    applyPatch(document, [{ op: "remove", path: "/VM/a/__proto__" }]);
    expect(Object.keys(document.get("VM", "a") as object)).toEqual(["$ref", "map"]);
  });

  test("of a window replaces its other members whole", () => {
    const document = new Document(["VM"]);
    const replaced = applyPatch(document, [
      { op: "replace", path: "/order", value: ["a"] },
      { op: "replace", path: "/total", value: 3 },
    ]);
    expect(replaced.members).toEqual(["order", "total"]);
    expect(document.window).toEqual({ order: ["a"], total: 3 });
    expect(() => applyPatch(document, [{ op: "remove", path: "/total" }])).toThrow(Fault);
  });

  test.each(["VM/a", "", "/VM/a/~2", "/VM/a/x~"])("refuses the path %o", path => {
    const document = documentOf({ VM: { a: { $ref: "r" } } });
    expect(() => applyPatch(document, [{ op: "add", path, value: "1" }])).toThrow(Fault);
  });

  test("unescapes its paths", () => {
    expect(segments("/a~1b/~0/~01//")).toEqual(["a/b", "~", "~1", "", ""]);
  });
});

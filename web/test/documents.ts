/** Random documents and changes, and what changes add up to. */

import fc from "fast-check";
import { type Change, Document } from "../src/core/document.ts";
import type { Operation, Value, XapiObject } from "../src/core/messages.ts";

/** class -> key -> object, as plain data. */
export type Plain = Record<string, Record<string, XapiObject>>;

export const CLASSES = ["VM", "host"];
// No names that every object inherits: the oracle takes these for members. The golden
// conversations have them.
const KEYS = ["a", "b", "c", "a/b", "~", ""];
const FIELDS = ["name_label", "other_config", "tags", "a~1b", "", "0"];

const scalar = fc.oneof(
  fc.constantFrom<Value>(null, true, false, 0, 1, -1, 0.5, "", "x", "~/"),
  fc.string({ maxLength: 4 }),
);
const map = fc.dictionary(fc.constantFrom("", "0", "-", "a/b", "~0", "length"), scalar, {
  maxKeys: 4,
});
export const value: fc.Arbitrary<Value> = fc.oneof(
  scalar,
  map as fc.Arbitrary<Value>,
  fc.array(scalar, { maxLength: 3 }),
);

export const object: fc.Arbitrary<XapiObject> = fc
  .tuple(fc.integer({ min: 0, max: 9 }), fc.dictionary(fc.constantFrom(...FIELDS), value))
  .map(([ref, fields]) => ({ ...fields, $ref: `OpaqueRef:${ref}` }));

export const plain: fc.Arbitrary<Plain> = fc
  .tuple(...CLASSES.map(() => fc.dictionary(fc.constantFrom(...KEYS), object)))
  .map(all => Object.fromEntries(CLASSES.map((cls, i) => [cls, { ...all[i] }])));

const escaped = (segment: string) => segment.replaceAll("~", "~0").replaceAll("/", "~1");

/** Operations of the protocol's subset; many fit, some do not. */
export const operation: fc.Arbitrary<Operation> = fc
  .tuple(
    fc.constantFrom("add", "replace", "remove"),
    fc.constantFrom(...CLASSES),
    fc.constantFrom(...KEYS),
    fc.option(
      fc.tuple(
        fc.constantFrom(...FIELDS),
        fc.option(fc.constantFrom("", "0", "1", "2", "01", "-", "a/b")),
      ),
    ),
    value,
    object,
  )
  .map(([op, cls, key, inside, member, whole]) => {
    const [field, name] = inside ?? [null, null];
    const path = [cls, key, field, name].filter(segment => segment !== null);
    const pointer = path.map(segment => `/${escaped(segment)}`).join("");
    if (op === "remove") return { op, path: pointer } as Operation;
    return { op, path: pointer, value: inside ? member : whole } as Operation;
  });

/** Make a document of it whose objects cannot be changed without an error. */
export function documentOf(data: Plain): Document {
  const document = new Document(Object.keys(data));
  for (const [cls, objects] of Object.entries(data)) {
    for (const [key, found] of Object.entries(objects)) {
      document.put(cls, key, deepFrozen(structuredClone(found)));
    }
  }
  return document;
}

export function plainOf(document: Document): Plain {
  const classes = [...document.classes];
  return Object.fromEntries(classes.map(([cls, all]) => [cls, Object.fromEntries(all)]));
}

function deepFrozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) deepFrozen(member);
    Object.freeze(value);
  }
  return value;
}

/** What is shown, rebuilt from batches alone. */
export class Mirror {
  readonly objects = new Map<string, XapiObject>();

  constructor(document?: Document) {
    for (const { class: cls, key, object: found } of document ?? []) {
      this.objects.set(JSON.stringify([cls, key]), found);
    }
  }

  /** @throws a change does not begin where the one before ended. */
  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      const id = JSON.stringify([change.class, change.key]);
      const previous = change.kind === "added" ? undefined : change.previous;
      if (this.objects.get(id) !== previous) throw new Error(`${change.kind} ${id} does not fit`);
      if (change.kind === "removed") this.objects.delete(id);
      else this.objects.set(id, change.object);
    }
  }

  /** Whether it holds the very objects that a document does. */
  is(document: Document): boolean {
    const all = [...document];
    return (
      all.length === this.objects.size &&
      all.every(f => this.objects.get(JSON.stringify([f.class, f.key])) === f.object)
    );
  }
}

/** Values of records: compared, and replaced inside objects that are never mutated. */

import type { Value, XapiObject } from "./messages.ts";

type Members = { readonly [name: string]: Value | undefined };

export function isMap(value: unknown): value is { readonly [name: string]: Value } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Compare two values deeply, by type and value. */
export function same(
  a: Value | XapiObject | undefined,
  b: Value | XapiObject | undefined,
): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => same(item, b[i]));
  }
  return isMap(a) && isMap(b) && changedMembers(a, b).length === 0;
}

/**
 * Name the members that differ.
 *
 * @param touched The only ones that can, if that is known.
 */
export function changedMembers(
  before: Members,
  after: Members,
  touched: Iterable<string> = new Set([...Object.keys(before), ...Object.keys(after)]),
): string[] {
  return [...touched].filter(name => {
    const there = Object.hasOwn(after, name);
    return Object.hasOwn(before, name) !== there || !same(before[name], after[name]);
  });
}

/** Set a member, whatever its name: assigning `__proto__` would set the prototype. */
export function setMember(object: object, name: string, value: Value): void {
  if (name === "__proto__") {
    const writable = { configurable: true, enumerable: true, writable: true };
    Object.defineProperty(object, name, { value, ...writable });
  } else {
    (object as Record<string, Value>)[name] = value;
  }
}

export function withMember<T extends Members>(object: T, name: string, value: Value): T {
  const copy = { ...object };
  setMember(copy, name, value);
  return copy;
}

export function withoutMember<T extends Members>(object: T, name: string): T {
  const { [name]: _, ...rest } = object;
  return rest as T;
}

/**
 * Make a function that turns rows of a snapshot into objects.
 *
 * Each object is a copy of one pattern: engines turn an object that is filled member by member into
 * a hash table once it has some twenty of them, at several times the memory; copies of what
 * JSON.parse made keep one shared layout.
 */
export function rowReader(fields: readonly string[]): (row: readonly Value[]) => XapiObject {
  const names = fields.map(field => `${JSON.stringify(field)}:null`);
  const pattern: Record<string, Value> = JSON.parse(`{${names.join()}}`);
  return row => {
    const object = { ...pattern };
    for (let i = 0; i < fields.length; i++) object[fields[i] as string] = row[i] as Value;
    return object as unknown as XapiObject;
  };
}

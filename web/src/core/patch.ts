/**
 * Apply the operations of a patch to a document: all of them or none.
 *
 * They are first played on copies of the objects that they touch. Only when every one of them fits
 * are these put into the document, so that a patch which does not fit leaves it as it was; and an
 * object that is touched many times is reported as one change.
 */

import {
  type Change,
  type Document,
  objectChanges,
  type WindowMember,
  type WindowMembers,
} from "./document.ts";
import { Fault } from "./errors.ts";
import type { Operation, Value, XapiObject } from "./messages.ts";
import { isMap, withMember, withoutMember } from "./values.ts";

const OPERATIONS: ReadonlySet<string> = new Set(["add", "replace", "remove"]);

interface Touched {
  readonly class: string;
  readonly key: string;
  readonly previous: XapiObject | undefined;
  object: XapiObject | undefined;
  /** The fields that were played on; undefined: the object was put or removed whole. */
  fields: Set<string> | undefined;
}

export interface Applied {
  readonly changes: readonly Change[];
  readonly members: readonly WindowMember[];
}

/**
 * Apply operations, all together.
 *
 * @throws Fault: one does not fit; the document is as it was.
 */
export function applyPatch(document: Document, operations: readonly Operation[]): Applied {
  const edit = new Edit(document);
  for (const operation of operations) edit.play(operation);
  return edit.commit();
}

/** Split a JSON Pointer (RFC 6901) into its segments. */
export function segments(path: string): string[] {
  if (!path.startsWith("/")) throw new Fault(`${JSON.stringify(path)} is no path`);
  const found = path.slice(1).split("/");
  return path.includes("~") ? found.map(unescaped) : found;
}

function unescaped(segment: string): string {
  return segment.replace(/~(.?)/g, (_, digit: string) => {
    if (digit !== "0" && digit !== "1") throw new Fault(`~${digit} is no escape of a path`);
    return digit === "0" ? "~" : "/";
  });
}

class Edit {
  readonly #document: Document;
  readonly #touched = new Map<string, Touched>();
  #window: Partial<WindowMembers> = {};

  constructor(document: Document) {
    this.#document = document;
  }

  play(operation: Operation): void {
    const fits =
      isMap(operation) && OPERATIONS.has(operation.op) && typeof operation.path === "string";
    if (!fits) throw new Fault(`${JSON.stringify(operation)} is no operation`);
    const [cls = "", key, field, name, ...beyond] = segments(operation.path);
    if (key === undefined) return this.#playOnWindow(cls, operation);
    const touched = this.#touch(cls, key);
    if (field === undefined) touched.fields = undefined;
    else touched.fields?.add(field);
    if (field === undefined) touched.object = playedOnObject(touched.object, operation);
    else if (!touched.object) throw misfit(operation, "there is no such object");
    else if (name === undefined) touched.object = played(touched.object, field, operation);
    else if (beyond.length) throw misfit(operation, "it leads too deep");
    else touched.object = playedInField(touched.object, field, name, operation);
  }

  commit(): Applied {
    const changes: Change[] = [];
    for (const { class: cls, key, previous, object, fields } of this.#touched.values()) {
      const made = objectChanges(cls, key, previous, object, fields);
      if (made.length === 0) continue; // equal to what is there, or added and removed again
      if (object) this.#document.put(cls, key, object);
      else this.#document.delete(cls, key);
      changes.push(...made);
    }
    Object.assign(this.#document.window, this.#window);
    return { changes, members: Object.keys(this.#window) as WindowMember[] };
  }

  #touch(cls: string, key: string): Touched {
    const objects = this.#document.classes.get(cls);
    if (!objects) throw new Fault(`the view has no class ${JSON.stringify(cls)}`);
    const id = `${cls}/${key}`;
    let touched = this.#touched.get(id);
    if (!touched) {
      const previous = objects.get(key);
      touched = { class: cls, key, previous, object: previous, fields: new Set() };
      this.#touched.set(id, touched);
    }
    return touched;
  }

  #playOnWindow(member: string, operation: Operation): void {
    const { op, value } = operation;
    const known = member === "order" || member === "total" || member === "facets";
    if (!known || op === "remove" || value === undefined) throw misfit(operation, "no such member");
    this.#window = { ...this.#window, [member]: value };
  }
}

function playedOnObject(
  object: XapiObject | undefined,
  operation: Operation,
): XapiObject | undefined {
  if (operation.op !== "add" && !object) throw misfit(operation, "there is no such object");
  if (operation.op === "remove") return undefined;
  const value = operation.value;
  if (!isMap(value) || typeof value.$ref !== "string") throw misfit(operation, "it is no object");
  return value as unknown as XapiObject;
}

/** Play on one member of a map or of a set. */
function playedInField(
  object: XapiObject,
  field: string,
  name: string,
  operation: Operation,
): XapiObject {
  const value = Object.hasOwn(object, field) ? object[field] : undefined;
  if (Array.isArray(value)) return withMember(object, field, playedOnSet(value, name, operation));
  if (!isMap(value)) throw misfit(operation, "there is no such map or set");
  return withMember(object, field, played(value, name, operation));
}

function playedOnSet(set: readonly Value[], index: string, operation: Operation): Value[] {
  const { op, value } = operation;
  const at = /^(0|[1-9][0-9]*)$/.test(index) ? Number(index) : Number.POSITIVE_INFINITY;
  if (at >= set.length + (op === "add" ? 1 : 0)) throw misfit(operation, "there is no such place");
  if (op === "remove") return set.toSpliced(at, 1);
  if (value === undefined) throw misfit(operation, "it has no value");
  return set.toSpliced(at, op === "add" ? 0 : 1, value);
}

/** Play on one member: of an object, or of a map in it. */
function played<T extends { readonly [name: string]: Value | undefined }>(
  object: T,
  name: string,
  operation: Operation,
): T {
  if (operation.op !== "add" && !Object.hasOwn(object, name)) {
    throw misfit(operation, "there is no such member");
  }
  if (operation.op === "remove") return withoutMember(object, name);
  if (operation.value === undefined) throw misfit(operation, "it has no value");
  return withMember(object, name, operation.value);
}

function misfit(operation: Operation, why: string): Fault {
  return new Fault(`cannot ${operation.op} ${operation.path}: ${why}`);
}

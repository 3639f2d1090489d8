/**
 * What a view shows: class -> key -> object, and in live windows the order, total and facets.
 *
 * Objects are never mutated: one that changes is replaced by another, so `===` tells whether an
 * object is still the same. The maps around them are changed in place.
 */

import type { Facets, XapiObject } from "./messages.ts";
import { changedMembers, same } from "./values.ts";

export type Change =
  | {
      readonly kind: "added";
      readonly class: string;
      readonly key: string;
      readonly object: XapiObject;
    }
  | {
      readonly kind: "updated";
      readonly class: string;
      readonly key: string;
      readonly object: XapiObject;
      readonly previous: XapiObject;
      /** The fields that differ, at least one. */
      readonly fields: readonly string[];
    }
  | {
      readonly kind: "removed";
      readonly class: string;
      readonly key: string;
      readonly previous: XapiObject;
    };

/** What a live window has beside its objects. */
export interface WindowMembers {
  order: readonly string[];
  total: number;
  facets: Facets;
}

export type WindowMember = keyof WindowMembers;

export interface Found {
  readonly class: string;
  readonly key: string;
  readonly object: XapiObject;
}

/** A document as applications see it. */
export interface ReadonlyDocument extends Iterable<Found> {
  readonly classes: ReadonlyMap<string, ReadonlyMap<string, XapiObject>>;
  readonly window: Readonly<Partial<WindowMembers>>;
  readonly size: number;
  get(cls: string, key: string): XapiObject | undefined;
  byRef(ref: string): Found | undefined;
}

export class Document implements ReadonlyDocument {
  readonly classes = new Map<string, Map<string, XapiObject>>();
  /** Members beside the classes; only those that the proxy sent. */
  window: Partial<WindowMembers> = {};
  #places: Map<string, { readonly class: string; readonly key: string }> | undefined;

  constructor(classes: Iterable<string>) {
    for (const cls of classes) this.classes.set(cls, new Map());
  }

  /** A document of its own that shares the objects. */
  copy(): Document {
    const copy = new Document([]);
    for (const [cls, objects] of this.classes) copy.classes.set(cls, new Map(objects));
    copy.window = { ...this.window };
    return copy;
  }

  get size(): number {
    let size = 0;
    for (const objects of this.classes.values()) size += objects.size;
    return size;
  }

  get isEmpty(): boolean {
    return this.size === 0 && this.windowMembers().length === 0;
  }

  /** The names of the members beside the classes. */
  windowMembers(): WindowMember[] {
    return Object.keys(this.window) as WindowMember[];
  }

  get(cls: string, key: string): XapiObject | undefined {
    return this.classes.get(cls)?.get(key);
  }

  /** Find an object by XAPI's reference. The first question makes an index, kept from then on. */
  byRef(ref: string): Found | undefined {
    const place = (this.#places ?? this.#index()).get(ref);
    const object = place && this.get(place.class, place.key);
    return object && { ...place, object };
  }

  *[Symbol.iterator](): Generator<Found> {
    for (const [cls, objects] of this.classes) {
      for (const [key, object] of objects) yield { class: cls, key, object };
    }
  }

  /** Put an object; its class must be one of the document's. */
  put(cls: string, key: string, object: XapiObject): void {
    const objects = this.classes.get(cls);
    if (this.#places) {
      const before = objects?.get(key);
      if (before) this.#forget(before.$ref, key);
      this.#places.set(object.$ref, { class: cls, key });
    }
    objects?.set(key, object);
  }

  delete(cls: string, key: string): void {
    const before = this.get(cls, key);
    if (before) this.#forget(before.$ref, key);
    this.classes.get(cls)?.delete(key);
  }

  #index(): Map<string, { class: string; key: string }> {
    const places = new Map<string, { class: string; key: string }>();
    for (const { class: cls, key, object } of this) places.set(object.$ref, { class: cls, key });
    this.#places = places;
    return places;
  }

  /** The same reference may stand under another key by now. */
  #forget(ref: string, key: string): void {
    if (this.#places?.get(ref)?.key === key) this.#places.delete(ref);
  }
}

/**
 * Say how an object under a key came to be another; nothing when they are equal.
 *
 * @param touched The only fields that can differ, if that is known.
 */
export function objectChanges(
  cls: string,
  key: string,
  previous: XapiObject | undefined,
  object: XapiObject | undefined,
  touched?: Iterable<string>,
): Change[] {
  if (previous && object && previous.$ref === object.$ref) {
    const fields = changedMembers(previous, object, touched);
    return fields.length ? [{ kind: "updated", class: cls, key, object, previous, fields }] : [];
  }
  const changes: Change[] = [];
  if (previous) changes.push({ kind: "removed", class: cls, key, previous });
  if (object) changes.push({ kind: "added", class: cls, key, object });
  return changes;
}

/** Say what leads from one document to another, removals first. */
export function difference(before: Document, after: Document): Change[] {
  const removed: Change[] = [];
  const others: Change[] = [];
  for (const { class: cls, key, object } of before) {
    if (!after.get(cls, key)) removed.push({ kind: "removed", class: cls, key, previous: object });
  }
  for (const { class: cls, key, object } of after) {
    const previous = before.get(cls, key);
    if (previous === object) continue;
    for (const change of objectChanges(cls, key, previous, object)) {
      (change.kind === "removed" ? removed : others).push(change);
    }
  }
  return [...removed, ...others];
}

/** Take over the objects of before that are equal, so that `===` shows that nothing changed. */
export function keepEqual(before: Document, after: Document): void {
  for (const { class: cls, key, object } of after) {
    const previous = before.get(cls, key);
    if (previous && previous !== object && same(previous, object)) after.put(cls, key, previous);
  }
}

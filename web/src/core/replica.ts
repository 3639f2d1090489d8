/**
 * One view: a query's objects on one pool (or of a live window), kept exact message by message.
 *
 * Theory of operation. `document` is what the protocol says, `shown` what the user sees. They are
 * the same object, except while a document that was there before is being sent anew: then `shown`
 * stays as it was until the new one is complete, and the two are compared, so that a list does not
 * vanish and come back because a connection did. A first snapshot fills `shown` row by row.
 *
 * A message that does not fit is a Fault: the caller gives this replica up and subscribes afresh.
 */

import { type Change, Document, difference, keepEqual, type WindowMember } from "./document.ts";
import { Fault } from "./errors.ts";
import type {
  Bookmark,
  Operation,
  Patch,
  PoolId,
  Reset,
  ResumePoint,
  Snapshot,
  ViewInfo,
  ViewMessage,
} from "./messages.ts";
import { applyPatch } from "./patch.ts";
import type { SavedView } from "./storage.ts";
import { rowReader, same } from "./values.ts";

/** What one message changed of what is shown. */
export interface Batch {
  readonly pool: PoolId | null;
  readonly changes: readonly Change[];
  /** Of a live window: which of its other members changed. */
  readonly members: readonly WindowMember[];
}

/** What a client said it holds: the objects of each bucket. */
export type Buckets = readonly (readonly (readonly [cls: string, key: string])[])[];

/** What leads from one document of a pool to another. */
export function between(pool: PoolId | null, before: Document, after: Document): Batch {
  return {
    pool,
    changes: difference(before, after),
    members: after.windowMembers().filter(name => !same(before.window[name], after.window[name])),
  };
}

interface Parts {
  readonly from: number;
  readonly to: number;
  readonly ops: Operation[];
}

export class Replica {
  readonly pool: PoolId | null;
  number: number;
  epoch: string;
  position: number;
  complete = false;
  gone = false;
  document: Document;
  shown: Document;
  #classes: readonly string[];
  #token: string | undefined;
  #parts: Parts | undefined;
  #comparing: Buckets | "asked" | undefined;
  #awaitsReset = false;

  /** @param carried What is shown until the document is complete. */
  constructor(info: ViewInfo, carried?: Document) {
    this.pool = info.pool;
    this.number = info.view;
    this.epoch = info.epoch;
    this.position = info.seq;
    this.#classes = info.classes;
    this.document = new Document(info.classes);
    this.shown = carried && !carried.isEmpty ? carried : this.document;
  }

  /** Go on with the document on another connection. */
  resume(info: ViewInfo): void {
    if (!this.#token || info.epoch !== this.epoch || !this.complete) {
      throw new Fault(`pool ${this.pool} resumes a document that is not held`);
    }
    this.number = info.view;
    this.#classes = info.classes;
    if (info.mode === "compare") {
      this.complete = false; // and it keeps position and token, to begin again if this is cut short
      this.#comparing = "asked";
    } else {
      this.position = info.seq;
    }
  }

  /** Make one of what was saved, to be resumed. */
  static restored(saved: SavedView): Replica {
    const { pool, epoch, seq, classes } = saved;
    const replica = new Replica({ view: -1, pool, epoch, seq, classes, mode: "resume" });
    for (const [cls, key, object] of saved.objects) replica.document.put(cls, key, object);
    replica.complete = true;
    replica.#token = saved.token;
    return replica;
  }

  /** What to save, if the document can be resumed. */
  saved(): SavedView | undefined {
    const { pool, epoch, position: seq } = this;
    const token = this.#token;
    if (!this.complete || !token || pool === null) return undefined;
    const objects = [...this.document].map(
      found => [found.class, found.key, found.object] as const,
    );
    return { pool, epoch, seq, token, classes: this.#classes, objects };
  }

  /** What to subscribe with, if the document can be resumed. */
  resumePoint(compareFrom: number): ResumePoint | undefined {
    if (!this.complete || !this.#token) return undefined;
    const point = { token: this.#token, seq: this.position };
    return this.document.size >= compareFrom ? { ...point, compare: true } : point;
  }

  get isComparing(): boolean {
    return this.#comparing === "asked";
  }

  /** Note what was said in `digests`. */
  compared(buckets: Buckets): void {
    this.#comparing = buckets;
  }

  /** The connection ended, or the view was left: the document stands at the last whole patch. */
  freeze(): void {
    this.#parts = undefined;
    if (!this.complete && this.#token) {
      this.document = this.shown;
      this.complete = true;
      this.#comparing = undefined;
    }
  }

  /** Never resume this document. */
  distrust(): void {
    this.#token = undefined;
    this.#parts = undefined;
  }

  handle(message: Exclude<ViewMessage, { type: "moved" }>): Batch | undefined {
    if (this.#awaitsReset && message.type !== "reset") {
      throw new Fault(`a ${message.type} came where the way to the document is lost`);
    }
    switch (message.type) {
      case "snapshot":
        return this.#snapshot(message);
      case "patch":
        return this.#patch(message);
      case "bookmark":
        return this.#bookmark(message);
      case "reset":
        return this.#reset(message);
    }
  }

  /** Be called `as` from now on. `seq` is where we stand, unless a reset follows at once. */
  moved(as: number, seq: number): void {
    this.number = as;
    this.#parts = undefined;
    this.#token = undefined; // it names the rights, or the window, of before
    this.#awaitsReset = seq !== this.position;
  }

  #snapshot(message: Snapshot): Batch | undefined {
    if (this.complete) throw new Fault("a snapshot came without being announced");
    if (this.#comparing) this.#removeDifferent(message.buckets);
    const added = this.#addRows(message);
    if (message.last) return this.#finish(message, added);
    return this.shown === this.document ? this.#batch(added) : undefined;
  }

  #addRows({ class: cls, fields, keys, rows }: Snapshot): Change[] {
    if (keys.length === 0) return [];
    const objects = this.document.classes.get(cls);
    if (!objects) throw new Fault(`class ${JSON.stringify(cls)} was not asked for`);
    const fits =
      keys.length === rows.length &&
      fields.includes("$ref") &&
      rows.every(row => Array.isArray(row) && row.length === fields.length) &&
      keys.every(key => typeof key === "string") &&
      new Set(keys).size === keys.length &&
      !keys.some(key => objects.has(key));
    if (!fits) throw new Fault("the rows of a snapshot do not fit its keys and fields");
    const read = rowReader(fields);
    return rows.map((row, i) => {
      const key = keys[i] as string;
      const object = read(row);
      this.document.put(cls, key, object);
      return { kind: "added", class: cls, key, object };
    });
  }

  #finish(message: Snapshot, added: readonly Change[]): Batch {
    const { order, total, facets } = message;
    if (order) this.document.window.order = order;
    if (total !== undefined) this.document.window.total = total;
    if (facets) this.document.window.facets = facets;
    this.complete = true;
    this.position = message.seq;
    const before = this.shown;
    this.shown = this.document;
    if (before === this.document) return this.#batch(added, this.document.windowMembers());
    keepEqual(before, this.document);
    return between(this.pool, before, this.document);
  }

  /** The first message behind `digests`: what stands in these buckets comes again. */
  #removeDifferent(buckets: readonly number[] | undefined): void {
    const said = this.#comparing;
    this.#comparing = undefined;
    if (!buckets || said === "asked" || !said) {
      throw new Fault("a snapshot does not answer the digests");
    }
    this.document = this.shown.copy();
    this.#token = undefined;
    for (const bucket of buckets) {
      for (const [cls, key] of said[bucket] ?? []) this.document.delete(cls, key);
    }
  }

  #patch(message: Patch): Batch | undefined {
    const { from, to } = message;
    const parts = this.#parts ?? { from: this.position, to, ops: [] };
    if (!this.complete || from !== parts.from || to !== parts.to) {
      throw new Fault(`a patch leads from ${from} to ${to}, the document is at ${this.position}`);
    }
    for (const operation of message.ops) parts.ops.push(operation);
    this.#parts = message.more ? parts : undefined;
    if (message.more) return undefined;
    const { changes, members } = applyPatch(this.document, parts.ops);
    this.position = to;
    return this.#batch(changes, members);
  }

  #bookmark(message: Bookmark): undefined {
    // One ahead of the document would make a silent hole: the proxy goes on from the greater.
    if (message.seq > this.position) {
      throw new Fault(`a bookmark is at ${message.seq}, the document at ${this.position}`);
    }
    this.#token = message.resume;
  }

  #reset(message: Reset): Batch | undefined {
    this.distrust();
    this.complete = this.#awaitsReset = false;
    this.#comparing = undefined;
    this.document = new Document(this.#classes);
    if (message.gone) {
      this.gone = true;
      const before = this.shown;
      this.shown = this.document;
      return between(this.pool, before, this.document);
    }
    this.epoch = message.epoch;
    this.position = message.seq;
    if (this.shown.isEmpty) this.shown = this.document;
    return undefined;
  }

  #batch(changes: readonly Change[], members: readonly WindowMember[] = []): Batch {
    return { pool: this.pool, changes, members };
  }
}

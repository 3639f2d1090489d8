/**
 * What `client.subscribe` returns: the objects that a query finds, kept up to date.
 *
 * It outlives connections. While there is none it shows what it showed last, and says so.
 */

import { Document, type Found, type ReadonlyDocument, type WindowMembers } from "./document.ts";
import { XoproxyError } from "./errors.ts";
import { type Listener, Listeners } from "./listeners.ts";
import type { Expectation, PoolId, Query, ResumePoint, Window, XapiObject } from "./messages.ts";
import { type Batch, between, Replica } from "./replica.ts";
import type { SavedView } from "./storage.ts";

export type { Batch };

/** What the protocol allows a window to hold. One that is refused would be refused for ever. */
const MOST_ROWS = 1_000;

export type Status =
  /** Not complete yet. */
  | "loading"
  | "live"
  /** A pool cannot be reached by the proxy; what is shown was true a while ago. */
  | "stale"
  /** The proxy cannot be reached. */
  | "offline"
  /** Refused by the proxy: see `error`. */
  | "failed"
  | "closed";

/** What a live view asks of the client that it belongs to. */
export interface Owner {
  statusOf(view: LiveView): Status;
  closed(view: LiveView): void;
  moved(view: LiveView): void;
}

export interface LiveViewOptions {
  /** Offer to compare by digests from so many objects of a pool on. */
  readonly compareFrom: number;
  /** The name under which it is kept in the client's storage. */
  readonly keep?: string | undefined;
}

export interface Item extends Found {
  readonly pool: PoolId | null;
}

export class LiveView {
  /** Resolved when all pools are there for the first time, rejected when the query is refused. */
  readonly ready: Promise<void>;
  /** Why the proxy refused, the last time that it did. */
  error: XoproxyError | undefined;
  #query: Query;
  #status: Status = "loading";
  #isReady = false;
  #answered = false;
  readonly #owner: Owner;
  readonly #options: LiveViewOptions;
  readonly #parts = new Map<PoolId | null, Replica>();
  readonly #changed = new Listeners<Batch>();
  readonly #statusChanged = new Listeners<Status>();
  #resolve!: () => void;
  #reject!: (error: XoproxyError) => void;

  /** @internal Made by `client.subscribe`. */
  constructor(owner: Owner, query: Query, options: LiveViewOptions) {
    this.#owner = owner;
    this.#query = query;
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // who does not wait for it reads `status` and `error`
  }

  get query(): Query {
    return this.#query;
  }

  get status(): Status {
    return this.#status;
  }

  /** The pools that are shown; `[null]` of a live window. */
  get pools(): readonly (PoolId | null)[] {
    return [...this.#parts.keys()];
  }

  /** How many objects are shown. */
  get size(): number {
    let size = 0;
    for (const { shown } of this.#parts.values()) size += shown.size;
    return size;
  }

  /** Whether nothing of it is missing. */
  get complete(): boolean {
    return this.#answered && [...this.#parts.values()].every(part => part.complete);
  }

  document(pool: PoolId | null): ReadonlyDocument | undefined {
    return this.#parts.get(pool)?.shown;
  }

  get(pool: PoolId | null, cls: string, key: string): XapiObject | undefined {
    return this.document(pool)?.get(cls, key);
  }

  byRef(pool: PoolId | null, ref: string): Item | undefined {
    const found = this.document(pool)?.byRef(ref);
    return found && { pool, ...found };
  }

  /** All objects, or those of a class, of all pools. */
  *objects(cls?: string): Generator<Item> {
    for (const [pool, { shown }] of this.#parts) {
      for (const found of shown)
        if (cls === undefined || found.class === cls) yield { pool, ...found };
    }
  }

  /** Hear what changes, batch by batch; each is one whole step of one pool. */
  onChange(listener: Listener<Batch>): () => void {
    return this.#changed.add(listener);
  }

  onStatus(listener: Listener<Status>): () => void {
    return this.#statusChanged.add(listener);
  }

  /** Make a call fail with CONFLICT if an object is not as it is shown here any more. */
  expectation(pool: PoolId | null, key: string): Expectation {
    const part = this.#parts.get(pool);
    if (!part?.complete) throw new XoproxyError(`nothing is known of pool ${pool} now`);
    return { view: part.number, key, seq: part.position };
  }

  /** End it. What it shows stays readable and does not change any more. */
  close(): void {
    if (this.#status === "closed") return;
    this.setStatus("closed");
    this.#owner.closed(this);
    this.#reject(new XoproxyError("the view was closed"));
  }

  // --- live windows --------------------------------------------------------------------------

  /** Of a live window: order, total and facets. */
  get window(): Readonly<Partial<WindowMembers>> {
    return this.document(null)?.window ?? {};
  }

  /** Of a live window: the objects that are in it, in order. */
  rows(): XapiObject[] {
    const { order = [] } = this.window;
    const [cls = ""] = this.#query.classes;
    return order.flatMap(key => this.get(null, cls, key) ?? []);
  }

  /** Show another part of the list. What is refused is told by `error`. */
  move(window: Window): void {
    if (!this.#query.window) throw new XoproxyError("only a query with `window` can be moved");
    const [offset, count] = window;
    const fits = Number.isSafeInteger(offset) && offset >= 0 && Number.isInteger(count);
    if (!fits || count < 0 || count > MOST_ROWS) {
      throw new XoproxyError(`a window is [offset, count], from 0 on, count at most ${MOST_ROWS}`);
    }
    this.#query = { ...this.#query, window };
    this.#owner.moved(this);
  }

  // --- for the client ------------------------------------------------------------------------

  /** @internal */
  get parts(): ReadonlyMap<PoolId | null, Replica> {
    return this.#parts;
  }

  /** @internal Show a pool by this replica from now on. */
  show(part: Replica): void {
    const before = this.#parts.get(part.pool)?.shown ?? new Document([]);
    this.#parts.set(part.pool, part);
    if (before !== part.shown) this.publish(between(part.pool, before, part.shown));
  }

  /** @internal A pool is not there any more. */
  drop(part: Replica): void {
    this.#parts.delete(part.pool);
    if (part.shown.size === 0) return;
    const changes = [...part.shown].map(({ class: cls, key, object }) => {
      return { kind: "removed", class: cls, key, previous: object } as const;
    });
    this.publish({ pool: part.pool, changes, members: [] });
  }

  /** @internal All views of the subscription have been named. */
  answered(): void {
    this.#answered = true;
    this.error = undefined;
    this.progressed();
  }

  /** @internal */
  publish(batch: Batch): void {
    if (batch.changes.length || batch.members.length) this.#changed.tell(batch);
  }

  /** @internal Look whether it is complete by now. */
  progressed(): void {
    if (!this.#isReady && this.complete) {
      this.#isReady = true;
      this.#resolve();
    }
    this.refresh();
  }

  /** @internal The proxy refused something; what is shown stays. */
  failed(error: XoproxyError): void {
    this.error = error;
    this.#statusChanged.tell(this.#status);
  }

  /** @internal The proxy will not show this query. */
  refused(error: XoproxyError): void {
    this.error = error;
    this.setStatus("failed");
    this.#reject(error);
  }

  /** @internal Ask the owner how it stands. */
  refresh(): void {
    if (this.#status !== "closed" && this.#status !== "failed") {
      this.setStatus(this.#owner.statusOf(this));
    }
  }

  /** @internal */
  setStatus(status: Status): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#statusChanged.tell(status);
  }

  /** @internal */
  resumePoints(): ResumePoint[] {
    const { compareFrom } = this.#options;
    return [...this.#parts.values()].flatMap(part => part.resumePoint(compareFrom) ?? []);
  }

  /** @internal Show what was saved, and resume it. */
  restore(views: readonly SavedView[]): void {
    if (this.#status === "closed") return;
    for (const saved of views) {
      const part = Replica.restored(saved);
      this.#parts.set(part.pool, part);
      this.publish(between(part.pool, new Document(saved.classes), part.shown));
    }
    this.refresh();
  }

  /** @internal */
  get keep(): string | undefined {
    return this.#options.keep;
  }

  /** @internal */
  saved(): SavedView[] {
    return [...this.#parts.values()].flatMap(part => part.saved() ?? []);
  }
}

/**
 * Session, live views and replicas against a model of the proxy.
 *
 * The model has one pool with a history; it splits patches, sends snapshots in chunks, resets, moves
 * views to other numbers, cuts connections, and resumes them with a patch, by digests or afresh.
 * Whatever it does, what is shown must be the pool, and batches must add up to it.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { canonical, summarise } from "../../src/core/digests.ts";
import { difference } from "../../src/core/document.ts";
import { LiveView, type Owner } from "../../src/core/live.ts";
import type { ClientMessage, Operation, Value, ViewInfo } from "../../src/core/messages.ts";
import { type Host, Session } from "../../src/core/session.ts";
import { CLASSES, documentOf, Mirror, type Plain, plain, plainOf } from "../documents.ts";

const POOL = "p";
/** How often each was played. */
const modes = { snapshot: 0, resume: 0, compare: 0, same: 0 };

class Model {
  pool: Plain;
  /** Where the pool stands; the client's documents may be behind. */
  seq = 1;
  epoch = 1;
  /** What the pool was at each position that a client can resume from. */
  readonly history = new Map<number, Plain>();
  readonly views: LiveView[] = [];
  readonly mirrors: Mirror[] = [];
  session!: Session;
  readonly #sent: ClientMessage[] = [];
  /** The number of the one view, and where the client stands; 0: it has none. */
  #view = 0;
  #at = 0;
  #numbers = 0;
  readonly #ids: (number | string)[] = [];

  constructor(pool: Plain) {
    this.pool = pool;
    this.history.set(this.seq, pool);
    const owner: Owner = { statusOf: () => "live", closed: () => {}, moved: () => {} };
    for (let count = 0; count < 2; count++) {
      const view = new LiveView(owner, { classes: CLASSES }, { compareFrom: count * 4 });
      const mirror = new Mirror();
      view.onChange(({ changes }) => mirror.apply(changes));
      this.views.push(view);
      this.mirrors.push(mirror);
    }
  }

  connect(how: "resume" | "compare" | "snapshot"): void {
    const host: Host = {
      send: message => this.#sent.push(message),
      welcome: () => {},
      failed: error => {
        throw error;
      },
      refused: (_, error) => {
        throw error;
      },
      summarise: part => {
        const steps = summarise(part.document, 4);
        for (let step = steps.next(); ; step = steps.next()) {
          if (!step.done) continue;
          const { buckets, digests, held } = step.value;
          return this.session.compare(part, buckets, digests, held);
        }
      },
    };
    this.session = new Session(host);
    this.#ids.length = 0;
    for (const view of this.views) this.session.subscribe(view);
    this.#view = 0;
    for (const message of this.#sent.splice(0)) this.#subscribed(message, how);
  }

  /** Change the pool, tell nobody. */
  change(pool: Plain): void {
    this.pool = pool;
    this.history.set(++this.seq, pool);
  }

  /** Bring the client to the present, in parts. */
  patch(parts: number): void {
    if (this.#view === 0) return;
    const ops = operations(this.history.get(this.#at) as Plain, this.pool);
    const size = Math.max(1, Math.ceil(ops.length / parts));
    const message = { type: "patch", view: this.#view, from: this.#at, to: this.seq } as const;
    for (let start = 0; start < ops.length; start += size) {
      const more = start + size < ops.length;
      const some = ops.slice(start, start + size);
      this.session.receive({ ...message, ops: some, ...(more && { more }) });
    }
    if (ops.length === 0) this.session.receive({ ...message, ops });
    this.#at = this.seq;
  }

  /** Send only the beginning of a patch: a cut or a reset follows. */
  patchPartly(): void {
    const from = this.#at;
    const ops = operations(this.history.get(from) as Plain, this.pool).slice(0, 1);
    if (this.#view === 0) return;
    this.session.receive({ type: "patch", view: this.#view, from, to: this.seq, ops, more: true });
  }

  bookmark(): void {
    const view = this.#view;
    if (view === 0) return;
    this.session.receive({ type: "bookmark", view, seq: this.#at, resume: `t${this.epoch}` });
  }

  /** @param whole Whether the snapshot that follows comes to its end. */
  reset(newEpoch: boolean, whole = true): void {
    if (this.#view === 0) return;
    if (newEpoch) this.epoch++;
    const { seq } = this;
    const about = { reason: "state_lost", epoch: `e${this.epoch}`, seq };
    this.session.receive({ type: "reset", view: this.#view, ...about });
    this.snapshot(whole, !newEpoch);
  }

  /** Move the view to another number: behind a patch, or with a reset. */
  move(withPatch: boolean): void {
    if (this.#view === 0) return;
    if (withPatch) this.patch(1);
    const as = ++this.#numbers;
    this.session.receive({ type: "moved", view: this.#view, as, seq: this.seq });
    this.#view = as;
    if (withPatch) this.bookmark();
    else this.reset(false);
  }

  cut(): void {
    this.session.lost();
    this.#view = 0;
  }

  snapshot(toItsEnd = true, bookmark = true, buckets?: number[], only?: ReadonlySet<string>): void {
    const messages = CLASSES.flatMap(cls => {
      return Object.entries(this.pool[cls] ?? {})
        .filter(([key]) => only?.has(`${cls}/${key}`) ?? true)
        .map(([key, object]) => {
          const fields = Object.keys(object);
          const row = fields.map(field => object[field] as Value);
          return { class: cls, fields, keys: [key], rows: [row] };
        });
    });
    const whole = toItsEnd ? messages : messages.slice(0, 1);
    const about = { type: "snapshot", view: this.#view, seq: this.seq } as const;
    whole.forEach((message, i) => {
      const first = i === 0 && buckets ? { buckets } : {};
      this.session.receive({ ...about, ...message, last: false, ...first });
    });
    const nothing = { class: CLASSES[0] as string, fields: [], keys: [], rows: [] };
    const first = whole.length === 0 && buckets ? { buckets } : {};
    if (!toItsEnd) return;
    this.session.receive({ ...about, ...nothing, last: true, ...first });
    this.#at = this.seq;
    if (bookmark) this.bookmark();
  }

  /** What everybody must see. */
  check(): void {
    for (const [i, view] of this.views.entries()) {
      const document = view.document(POOL);
      expect(canonical(plainOf(document as never) as never)).toBe(canonical(this.pool as never));
      expect(view.complete).toBe(true);
      expect(this.mirrors[i]?.is(document as never)).toBe(true);
    }
    expect(this.views[0]?.document(POOL)).toBe(this.views[1]?.document(POOL));
  }

  #subscribed(message: ClientMessage, how: "resume" | "compare" | "snapshot"): void {
    if (message.type !== "subscribe") throw new Error(message.type);
    const point = message.resume?.[0];
    const fresh = this.#view === 0;
    if (fresh) this.#view = ++this.#numbers;
    const info = { view: this.#view, pool: POOL, epoch: `e${this.epoch}`, classes: CLASSES };
    const answer = (mode: ViewInfo["mode"], seq: number) => {
      modes[mode]++;
      this.session.receive({ type: "subscribed", id: message.id, views: [{ ...info, mode, seq }] });
    };
    if (!fresh) return answer("same", this.#at);
    if (!point || point.token !== `t${this.epoch}` || how === "snapshot") {
      answer("snapshot", this.seq);
      return this.snapshot();
    }
    if (how === "resume" || !point.compare) {
      this.#at = point.seq;
      answer("resume", point.seq);
      return this.patch(2);
    }
    answer("compare", this.seq);
    this.#compare();
  }

  /** Answer digests, found by the client's own arithmetic: that is what the vectors are for. */
  #compare(): void {
    const said = this.#sent.pop();
    if (said?.type !== "digests") throw new Error("no digests came");
    const steps = summarise(documentOf(this.pool), said.buckets);
    let step = steps.next();
    while (!step.done) step = steps.next();
    const bytes = (text: string) => Buffer.from(text, "base64");
    const mine = bytes(step.value.digests);
    const theirs = bytes(said.digests);
    const differ = [...Array(said.buckets).keys()].filter(bucket => {
      return mine.compare(theirs, bucket * 8, bucket * 8 + 8, bucket * 8, bucket * 8 + 8) !== 0;
    });
    const { held } = step.value;
    const rows = differ.flatMap(bucket =>
      (held[bucket] ?? []).map(([cls, key]) => `${cls}/${key}`),
    );
    this.snapshot(true, true, differ, new Set(rows));
  }
}

/** The operations that lead from one content to another, as the proxy makes them. */
function operations(from: Plain, to: Plain): Operation[] {
  const escaped = (text: string) => text.replaceAll("~", "~0").replaceAll("/", "~1");
  return difference(documentOf(from), documentOf(to)).flatMap((change): Operation[] => {
    const path = `/${change.class}/${escaped(change.key)}`;
    if (change.kind === "removed") return [{ op: "remove", path }];
    if (change.kind === "added") return [{ op: "add", path, value: change.object as never }];
    return change.fields.map(field => {
      const value = change.object[field];
      const at = `${path}/${escaped(field)}`;
      return value === undefined ? { op: "remove", path: at } : { op: "add", path: at, value };
    });
  });
}

const how = fc.constantFrom("resume", "compare", "snapshot" as const);
const step: fc.Arbitrary<(model: Model) => void> = fc.oneof(
  plain.map(pool => (model: Model) => model.change(pool)),
  fc.integer({ min: 1, max: 4 }).map(parts => (model: Model) => {
    model.patch(parts);
    model.bookmark();
  }),
  fc.constant((model: Model) => model.bookmark()),
  fc.boolean().map(newEpoch => (model: Model) => model.reset(newEpoch)),
  fc.boolean().map(withPatch => (model: Model) => model.move(withPatch)),
  fc.tuple(how, fc.option(plain), fc.boolean()).map(([how, pool, partly]) => (model: Model) => {
    if (partly) model.patchPartly();
    model.cut();
    if (pool) model.change(pool);
    model.connect(how as "resume");
  }),
  fc.tuple(how, plain).map(([how, pool]) => (model: Model) => {
    // cut inside of a snapshot
    model.reset(false, false);
    model.cut();
    model.change(pool);
    model.connect(how as "resume");
  }),
);

test("whatever the proxy does, what is shown is the pool", () => {
  fc.assert(
    fc.property(plain, fc.array(step, { maxLength: 25, size: "max" }), (pool, steps) => {
      const model = new Model(pool);
      model.connect("snapshot");
      model.check();
      for (const play of steps) play(model);
      model.patch(2);
      model.check();
    }),
    { numRuns: 300 },
  );
  expect(Math.min(...Object.values(modes))).toBeGreaterThan(100);
});

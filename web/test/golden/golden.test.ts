/** Every golden conversation, in both encodings; and the vectors of digests. */

import { readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { json } from "../../src/core/codec.ts";
import { bucketCount, canonical, objectDigest, place, summarise } from "../../src/core/digests.ts";
import { Document } from "../../src/core/document.ts";
import { msgpack } from "../../src/core/msgpack.ts";
import { Replica } from "../../src/core/replica.ts";
import { fakeTimers } from "../sockets.ts";
import { Player, type Wire } from "./player.ts";
import { held, parseExact, toMsgpack } from "./transcode.ts";

const GOLDEN = new URL("../../../tests/golden/", import.meta.url);
const STORIES = readdirSync(new URL("conversations/", GOLDEN)).filter(name =>
  name.endsWith(".json"),
);

/** The text of a value that may hold bigints. */
const toJson = (value: unknown) => canonical(value as never);

const WIRES: { readonly [name: string]: Wire & { read(text: string): unknown } } = {
  json: { codec: json, frame: toJson, read: text => JSON.parse(text) },
  msgpack: {
    codec: msgpack,
    // by way of JSON: what a story says with a fraction must go as a float
    frame: message => toMsgpack(parseExact(toJson(message))).buffer,
    read: text => held(parseExact(text)),
  },
};

test("there are conversations", () => {
  expect(STORIES.length).toBeGreaterThan(50);
});

describe.each(Object.entries(WIRES))("in %s", (_, wire) => {
  beforeEach(fakeTimers);
  afterEach(() => {
    vi.useRealTimers();
  });

  test.each(STORIES)("%s", async name => {
    const story = wire.read(readFileSync(new URL(`conversations/${name}`, GOLDEN), "utf8"));
    const player = new Player(wire);
    const { steps } = story as { steps: unknown[] };
    for (const step of steps) await player.play(step);
    player.close();
    expect(steps.length).toBeGreaterThan(0);
  });
});

describe("digests", () => {
  // biome-ignore lint/suspicious/noExplicitAny: vectors
  const vectors: any = held(parseExact(readFileSync(new URL("digests.json", GOLDEN), "utf8")));

  const made = (plain: Record<string, Record<string, never>>) => {
    const document = new Document(Object.keys(plain));
    for (const [cls, objects] of Object.entries(plain)) {
      for (const [key, object] of Object.entries(objects)) document.put(cls, key, object);
    }
    return document;
  };
  const summary = (document: Document, buckets?: number) => {
    const steps = summarise(document, buckets);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
    }
  };
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  test("canonical texts", () => {
    for (const { json: text, canonical: expected } of vectors.canonical) {
      expect(canonical(JSON.parse(text))).toBe(expected);
    }
  });

  test("numbers that doubles cannot hold", () => {
    for (const { json: text, canonical: exact, double } of vectors.beyond_doubles) {
      expect(canonical(JSON.parse(text))).toBe(double);
      expect(canonical(held(parseExact(text)) as never)).toBe(exact);
    }
  });

  test("documents", () => {
    for (const { document: plain, objects, digests } of vectors.documents) {
      const document = made(plain);
      for (const vector of objects) {
        const { class: cls, key } = vector;
        const object = document.get(cls, key);
        expect(canonical([cls, key, object] as never)).toBe(vector.canonical);
        expect(place(cls, key)).toBe(vector.place);
        expect(hex(objectDigest(cls, key, object as never))).toBe(vector.digest);
      }
      for (const [buckets, expected] of Object.entries(digests)) {
        expect(summary(document, Number(buckets)).digests).toBe(expected);
      }
    }
  });

  test("repairs", () => {
    for (const { held: before, buckets, digests, snapshots, document: after } of vectors.repairs) {
      const document = made(before);
      const replica = Replica.restored({
        pool: "p",
        epoch: "e",
        seq: 1,
        token: "t",
        classes: Object.keys(before),
        objects: [...document].map(({ class: cls, key, object }) => [cls, key, object]),
      });
      const info = { view: 12, pool: "p", epoch: "e", seq: 9, classes: Object.keys(before) };
      replica.resume({ ...info, mode: "compare" });
      const said = summary(replica.document, buckets);
      expect(said.digests).toBe(digests);
      replica.compared(said.held);
      for (const snapshot of snapshots) replica.handle(snapshot);
      const classes = [...replica.document.classes];
      const now = Object.fromEntries(classes.map(([cls, all]) => [cls, Object.fromEntries(all)]));
      expect(canonical(now as never)).toBe(canonical(after));
      expect(replica.complete).toBe(true);
    }
  });

  test("how many buckets", () => {
    expect([0, 1, 4, 5, 8, 9, 1000, 1e6].map(bucketCount)).toEqual([1, 1, 1, 2, 2, 4, 256, 16384]);
  });
});

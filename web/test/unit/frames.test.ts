import fc from "fast-check";
import { expect, test } from "vitest";
import { type Document, difference, keepEqual } from "../../src/core/document.ts";
import { everyFrame } from "../../src/core/frames.ts";
import { LiveView, type Owner } from "../../src/core/live.ts";
import type { Batch } from "../../src/core/replica.ts";
import { documentOf, Mirror, plain } from "../documents.ts";

const owner: Owner = { statusOf: () => "live", closed: () => {}, moved: () => {} };

/** A live view, and frames of the screen that come when the test wants. */
function screen() {
  const view = new LiveView(owner, { classes: ["VM"] }, { compareFrom: 0 });
  const scheduled: (() => void)[] = [];
  const heard: (readonly Batch[])[] = [];
  const stop = everyFrame(
    view,
    batches => heard.push(batches),
    flush => scheduled.push(flush),
  );
  const frame = () => {
    for (const flush of scheduled.splice(0)) flush();
  };
  return { view, scheduled, heard, stop, frame };
}

test("merged batches lead where the single ones do, once for each object", () => {
  fc.assert(
    fc.property(fc.array(plain, { minLength: 2, maxLength: 6 }), contents => {
      const { view, scheduled, heard, frame } = screen();
      const documents = contents.map(documentOf);
      const [first = documentOf({})] = documents;
      const mirror = new Mirror(first);
      for (let i = 1; i < documents.length; i++) {
        const [before, after] = [documents[i - 1] as Document, documents[i] as Document];
        keepEqual(before, after);
        const changes = difference(before, after);
        view.publish({ pool: "p", changes, members: [] });
      }
      expect(scheduled.length).toBeLessThanOrEqual(1);
      frame();
      const changes = heard.flat().flatMap(batch => batch.changes);
      const seen = changes.map(change => {
        const object = change.kind === "removed" ? change.previous : change.object;
        return JSON.stringify([change.class, change.key, object.$ref]);
      });
      expect(new Set(seen).size).toBe(seen.length);
      mirror.apply(changes);
      const last = documents.at(-1) as never;
      expect([...mirror.objects.keys()].sort()).toEqual(
        [...new Mirror(last).objects.keys()].sort(),
      );
      for (const [key, object] of new Mirror(last).objects) {
        expect(mirror.objects.get(key)).toEqual(object);
      }
    }),
  );
});

test("members of a window are named once, and pools are kept apart", () => {
  const { view, heard, frame } = screen();
  view.publish({ pool: null, changes: [], members: ["total"] });
  view.publish({ pool: null, changes: [], members: ["total", "order"] });
  view.publish({
    pool: "p",
    changes: [{ kind: "added", class: "VM", key: "a", object: { $ref: "r" } }],
    members: [],
  });
  frame();
  expect(heard).toMatchObject([[{ pool: null, members: ["total", "order"] }, { pool: "p" }]]);
});

test("what comes to nothing is not told, and after the end there is silence", () => {
  const { view, heard, scheduled, stop, frame } = screen();
  const there = { class: "VM", key: "a" };
  const object = { $ref: "r" };
  const added = { kind: "added", ...there, object } as const;
  view.publish({ pool: "p", changes: [added], members: [] });
  view.publish({
    pool: "p",
    changes: [{ kind: "removed", ...there, previous: object }],
    members: [],
  });
  frame();
  expect(heard).toEqual([[]]);
  view.publish({ pool: "p", changes: [added], members: [] });
  stop();
  frame();
  view.publish({ pool: "p", changes: [added], members: [] });
  expect(heard.length).toBe(1);
  expect(scheduled.length).toBe(0);
});

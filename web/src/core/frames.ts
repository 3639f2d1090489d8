/**
 * Fewer, larger batches: what changed since the last frame of the screen, once per object.
 *
 *     const stop = everyFrame(view, batches => table.update(batches));
 */

import { type Change, objectChanges, type WindowMember } from "./document.ts";
import type { Listener } from "./listeners.ts";
import type { LiveView } from "./live.ts";
import type { PoolId } from "./messages.ts";
import type { Batch } from "./replica.ts";

interface Pending {
  readonly changes: Map<string, Change>;
  readonly members: Set<WindowMember>;
}

/**
 * Hear a view's changes, merged, at most once per frame; nothing while the page is hidden.
 *
 * @param schedule Runs a function later; by default with the next frame.
 */
export function everyFrame(
  view: LiveView,
  listener: Listener<readonly Batch[]>,
  schedule: (flush: () => void) => void = requestAnimationFrame,
): () => void {
  const pools = new Map<PoolId | null, Pending>();
  let stopped = false;
  const flush = () => {
    if (stopped) return;
    const batches = [...pools].map(([pool, { changes, members }]) => {
      return { pool, changes: [...changes.values()], members: [...members] };
    });
    pools.clear();
    listener(batches.filter(batch => batch.changes.length || batch.members.length));
  };
  const stop = view.onChange(batch => {
    if (pools.size === 0) schedule(flush);
    let pending = pools.get(batch.pool);
    if (!pending) {
      pending = { changes: new Map(), members: new Set() };
      pools.set(batch.pool, pending);
    }
    for (const change of batch.changes) merge(pending.changes, change);
    for (const member of batch.members) pending.members.add(member);
  });
  return () => {
    stopped = true;
    stop();
  };
}

/** Lead from before the first change of an object to behind its last one. */
function merge(changes: Map<string, Change>, change: Change): void {
  // By reference: a key can come to stand for another object when a document is loaded anew.
  const object = change.kind === "removed" ? change.previous : change.object;
  const id = `${change.class}/${change.key}/${object.$ref}`;
  const first = changes.get(id);
  changes.delete(id); // the order is that of the last changes: what goes, goes before what comes
  if (!first) {
    changes.set(id, change);
    return;
  }
  const before = first.kind === "added" ? undefined : first.previous;
  const after = change.kind === "removed" ? undefined : change.object;
  const [merged] = objectChanges(change.class, change.key, before, after);
  if (merged) changes.set(id, merged);
}

/**
 * Fewer, larger batches: what changed since the last frame of the screen, once per object.
 *
 *     const stop = everyFrame(view, batches => table.update(batches));
 */

import { type Change, objectChanges, type WindowMember } from "./document.ts";
import type { Listener } from "./listeners.ts";
import type { LiveView } from "./live.ts";
import type { PoolId, XapiObject } from "./messages.ts";
import type { Batch } from "./replica.ts";

/** An object before its first change, and behind its last one. */
interface Span {
  readonly class: string;
  readonly key: string;
  readonly before: XapiObject | undefined;
  after: XapiObject | undefined;
}

interface Pending {
  readonly spans: Map<string, Span>;
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
    const batches = [...pools].map(([pool, { spans, members }]) => {
      return { pool, changes: merged(spans.values()), members: [...members] };
    });
    pools.clear();
    listener(batches.filter(batch => batch.changes.length || batch.members.length));
  };
  const stop = view.onChange(batch => {
    if (pools.size === 0) schedule(flush);
    let pending = pools.get(batch.pool);
    if (!pending) {
      pending = { spans: new Map(), members: new Set() };
      pools.set(batch.pool, pending);
    }
    for (const change of batch.changes) extend(pending.spans, change);
    for (const member of batch.members) pending.members.add(member);
  });
  return () => {
    stopped = true;
    stop();
  };
}

function extend(spans: Map<string, Span>, change: Change): void {
  const before = change.kind === "added" ? undefined : change.previous;
  const after = change.kind === "removed" ? undefined : change.object;
  // By reference, too: a key may stand for another object when a document is loaded anew.
  const id = `${change.class}/${change.key}/${(after ?? before)?.$ref}`;
  const span = spans.get(id);
  if (span) span.after = after;
  else spans.set(id, { class: change.class, key: change.key, before, after });
}

/** Removals first, as everywhere. */
function merged(spans: Iterable<Span>): Change[] {
  const changes = [...spans].flatMap(span => {
    return objectChanges(span.class, span.key, span.before, span.after);
  });
  const removed = changes.filter(change => change.kind === "removed");
  return [...removed, ...changes.filter(change => change.kind !== "removed")];
}

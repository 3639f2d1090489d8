/** The proxy's links to its pools: whether what is shown of a pool is true now. */

import type { LiveView } from "./live.ts";
import type { PoolId, XapiObject } from "./messages.ts";

export class PoolLinks {
  readonly #view: LiveView;

  /**
   * @param view Of the class `pool_link`.
   * @param changed Called when something about a link changed.
   */
  constructor(view: LiveView, changed: () => void) {
    this.#view = view;
    view.onChange(changed);
  }

  of(pool: PoolId): XapiObject | undefined {
    for (const { object } of this.#view.objects("pool_link"))
      if (object.pool === pool) return object;
    return undefined;
  }

  /** Say whether all pools that a view shows are reached; undefined if that is not known. */
  areLive(view: LiveView): boolean | undefined {
    if (!this.#view.complete) return undefined;
    // a live window shows the pools that it names, or all
    const pools = view.query.window ? view.query.pools : view.pools;
    for (const { object } of this.#view.objects("pool_link")) {
      if (object.state !== "live" && (pools?.includes(String(object.pool)) ?? true)) return false;
    }
    return true;
  }
}

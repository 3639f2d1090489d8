/** What a page hears of its surroundings, told to a client. */

import type { Client } from "./client.ts";

export interface PageOptions {
  /** Suspend the client when the page was hidden for so long; left out: never. */
  readonly suspendHiddenAfterMs?: number;
}

/** Follow the page's visibility and the network. Returns what ends it. */
export function followPage(client: Client, options: PageOptions = {}): () => void {
  const { suspendHiddenAfterMs } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wake = () => client.wake();
  const visibility = () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") {
      client.resume();
      client.wake();
      return;
    }
    void client.save(); // a hidden page may be ended without a word
    if (suspendHiddenAfterMs !== undefined) {
      timer = setTimeout(() => client.suspend(), suspendHiddenAfterMs);
    }
  };
  window.addEventListener("online", wake);
  document.addEventListener("visibilitychange", visibility);
  return () => {
    clearTimeout(timer);
    window.removeEventListener("online", wake);
    document.removeEventListener("visibilitychange", visibility);
  };
}

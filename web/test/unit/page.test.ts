import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client } from "../../src/core/client.ts";
import { followPage } from "../../src/core/page.ts";
import { fakeTimers } from "../sockets.ts";

/** What a page does to a client, in order. */
function page(options = {}) {
  const calls: string[] = [];
  const client = {
    wake: () => calls.push("wake"),
    suspend: () => calls.push("suspend"),
    resume: () => calls.push("resume"),
    save: async () => calls.push("save"),
  } as unknown as Client;
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("window", window);
  vi.stubGlobal("document", document);
  const stop = followPage(client, options);
  const turn = (visibilityState: string) => {
    document.visibilityState = visibilityState;
    document.dispatchEvent(new Event("visibilitychange"));
    return calls.splice(0);
  };
  return { calls, window, stop, turn };
}

beforeEach(fakeTimers);
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("the network comes back", () => {
  const { calls, window, stop } = page();
  window.dispatchEvent(new Event("online"));
  expect(calls).toEqual(["wake"]);
  stop();
  window.dispatchEvent(new Event("online"));
  expect(calls).toEqual(["wake"]);
});

test("a hidden page saves, and rests after a while if it is to", () => {
  const { calls, turn, stop } = page({ suspendHiddenAfterMs: 60_000 });
  expect(turn("hidden")).toEqual(["save"]);
  vi.advanceTimersByTime(59_000);
  expect(turn("visible")).toEqual(["resume", "wake"]);
  vi.advanceTimersByTime(120_000);
  expect(calls).toEqual([]);
  turn("hidden");
  vi.advanceTimersByTime(60_000);
  expect(calls.splice(0)).toEqual(["suspend"]);
  turn("hidden");
  stop();
  vi.advanceTimersByTime(60_000);
  expect(calls).toEqual([]);
});

test("a hidden page goes on if nothing else was said", () => {
  const { calls, turn } = page();
  expect(turn("hidden")).toEqual(["save"]);
  vi.advanceTimersByTime(3_600_000);
  expect(calls).toEqual([]);
});

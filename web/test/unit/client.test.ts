/** Connecting, signing in, losing the connection and coming back: time and sockets are the test's. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Client, connect } from "../../src/core/client.ts";
import { json } from "../../src/core/codec.ts";
import { ConnectionClosed, ConnectionLost, Fault, RequestError } from "../../src/core/errors.ts";
import type { Credentials } from "../../src/core/messages.ts";
import type { ClientOptions } from "../../src/core/options.ts";
import type { SavedView } from "../../src/core/storage.ts";
import { fakeTimers, type ScriptedSocket, settle, sockets, WELCOME } from "../sockets.ts";

beforeEach(fakeTimers);
afterEach(() => {
  vi.useRealTimers();
});

const TOKEN = { token: "xop_1" };

/** A client, and the sockets that it opens. */
class Scene {
  readonly client: Client;
  readonly made: ScriptedSocket[];
  readonly errors: Error[] = [];

  constructor(options: Partial<ClientOptions> = {}) {
    const { made, make } = sockets();
    this.made = made;
    this.client = connect({
      url: "https://proxy.test",
      credentials: TOKEN,
      WebSocket: make,
      watchPools: false,
      random: () => 1,
      ...options,
    });
    this.client.onError(error => this.errors.push(error));
  }

  get socket(): ScriptedSocket {
    return this.made.at(-1) as ScriptedSocket;
  }

  async open(): Promise<void> {
    await settle(); // until the credentials are there
    this.socket.opens();
    await settle();
  }

  async live(): Promise<void> {
    await this.open();
    this.receives(WELCOME);
    this.sent();
  }

  receives(...messages: object[]): void {
    for (const message of messages) this.socket.receives(JSON.stringify(message));
  }

  sent(): object[] {
    return this.socket.sent(json);
  }

  async closes(code: number): Promise<void> {
    this.socket.closes(code);
    await settle();
  }

  /** When the next attempt comes, in ms. */
  wait(): number {
    return (this.client.retryAt ?? 0) - Date.now();
  }
}

const INFO = { view: 7, pool: "p", epoch: "e", seq: 1, classes: ["VM"], mode: "snapshot" };
const ROWS = {
  type: "snapshot",
  view: 7,
  seq: 1,
  last: true,
  class: "VM",
  fields: ["$ref"],
  keys: ["a"],
  rows: [["r"]],
};
const REFUSED = { type: "error", code: "UNAUTHORISED", message: "no", retry: false };

describe("the address", () => {
  test.each([
    ["https://proxy.test", "wss://proxy.test/ws"],
    ["http://proxy.test:8086/", "ws://proxy.test:8086/ws"],
    ["wss://proxy.test/ws", "wss://proxy.test/ws"],
    ["http://proxy.test/below/", "ws://proxy.test/below/ws"],
  ])("%s", (url, expected) => {
    const scene = new Scene({ url });
    expect(scene.socket.url).toBe(expected);
    expect(scene.socket.protocols).toEqual(["xoproxy.v1.json"]);
  });

  test.each(["http://admin:secret@proxy.test", "http://proxy.test?token=secret"])(
    "never holds a credential: %s",
    url => {
      expect(() => new Scene({ url })).toThrow("credentials");
    },
  );
});

describe("signing in", () => {
  test("comes first, and subscriptions after the welcome", async () => {
    const scene = new Scene();
    scene.client.subscribe({ classes: ["VM"] });
    await scene.open();
    expect(scene.sent()).toEqual([{ type: "auth", ...TOKEN }]);
    scene.receives(WELCOME);
    expect(scene.sent()).toMatchObject([{ type: "subscribe", id: 1, query: { classes: ["VM"] } }]);
    expect((await scene.client.ready).user.name).toBe("admin");
    expect(scene.client.phase).toBe("live");
  });

  test("that is refused ends it for good, with the reason", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.open();
    scene.receives(REFUSED);
    await scene.closes(4501);
    expect(scene.client.phase).toBe("closed");
    await expect(scene.client.ready).rejects.toThrow(RequestError);
    expect(view.status).toBe("closed");
    expect(() => scene.client.subscribe({ classes: ["VM"] })).toThrow("no");
    await vi.advanceTimersByTimeAsync(120_000);
    expect(scene.made.length).toBe(1);
  });

  test("asks for one more factor where the proxy does", async () => {
    const asked: string[] = [];
    const credentials = async (challenge: string): Promise<Credentials> => {
      asked.push(challenge);
      const known = { username: "u", password: "p" };
      return challenge === "otp" ? { ...known, otp: "123456" } : known;
    };
    const scene = new Scene({ credentials });
    await scene.open();
    scene.receives({ type: "error", code: "OTP_REQUIRED", message: "otp", retry: false });
    await settle();
    expect(asked).toEqual(["sign-in", "otp"]);
    expect(scene.made[0]?.closedWith).toBe(1000);
    await scene.open();
    expect(scene.made.length).toBe(2);
    expect(scene.sent()).toEqual([{ type: "auth", username: "u", password: "p", otp: "123456" }]);
  });

  test("asks for another credential when one has expired", async () => {
    const asked: string[] = [];
    const scene = new Scene({
      credentials: challenge => {
        asked.push(challenge);
        return asked.length < 3 ? TOKEN : undefined;
      },
    });
    await scene.live();
    await scene.closes(4305);
    await vi.advanceTimersByTimeAsync(1_000);
    await scene.live();
    expect(asked).toEqual(["sign-in", "expired"]);
    await scene.closes(1006);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(asked.at(-1)).toBe("sign-in"); // and there is none any more
    expect(scene.client.phase).toBe("closed");
    expect(scene.made.length).toBe(2);
  });

  test("with one fixed credential ends when that has expired", async () => {
    const scene = new Scene();
    await scene.live();
    await scene.closes(4305);
    expect(scene.client.phase).toBe("closed");
    expect(scene.client.error).toBeInstanceOf(ConnectionClosed);
  });

  test("that fails on our own side ends it", async () => {
    const credentials = () => Promise.reject(new Error("the vault is shut"));
    const scene = new Scene({ credentials });
    await expect(scene.client.ready).rejects.toThrow("the vault is shut");
    expect(scene.made).toEqual([]);
  });

  test("is done by the upgrade when there are no credentials", async () => {
    const { made, make } = sockets();
    const client = connect({ url: "http://proxy.test", WebSocket: make, watchPools: false });
    made[0]?.opens();
    await settle();
    expect(made[0]?.outbox).toEqual([]);
    made[0]?.receives(JSON.stringify(WELCOME));
    expect(client.phase).toBe("live");
  });

  test("may be renewed without anything being subscribed again", async () => {
    const scene = new Scene();
    scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    scene.client.renew({ token: "xop_2" });
    scene.receives(WELCOME);
    expect(scene.sent()).toEqual([{ type: "auth", token: "xop_2" }]);
  });
});

describe("a lost connection", () => {
  test("is tried again after 1 s, 2 s, ... 30 s, and at once after a success", async () => {
    const scene = new Scene();
    await scene.live();
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      await scene.closes(1006);
      expect(scene.client.phase).toBe("waiting");
      expect(scene.wait()).toBe(seconds * 1000);
      await vi.advanceTimersByTimeAsync(seconds * 1000);
    }
    await scene.live();
    await scene.closes(1006);
    expect(scene.wait()).toBe(1000);
  });

  test.each([
    [4301, 5_000],
    [4310, 5_000],
    [4308, 1_000],
    [4503, 60_000],
  ])("with code %i is tried after at most %i ms", async (code, ms) => {
    const scene = new Scene();
    await scene.live();
    await scene.closes(code);
    expect(scene.wait()).toBe(ms);
  });

  test("leaves calls in doubt, and refuses new ones", async () => {
    const scene = new Scene();
    await scene.live();
    const lost = scene.client.call("p", "VM.start");
    await settle();
    await Promise.all([expect(lost).rejects.toThrow(ConnectionLost), scene.closes(1006)]);
    await expect(scene.client.call("p", "VM.start")).rejects.toThrow("nothing was sent");
  });

  test("is noticed when nobody answers any more", async () => {
    const scene = new Scene();
    await scene.live();
    await vi.advanceTimersByTimeAsync(29_000);
    expect(scene.sent()).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(scene.sent()).toEqual([{ type: "ping", id: 1 }]);
    scene.receives({ type: "pong", id: 1 });
    await vi.advanceTimersByTimeAsync(30_000);
    expect(scene.client.phase).toBe("live");
    expect(scene.sent()).toEqual([{ type: "ping", id: 2 }]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(scene.client.phase).toBe("waiting");
  });

  test("and one that never opens is given up", async () => {
    const scene = new Scene();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(scene.client.phase).toBe("waiting");
    expect(scene.socket.closedWith).toBeDefined();
  });

  test("is opened at once when told that it may", async () => {
    const scene = new Scene();
    await scene.live();
    await scene.closes(1006);
    scene.client.wake();
    expect(scene.made.length).toBe(2);
    await vi.advanceTimersByTimeAsync(9_000); // and the timer of before is gone
    expect(scene.made.length).toBe(2);
    await scene.live();
    scene.client.wake(); // a live one is asked for a sign
    expect(scene.sent()).toEqual([{ type: "ping", id: 1 }]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(scene.client.phase).toBe("waiting");
  });

  test("of a client that rests is not opened until it is resumed", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    scene.receives({ type: "subscribed", id: 1, views: [INFO] }, ROWS);
    scene.receives({ type: "bookmark", view: 7, seq: 1, resume: "t" });
    expect(view.status).toBe("live");
    scene.client.suspend();
    expect(scene.socket.closedWith).toBe(1000);
    expect(view.status).toBe("offline");
    expect(view.size).toBe(1);
    await vi.advanceTimersByTimeAsync(100_000);
    scene.client.wake();
    expect(scene.made.length).toBe(1);
    scene.client.resume();
    await scene.open();
    scene.sent();
    scene.receives(WELCOME);
    expect(scene.sent()).toMatchObject([{ resume: [{ token: "t", seq: 1 }] }]);
  });
});

describe("a fault", () => {
  test("ends the connection, is counted and told, and what is shown stays", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    const batches: unknown[] = [];
    view.onChange(batch => batches.push(batch));
    await scene.live();
    scene.receives({ type: "subscribed", id: 1, views: [INFO] }, ROWS);
    scene.receives({ type: "patch", view: 7, from: 5, to: 6, ops: [] });
    expect(scene.client.counters.faults).toBe(1);
    expect(scene.errors).toMatchObject([expect.any(Fault)]);
    expect(scene.socket.closedWith).toBe(4502);
    expect(view.size).toBe(1);
    await vi.advanceTimersByTimeAsync(1_000);
    await scene.live();
    scene.receives({ type: "subscribed", id: 1, views: [{ ...INFO, seq: 9 }] });
    expect(view.get("p", "VM", "a")).toEqual({ $ref: "r" });
    expect(view.status).toBe("loading");
    const told = batches.length;
    scene.receives({ ...ROWS, seq: 9 });
    expect(view.status).toBe("live");
    expect(batches.length).toBe(told); // it is what it was
  });

  test("that comes again and again makes the client slower, not the network busier", async () => {
    const scene = new Scene();
    for (const seconds of [1, 2, 4, 8, 16, 30]) {
      await scene.live();
      scene.socket.receives("{");
      expect(scene.wait()).toBe(seconds * 1000);
      await vi.advanceTimersByTimeAsync(seconds * 1000);
    }
    await scene.live();
    await scene.closes(1006); // a loss of another kind
    expect(scene.wait()).toBe(1000);
    await vi.advanceTimersByTimeAsync(1000);
    await scene.live();
    for (let minute = 0; minute < 3; minute++) {
      await vi.advanceTimersByTimeAsync(25_000);
      scene.receives({ type: "pong" });
    }
    scene.socket.receives("{");
    expect(scene.wait()).toBe(1000);
  });

  test("is not what came behind the end of it", async () => {
    const scene = new Scene({ credentials: async () => TOKEN });
    await scene.live();
    const views = [{ ...INFO, view: 9 }];
    scene.client.onError(() => scene.client.suspend());
    const error = { type: "error", code: "TOO_LARGE", message: "too long", retry: false };
    scene.socket.receives(JSON.stringify([error, { type: "subscribed", id: 7, views }]));
    expect(scene.client.phase).toBe("suspended");
    expect(scene.client.counters.faults).toBe(0);
  });

  test("may be a frame that cannot be read", async () => {
    const scene = new Scene();
    await scene.live();
    scene.socket.receives("{");
    expect(scene.client.counters.faults).toBe(1);
    expect(scene.client.phase).toBe("waiting");
  });

  test("is not what a listener does wrong", async () => {
    const wrong = new Error("in a listener");
    const thrown: unknown[] = [];
    vi.stubGlobal("queueMicrotask", (run: () => void) => {
      try {
        run();
      } catch (error) {
        thrown.push(error);
      }
    });
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    const heard: unknown[] = [];
    view.onChange(() => {
      throw wrong;
    });
    view.onChange(batch => heard.push(batch));
    await scene.live();
    scene.receives({ type: "subscribed", id: 1, views: [INFO] }, ROWS);
    vi.unstubAllGlobals();
    expect(heard.length).toBe(1);
    expect(thrown).toEqual([wrong]);
    expect(scene.client.counters.faults).toBe(0);
  });
});

describe("a subscription", () => {
  test("that is refused for now is tried again", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    scene.receives({ type: "error", id: 1, code: "BUSY", message: "busy", retry: true });
    expect(view.error).toMatchObject({ code: "BUSY" });
    expect(view.status).toBe("loading");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(scene.sent()).toMatchObject([{ type: "subscribe", id: 2 }]);
  });

  test("that a new connection has asked for is not asked for twice", async () => {
    const scene = new Scene({ random: () => 0 });
    scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    await scene.closes(4301);
    await vi.advanceTimersByTimeAsync(0);
    await scene.open();
    scene.receives(WELCOME, { type: "error", id: 1, code: "BUSY", message: "busy", retry: true });
    await scene.closes(4301);
    await vi.advanceTimersByTimeAsync(500);
    await scene.open();
    scene.sent();
    scene.receives(WELCOME);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(scene.sent()).toMatchObject([{ type: "subscribe", id: 1 }]);
  });

  test("that was closed while it waited is not", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    scene.receives({ type: "error", id: 1, code: "BUSY", message: "busy", retry: true });
    view.close();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(scene.sent()).toEqual([]);
    await expect(view.ready).rejects.toThrow("closed");
  });

  test("can be ended before it is answered", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    const heard: unknown[] = [];
    view.onChange(batch => heard.push(batch));
    view.close();
    expect(scene.sent()).toEqual([{ type: "unsubscribe", id: 1 }]);
    const patch = { type: "patch", view: 7, from: 1, to: 2, ops: [] };
    scene.receives({ type: "subscribed", id: 1, views: [INFO] }, ROWS, patch);
    scene.receives({ type: "result", id: 1, result: null });
    expect(scene.client.phase).toBe("live");
    expect(view.status).toBe("closed");
    expect(heard).toEqual([]);
    scene.receives(patch); // after `result` nothing may name it
    expect(scene.client.counters.faults).toBe(1);
  });

  test("to a live window can be moved, to where a window can be", async () => {
    const scene = new Scene();
    const view = scene.client.subscribe({ classes: ["VM"], window: [0, 2] });
    await scene.live();
    const info = { ...INFO, pool: null };
    const window = { ...ROWS, order: ["a"], total: 3, facets: {} };
    scene.receives({ type: "subscribed", id: 1, views: [info] }, window);
    expect(view.rows()).toEqual([{ $ref: "r" }]);
    expect(view.window).toEqual({ order: ["a"], total: 3, facets: {} });
    for (const wrong of [
      [-1, 2],
      [0, -1],
      [0, 1001],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      expect(() => view.move(wrong)).toThrow("[offset, count]");
    }
    view.move([1, 2]);
    expect(scene.sent()).toEqual([{ type: "window", id: 1, window: [1, 2] }]);
    scene.receives({ type: "error", id: 1, code: "BUSY", message: "busy", retry: true });
    expect(view.error).toMatchObject({ code: "BUSY" });
    expect(view.status).toBe("live");
    const other = scene.client.subscribe({ classes: ["VM"] });
    expect(() => other.move([0, 1])).toThrow("window");
    expect(() => other.expectation("p", "a")).toThrow("nothing is known");
  });

  test("is stale while a pool that it shows cannot be reached", async () => {
    const scene = new Scene({ watchPools: true });
    const view = scene.client.subscribe({ classes: ["VM"] });
    await scene.live();
    const proxy = { ...INFO, view: 8, pool: "proxy", classes: ["pool_link"] };
    const fields = ["$ref", "pool", "state"];
    const links = { ...ROWS, view: 8, class: "pool_link", fields, rows: [["l", "p", "live"]] };
    scene.receives({ type: "subscribed", id: 1, views: [proxy] }, links);
    scene.receives({ type: "subscribed", id: 2, views: [INFO] }, ROWS);
    expect(view.status).toBe("live");
    const op = { op: "replace", path: "/pool_link/a/state", value: "stale" };
    scene.receives({ type: "patch", view: 8, from: 1, to: 2, ops: [op] });
    expect(view.status).toBe("stale");
    expect(scene.client.link("p")).toMatchObject({ state: "stale" });
    expect(scene.client.link("q")).toBeUndefined();
  });
});

describe("a storage", () => {
  const saved: SavedView[] = [
    {
      pool: "p",
      epoch: "e",
      seq: 5,
      token: "t",
      classes: ["VM"],
      objects: [["VM", "a", { $ref: "r" }]],
    },
  ];

  test("is shown at once and resumed", async () => {
    const storage = { load: async () => saved, save: async () => {} };
    const scene = new Scene({ storage });
    const view = scene.client.subscribe({ classes: ["VM"] }, { keep: "machines" });
    await settle();
    expect(view.get("p", "VM", "a")).toEqual({ $ref: "r" });
    expect(view.status).toBe("offline");
    await scene.open();
    scene.sent();
    scene.receives(WELCOME);
    expect(scene.sent()).toMatchObject([{ resume: [{ token: "t", seq: 5 }] }]);
    scene.receives({ type: "subscribed", id: 1, views: [{ ...INFO, mode: "resume", seq: 5 }] });
    expect(view.status).toBe("live");
  });

  test("that comes late is waited for, and that fails is done without", async () => {
    let answer = (_: never) => {};
    const loading = new Promise<never>((_, reject) => {
      answer = reject;
    });
    const storage = { load: () => loading, save: async () => {} };
    const scene = new Scene({ storage });
    scene.client.subscribe({ classes: ["VM"] }, { keep: "machines" });
    await scene.live();
    expect(scene.sent()).toEqual([]);
    answer(new Error("the disk is full") as never);
    await settle();
    expect(scene.sent()).toMatchObject([{ type: "subscribe" }]);
    expect(scene.errors).toMatchObject([{ message: "the disk is full" }]);
  });

  test("gets what can be resumed", async () => {
    const stored = new Map<string, readonly SavedView[]>();
    const storage = {
      load: async () => undefined,
      save: async (name: string, views: readonly SavedView[]) => {
        stored.set(name, views);
      },
    };
    const scene = new Scene({ storage });
    scene.client.subscribe({ classes: ["VM"] }, { keep: "machines" });
    await settle();
    await scene.live();
    scene.receives({ type: "subscribed", id: 1, views: [{ ...INFO, seq: 5 }] });
    scene.receives({ ...ROWS, seq: 5 });
    await scene.client.save();
    expect(stored.get("machines")).toEqual([]); // there is no token yet
    scene.receives({ type: "bookmark", view: 7, seq: 5, resume: "t" });
    await scene.client.save();
    expect(stored.get("machines")).toEqual(saved);
  });
});

/** The client core on a running proxy: both encodings, losses, restarts, calls, errors. */

import { afterEach, describe, expect, test } from "vitest";
import type { Client } from "../../src/core/client.ts";
import { ConnectionLost, RequestError, XapiError } from "../../src/core/errors.ts";
import type { LiveView } from "../../src/core/live.ts";
import type { XapiObject } from "../../src/core/messages.ts";
import { ask, CODECS, Mirror, open, shown, stage, until } from "./stage.ts";

const EVERYTHING = { classes: ["*"] };
const [POOL] = stage.pools;
const clients: Client[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) {
    expect(client.counters.faults).toBe(0);
    client.close();
  }
});

function kept(client: Client): Client {
  clients.push(client);
  return client;
}

/** When nothing changes any more, a view must show what somebody sees who comes just now. */
async function agreesWithAFreshOne(view: LiveView): Promise<void> {
  await ask("quiet");
  for (const [, codec] of CODECS) {
    const fresh = kept(open(codec)).subscribe(view.query);
    await fresh.ready;
    await until(() => view.complete && shown(view) === shown(fresh), "both show the same");
  }
}

function machine(view: LiveView, power: string): XapiObject {
  for (const { pool, object } of view.objects("VM")) {
    const fits = pool === POOL && object.power_state === power;
    if (fits && !object.is_a_template && !object.is_control_domain) return object;
  }
  throw new Error(`there is no ${power} machine`);
}

describe.each(CODECS)("in %s", (name, codec) => {
  test("it shows everything, and what comes by changes is the same", async () => {
    const client = kept(open(codec));
    expect((await client.ready).user.name).toBe("admin");
    const view = client.subscribe(EVERYTHING);
    const mirror = new Mirror(view);
    await view.ready;
    expect(view.status).toBe("live");
    expect([...view.pools].sort()).toEqual([...stage.pools].sort());
    expect(view.size).toBeGreaterThan(200);
    await ask("churn", { rate: 100, seconds: 2, seed: 3, lifecycle: true });
    await until(() => mirror.batches > 40, "there are changes");
    await agreesWithAFreshOne(view);
    expect(mirror.misfits).toEqual([]);
    expect(mirror.agreesWith(view)).toBe(true);
  });

  test("it is cut off time and again while things change, and goes on", async () => {
    const client = kept(open(codec, { random: () => 0 }));
    const view = client.subscribe(EVERYTHING);
    await view.ready;
    const mirror = new Mirror(view);
    await client.ping();
    const statuses: string[] = [];
    view.onStatus(status => statuses.push(status));
    await ask("churn", { rate: 100, seconds: 5, seed: 4, lifecycle: true });
    for (let cuts = 0; cuts < 4; cuts++) {
      await new Promise(resolve => setTimeout(resolve, 300));
      await ask("cut");
      await until(() => view.status === "offline", "it is offline");
      expect(view.size).toBeGreaterThan(200); // and shows what it knows
      await until(() => view.status === "live", "it is live again");
    }
    await agreesWithAFreshOne(view);
    expect(mirror.misfits).toEqual([]);
    expect(mirror.agreesWith(view)).toBe(true);
    expect(client.counters.connections).toBe(5);
    expect(statuses).toContain("offline");
  });

  test("what it resumes costs little", async () => {
    const client = kept(open(codec, { random: () => 0 }));
    const view = client.subscribe(EVERYTHING);
    await view.ready;
    await client.ping(); // so that the bookmarks are there
    await ask("cut");
    await until(() => client.phase === "waiting", "it is lost");
    const first = client.counters.bytesReceived;
    await until(() => view.status === "live", "it is live again");
    client.suspend();
    const second = client.counters.bytesReceived - first;
    expect(second).toBeLessThan(first / 20);
  });

  const signal = name === "JSON" ? "SIGTERM" : "SIGKILL";
  test(`it follows a proxy that restarts after ${signal}`, async () => {
    const client = kept(open(codec, { random: () => 0.1 }));
    const view = client.subscribe(EVERYTHING);
    const machines = client.subscribe({ classes: ["VM"], fields: { VM: ["power_state"] } });
    await Promise.all([view.ready, machines.ready]);
    const mirror = new Mirror(view);
    await ask("churn", { rate: 50, seconds: 1, seed: 5 });
    await ask("restart", { signal });
    await until(() => view.status === "live" && machines.status === "live", "it is live again");
    await agreesWithAFreshOne(view);
    await agreesWithAFreshOne(machines);
    expect(mirror.misfits).toEqual([]);
    expect(mirror.agreesWith(view)).toBe(true);
    expect(client.counters.connections).toBeGreaterThan(1);
  });

  test("equal queries share what they show, and one ends without the other", async () => {
    const client = kept(open(codec));
    const query = { classes: ["VM", "host"] };
    const first = client.subscribe(query);
    const second = client.subscribe(query);
    await Promise.all([first.ready, second.ready]);
    expect(second.document(POOL)).toBe(first.document(POOL));
    first.close();
    await client.ping();
    const mirror = new Mirror(second);
    await ask("churn", { rate: 50, seconds: 1, seed: 6 });
    await until(() => mirror.batches > 5, "the other one still changes");
    expect(first.status).toBe("closed");
    await agreesWithAFreshOne(second);
  });

  test("a live window shows its rows in order, moves, and comes back", async () => {
    const client = kept(open(codec, { random: () => 0 }));
    const view = client.subscribe({
      classes: ["VM"],
      filter: "!is_a_template",
      fields: { VM: ["name_label", "power_state"] },
      order: ["-name_label"],
      window: [0, 10],
      facets: ["power_state"],
    });
    const mirror = new Mirror(view);
    await view.ready;
    const names = () => view.rows().map(row => String(row.name_label).toLowerCase());
    const first = names();
    expect(first.length).toBe(10);
    expect(first).toEqual([...first].sort().reverse());
    const counts = Object.values(view.window.facets?.power_state ?? {});
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(view.window.total);
    expect(new Set(view.rows().map(row => row.$pool)).size).toBeGreaterThan(0);

    view.move([5, 10]);
    await until(() => names()[0] === first[5], "it has moved");
    expect(view.rows().length).toBe(10);
    await ask("churn", { rate: 50, seconds: 2, seed: 8, lifecycle: true });
    await ask("cut");
    await until(() => view.status === "offline", "it is offline");
    expect(view.rows().length).toBe(10);
    await until(() => view.status === "live", "it is live again");
    expect(view.query.window).toEqual([5, 10]);
    await agreesWithAFreshOne(view);
    view.move([1_000_000, 10]);
    await until(() => view.rows().length === 0, "it is beyond the end");
    view.move([0, 0]);
    await agreesWithAFreshOne(view);
    expect(view.window.total).toBeGreaterThan(20);
    expect(mirror.misfits).toEqual([]);
    expect(mirror.agreesWith(view)).toBe(true);
  });

  test("who was away for longer than history reaches is compared", async () => {
    const compared = async () => {
      const metrics = await (await fetch(`${stage.url}/metrics`)).text();
      return Number(/xoproxy_resumes_total\{outcome="compared"\} (\S+)/.exec(metrics)?.[1]);
    };
    const settings = { XOPROXY_LIMITS__JOURNAL_BYTES_PER_POOL: "1500" };
    await ask("restart", { signal: "SIGTERM", settings });
    const client = kept(open(codec));
    const view = client.subscribe(EVERYTHING, { compareFrom: 0 });
    await view.ready;
    const mirror = new Mirror(view);
    await ask("quiet");
    await client.ping();
    client.suspend();
    const whole = client.counters.bytesReceived;
    await ask("churn", { rate: 30, seconds: 1, seed: 9 });
    await ask("quiet");
    const before = await compared();
    client.resume();
    await until(() => view.status === "live", "it is live again");
    expect(await compared()).toBeGreaterThan(before);
    await agreesWithAFreshOne(view);
    expect(mirror.misfits).toEqual([]);
    expect(mirror.agreesWith(view)).toBe(true);
    client.suspend();
    expect(client.counters.bytesReceived - whole).toBeLessThan(whole / 2);
    await ask("restart", { signal: "SIGTERM" });
  });

  test("a command's effect comes as a change", async () => {
    const client = kept(open(codec));
    const view = client.subscribe(EVERYTHING);
    await view.ready;
    const { $ref: ref, name_label: name } = machine(view, "Halted");
    const found = view.byRef(POOL, ref);
    const seen: (readonly string[])[] = [];
    view.onChange(({ changes }) => {
      for (const change of changes) {
        if (change.kind === "updated" && change.object.$ref === ref) seen.push(change.fields);
      }
    });
    const options = { expect: [view.expectation(POOL, found?.key ?? "")] };
    const params = { vm: ref, start_paused: false, force: false };
    expect(await client.call(POOL, "VM.start", params, options)).toBe("");
    await until(() => view.byRef(POOL, ref)?.object.power_state === "Running", `${name} runs`);
    expect(seen.flat()).toContain("power_state");
    // what was seen before that is out of date by now
    await expect(client.call(POOL, "VM.start", params, options)).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await client.call(POOL, "VM.hard_shutdown", { vm: ref });
  });

  test("what is refused is told with its code", async () => {
    const client = kept(open(codec));
    const view = client.subscribe({ classes: ["VM"] });
    await view.ready;
    const vm = machine(view, "Running").$ref;
    const started = client.call(POOL, "VM.start", { vm, start_paused: false, force: false });
    await expect(started).rejects.toThrow(XapiError);
    await expect(started).rejects.toMatchObject({ xapiCode: "VM_BAD_POWER_STATE" });
    const nowhere = client.call("nowhere", "VM.start", {});
    await expect(nowhere).rejects.toMatchObject({ code: "NOT_FOUND", retry: false });
    const wrong = client.subscribe({ classes: ["VM"], filter: "power_state:(" });
    await expect(wrong.ready).rejects.toMatchObject({
      code: "BAD_QUERY",
      data: { position: expect.any(Number) },
    });
    expect(wrong.status).toBe("failed");
    expect(view.status).toBe("live");
  });

  test("a wrong password ends it for good", async () => {
    const client = kept(open(codec, { credentials: { username: "admin", password: "no" } }));
    await expect(client.ready).rejects.toMatchObject({ code: "UNAUTHORISED" });
    await until(() => client.phase === "closed", "it is closed");
    expect(client.error).toBeInstanceOf(RequestError);
  });

  test("without a connection nothing is sent, and it comes back when told that it may", async () => {
    const client = kept(open(codec, { random: () => 1 }));
    const view = client.subscribe({ classes: ["host"] });
    await view.ready;
    await ask("refuse", { refuse: true });
    await until(() => client.phase === "waiting", "it is lost");
    await expect(client.call(POOL, "VM.start", {})).rejects.toThrow(ConnectionLost);
    await ask("refuse", { refuse: false });
    client.wake();
    await until(() => view.status === "live", "it is live again");
    await agreesWithAFreshOne(view);
  });

  test("a pool that cannot be reached makes its views stale, not empty", async () => {
    const client = kept(open(codec));
    const view = client.subscribe({ classes: ["VM"] });
    await view.ready;
    await ask("fault", { kind: "restart", seconds: 3 });
    await until(() => view.status === "stale", "it is stale");
    expect(client.link(POOL)?.state).not.toBe("live");
    expect(view.document(POOL)?.size).toBeGreaterThan(10);
    await until(() => view.status === "live", "it is live again");
  });

  test("what was saved is shown and resumed by the next page", async () => {
    const saved = new Map<string, readonly never[]>();
    const storage = {
      load: async (name: string) => structuredClone(saved.get(name)),
      save: async (name: string, views: readonly unknown[]) => {
        saved.set(name, structuredClone(views) as never[]);
      },
    };
    const before = kept(open(codec, { storage }));
    const first = before.subscribe(EVERYTHING, { keep: "everything" });
    await first.ready;
    await before.ping(); // so that the bookmarks are there
    await before.save();
    before.suspend();
    await ask("churn", { rate: 50, seconds: 1, seed: 7 });
    const after = kept(open(codec, { storage }));
    const view = after.subscribe(EVERYTHING, { keep: "everything" });
    await view.ready;
    await agreesWithAFreshOne(view);
    after.suspend();
    expect(after.counters.bytesReceived).toBeLessThan(before.counters.bytesReceived / 2);
  });
});

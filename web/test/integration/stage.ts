/** A running proxy, as tests/integration/test_web_core.py sets it up. */

import { WebSocket } from "ws";
import { type Client, connect } from "../../src/core/client.ts";
import { type Codec, json } from "../../src/core/codec.ts";
import type { SocketClass } from "../../src/core/connection.ts";
import { canonical } from "../../src/core/digests.ts";
import type { LiveView } from "../../src/core/live.ts";
import type { XapiObject } from "../../src/core/messages.ts";
import { msgpack } from "../../src/core/msgpack.ts";
import type { ClientOptions } from "../../src/core/options.ts";

interface Stage {
  readonly url: string;
  readonly control: string;
  readonly password: string;
  /** Ids of the pools, the first one is the one that faults are of. */
  readonly pools: readonly [string, string];
}

const said = process.env.XOPROXY_STAGE;
if (!said) throw new Error("run pytest tests/integration/test_web_core.py, which sets the stage");
export const stage: Stage = JSON.parse(said);

export const CODECS: readonly [string, Codec][] = [
  ["JSON", json],
  ["MessagePack", msgpack],
];

/** Ask for what a client cannot do itself. */
export async function ask(what: string, how: object = {}): Promise<void> {
  const reply = await fetch(`${stage.control}${what}`, {
    method: "POST",
    body: JSON.stringify(how),
  });
  if (!reply.ok) throw new Error(`${what}: ${reply.status} ${await reply.text()}`);
}

export function open(codec: Codec, options: Partial<ClientOptions> = {}): Client {
  return connect({
    url: stage.url,
    codec,
    credentials: { username: "admin", password: stage.password },
    WebSocket: WebSocket as unknown as SocketClass,
    ...options,
  });
}

/** Wait until something is true. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 600) throw new Error(`it did not come about that ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

/** Everything that a view shows, as one text. */
export function shown(view: LiveView): string {
  const pools = view.pools.map(pool => {
    const classes = [...(view.document(pool)?.classes ?? [])].map(([cls, objects]) => {
      return [cls, Object.fromEntries(objects)];
    });
    return [pool, { ...Object.fromEntries(classes), ...view.document(pool)?.window }];
  });
  return canonical(Object.fromEntries(pools));
}

/** Rebuilds what a view shows from its batches alone, and says when one does not fit. */
export class Mirror {
  readonly objects = new Map<string, XapiObject>();
  readonly misfits: string[] = [];
  batches = 0;

  constructor(view: LiveView) {
    for (const { pool, class: cls, key, object } of view.objects()) {
      this.objects.set(`${pool}/${cls}/${key}`, object);
    }
    view.onChange(({ pool, changes }) => {
      this.batches++;
      for (const change of changes) {
        const id = `${pool}/${change.class}/${change.key}`;
        const before = this.objects.get(id);
        const previous = change.kind === "added" ? undefined : change.previous;
        if (before !== previous) this.misfits.push(`${change.kind} ${id}`);
        if (change.kind === "removed") this.objects.delete(id);
        else this.objects.set(id, change.object);
        if (change.kind === "updated" && change.fields.length === 0) this.misfits.push(`no ${id}`);
      }
    });
  }

  /** Say whether it holds the very objects that the view does. */
  agreesWith(view: LiveView): boolean {
    let count = 0;
    for (const { pool, class: cls, key, object } of view.objects()) {
      if (this.objects.get(`${pool}/${cls}/${key}`) !== object) return false;
      count++;
    }
    return count === this.objects.size;
  }
}

/** Plays a conversation of tests/golden with a client whose other end it is. */

import { expect, vi } from "vitest";
import { type Client, connect } from "../../src/core/client.ts";
import { advice } from "../../src/core/closing.ts";
import type { Codec } from "../../src/core/codec.ts";
import { canonical } from "../../src/core/digests.ts";
import type { Document } from "../../src/core/document.ts";
import { ConnectionLost, RequestError } from "../../src/core/errors.ts";
import type { LiveView } from "../../src/core/live.ts";
import type { Credentials, Query, Value, Window } from "../../src/core/messages.ts";
import { type ScriptedSocket, settle, sockets, WELCOME } from "../sockets.ts";

type Id = number | string;
// biome-ignore lint/suspicious/noExplicitAny: whatever a story holds
type Json = any;

/** How a story's messages become frames, and back. */
export interface Wire {
  readonly codec: Codec;
  frame(message: Json): string | ArrayBuffer;
}

interface Subscribed {
  readonly id: Id;
  readonly query: Query;
  readonly view: LiveView;
}

const ADVICE = {
  retry: "yes",
  spread: "jitter",
  later: "later",
  credentials: "credential",
  never: "no",
};

export class Player {
  readonly #wire: Wire;
  readonly #sockets = sockets();
  readonly #subscribed: Subscribed[] = [];
  readonly #sent: Json[] = [];
  readonly #answers: Json[] = [];
  /** The story's ids of requests that were made and not seen on the wire yet. */
  readonly #requested: Id[] = [];
  /** The story's ids by the client's, on this connection. */
  #ids = new Map<Id, Id>();
  /** What was subscribed on this connection. */
  readonly #onWire = new Set<Subscribed>();
  #client: Client | undefined;
  #credentials: Credentials | undefined;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  async play(step: Json): Promise<void> {
    const [name = ""] = Object.keys(step);
    const play = this.#steps[name];
    if (!play) throw new Error(`there is no step ${name}`);
    await play(step[name]);
    await settle();
    this.#collect();
  }

  close(): void {
    this.#client?.close();
  }

  readonly #steps: { readonly [name: string]: (value: Json) => void | Promise<void> } = {
    connect: credentials => this.#connect(credentials),
    subscribe: step => this.#subscribe(step),
    unsubscribe: id => this.#unsubscribe(id),
    window: ({ id, window }: { id: Id; window: Window }) => this.#find(id).view.move(window),
    call: step => this.#call(step),
    ping: id =>
      this.#ask(
        id,
        this.#open()
          .ping()
          .then(() => null),
      ),
    receive: message => this.#receive(message),
    sent: expected => this.#wasSent(expected),
    holds: step => this.#holds(step),
    answers: expected => {
      expect(this.#answers.splice(0).map(canonical).sort()).toEqual(expected.map(canonical).sort());
    },
    fault: () => {
      expect(this.#client?.counters.faults).toBe(1);
      expect(this.#socket.closedWith).toBe(4502);
    },
    disconnect: step => this.#disconnect(step),
  };

  get #socket(): ScriptedSocket {
    return this.#sockets.made.at(-1) as ScriptedSocket;
  }

  #open(): Client {
    return this.#client as Client;
  }

  async #connect(credentials: Json): Promise<void> {
    const signsIn = Object.keys(credentials).length > 0;
    this.#credentials = credentials;
    const before = this.#sockets.made.length;
    if (!this.#client) {
      this.#client = connect({
        url: "http://proxy.test",
        codec: this.#wire.codec,
        WebSocket: this.#sockets.make,
        watchPools: false,
        ...(signsIn && { credentials: () => this.#credentials }),
      });
      this.#client.onError(error => {
        if (error instanceof RequestError) this.#answers.push(described(error));
      });
    } else {
      for (let waited = 0; waited < 240 && this.#sockets.made.length === before; waited++) {
        await vi.advanceTimersByTimeAsync(250);
      }
    }
    await settle();
    expect(this.#sockets.made.length).toBe(before + 1);
    this.#ids = new Map();
    this.#onWire.clear();
    this.#socket.opens();
    await settle();
    if (!signsIn) this.#socket.receives(this.#wire.frame(WELCOME));
  }

  #subscribe({ id, query, compare }: { id: Id; query: Query; compare?: boolean }): void {
    const view = this.#open().subscribe(query, { compareFrom: compare ? 0 : Infinity });
    this.#subscribed.push({ id, query, view });
    view.onStatus(() => {
      if (view.error instanceof RequestError) this.#answers.push({ id, ...described(view.error) });
      if (view.status === "failed") this.#forget(id);
    });
  }

  #unsubscribe(id: Id): void {
    this.#find(id).view.close();
    this.#forget(id);
  }

  #call({ id, pool, method, params, expect: named = [] }: Json): void {
    const expectations = named.map((object: Json) => {
      const { view } = this.#find(object.subscription);
      const key = view.byRef(object.pool, object.ref)?.key ?? "";
      return view.expectation(object.pool, key);
    });
    const options = expectations.length ? { expect: expectations } : {};
    this.#ask(id, this.#open().call(pool, method, params, options));
  }

  #ask(id: Id, answer: Promise<Value>): void {
    this.#requested.push(id);
    answer.then(
      result => this.#answers.push({ id, result }),
      (error: Error) => {
        const lost = error instanceof ConnectionLost;
        this.#answers.push(lost ? { id, lost: true } : { id, ...described(error as RequestError) });
      },
    );
  }

  #receive(message: Json): void {
    this.#collect();
    const translated = (one: Json): Json => {
      if (typeof one !== "object" || one === null || one.id === undefined) return one;
      const [id] = [...this.#ids].findLast(([, story]) => story === one.id) ?? [one.id];
      return { ...one, id };
    };
    const all = Array.isArray(message) ? message.map(translated) : translated(message);
    this.#socket.receives(this.#wire.frame(all));
  }

  #wasSent(expected: Json): void {
    this.#collect();
    expect(this.#sent.splice(0).map(canonical)).toEqual(expected.map(canonical));
  }

  #holds({ subscription, views }: Json): void {
    const { parts } = this.#find(subscription).view;
    const held = views.map(({ pool, document, position, resume }: Json) => {
      const part = parts.get(pool);
      if (!part?.complete) return { pool, complete: part?.complete };
      return {
        pool,
        complete: true,
        ...(position !== undefined && { position: part.position }),
        ...(document !== undefined && { document: plain(part.document) }),
        ...(resume !== undefined && { resume: part.resumePoint(Infinity)?.token ?? null }),
      };
    });
    expect(held.map(canonical)).toEqual(views.map(canonical));
    expect(parts.size).toBe(views.length);
  }

  async #disconnect({ code, advice: expected }: Json): Promise<void> {
    this.#collect();
    expect(ADVICE[advice(code ?? 1006)]).toBe(expected);
    this.#socket.closes(code ?? 1006);
    await settle();
    const { phase } = this.#open();
    expect(phase).toBe(expected === "no" ? "closed" : "waiting");
  }

  /** Take what was sent, in the story's ids. */
  #collect(): void {
    for (const message of this.#socket?.sent(this.#wire.codec) ?? []) {
      const id = message.id as Id | undefined;
      if (id !== undefined) message.id = this.#storyId(id, message);
      this.#sent.push(message);
    }
  }

  #storyId(id: Id, message: Json): Id {
    let story = this.#ids.get(id);
    if (story === undefined) {
      if (message.type === "subscribe") {
        const found = this.#subscribed.find(one => {
          return (
            !this.#onWire.has(one) && canonical(one.view.query as Json) === canonical(message.query)
          );
        });
        this.#onWire.add(found as Subscribed);
        story = found?.id;
        // the core asks for single members of sets by itself; stories are told as if nobody did
        if (found?.query.sets === undefined) delete message.query.sets;
      } else {
        story = this.#requested.shift();
      }
      this.#ids.set(id, story as Id);
    }
    return story as Id;
  }

  #find(id: Id): Subscribed {
    return this.#subscribed.find(one => one.id === id) as Subscribed;
  }

  #forget(id: Id): void {
    const at = this.#subscribed.findIndex(one => one.id === id);
    if (at >= 0) this.#subscribed.splice(at, 1);
  }
}

function described({ code, message, data, retry }: RequestError): Json {
  return { code, message, retry, ...(data !== undefined && { data }) };
}

function plain(document: Document): Json {
  const classes = [...document.classes].map(([cls, objects]) => [cls, Object.fromEntries(objects)]);
  return { ...Object.fromEntries(classes), ...document.window };
}

/**
 * What is said on one connection: subscriptions, requests and the views by their numbers.
 *
 * It does no I/O: messages come in by `receive` and go out by `host.send`. A session ends with its
 * connection; the live views and their documents outlive it and are subscribed on the next one.
 */

import { ConnectionLost, Fault, type RequestError, requestError } from "./errors.ts";
import type { LiveView } from "./live.ts";
import type {
  ClientMessage,
  Credentials,
  ErrorMessage,
  Expectation,
  MessageId,
  Moved,
  PoolId,
  ServerMessage,
  Subscribed,
  Value,
  ViewInfo,
  ViewMessage,
  Welcome,
} from "./messages.ts";
import { type Buckets, Replica } from "./replica.ts";
import { checkShape } from "./shapes.ts";

/** What a session asks of the client around it. */
export interface Host {
  send(message: ClientMessage): void;
  welcome(message: Welcome): void;
  /** An error that names no request: signing in failed, or a message was not understood. */
  failed(error: RequestError): void;
  /** A subscription was refused. */
  refused(view: LiveView, error: RequestError): void;
  /** Compute what a document holds, and call `compare` with it. */
  summarise(part: Replica): void;
}

export interface CallRequest {
  readonly pool: PoolId;
  readonly method: string;
  readonly params: { readonly [name: string]: Value };
  readonly expect?: readonly Expectation[];
}

interface Request {
  resolve(result: Value): void;
  reject(error: Error): void;
}

interface Subscription {
  readonly id: MessageId;
  readonly view: LiveView;
  /** Its pools have been named. */
  announced: boolean;
  /** It was ended; messages for it may come until that is answered. */
  left: boolean;
}

export class Session {
  readonly #host: Host;
  readonly #views = new Map<number, Replica>();
  readonly #subscriptions = new Map<MessageId, Subscription>();
  readonly #requests = new Map<MessageId, Request>();
  #lastId = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  // --- what the client wants -----------------------------------------------------------------

  signIn(credentials: Credentials): void {
    this.#host.send({ type: "auth", ...credentials });
  }

  subscribe(view: LiveView): void {
    const id = ++this.#lastId;
    this.#subscriptions.set(id, { id, view, announced: false, left: false });
    const resume = view.resumePoints();
    const message = { type: "subscribe", id, query: view.query } as const;
    this.#host.send(resume.length ? { ...message, resume } : message);
  }

  unsubscribe(view: LiveView): void {
    const subscription = this.#subscriptionOf(view);
    if (!subscription) return;
    subscription.left = true;
    this.#host.send({ type: "unsubscribe", id: subscription.id });
  }

  move(view: LiveView): void {
    const subscription = this.#subscriptionOf(view);
    const { window } = view.query;
    if (subscription && window) this.#host.send({ type: "window", id: subscription.id, window });
  }

  call(request: CallRequest): Promise<Value> {
    return this.#request(id => ({ type: "call", id, ...request }));
  }

  ping(): Promise<Value> {
    return this.#request(id => ({ type: "ping", id }));
  }

  /** Say what a document holds. Does nothing if that is not asked any more. */
  compare(part: Replica, buckets: number, digests: string, held: Buckets): void {
    if (this.#views.get(part.number) !== part || !part.isComparing) return;
    part.compared(held);
    this.#host.send({ type: "digests", view: part.number, buckets, digests });
  }

  /** The connection is lost: documents stand still, answers will not come. */
  lost(): void {
    for (const part of this.#views.values()) part.freeze();
    this.#views.clear();
    this.#subscriptions.clear();
    const lost = new ConnectionLost("the connection was lost before the answer came");
    for (const request of this.#requests.values()) request.reject(lost);
    this.#requests.clear();
  }

  // --- what the proxy says -------------------------------------------------------------------

  /**
   * Handle a message.
   *
   * @throws Fault: it does not fit; the view that it is about will not be resumed, and the
   * connection cannot go on.
   */
  receive(message: ServerMessage): void {
    try {
      checkShape(message);
      this.#handle(message);
    } catch (error) {
      if ("view" in message) this.#views.get(message.view)?.distrust();
      throw error;
    }
  }

  #handle(message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        return this.#host.welcome(message);
      case "subscribed":
        return this.#subscribed(message);
      case "snapshot":
      case "patch":
      case "bookmark":
      case "reset":
        return this.#viewMessage(message);
      case "moved":
        return this.#moved(message);
      case "result":
        return this.#result(message.id, message.result);
      case "pong":
        return message.id === undefined ? undefined : this.#result(message.id, null);
      case "error":
        return this.#error(message);
      default: // of a later version of the protocol
    }
  }

  #subscribed(message: Subscribed): void {
    const subscription = this.#subscriptions.get(message.id);
    if (!subscription) throw new Fault(`there is no subscription ${message.id}`);
    const { view } = subscription;
    const before = new Map(view.parts);
    for (const info of message.views) {
      this.#show(view, info, before.get(info.pool));
      before.delete(info.pool);
    }
    // The first answer on a connection names all pools; later ones only those that came since.
    if (!subscription.announced) for (const part of before.values()) view.drop(part);
    subscription.announced = true;
    view.answered();
  }

  #show(view: LiveView, info: ViewInfo, held: Replica | undefined): void {
    if (info.mode === "same") {
      const part = this.#views.get(info.view);
      if (!part) throw new Fault(`view ${info.view} is said to be here already, but is not`);
      return view.show(part);
    }
    if (info.mode === "snapshot") {
      const part = new Replica(info, held?.shown);
      this.#views.set(info.view, part);
      return view.show(part);
    }
    if (!held) throw new Fault(`pool ${info.pool} resumes a document that is not held`);
    held.resume(info);
    this.#views.set(info.view, held);
    if (held.isComparing) this.#host.summarise(held);
  }

  #viewMessage(message: Exclude<ViewMessage, Moved>): void {
    const part = this.#view(message.view);
    const batch = part.handle(message);
    if (part.gone) this.#views.delete(message.view);
    for (const view of this.#viewsOf(part)) {
      if (part.gone) view.drop(part);
      if (batch) view.publish(batch);
      if (message.type !== "bookmark") view.progressed();
    }
  }

  #moved(message: Moved): void {
    const part = this.#view(message.view);
    this.#views.delete(message.view);
    const other = this.#views.get(message.as);
    if (!other) this.#views.set(message.as, part);
    for (const view of this.#viewsOf(part)) {
      if (other) view.show(other);
      view.progressed();
    }
    part.moved(message.as, message.seq);
  }

  #error(message: ErrorMessage): void {
    const error = requestError(message);
    const { id } = message;
    if (id === undefined) return this.#host.failed(error);
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return this.#take(id)?.reject(error);
    if (subscription.announced) return subscription.view.failed(error); // it could not be moved
    this.#subscriptions.delete(id);
    if (!subscription.left) this.#host.refused(subscription.view, error);
  }

  #result(id: MessageId, result: Value): void {
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return this.#take(id)?.resolve(result);
    this.#subscriptions.delete(id);
    const others = [...this.#subscriptions.values()].map(other => other.view);
    for (const part of subscription.view.parts.values()) {
      if (this.#views.get(part.number) !== part) continue; // it is of an earlier connection
      if (!others.some(other => other.parts.get(part.pool) === part)) {
        this.#views.delete(part.number);
      }
    }
  }

  // --- the rest ------------------------------------------------------------------------------

  #view(number: number): Replica {
    const part = this.#views.get(number);
    if (!part) throw new Fault(`there is no view ${number}`);
    return part;
  }

  #request(message: (id: MessageId) => ClientMessage): Promise<Value> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#host.send(message(id));
    });
  }

  #take(id: MessageId): Request | undefined {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    return request;
  }

  #subscriptionOf(view: LiveView): Subscription | undefined {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.view === view && !subscription.left) return subscription;
    }
    return undefined;
  }

  #viewsOf(part: Replica): LiveView[] {
    const found: LiveView[] = [];
    for (const { view, left } of this.#subscriptions.values()) {
      if (!left && view.parts.get(part.pool) === part) found.push(view);
    }
    return found;
  }
}

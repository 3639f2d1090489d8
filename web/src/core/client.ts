/**
 * A client of one proxy: connects, signs in, subscribes, and does it again whenever it has to.
 *
 * Theory of operation. There is at most one connection, with its session; live views belong to the
 * client and outlive both. Whatever ends a connection leads to `#lost`, which decides by the close
 * code whether and when to connect again; on `welcome` every live view is subscribed with what it
 * holds. A fault (a message that does not fit what came before) ends the connection too: the
 * document that it was about is loaded anew, all others are resumed.
 */

import { type Advice, advice, delayMs } from "./closing.ts";
import { json } from "./codec.ts";
import { Connection, endpoint, type Patience, type SocketClass } from "./connection.ts";
import { ConnectionClosed, ConnectionLost, type Fault, type RequestError } from "./errors.ts";
import { PoolLinks } from "./links.ts";
import { type Listener, Listeners } from "./listeners.ts";
import { LiveView, type Status } from "./live.ts";
import type { Credentials, PoolId, Query, Value, Welcome } from "./messages.ts";
import type {
  Challenge,
  ClientOptions,
  CredentialsSource,
  Phase,
  SubscribeOptions,
} from "./options.ts";
import type { Replica } from "./replica.ts";
import { type CallRequest, Session } from "./session.ts";
import type { ViewStorage } from "./storage.ts";

/** Below this, a document is loaded sooner than compared. */
const COMPARE_FROM = 500;
/** Faults that lie further apart have nothing to do with each other. */
const STABLE_MS = 60_000;
/** Long work is cut into pieces of so many ms, so that a page stays responsive. */
const SLICE_MS = 8;
const PATIENCE: Patience = { quietMs: 30_000, answerMs: 10_000 };

export class Client {
  /** Resolved with the first `welcome`, rejected when the client is closed before it. */
  readonly ready: Promise<Welcome>;
  readonly counters = { connections: 0, faults: 0, bytesReceived: 0 };
  phase: Phase = "connecting";
  /** Why it is closed, or waits. */
  error: Error | undefined;
  /** When the next attempt is made (ms since 1970), while it waits. */
  retryAt: number | undefined;
  welcome: Welcome | undefined;
  readonly #options: ClientOptions;
  readonly #views = new Set<LiveView>();
  /** Those whose documents come out of the storage just now. */
  readonly #restoring = new Set<LiveView>();
  readonly #phaseChanged = new Listeners<Phase>();
  readonly #failed = new Listeners<Error>();
  readonly #links: PoolLinks | undefined;
  #connection: Connection | undefined;
  #session: Session | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How many have failed since the last success. */
  #attempt = 0;
  #faultsInARow = 0;
  #liveSince = 0;
  /** The question for credentials that is open. */
  #asked: object | undefined;
  #challenge: Challenge = "sign-in";
  /** Why signing in failed, on this connection. */
  #refusal: RequestError | undefined;
  #resolve!: (welcome: Welcome) => void;
  #reject!: (error: Error) => void;

  /** @internal Made by `connect`. */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // who does not wait for it reads `phase` and `error`
    if (options.watchPools ?? true) {
      const query = { classes: ["pool_link"], pools: ["proxy"] };
      this.#links = new PoolLinks(this.subscribe(query), () => this.#refresh());
    }
    this.#open();
  }

  // --- for applications ----------------------------------------------------------------------

  /** Show what a query finds, from now on. Works while there is no connection, too. */
  subscribe(query: Query, options: SubscribeOptions = {}): LiveView {
    if (this.phase === "closed") throw this.error ?? new ConnectionClosed("the client is closed");
    const compareFrom = options.compareFrom ?? COMPARE_FROM;
    const view = new LiveView(
      this,
      { sets: "members", ...query },
      { compareFrom, keep: options.keep },
    );
    this.#views.add(view);
    view.refresh();
    const { storage } = this.#options;
    if (storage && options.keep !== undefined) void this.#restore(view, storage, options.keep);
    else this.#begin(view);
    return view;
  }

  /**
   * Give a command to a pool. It is sent at once or not at all, and never again.
   *
   * @throws RequestError: refused, and how. ConnectionLost: what became of it is not known; or there
   * is no connection, and it was not sent.
   */
  async call(
    pool: PoolId,
    method: string,
    params: CallRequest["params"] = {},
    options: Pick<CallRequest, "expect"> = {},
  ): Promise<Value> {
    return this.#live().call({ pool, method, params, ...options });
  }

  /** Ask for a sign of life. */
  async ping(): Promise<void> {
    await this.#live().ping();
  }

  /** Renew the credential of the same user on the present connection. */
  renew(credentials: Credentials): void {
    this.#live().signIn(credentials);
  }

  onPhase(listener: Listener<Phase>): () => void {
    return this.#phaseChanged.add(listener);
  }

  /** Hear of errors that belong to no request, and of faults. */
  onError(listener: Listener<Error>): () => void {
    return this.#failed.add(listener);
  }

  /** What the proxy says of its link to a pool: `state`, `since`, `error`. */
  link(pool: PoolId) {
    return this.#links?.of(pool);
  }

  /** Something may have changed about the network: connect now, or see whether we still are. */
  wake(): void {
    if (this.phase === "waiting") {
      this.#attempt = 0;
      this.#open();
    } else if (this.phase === "live") {
      this.#quiet();
      this.#connection?.expectSign();
    }
  }

  /** Close the connection until `resume`; documents are kept. */
  suspend(): void {
    if (this.phase === "closed" || this.phase === "suspended") return;
    this.#drop();
    this.#setPhase("suspended");
  }

  resume(): void {
    if (this.phase === "suspended") this.#open();
  }

  /** Put the live views that have a name into the storage. */
  async save(): Promise<void> {
    const { storage } = this.#options;
    const saving = [...this.#views].map(view => {
      return view.keep === undefined ? undefined : storage?.save(view.keep, view.saved());
    });
    await Promise.all(saving);
  }

  /** End it for good. */
  close(): void {
    this.#end(new ConnectionClosed("the client was closed"));
  }

  // --- for live views ------------------------------------------------------------------------

  /** @internal */
  statusOf(view: LiveView): Status {
    if (this.phase !== "live")
      return view.size || this.phase !== "connecting" ? "offline" : "loading";
    if (!view.complete) return "loading";
    return this.#links?.areLive(view) === false ? "stale" : "live";
  }

  /** @internal */
  closed(view: LiveView): void {
    this.#views.delete(view);
    if (this.phase === "live") this.#session?.unsubscribe(view);
  }

  /** @internal */
  moved(view: LiveView): void {
    if (this.phase === "live") this.#session?.move(view);
  }

  // --- the connection ------------------------------------------------------------------------

  /** Find out who we are, then connect: signing in must not take longer than the proxy waits. */
  #open(): void {
    clearTimeout(this.#timer);
    this.retryAt = undefined;
    this.#refusal = undefined;
    this.#setPhase("connecting");
    const { credentials } = this.#options;
    if (typeof credentials === "function") void this.#ask(credentials);
    else this.#connect(credentials);
  }

  async #ask(source: CredentialsSource): Promise<void> {
    const asked = {};
    this.#asked = asked;
    try {
      const credentials = await source(this.#challenge);
      if (asked !== this.#asked) return; // nobody waits for it any more
      if (!credentials) throw new ConnectionClosed("there are no credentials to sign in with");
      this.#connect(credentials);
    } catch (error) {
      if (asked === this.#asked) this.#end(asError(error));
    }
  }

  /** Without credentials nothing is said: `welcome` comes, or the connection ends. */
  #connect(credentials: Credentials | undefined): void {
    this.counters.connections++;
    const { WebSocket: make = globalThis.WebSocket as unknown as SocketClass } = this.#options;
    const { codec = json, patience = PATIENCE, url } = this.#options;
    const session = new Session({
      send: message => this.#connection?.send(message),
      welcome: message => this.#welcomed(message),
      failed: error => this.#refusedUnasked(error),
      refused: (view, error) => this.#refused(view, error),
      summarise: part => void this.#summarise(session, part),
    });
    this.#session = session;
    this.#connection = new Connection(make, endpoint(url), codec, patience, {
      opened: () => credentials && session.signIn(credentials),
      received: message => session.receive(message),
      lost: (code, fault) => this.#lost(code, fault),
      quiet: () => this.#quiet(),
    });
  }

  #welcomed(message: Welcome): void {
    this.welcome = message;
    if (this.phase === "live") return; // the credential was renewed
    this.#attempt = 0;
    this.#challenge = "sign-in";
    this.#liveSince = Date.now();
    this.error = undefined;
    this.#setPhase("live");
    for (const view of this.#views) this.#begin(view);
    this.#resolve(message);
  }

  #refusedUnasked(error: RequestError): void {
    const { credentials } = this.#options;
    if (error.code === "UNAUTHORISED" || error.code === "OTP_REQUIRED") this.#refusal = error;
    this.#failed.tell(error);
    if (error.code === "OTP_REQUIRED" && typeof credentials === "function") {
      this.#challenge = "otp";
      this.#drop();
      this.#open();
    }
  }

  #lost(closeCode: number, fault: Fault | undefined): void {
    this.#drop();
    if (fault) {
      this.counters.faults++;
      // One after another they would load everything time and again.
      if (Date.now() - this.#liveSince > STABLE_MS) this.#faultsInARow = 0;
      this.#attempt = Math.max(this.#attempt, this.#faultsInARow++);
    }
    const what = this.#advice(closeCode);
    if (what === "never") {
      return this.#end(
        this.#refusal ?? new ConnectionClosed("the proxy ended it for good", closeCode),
      );
    }
    this.error = fault ?? new ConnectionLost(`the connection was lost (${closeCode})`);
    this.#openLater(what);
    if (fault) this.#failed.tell(fault);
  }

  #advice(closeCode: number): Advice {
    const what = advice(closeCode);
    if (what !== "credentials") return what;
    this.#challenge = "expired";
    // A function can give another one, and so can whatever makes the upgrade say who we are.
    return typeof this.#options.credentials === "object" ? "never" : "retry";
  }

  #openLater(what: Advice): void {
    const delay = delayMs(what, this.#attempt++, (this.#options.random ?? Math.random)());
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#setPhase("waiting");
  }

  #quiet(): void {
    if (this.phase === "live") this.#session?.ping().catch(() => {}); // a loss is heard otherwise
  }

  /** Let go of the connection, if there is one. */
  #drop(): void {
    clearTimeout(this.#timer);
    this.retryAt = undefined;
    this.#asked = undefined;
    this.counters.bytesReceived += this.#connection?.bytesReceived ?? 0;
    this.#connection?.end();
    this.#connection = undefined;
    this.#session?.lost();
    this.#session = undefined;
  }

  #end(error: Error): void {
    if (this.phase === "closed") return;
    this.#drop();
    this.error = error;
    this.#setPhase("closed");
    this.#reject(error);
    for (const view of [...this.#views]) view.close();
  }

  #live(): Session {
    if (this.phase === "closed") throw this.error ?? new ConnectionClosed("the client is closed");
    if (this.phase !== "live" || !this.#session) {
      throw new ConnectionLost("there is no connection to the proxy now; nothing was sent");
    }
    return this.#session;
  }

  // --- live views ----------------------------------------------------------------------------

  #begin(view: LiveView): void {
    const wanted = this.#views.has(view) && !this.#restoring.has(view);
    if (wanted && this.phase === "live") this.#session?.subscribe(view);
  }

  async #restore(view: LiveView, storage: ViewStorage, name: string): Promise<void> {
    this.#restoring.add(view);
    try {
      view.restore((await storage.load(name)) ?? []);
    } catch (error) {
      this.#failed.tell(asError(error));
    }
    this.#restoring.delete(view);
    this.#begin(view);
  }

  #refused(view: LiveView, error: RequestError): void {
    if (!error.retry) {
      this.#views.delete(view);
      return view.refused(error);
    }
    view.failed(error);
    const session = this.#session;
    const again = () => {
      if (session === this.#session) this.#begin(view);
    };
    setTimeout(again, delayMs("retry", 1, (this.#options.random ?? Math.random)()));
  }

  async #summarise(session: Session, part: Replica): Promise<void> {
    const { summarise } = await import("./digests.ts");
    const steps = summarise(part.document);
    let pause = performance.now() + SLICE_MS;
    let step = steps.next();
    while (!step.done) {
      if (performance.now() > pause) {
        await new Promise(resolve => setTimeout(resolve));
        pause = performance.now() + SLICE_MS;
      }
      step = steps.next();
    }
    const { buckets, digests, held } = step.value;
    session.compare(part, buckets, digests, held);
  }

  #setPhase(phase: Phase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    this.#refresh();
    this.#phaseChanged.tell(phase);
  }

  #refresh(): void {
    for (const view of this.#views) view.refresh();
  }
}

/** Connect to a proxy. */
export function connect(options: ClientOptions): Client {
  return new Client(options);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

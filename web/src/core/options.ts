/** What a client is told when it is made, and what it says of itself. */

import type { Codec } from "./codec.ts";
import type { Patience, SocketClass } from "./connection.ts";
import type { Credentials } from "./messages.ts";
import type { ViewStorage } from "./storage.ts";

/** Why credentials are asked for. */
export type Challenge = "sign-in" | "otp" | "expired";

/** Gives credentials, or undefined: there are none, and the client ends. */
export type CredentialsSource = (
  challenge: Challenge,
) => Credentials | undefined | Promise<Credentials | undefined>;

export interface ClientOptions {
  /** Where the proxy is, such as `https://proxy.example` or the page's own origin. */
  readonly url: string | URL;
  /** Left out: the upgrade itself says who we are (a cookie, or a header that `WebSocket` sends). */
  readonly credentials?: Credentials | CredentialsSource;
  readonly codec?: Codec;
  /** Watch the links of the pools, so that a live view can tell that it is stale. */
  readonly watchPools?: boolean;
  readonly storage?: ViewStorage;
  readonly WebSocket?: SocketClass;
  readonly patience?: Patience;
  readonly random?: () => number;
}

export type Phase =
  | "connecting"
  | "live"
  /** Lost; trying again at `retryAt`. */
  | "waiting"
  /** Told to rest. */
  | "suspended"
  /** For good: see `error`. */
  | "closed";

export interface SubscribeOptions {
  /** Keep it in the client's storage under this name. */
  readonly keep?: string;
  /** Offer to compare by digests from so many objects of a pool on. */
  readonly compareFrom?: number;
}

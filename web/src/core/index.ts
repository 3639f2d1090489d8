/**
 * The client of xoproxy's protocol, without any framework.
 *
 *     const client = connect({ url: location.origin, credentials: { token } });
 *     const view = client.subscribe({ classes: ["VM"], filter: "power_state:Running" });
 *     view.onChange(({ pool, changes }) => ...);
 *
 * Five words: a *client* has one connection at a time; a *live view* shows what one query finds, and
 * outlives connections; it has one *replica* per pool, which follows the proxy message by message; a
 * replica's *document* holds the objects; a *batch* says what a step changed. Data passes
 *
 *     socket -> connection -> session -> replica -> document
 *                                     -> live view -> listeners
 *
 * MessagePack (`msgpack.ts`) is imported by itself; `digests.ts` is loaded when it is needed.
 */

export { Client, connect } from "./client.ts";
export { type Codec, json } from "./codec.ts";
export type { Change, Found, ReadonlyDocument, WindowMember, WindowMembers } from "./document.ts";
export {
  ConnectionClosed,
  ConnectionLost,
  Fault,
  RequestError,
  XapiError,
  XoproxyError,
} from "./errors.ts";
export { everyFrame } from "./frames.ts";
export type { Batch, Item, LiveView, Status } from "./live.ts";
export type {
  Credentials,
  Expectation,
  Facets,
  PoolId,
  Query,
  Value,
  Welcome,
  Window,
  XapiObject,
} from "./messages.ts";
export type {
  Challenge,
  ClientOptions,
  CredentialsSource,
  Phase,
  SubscribeOptions,
} from "./options.ts";
export { followPage, type PageOptions } from "./page.ts";
export type { SavedView, ViewStorage } from "./storage.ts";

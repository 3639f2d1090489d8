/** Every message of client protocol v1 (docs/protocol.md), as it stands on the wire. */

/** Any value of a record. A bigint stands for an integer beyond 2^53; only MessagePack has them. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Value[]
  | { readonly [name: string]: Value };

/** One object of a document: XAPI's fields, and ours, which begin with `$`. Never mutated. */
export interface XapiObject {
  readonly $ref: string;
  /** Only in live windows: the pool that the object is of. */
  readonly $pool?: string;
  readonly [field: string]: Value | undefined;
}

export type MessageId = number | string;
export type PoolId = string;
export type Window = readonly [offset: number, count: number];

/** What to show, see docs/queries.md. */
export interface Query {
  readonly classes: readonly string[];
  readonly pools?: readonly PoolId[];
  readonly filter?: string;
  readonly fields?: { readonly [cls: string]: readonly string[] };
  readonly rate?: number;
  /** How sets change in patches; the core asks for "members" by itself. */
  readonly sets?: "whole" | "members";
  readonly order?: readonly string[];
  readonly window?: Window;
  readonly facets?: readonly string[];
}

/** A password or a token; `otp` is the one more factor that OTP_REQUIRED asks for. */
export type Credentials =
  | { readonly token: string; readonly otp?: string }
  | { readonly username: string; readonly password: string; readonly otp?: string };

export interface ResumePoint {
  readonly token: string;
  readonly seq: number;
  readonly compare?: true;
}

export interface Expectation {
  readonly view: number;
  readonly key: string;
  readonly seq: number;
}

export type ClientMessage =
  | ({ readonly type: "auth" } & Credentials)
  | {
      readonly type: "subscribe";
      readonly id: MessageId;
      readonly query: Query;
      readonly resume?: readonly ResumePoint[];
    }
  | { readonly type: "unsubscribe"; readonly id: MessageId }
  | { readonly type: "window"; readonly id: MessageId; readonly window: Window }
  | {
      readonly type: "digests";
      readonly view: number;
      readonly buckets: number;
      readonly digests: string;
    }
  | {
      readonly type: "call";
      readonly id: MessageId;
      readonly pool: PoolId;
      readonly method: string;
      readonly params: { readonly [name: string]: Value };
      readonly expect?: readonly Expectation[];
    }
  | { readonly type: "ping"; readonly id: MessageId };

export interface Welcome {
  readonly type: "welcome";
  readonly protocol: string;
  readonly server: string;
  readonly session: string;
  readonly user: { readonly name: string; readonly role: string };
  readonly limits: { readonly [name: string]: number };
}

export interface ViewInfo {
  readonly view: number;
  /** null: a live window, over all pools. */
  readonly pool: PoolId | null;
  readonly epoch: string;
  readonly seq: number;
  readonly classes: readonly string[];
  readonly mode: "snapshot" | "resume" | "compare" | "same";
}

export interface Subscribed {
  readonly type: "subscribed";
  readonly id: MessageId;
  readonly views: readonly ViewInfo[];
}

export type Facets = { readonly [field: string]: { readonly [value: string]: number } };

export interface Snapshot {
  readonly type: "snapshot";
  readonly view: number;
  readonly seq: number;
  readonly last: boolean;
  readonly class: string;
  readonly fields: readonly string[];
  readonly keys: readonly string[];
  readonly rows: readonly (readonly Value[])[];
  readonly buckets?: readonly number[];
  readonly order?: readonly string[];
  readonly total?: number;
  readonly facets?: Facets;
}

export interface Operation {
  readonly op: "add" | "replace" | "remove";
  readonly path: string;
  readonly value?: Value;
}

export interface Patch {
  readonly type: "patch";
  readonly view: number;
  readonly from: number;
  readonly to: number;
  readonly ops: readonly Operation[];
  readonly more?: boolean;
}

export interface Bookmark {
  readonly type: "bookmark";
  readonly view: number;
  readonly seq: number;
  readonly resume: string;
}

export interface Reset {
  readonly type: "reset";
  readonly view: number;
  readonly reason: string;
  readonly epoch: string;
  readonly seq: number;
  readonly gone?: boolean;
}

export interface Moved {
  readonly type: "moved";
  readonly view: number;
  readonly as: number;
  readonly seq: number;
}

export interface ErrorMessage {
  readonly type: "error";
  readonly id?: MessageId;
  readonly code: string;
  readonly message: string;
  readonly data?: Value;
  readonly retry: boolean;
}

export type ViewMessage = Snapshot | Patch | Bookmark | Reset | Moved;

export type ServerMessage =
  | Welcome
  | Subscribed
  | ViewMessage
  | ErrorMessage
  | { readonly type: "result"; readonly id: MessageId; readonly result: Value }
  | { readonly type: "pong"; readonly id?: MessageId };

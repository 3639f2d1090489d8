/** The encodings of the protocol. MessagePack stands in a module of its own, for who wants it. */

import { Fault } from "./errors.ts";
import type { ClientMessage, ServerMessage } from "./messages.ts";
import { isMap } from "./values.ts";

export interface Codec {
  readonly subprotocol: string;
  encode(message: ClientMessage): string | Uint8Array<ArrayBuffer>;
  /** Read a frame. May throw anything if it is none. */
  decode(frame: string | ArrayBuffer): unknown;
}

/**
 * JSON, the best choice in browsers: its parser is native code.
 *
 * Integers beyond 2^53 are rounded, as JSON.parse does it; MessagePack keeps them.
 */
export const json: Codec = {
  subprotocol: "xoproxy.v1.json",
  encode: message => JSON.stringify(message),
  decode: frame => {
    if (typeof frame !== "string") throw new Fault("a binary frame came where text is spoken");
    return JSON.parse(frame);
  },
};

/**
 * Read the messages of a frame.
 *
 * @throws Fault: it does not decode, or holds no messages.
 */
export function messages(codec: Codec, frame: string | ArrayBuffer): ServerMessage[] {
  let decoded: unknown;
  try {
    decoded = codec.decode(frame);
  } catch (error) {
    throw new Fault(`a frame does not decode: ${error instanceof Error ? error.message : error}`);
  }
  const all: unknown[] = Array.isArray(decoded) ? decoded : [decoded];
  if (!all.every(message => isMap(message) && typeof message.type === "string")) {
    throw new Fault("a frame holds something that is no message");
  }
  return all as ServerMessage[];
}

/** One WebSocket: messages instead of frames, and a check that somebody is still there. */

import { type Codec, messages } from "./codec.ts";
import { ConnectionClosed, Fault } from "./errors.ts";
import type { ClientMessage, ServerMessage } from "./messages.ts";

/** What we use of a WebSocket; browsers' and Node's fit, and npm's `ws`. */
export interface Socket {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;

export interface ConnectionHandlers {
  opened(): unknown;
  /** May throw a Fault: the connection then ends. */
  received(message: ServerMessage): void;
  /** It ended by itself: with this close code, or after a fault of ours. */
  lost(closeCode: number, fault?: Fault): void;
  /** Nothing came for a while: ask for a sign of life. */
  quiet(): void;
}

export interface Patience {
  /** After so long without a message, ask for one. */
  readonly quietMs: number;
  /** How long that, or connecting, may take. */
  readonly answerMs: number;
}

/** No close frame came: the network, or nobody there. */
export const ABNORMAL = 1006;
const NORMAL = 1000;
/** What we tell the proxy when it sent something that we do not understand. */
const FAULT = 4502;

export class Connection {
  bytesReceived = 0;
  readonly #socket: Socket;
  readonly #codec: Codec;
  readonly #handlers: ConnectionHandlers;
  readonly #patience: Patience;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(
    make: SocketClass,
    url: string,
    codec: Codec,
    patience: Patience,
    handlers: ConnectionHandlers,
  ) {
    this.#codec = codec;
    this.#patience = patience;
    this.#handlers = handlers;
    this.#socket = new make(url, [codec.subprotocol]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = (event: { data: string | ArrayBuffer }) => this.#frame(event.data);
    this.#socket.onclose = (event: { code: number }) => this.#lost(event.code || ABNORMAL);
    this.#socket.onerror = () => {}; // a close follows
    this.#expectSign();
  }

  send(message: ClientMessage): void {
    if (!this.#ended) this.#socket.send(this.#codec.encode(message));
  }

  /** Close it; nothing is heard of it any more. */
  end(code: number = NORMAL): void {
    this.#release();
    this.#socket.close(code);
  }

  /** Expect some message soon, else the connection counts as lost. */
  expectSign(): void {
    if (!this.#ended) this.#expectSign();
  }

  #expectSign(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // Closing politely waits for an answer, which is just what does not come.
      this.#socket.close();
      this.#lost(ABNORMAL);
    }, this.#patience.answerMs);
  }

  #opened(): void {
    this.#heard();
    this.#handlers.opened();
  }

  #heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#expectSign();
      this.#handlers.quiet();
    }, this.#patience.quietMs);
  }

  #frame(data: string | ArrayBuffer): void {
    if (this.#ended) return;
    this.#heard();
    this.bytesReceived += typeof data === "string" ? data.length : data.byteLength;
    try {
      for (const message of messages(this.#codec, data)) {
        if (this.#ended) return; // by whom the one before was about
        this.#handlers.received(message);
      }
    } catch (error) {
      // What is no Fault is a mistake of ours: the documents are in doubt just the same.
      const fault = error instanceof Fault ? error : new Fault(String(error), { cause: error });
      this.end(FAULT);
      this.#handlers.lost(ABNORMAL, fault);
    }
  }

  #lost(code: number): void {
    if (this.#ended) return;
    this.#release();
    this.#handlers.lost(code);
  }

  #release(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
  }
}

/** Make the address of the WebSocket of a proxy. */
export function endpoint(base: string | URL): string {
  const url = new URL(base);
  if (url.username || url.password || url.search) {
    throw new ConnectionClosed("an address is logged: give credentials by `credentials` instead");
  }
  url.protocol = url.protocol.replace(/^http/, "ws");
  if (!url.pathname.endsWith("/ws")) url.pathname = `${url.pathname.replace(/\/$/, "")}/ws`;
  url.hash = "";
  return url.href;
}

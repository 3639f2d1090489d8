/** A WebSocket whose other end is the test. */

import { vi } from "vitest";
import type { Codec } from "../src/core/codec.ts";
import type { Socket, SocketClass } from "../src/core/connection.ts";

export class ScriptedSocket implements Socket {
  binaryType = "";
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  /** Frames that the client has sent and nobody has taken yet. */
  readonly outbox: (string | Uint8Array<ArrayBuffer>)[] = [];
  /** With what code the client closed it. */
  closedWith: number | undefined;

  readonly url: string;
  readonly protocols: readonly string[];

  constructor(url: string, protocols: readonly string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    this.outbox.push(data);
  }

  close(code = 1000): void {
    this.closedWith ??= code;
  }

  opens(): void {
    this.onopen?.({} as never);
  }

  receives(data: string | ArrayBuffer): void {
    this.onmessage?.({ data } as never);
  }

  closes(code: number): void {
    this.onclose?.({ code } as never);
  }

  /** Take what was sent since the last time. */
  sent(codec: Codec): Record<string, unknown>[] {
    return this.outbox.splice(0).map(frame => {
      return codec.decode(typeof frame === "string" ? frame : frame.buffer) as never;
    });
  }
}

/** A class that remembers what it made. */
export function sockets(): { made: ScriptedSocket[]; make: SocketClass } {
  const made: ScriptedSocket[] = [];
  class Made extends ScriptedSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      made.push(this);
    }
  }
  return { made, make: Made };
}

export const WELCOME = {
  type: "welcome",
  protocol: "xoproxy.v1",
  server: "xoproxy/test",
  session: "s",
  user: { name: "admin", role: "administrator" },
  limits: {},
} as const;

/** Let everything happen that waits for nothing from outside; timers are fake ones. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await vi.advanceTimersByTimeAsync(0);
    await new Promise(resolve => setImmediate(resolve));
  }
}

export function fakeTimers(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
}

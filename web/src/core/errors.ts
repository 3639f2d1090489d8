/**
 * What can go wrong, cut by what the catcher can do.
 *
 *     XoproxyError
 *     ├── RequestError      the proxy refused one request; the connection stays
 *     │   └── XapiError     ... because the pool did: XAPI's code and parameters
 *     ├── ConnectionLost    the answer will not come; a call may have been carried out
 *     ├── ConnectionClosed  closed for good: by its user, or because trying again is no use
 *     └── Fault             a message does not fit what came before; mended by itself, and counted
 */

import type { ErrorMessage, Value } from "./messages.ts";

export class XoproxyError extends Error {
  override name = "XoproxyError";
}

/** The proxy's `error` message. `retry`: the same request may succeed later. */
export class RequestError extends XoproxyError {
  override name = "RequestError";
  readonly code: string;
  readonly data: Value | undefined;
  readonly retry: boolean;

  constructor(error: ErrorMessage) {
    super(error.message);
    this.code = error.code;
    this.data = error.data;
    this.retry = error.retry;
  }
}

/** XAPI refused a call, for example with `VM_BAD_POWER_STATE`. */
export class XapiError extends RequestError {
  override name = "XapiError";
  readonly xapiCode: string;
  readonly params: readonly string[];

  constructor(error: ErrorMessage) {
    super(error);
    const [code, ...params] = Array.isArray(error.data) ? error.data.map(String) : [];
    this.xapiCode = code ?? "";
    this.params = params;
  }
}

export class ConnectionLost extends XoproxyError {
  override name = "ConnectionLost";
}

export class ConnectionClosed extends XoproxyError {
  override name = "ConnectionClosed";
  /** The WebSocket close code that ended it, if one did. */
  readonly closeCode: number | undefined;

  constructor(message: string, closeCode?: number) {
    super(message);
    this.closeCode = closeCode;
  }
}

export class Fault extends XoproxyError {
  override name = "Fault";
}

/** Make the error that an `error` message stands for. */
export function requestError(message: ErrorMessage): RequestError {
  return message.code === "XAPI_FAILURE" ? new XapiError(message) : new RequestError(message);
}

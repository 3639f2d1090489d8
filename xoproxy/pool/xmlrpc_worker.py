"""The process that speaks XML-RPC with one pool, by means of the package `XenAPI`; see xmlrpc.py.

It takes JSON-RPC requests from its standard input and writes to its standard output what a server
with JSON-RPC would have answered: parsing XML and writing JSON is the work that must not be done in
the proxy's own process. It does one at a time, keeps its connection, knows no session, and ends
when its standard input does, whatever it is about.

Frames, both ways: length (32 bits, big-endian), then that many bytes. In: an order (`Order`) in
JSON. Out: one byte of kind, then the rest: ANSWER: JSON-RPC's answer; TROUBLE: why there is none,
in JSON; PROGRESS: nothing, but the answer is coming in.
"""

import codecs
import hashlib
import http.client
import json
import os
import queue
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
import xmlrpc.client
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from xml.parsers.expat import ExpatError

import XenAPI

from xoproxy.pool import trouble
from xoproxy.pool.keepalive import keep_alive
from xoproxy.pool.trouble import Trouble
from xoproxy.pool.xml_values import parameters, result_json

ANSWER, TROUBLE, PROGRESS = b"A", b"T", b"P"

BODY_LIMIT_BYTES = 300 << 10
_PART_BYTES = 256 << 10
_LEAST_BYTES_PER_S = 1024
_PROGRESS_S = 1.0
_NICE = 5
_FIRST_TO_GO = "500"
_LENGTH = struct.Struct(">I")
_ROOT = "<methodResponse"
_IN_XML_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Answer: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """A request and how to bring it to its server.

    Args:
        url: scheme, host and port.
        pin: SHA-256 of the certificate to trust, in hex; None for what the system trusts.
        ca_path: a bundle of authorities beside the system's.
        user_agent: what to say of ourselves.
        connect_timeout_s: for name, TCP and TLS.
        timeout_s: between two parts of the answer.
        reply_bytes: of an answer at most.
        request: JSON-RPC's.
    """

    url: str
    pin: str | None
    ca_path: str | None
    user_agent: str
    connect_timeout_s: float
    timeout_s: float
    reply_bytes: int
    request: dict[str, Any]

    @property
    def server(self) -> tuple[object, ...]:
        """What a connection depends on."""
        return self.url, self.pin, self.ca_path


class RefusedError(Exception):
    """The request cannot be sent.

    Args:
        code: TOO_LARGE or BAD_MESSAGE, as in the clients' protocol.
        message: may be shown to who asked.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TroubleError(Exception):
    """There is no answer."""

    def __init__(self, why: Trouble) -> None:
        super().__init__(why.message)
        self.why = why


# --- the connection -------------------------------------------------------------------------------


class _Transport(xmlrpc.client.Transport):
    """One kept connection; XAPI's bounds on requests and ours on answers.

    Unlike its parent it sends nothing twice: a call that XAPI may have run is not repeated.
    """

    accept_gzip_encoding = False  # XAPI does not compress, and wants short headers

    def __init__(self, order: Order, report: "Reporter") -> None:
        super().__init__()
        self.user_agent = order.user_agent
        self.order = order
        self._report = report

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ANN401 - as above
        held = self._connection[1]
        if isinstance(held, http.client.HTTPConnection):
            if held.sock is not None and _is_over(held.sock):
                held.close()  # to be opened anew with the request
            elif held.sock is not None:
                held.sock.settimeout(self.order.timeout_s)
            return held
        secure = self.order.url.startswith("https:")
        made = _Secure(host, self.order) if secure else _Plain(host, self.order)
        self._connection = host, made
        return made

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002
        if _IN_XML_IMPOSSIBLE.search(request_body.decode()):
            raise RefusedError("BAD_MESSAGE", "XML has no control characters.")
        body = request_body.replace(b"\r", b"&#13;")  # parsers take it for the end of a line
        if len(body) >= BODY_LIMIT_BYTES:
            size = f"{len(body) >> 10} KiB"
            text = f"The request is {size} long in XML; XAPI takes less than 300 KiB."
            raise RefusedError("TOO_LARGE", text)
        return self.single_request(host, handler, body, verbose)

    def parse_response(self, response: Any) -> Any:  # noqa: ANN401
        """Read the answer part by part, mending what is no XML (texts of guests hold anything)."""
        parser, unmarshaller = self.getparser()
        text = codecs.getincrementaldecoder("utf-8")("replace")
        size, began_s = 0, time.monotonic()
        pending: str | None = ""
        while part := response.read1(_PART_BYTES):
            size += len(part)
            if size > self.order.reply_bytes:
                raise TroubleError(trouble.TOO_LARGE)
            # an answer that only trickles never ends
            late_s = time.monotonic() - began_s - size / _LEAST_BYTES_PER_S
            if late_s > self.order.connect_timeout_s:
                raise TroubleError(trouble.TIMEOUT)
            shown = _IN_XML_IMPOSSIBLE.sub("\ufffd", text.decode(part))
            if pending is not None:  # nothing before the first element is needed
                _, root, shown = (pending + shown).partition(_ROOT)
                pending = None if root else shown
                shown = root + shown
            # XAPI leaves the line ends in texts as they are, parsers would not
            parser.feed(shown.replace("\r", "&#13;"))
            self._report.progress()
        if response.length:  # http.client does not say that the connection broke
            raise ConnectionError(f"{response.length} bytes are missing")
        response.close()  # the connection is free for the next request
        parser.close()
        return unmarshaller.close()


def _is_over(idle: socket.socket) -> bool:
    """Tell whether the server has closed a connection; it has nothing to say unasked."""
    readable, _, _ = select.select([idle], [], [], 0)
    return bool(readable)


class _Plain(http.client.HTTPConnection):
    def __init__(self, host: str, order: Order) -> None:
        super().__init__(host, timeout=order.connect_timeout_s)
        self._order = order

    def connect(self) -> None:
        super().connect()
        keep_alive(self.sock)
        self.sock.settimeout(self._order.timeout_s)


class _Secure(http.client.HTTPSConnection):
    """Shows itself who it should be before anything is sent to it."""

    def __init__(self, host: str, order: Order) -> None:
        super().__init__(host, timeout=order.connect_timeout_s, context=_tls(order))
        self._order = order

    def connect(self) -> None:
        super().connect()
        pin = self._order.pin
        shown = self.sock.getpeercert(binary_form=True) or b""
        if pin is not None and hashlib.sha256(shown).digest() != bytes.fromhex(pin):
            self.close()
            raise TroubleError(trouble.OTHER_CERTIFICATE)
        keep_alive(self.sock)
        self.sock.settimeout(self._order.timeout_s)


def _tls(order: Order) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if order.pin is not None:  # it alone decides, and is looked at in `connect`
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif order.ca_path is not None:
        context.load_verify_locations(cafile=order.ca_path)
    return context


# --- one call -------------------------------------------------------------------------------------


class Caller:
    """Holds the connection from one call to the next."""

    def __init__(self, report: "Reporter") -> None:
        self._report = report
        self._server: tuple[object, ...] = ()
        self._transport: _Transport | None = None
        self._session: Any = None

    def answer(self, order: Order) -> bytes:
        """Run a call and return what JSON-RPC would say.

        Raises:
            RefusedError: it cannot be sent.
            TroubleError: there is no usable answer.
        """
        method, params = order.request["method"], order.request["params"]
        try:
            reply = getattr(self._connected(order), method)(*parameters(method, params))
            told = _result(method, reply)
        except xmlrpc.client.Fault as fault:
            told = _failure(["Fault", fault.faultString])
        except xmlrpc.client.ProtocolError as error:
            raise TroubleError(trouble.wrong_status(error.errcode)) from error
        except _FAILURES as error:
            self._disconnect()
            raise TroubleError(_trouble(error)) from error
        except (TroubleError, RefusedError):
            self._disconnect()
            raise
        return told.encode()

    def _connected(self, order: Order) -> Any:  # noqa: ANN401 - XenAPI is untyped
        if self._transport is None or order.server != self._server:
            self._disconnect()
            self._transport = _Transport(order, self._report)
            self._session = XenAPI.Session(f"{order.url}/", self._transport, allow_none=True)
            self._server = order.server
        self._transport.order = order
        return self._session

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


def _result(method: str, reply: Any) -> str:  # noqa: ANN401 - any value
    match reply:
        case {"Status": "Success", "Value": value}:
            return f'{{"result":{result_json(method, value)}}}'
        case {"Status": "Failure", "ErrorDescription": [*description]}:
            return _failure(description)
        case _ if method.startswith("system."):  # these go without an envelope
            return f'{{"result":{result_json(method, reply)}}}'
        case _:
            raise TroubleError(trouble.NOT_XAPI)


def _failure(description: list[Any]) -> str:
    return json.dumps({"error": list(map(str, description))}, ensure_ascii=False)


_TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (ssl.SSLCertVerificationError, trouble.UNTRUSTED),
    (TimeoutError, trouble.TIMEOUT),
    (socket.gaierror, trouble.UNKNOWN_NAME),
    (ConnectionRefusedError, trouble.REFUSED),
    (OSError, trouble.BROKEN),
    (http.client.HTTPException, trouble.NOT_HTTP),
    # not XML; or XML, but not XML-RPC
    (ExpatError, trouble.NOT_XAPI),
    (xmlrpc.client.ResponseError, trouble.NOT_XAPI),
    (ValueError, trouble.NOT_XAPI),
    (LookupError, trouble.NOT_XAPI),
    (TypeError, trouble.NOT_XAPI),
)
"""What went wrong, most telling first (several are subclasses of each other)."""

_FAILURES = tuple(kind for kind, _ in _TROUBLES)


def _trouble(error: BaseException) -> Trouble:
    if trouble.is_old_tls(error):
        return trouble.OLD_TLS
    return next(why for kind, why in _TROUBLES if isinstance(error, kind))


# --- the pipes ------------------------------------------------------------------------------------


class Reporter:
    """Writes frames."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._told_at_s = time.monotonic()

    def tell(self, kind: bytes, payload: bytes = b"") -> None:
        self._out.write(_LENGTH.pack(1 + len(payload)) + kind)
        self._out.write(payload)
        self._out.flush()
        self._told_at_s = time.monotonic()

    def progress(self) -> None:
        if time.monotonic() - self._told_at_s >= _PROGRESS_S:
            self.tell(PROGRESS)


def _frame(source: BinaryIO) -> bytes | None:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    body = source.read(size)
    return body if len(body) == size else None


def _read_orders(orders: "queue.SimpleQueue[bytes]") -> None:
    """Read for ever; when who gave orders is gone, so is the process."""
    while (frame := _frame(sys.stdin.buffer)) is not None:
        orders.put(frame)
    os._exit(0)


def _stand_back() -> None:
    """Let whoever serves clients go first, and us be first to go where memory runs out."""
    os.nice(_NICE)
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def main() -> None:
    _stand_back()
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(target=_read_orders, args=(orders,), daemon=True)
    reader.start()
    report = Reporter(sys.stdout.buffer)
    caller = Caller(report)
    while True:
        order = Order(**json.loads(orders.get()))
        try:
            answer = caller.answer(order)
        except RefusedError as refused:
            report.tell(
                TROUBLE,
                json.dumps(
                    {"refused": True, "code": refused.code, "message": str(refused)}
                ).encode(),
            )
        except TroubleError as failed:
            why, cause = failed.why, failed.__cause__
            told = {"message": why.message, "code": why.code, "cause": repr(cause or failed)}
            report.tell(TROUBLE, json.dumps(told).encode())
        else:
            report.tell(ANSWER, answer)


if __name__ == "__main__":
    main()

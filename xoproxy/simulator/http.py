"""A small HTTP/1.1 server with XAPI's manners, which common servers lack.

Headers of at most 1,024 bytes (431), bodies of at most 307,200 by what Content-Length says (500,
before any of it is read), no chunked requests, HTML pages for errors, which close. One request
at a time on a connection; at most 800 connections are served, the others wait unanswered.

Paths under /_sim/ go to `control`, untouched by faults and limits of connections.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rpc import MalformedError, Request, Rpc

HEADER_LIMIT: Final = 1024
BODY_LIMIT: Final = 307_200
CONNECTION_LIMIT: Final = 800
BACKLOG: Final = 128
FIRST_READ_S: Final = 10.0
FIRST_HEADERS_S: Final = 60.0
LINGER_S: Final = 1.0
JSON_PATHS: Final = ("/jsonrpc", "/json")
CONTROL_PATH: Final = "/_sim/"
EVENT_CALLS: Final = ("event.from", "event.next")

Control = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]

log = logging.getLogger(__name__)

_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    431: "Request Header Fields Too Large",
    500: "Internal Error",
    503: "Service Unavailable",
}


class PageError(Exception):
    """A request that is answered by an HTML page; the connection is closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ClosedError(Exception):
    """The client is gone."""


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and the headers (names in lower case)."""

    method: str
    path: str
    version: str
    headers: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        asked = self.headers.get("connection", "").lower()
        return self.version != "1.0" and asked != "close"


class Connection:
    """One client's TCP connection. `is_control` once it was used for the control surface."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self.is_control = False
        self.served = 0
        self.waits_for_events = False
        self.task: asyncio.Task[None] | None = None

    @property
    def peer(self) -> tuple[str, int]:
        host, port = (self._writer.get_extra_info("peername") or ("", 0))[:2]
        return host, port

    def abort(self) -> None:
        """Reset the connection; a call that only waits for events is given up, others go on.

        Without lingering the kernel sends RST: the client sees a reset, not an orderly end.
        """
        socket_ = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be closed already
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        if self.task is not None and self.waits_for_events:
            self.task.cancel()

    async def read_head(self) -> Head:
        """Read up to the empty line. Only the first request has to come in time."""
        try:
            async with asyncio.timeout(None if self.served else FIRST_HEADERS_S):
                while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                    if len(self._buffer) > HEADER_LIMIT:
                        raise PageError(431)
                    await self._read_more(None if self.served else FIRST_READ_S)
        except TimeoutError:
            raise PageError(408) from None
        block, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        if len(block) + 4 > HEADER_LIMIT:
            raise PageError(431)
        return _parse_head(block)

    async def read_body(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._read_more(None)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    async def _read_more(self, within_s: float | None) -> None:
        async with asyncio.timeout(within_s):
            data = await self._reader.read(65536)
        if not data:
            raise ClosedError
        self._buffer += data

    async def write(self, *parts: bytes) -> None:
        self._writer.writelines(parts)
        await self._writer.drain()

    async def finish(self) -> None:
        """End our side, then let the client end its own, so that it reads our answer whole.

        Closing at once while it still sends would reset the connection under the answer.
        """
        if not self._writer.can_write_eof():
            return  # TLS has no half-closed connections
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(65536):
                    pass

    def close(self) -> None:
        self._writer.close()


class Interference(Protocol):
    """How faults get between; each may wait for as long as it likes, or abort connections."""

    async def before_request(self, connection: Connection) -> None:
        """A request's headers are there, its body is not yet read."""

    async def before_call(self, connection: Connection, method: str) -> None:
        """A call is about to run; raise XapiError to fail it."""

    async def before_reply(self, connection: Connection, method: str) -> None:
        """A call has run; its answer is about to be written."""


class NoInterference:
    async def before_request(self, connection: Connection) -> None: ...

    async def before_call(self, connection: Connection, method: str) -> None: ...

    async def before_reply(self, connection: Connection, method: str) -> None: ...


class HttpServer:
    """Serves calls on one address.

    Args:
        answer: runs a call and returns the encoded answer.
        json, xml: the protocols; `json` for JSON_PATHS, `xml` for every other path.
        group: owns the connections' tasks.
    """

    def __init__(
        self,
        answer: Callable[[Rpc, Request], Awaitable[bytes]],
        *,
        json: Rpc,
        xml: Rpc,
        group: asyncio.TaskGroup,
    ) -> None:
        self._answer = answer
        self._json = json
        self._xml = xml
        self._group = group
        self._slots = asyncio.Semaphore(CONNECTION_LIMIT)
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self.faults: Interference = NoInterference()
        self.control: Control | None = None

    async def listen(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Open the listener; returns the address that it got (port 0: any free one)."""
        self._server = await asyncio.start_server(
            self._accept, host, port, limit=BODY_LIMIT, backlog=BACKLOG, ssl=tls
        )
        bound: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return bound

    def stop_listening(self) -> None:
        """Close the listener; connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort_connections(self) -> None:
        """Reset every connection but those of the control surface."""
        for connection in list(self.connections):
            if not connection.is_control:
                connection.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.add(connection)
        connection.task = self._group.create_task(
            self._serve(connection), name="simulator-connection"
        )

    async def _serve(self, connection: Connection) -> None:
        holds_slot = False
        version = "1.1"
        try:
            while True:
                head = await connection.read_head()
                version = head.version
                connection.served += 1
                connection.is_control = head.path.startswith(CONTROL_PATH)
                if not connection.is_control and not holds_slot:
                    await self._slots.acquire()
                    holds_slot = True
                if not await self._respond(connection, head):
                    await connection.finish()
                    return
        except PageError as error:
            with contextlib.suppress(ConnectionError):
                await connection.write(*_page(error.status, version))
                await connection.finish()
        except (ClosedError, ConnectionError):
            pass  # the client left, or a fault reset it
        finally:
            if holds_slot:
                self._slots.release()
            self.connections.discard(connection)
            connection.close()

    async def _respond(self, connection: Connection, head: Head) -> bool:
        """Answer one request; says whether the connection is kept."""
        if connection.is_control:
            return await self._respond_to_control(connection, head)
        await self.faults.before_request(connection)
        if head.method == "OPTIONS":
            await connection.write(_cors_head(head))
        elif head.method == "POST":
            await self._respond_to_call(connection, head)
        else:
            raise PageError(403)  # XAPI's answer to a path without a handler
        return head.keeps_alive

    async def _respond_to_call(self, connection: Connection, head: Head) -> None:
        rpc = self._json if head.path in JSON_PATHS else self._xml
        body = await connection.read_body(_body_length(head))
        try:
            request = rpc.parse(body)
        except MalformedError as error:
            log.debug("malformed call: %s", error)
            raise PageError(500) from None
        connection.waits_for_events = request.method in EVENT_CALLS
        try:
            await self.faults.before_call(connection, request.method)
            reply = await self._answer(rpc, request)
        except XapiError as error:
            reply = rpc.failure(request, error.description)
        connection.waits_for_events = False
        await self.faults.before_reply(connection, request.method)
        await connection.write(_head(200, rpc.content_type, len(reply), head), reply)

    async def _respond_to_control(self, connection: Connection, head: Head) -> bool:
        if self.control is None:
            raise PageError(404)
        length = _body_length(head) if "content-length" in head.headers else 0
        body = await connection.read_body(length)
        status, reply = await self.control(head.method, head.path, body)
        await connection.write(_head(status, "application/json", len(reply), head), reply)
        return head.keeps_alive


def _parse_head(block: bytes) -> Head:
    first, *lines = block.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):  # noqa: PLR2004
        raise PageError(400)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    path = words[1].partition("?")[0]
    return Head(words[0], path, words[2].removeprefix("HTTP/"), headers)


def _body_length(head: Head) -> int:
    """Return Content-Length, without which XAPI reads nothing."""
    text = head.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or int(text) > BODY_LIMIT:
        raise PageError(500)
    return int(text)


def _status_line(version: str, status: int) -> str:
    """Answer HTTP/1.0 in kind."""
    return f"HTTP/{'1.0' if version == '1.0' else '1.1'} {status} {_REASONS[status]}\r\n"


def _head(status: int, content_type: str, length: int, request: Head) -> bytes:
    return (
        f"{_status_line(request.version, status)}"
        f"Connection: {'keep-alive' if request.keeps_alive else 'close'}\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        f"Content-Type: {content_type}\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        "Access-Control-Allow-Headers: X-Requested-With\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def _cors_head(request: Head) -> bytes:
    """Answer a browser's preflight."""
    asked = request.headers.get("access-control-request-headers", "")
    allowed = "X-Requested-With" + (f", {asked}" if asked else "")
    return (
        f"{_status_line(request.version, 200)}"
        f"Connection: {'keep-alive' if request.keeps_alive else 'close'}\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        f"Access-Control-Allow-Headers: {allowed}\r\n"
        "Access-Control-Allow-Methods: PUT\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def _page(status: int, version: str) -> tuple[bytes, bytes]:
    reason = _REASONS[status]
    body = (
        f"<html><body><h1>HTTP {status} {reason}</h1>The request was refused.<hr/></body></html>"
    ).encode()
    head = (
        f"{_status_line(version, status)}"
        "Connection: close\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        "Content-Type: text/html\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head, body

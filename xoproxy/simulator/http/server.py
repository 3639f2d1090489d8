"""Serves one address: calls, what else XAPI answers by HTTP, and the control surface.

`POST` is a call: JSON-RPC on JSON_PATHS, XML-RPC on every other path. Other requests go to the
handler of their method and path. Paths under /_sim/ go to `control`, untouched by faults and
limits of connections.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeAlias

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.http.connection import ClosedError, Connection
from xoproxy.simulator.http.wire import (
    BODY_LIMIT,
    Head,
    PageError,
    Reply,
    body_length,
    call_head,
    cors_head,
    page,
    reply_head,
)
from xoproxy.simulator.rpc import MalformedError, Request, Rpc

CONNECTION_LIMIT: Final = 800
BACKLOG: Final = 128
JSON_PATHS: Final = ("/jsonrpc", "/json")
CONTROL_PATH: Final = "/_sim/"
METHODS: Final = ("GET", "PUT", "CONNECT")  # besides POST and OPTIONS
EVENT_CALLS: Final = ("event.from", "event.next")

Control: TypeAlias = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
Handler: TypeAlias = Callable[[Connection, Head], Awaitable[Reply | None]]
"""Answers a request, or (None) has taken the connection over, which is closed when it returns.

It raises PageError for what it refuses, and reads a body, if any, itself.
"""

log = logging.getLogger(__name__)


class Interference(Protocol):
    """How faults get between; each may wait for as long as it likes, or abort connections."""

    async def before_request(self, connection: Connection, head: Head) -> None:
        """A request's head is there, its body is not yet read; PageError refuses it."""

    async def before_call(self, connection: Connection, method: str) -> None:
        """A call is about to run; raise XapiError to fail it."""

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        """Write an answer to `what` (a call's method, or a path), as well or badly as it likes."""


class NoInterference:
    async def before_request(self, connection: Connection, head: Head) -> None: ...

    async def before_call(self, connection: Connection, method: str) -> None: ...

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        del what
        await connection.write(head, body)


class HttpServer:
    """Serves one address.

    Args:
        answer: runs a call and returns the encoded answer.
        json, xml: the protocols of calls.
        group: owns the connections' tasks.
        handlers: {(method, path): handler}, for what is no call.
    """

    def __init__(
        self,
        answer: Callable[[Rpc, Request], Awaitable[bytes]],
        *,
        json: Rpc,
        xml: Rpc,
        group: asyncio.TaskGroup,
        handlers: Mapping[tuple[str, str], Handler] | None = None,
    ) -> None:
        self._answer = answer
        self._json = json
        self._xml = xml
        self._group = group
        self._handlers = dict(handlers or {})
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

    @property
    def is_listening(self) -> bool:
        return self._server is not None

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
        serving = self._serve(connection)
        try:
            connection.task = self._group.create_task(serving, name="simulator-connection")
        except RuntimeError:  # the pool is ending
            serving.close()
            connection.close()
            return
        self.connections.add(connection)
        # Not in `_serve`, which never begins when its task is cancelled before.
        connection.task.add_done_callback(lambda _: self._ended(connection))

    def _ended(self, connection: Connection) -> None:
        self.connections.discard(connection)
        connection.close()

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
                await connection.write(*page(error, version))
                await connection.finish()
        except (ClosedError, ConnectionError):
            pass  # the client left, or a fault reset it
        finally:
            if holds_slot:
                self._slots.release()

    async def _respond(self, connection: Connection, head: Head) -> bool:
        """Answer one request; says whether the connection is kept."""
        if connection.is_control:
            return await self._respond_to_control(connection, head)
        await self.faults.before_request(connection, head)
        if head.method == "OPTIONS":
            await connection.write(cors_head(head))
        elif head.method == "POST":
            await self._respond_to_call(connection, head)
        else:
            await self._respond_by_handler(connection, head)
            return False
        return head.keeps_alive

    async def _respond_to_call(self, connection: Connection, head: Head) -> None:
        rpc = self._json if head.path in JSON_PATHS else self._xml
        body = await connection.read_body(body_length(head))
        try:
            request = rpc.parse(body)
        except MalformedError as error:
            log.debug("malformed call: %s", error)
            if error.reply is None:
                raise PageError(500) from None
            answer = call_head(200, rpc.content_type, len(error.reply), head)
            await connection.write(answer, error.reply)
            return
        connection.waits_for_events = request.method in EVENT_CALLS
        try:
            await self.faults.before_call(connection, request.method)
            reply = await self._answer(rpc, request)
        except XapiError as error:
            reply = rpc.failure(request, error.description)
        connection.waits_for_events = False
        answer = call_head(200, rpc.content_type, len(reply), head)
        await self.faults.send(connection, request.method, answer, reply)

    async def _respond_by_handler(self, connection: Connection, head: Head) -> None:
        handler = self._handlers.get((head.method, head.path))
        if handler is None:  # XAPI's answers to a method, and to a path, without any handler
            raise PageError(403 if head.method in METHODS else 501)
        reply = await handler(connection, head)
        if reply is not None:
            answer = reply_head(reply, head.version)
            await self.faults.send(connection, head.path, answer, reply.body)

    async def _respond_to_control(self, connection: Connection, head: Head) -> bool:
        if self.control is None:
            raise PageError(404)
        length = body_length(head) if "content-length" in head.headers else 0
        body = await connection.read_body(length)
        status, reply = await self.control(head.method, head.path, body)
        await connection.write(call_head(status, "application/json", len(reply), head), reply)
        return head.keeps_alive

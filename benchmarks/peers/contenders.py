"""The contenders: each has a port for clients, and is told of every batch that is committed."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import msgspec
import websockets.asyncio.server as websockets
from aiohttp import WSMsgType, web

from benchmarks.line import POOL
from benchmarks.served import Served, listening
from xoproxy.cache.store import Store
from xoproxy.model import Batch, Change
from xoproxy.ws.flusher import Flusher

HELLO = '{"type":"hello","text":"mark-0"}'
"""What a model's client gets first; load.c counts marks from there."""
_SUBPROTOCOL = "xoproxy.v1.json"
"""What load.c asks for."""


class Contender(Protocol):
    """One way to keep clients up to date with a store."""

    @property
    def store(self) -> Store:
        """Where the trace is played to."""

    @property
    def behind(self) -> int:
        """How often a client could not take something at once, if that can be told."""

    def listening(self) -> AbstractAsyncContextManager[str]:
        """Serve clients; gives the URL."""

    async def publish(self, batch: Batch) -> None:
        """Tell all clients, or see to it that they are told."""


class Ours:
    """This project's hub, endpoint and flusher."""

    def __init__(self) -> None:
        self._flusher = Flusher()
        self._served = Served(self._flusher.wake)
        self.store = self._served.line.store

    @property
    def behind(self) -> int:
        return self._served.line.hub.counters.parked

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(self._flusher.run(self._served.line.hub), name="flusher")
            async with self._served.listening() as url:
                yield url
            flushing.cancel()

    async def publish(self, batch: Batch) -> None:
        self._served.line.hub.committed(batch)


class WholeObjects:
    """The naive way, and xo-server's: each client is sent the objects, encoded for it alone.

    As xo-server does, one message has all that a batch changed (a message per change would cost
    more), and nobody looks whether the client still reads.
    """

    behind = 0

    def __init__(self) -> None:
        self.store = Store(POOL, "bench")
        self._clients: set[web.WebSocketResponse] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with _aiohttp(self._serve) as url:
            yield url

    async def _serve(self, ws: web.WebSocketResponse) -> None:
        self._clients.add(ws)
        try:
            async for _ in ws:
                pass
        finally:
            self._clients.discard(ws)

    async def publish(self, batch: Batch) -> None:
        messages = []
        if entered := {
            change.ref: self._record(change) for change in batch.changes if change.after
        }:
            messages.append({"method": "all", "params": {"type": "enter", "items": entered}})
        if exited := {change.ref: 0 for change in batch.changes if not change.after}:
            messages.append({"method": "all", "params": {"type": "exit", "items": exited}})
        for ws in list(self._clients):
            for message in messages:
                await ws.send_str(json.dumps(message))

    def _record(self, change: Change) -> Any:  # noqa: ANN401 - decoded JSON
        entry = self.store.get(change.ref)
        assert entry is not None
        return json.loads(entry.raw)


class HomeAssistants:
    """Home Assistant's way: a message per change, encoded once, and a queue for each client.

    The message has the changed values (its `subscribe_entities`; `state_changed` has all of them).
    What is cached is the message without the client's own number, which is put in for each. A
    queue that no longer grows is released to its writer task, which joins all that waits into one
    frame. Who has too much waiting is disconnected.
    """

    behind = 0

    def __init__(self) -> None:
        self.store = Store(POOL, "bench")
        self._connections: set[_Queue] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with _aiohttp(self._serve) as url:
            yield url

    async def _serve(self, ws: web.WebSocketResponse) -> None:
        queue = _Queue(ws, len(self._connections) + 1)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(queue.write(), name="writer")
            self._connections.add(queue)
            try:
                async for _ in ws:
                    pass
            finally:
                self._connections.discard(queue)
                writer.cancel()

    async def publish(self, batch: Batch) -> None:
        for change in batch.changes:
            message = self._message(change)
            for queue in self._connections:
                queue.offer(message)

    @staticmethod
    def _message(change: Change) -> bytes:
        if change.after is None:
            event: dict[str, Any] = {"r": [change.ref]}
        else:
            event = {"c": {change.ref: {"+": msgspec.Raw(change.after)}}}
        return msgspec.json.encode({"type": "event", "event": event})[:-1]


class _Queue:
    """What waits for one client."""

    MOST = 4096
    ENOUGH = 256
    """So many messages are released though more are coming."""

    def __init__(self, ws: web.WebSocketResponse, number: int) -> None:
        self._ws = ws
        self._tail = b',"id":%d}' % number
        self._waiting: deque[bytes] = deque()
        self._released: asyncio.Future[None] | None = None
        self._seen = 0
        self._loop = asyncio.get_running_loop()

    def offer(self, message: bytes) -> None:
        waiting = self._waiting
        waiting.append(message + self._tail)
        if len(waiting) > self.MOST:
            raise RuntimeError("a client fell behind and would be disconnected")
        if self._released is not None and len(waiting) == 1:
            self._seen = 1
            self._loop.call_soon(self._release_when_quiet)

    def _release_when_quiet(self) -> None:
        if self._released is None or self._released.done():
            return
        if len(self._waiting) > self._seen and len(self._waiting) < self.ENOUGH:
            self._seen = len(self._waiting)
            self._loop.call_soon(self._release_when_quiet)
            return
        self._released.set_result(None)

    async def write(self) -> None:
        while True:
            if not self._waiting:
                self._released = self._loop.create_future()
                await self._released
                self._released = None
            messages = list(self._waiting)
            self._waiting.clear()
            whole = b"[" + b",".join(messages) + b"]" if len(messages) > 1 else messages[0]
            await self._ws.send_frame(whole, WSMsgType.TEXT)


class Broadcast:
    """`websockets.broadcast`: the changed values of a batch in one message, encoded once.

    What a careful programmer writes today with the best known library: no queues, no copies. A
    client that does not read has no bound on what waits for it.
    """

    behind = 0

    def __init__(self) -> None:
        self.store = Store(POOL, "bench")
        self._server: websockets.Server | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with websockets.serve(
            self._serve, "127.0.0.1", 0, compression=None, ping_interval=None
        ) as server:
            self._server = server
            host, port = next(iter(server.sockets)).getsockname()[:2]
            yield f"http://{host}:{port}"

    @staticmethod
    async def _serve(ws: websockets.ServerConnection) -> None:
        await ws.send(HELLO)
        await ws.wait_closed()

    async def publish(self, batch: Batch) -> None:
        assert self._server is not None
        changes = [self._change(change) for change in batch.changes]
        text = msgspec.json.encode({"type": "changes", "changes": changes}).decode()
        websockets.broadcast(self._server.connections, text)

    @staticmethod
    def _change(change: Change) -> dict[str, object]:
        values = msgspec.Raw(change.after) if change.after is not None else None
        return {"class": change.cls, "ref": change.ref, "set": values}


@asynccontextmanager
async def _aiohttp(
    serve: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve WebSockets as aiohttp's users do, without compression."""

    async def handle(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=[_SUBPROTOCOL], compress=False)
        await ws.prepare(request)
        await ws.send_str(HELLO)
        await serve(ws)
        return ws

    application = web.Application()
    application.router.add_get("/ws", handle)
    async with listening(application) as url:
        yield url


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "ours": Ours,
    "whole_objects": WholeObjects,
    "home_assistant": HomeAssistants,
    "broadcast": Broadcast,
}

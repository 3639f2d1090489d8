"""A client that reads only when it is told to."""

import asyncio
import json
import socket
from types import MappingProxyType
from typing import Any

from tests.integration.by_hand import UPGRADE, text_frame
from tests.integration.support import PASSWORD, View


class DeafClient:
    """A WebSocket by hand, with a small receive buffer, that reads only when it is told to."""

    def __init__(self, url: str, buffer_bytes: int = 4096) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)
        self._buffer = b""
        self.views: dict[int, View] = {}
        self.frames = 0

    async def open(self, query: Any = MappingProxyType({}), **credentials: str) -> None:
        """Connect, and ask for everything that a query finds; read nothing of it yet."""
        credentials = credentials or {"username": "admin", "password": PASSWORD}
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, UPGRADE)
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await loop.sock_recv(self._socket, 65536)
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        await self.send({"type": "auth", **credentials})
        await self.send({"type": "subscribe", "id": 1, "query": {"classes": ["*"], **query}})

    async def send(self, message: object) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, text_frame(message))

    async def take(self, count: int) -> None:
        """Read so many bytes, whatever they say."""
        loop = asyncio.get_running_loop()
        while count > 0:
            chunk = await loop.sock_recv(self._socket, min(count, 1 << 16))
            assert chunk, "the proxy closed the connection"
            count -= len(chunk)

    async def read_until_quiet(self, quiet_s: float) -> None:
        """Read and handle frames until none came for a while."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    chunk = await loop.sock_recv(self._socket, 1 << 20)
            except TimeoutError:
                return
            assert chunk, "the proxy closed the connection"
            self._buffer += chunk
            while (frame := self._next_frame()) is not None:
                self._handle(*frame)

    def _next_frame(self) -> tuple[int, bytes] | None:
        data = self._buffer
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return None
        self._buffer = data[start + size :]
        return data[0], data[start : start + size]

    def _handle(self, opcode: int, payload: bytes) -> None:
        if opcode != 0x81:
            return  # a ping
        message = json.loads(payload)
        self.frames += 1
        if message["type"] == "subscribed":
            self.views |= {info["view"]: View(info) for info in message["views"]}
        elif "view" in message:
            self.views[message["view"]].handle(message)

    def close(self) -> None:
        self._socket.close()

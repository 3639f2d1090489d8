"""A client that stops reading costs nearly nothing, slows nobody, and is exact afterwards."""

import asyncio
import json
import socket

import pytest

from tests.integration.by_hand import UPGRADE, text_frame
from tests.integration.demo import demo
from tests.integration.support import PASSWORD, View, connected, logged_in
from tests.integration.test_convergence import assert_equal

CHANGES, SECONDS = 10_000, 20
MIB = 1 << 20


class DeafClient:
    """A WebSocket by hand, with a small receive buffer, that reads only when it is told to."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)
        self._buffer = b""
        self.views: dict[int, View] = {}
        self.frames = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, UPGRADE)
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await loop.sock_recv(self._socket, 65536)
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        await self._send({"type": "auth", "username": "admin", "password": PASSWORD})
        await self._send({"type": "subscribe", "id": 1, "query": {"classes": ["*"]}})

    async def _send(self, message: object) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, text_frame(message))

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


async def grown_bytes(*, deaf: bool) -> int:
    """Run 10,000 changes past a good client, with a deaf one or without; return how RSS grew."""
    options = ("--pools", "1", "--vms", "60", "--hosts", "2", "--rate", "0", "--seed", "5")
    async with demo(*options) as running, connected(running.url) as good:
        (view,) = await good.subscribe()
        slow = DeafClient(running.url)
        await slow.open()
        await slow.read_until_quiet(1)
        if not deaf:
            slow.close()
            await asyncio.sleep(0.5)
        before = running.rss_bytes()
        await running.sim("churn", rate=CHANGES / SECONDS, seconds=SECONDS, seed=9, lifecycle=True)
        await asyncio.sleep(SECONDS + 1)
        grown = running.rss_bytes() - before
        patches = view.patches
        assert patches > 100  # the good one was not held up
        if deaf:
            (slow_view,) = slow.views.values()
            position = slow_view.position
            await slow.read_until_quiet(2)
            assert slow_view.position > position
            assert slow_view.patches < patches / 2  # most came as one
            async with logged_in_demo(running) as xapi:
                await assert_equal([view, slow_view], xapi)
        slow.close()
        return grown


def logged_in_demo(running):
    return logged_in(running.pools[0]["url"], running.pools[0]["password"])


@pytest.mark.slow
async def test_a_stalled_client_costs_at_most_a_mebibyte_and_catches_up():
    without = await grown_bytes(deaf=False)
    with_it = await grown_bytes(deaf=True)
    print(f"grown: {without / MIB:.2f} MiB without, {with_it / MIB:.2f} MiB with a stalled client")  # noqa: T201 - the figure
    assert with_it - without <= MIB

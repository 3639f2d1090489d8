"""What is small and urgent does not wait behind what is large: replies and live patches."""

import asyncio
import json
import socket

import pytest

from tests.integration.by_hand import UPGRADE, text_frame
from tests.integration.support import PASSWORD, proxy_on
from tests.properties.replica import TEXT, FrameReader
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

RECEIVE_BUFFER = 16_384
AHEAD_AT_MOST = 400_000
"""Bytes that may stand before an answer: what the kernel holds on both sides, and a few chunks."""
SMALL = {"classes": ["pool"], "fields": {"pool": ["name_description"]}}
LARGE = {"classes": ["*"]}


class SlowReader:
    """A client with a small receive buffer that reads only while it waits for something."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._reader = FrameReader(TEXT, deflate=False)
        self._messages: list[dict] = []
        self.read_bytes = 0
        self.complete: set[int] = set()

    async def open(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket.setblocking(False)
        await loop.sock_connect(self._socket, (host, int(port)))
        await loop.sock_sendall(self._socket, UPGRADE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await loop.sock_recv(self._socket, 4096)
        self._take(head.partition(b"\r\n\r\n")[2])
        await self.says(type="auth", username="admin", password=PASSWORD)

    async def says(self, **message) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, text_frame(message))

    async def until(self, **members) -> tuple[int, dict]:
        """Read up to a message with these members; return how many bytes that took, and it."""
        began = self.read_bytes
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while True:
                while self._messages:
                    message = self._messages.pop(0)
                    if message.get("last"):
                        self.complete.add(message["view"])
                    if members.items() <= message.items():
                        return self.read_bytes - began, message
                self._take(await loop.sock_recv(self._socket, 4096))
                await asyncio.sleep(0)  # slower than the proxy writes

    def _take(self, data: bytes) -> None:
        self.read_bytes += len(data)
        for payload in self._reader.feed(data):
            decoded = json.loads(payload)
            self._messages += decoded if isinstance(decoded, list) else [decoded]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def pool():
    async with SimulatedPool(generate(4, 300, 1), speed=20) as simulated:
        yield simulated


@pytest.mark.parametrize("small_first", [True, False])
async def test_replies_and_live_patches_overtake_a_snapshot(pool, small_first):
    row = next(iter(pool.database.refs("pool")))
    async with proxy_on(pool.url) as proxy:
        client = SlowReader()
        await client.open(proxy.url)
        views = {}
        for id_ in ("small", "large") if small_first else ("large", "small"):
            query = SMALL if id_ == "small" else LARGE
            await client.says(type="subscribe", id=id_, query=query)
            _, answer = await client.until(type="subscribed", id=id_)
            views[id_] = answer["views"][0]["view"]
        if views["small"] not in client.complete:
            await client.until(type="snapshot", view=views["small"], last=True)

        took = []
        for number in range(6):
            await client.says(type="ping", id=number)
            took.append((await client.until(type="pong", id=number))[0])
            await client.says(type="subscribe", id="x", query={"classes": ["Vm"]})
            took.append((await client.until(type="error", id="x"))[0])
            pool.database.write("pool", row, "name_description", f"change {number}")
            took.append((await client.until(type="patch", view=views["small"]))[0])
        assert views["large"] not in client.complete, "the snapshot was too small for this test"
        assert max(took) < AHEAD_AT_MOST, took
        client.close()

"""A real proxy under connections that send what no good client sends.

A witness is connected all the time: it must be answered and get its patches. Afterwards nothing of
the others may be left: no connection, no view, no file descriptor, no memory.
"""

import asyncio
import base64
import random
import re
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from tests.fuzz.frames import Attacker, frame
from tests.integration.by_hand import UPGRADE
from tests.integration.demo import Demo, demo
from tests.integration.support import PASSWORD, Client, View, connected

_PIECE_S = 2.0
_ANSWER_S = 20.0
_GONE_S = 30.0
_CONNECTIONS_AT_ONCE = 8
_RESET = struct.pack("ii", 1, 0)


class Finding(AssertionError):  # noqa: N818 - it is what it says
    """The proxy did what it must not do."""


class Siege:
    """Attacks one proxy.

    Args:
        running: the proxy.
        log: what it says on standard error.
        witness: a good client of it.
        token: lets attackers in.
        seed: decides what they send.
    """

    def __init__(self, running: Demo, log: Path, witness: Client, token: str, seed: int) -> None:
        self._running = running
        self._log = log
        self._witness = witness
        self._token = token
        self._rng = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self._pings = 0

    async def attack(self, count: int) -> None:
        """Have so many connections come and go."""
        seeds = iter([self._rng.randrange(2**32) for _ in range(count)])
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS_AT_ONCE):
                group.create_task(self._attackers(seeds))

    async def _attackers(self, seeds: Iterator[int]) -> None:
        for seed in seeds:
            try:
                async with asyncio.timeout(60):
                    self.outcomes[await self._connection(random.Random(seed))] += 1
            except TimeoutError:
                raise Finding(f"a connection hangs (seed {seed})") from None

    async def _connection(self, rng: random.Random) -> str:
        loop = asyncio.get_running_loop()
        with await self._connected() as sock:
            reads = rng.random() < 0.8
            try:
                for piece in Attacker(rng, self._token).connection():
                    async with asyncio.timeout(_PIECE_S):
                        await loop.sock_sendall(sock, piece)
                    if reads:
                        await _read(sock, 0.02)
                return await self._part(sock, rng)
            except TimeoutError:
                return "not read from"  # it does not take our answers, so nobody takes what it says
            except OSError:  # ENOTCONN is no ConnectionError
                return "reset"

    async def _part(self, sock: socket.socket, rng: random.Random) -> str:
        match rng.randrange(4):
            case 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return "we reset"
            case 1:
                sock.shutdown(socket.SHUT_WR)
                return "closed" if await _read(sock, 0.5) else "half closed"
            case 2:
                return "closed" if await _read(sock, 0.2) else "we leave"
            case _:
                return "we leave at once"

    async def ping_and_vanish(self, count: int) -> None:
        """Send more pings than are read at once, and reset the connection."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            with await self._connected() as sock:
                await loop.sock_sendall(sock, UPGRADE)
                await loop.sock_recv(sock, 4096)
                await loop.sock_sendall(sock, frame(9, b"x" * 125) * 400)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def asks(self, request: bytes) -> bytes:
        """Send these bytes alone; return the begin of the answer."""
        loop = asyncio.get_running_loop()
        with await self._connected() as sock:
            await loop.sock_sendall(sock, request)
            async with asyncio.timeout(_ANSWER_S):
                return await loop.sock_recv(sock, 4096)

    async def _connected(self) -> socket.socket:
        host, _, port = self._running.url.removeprefix("http://").partition(":")
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        return sock

    async def check(self) -> None:
        """The witness is served as ever, and the proxy found no fault of its own."""
        for line in self._log.read_text().splitlines():
            if '"level": "error"' in line or "Traceback" in line:
                raise Finding(f"the proxy complains: {line}")
        self._pings += 1
        await self._witness.send({"type": "ping", "id": self._pings})
        try:
            await self._witness.answer(self._pings, _ANSWER_S)
        except TimeoutError:
            raise Finding("the witness is not answered") from None

    async def all_gone(self) -> None:
        """Wait until the witness is alone."""
        numbers: dict[str, float] = {}
        for _ in range(int(_GONE_S * 2)):
            numbers = await self.numbers()
            if (numbers["xoproxy_clients"], numbers["xoproxy_views"]) == (1, 1):
                return
            await asyncio.sleep(0.5)
        raise Finding(f"connections or views are left: {numbers}")

    async def numbers(self) -> dict[str, float]:
        async with ClientSession() as http, http.get(f"{self._running.url}/metrics") as reply:
            text = await reply.text()
        found = re.findall(r"^(xoproxy_\w+) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def rss_bytes(self) -> int:
        return self._running.rss_bytes()

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._running.process.pid}/fd").iterdir()))


async def _read(sock: socket.socket, seconds: float) -> bool:
    """Take what comes for a while; tells whether the peer ended the connection."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            while await loop.sock_recv(sock, 1 << 16):
                pass
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def siege(seed: int) -> AsyncIterator[Siege]:
    """Run a proxy with a witness until the block ends."""
    options = ("--pools", "1", "--vms", "20", "--hosts", "1", "--rate", "2", "--seed", "5")
    async with AsyncExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        log_file = stack.enter_context(log.open("wb"))
        running = await stack.enter_async_context(demo(*options, log=log_file))
        witness = await stack.enter_async_context(connected(running.url))
        token = await _token(running.url)
        views: list[View] = await witness.subscribe()
        besieged = Siege(running, log, witness, token, seed)
        yield besieged
        patches = views[0].patches
        await witness.until(lambda: views[0].patches > patches)
        if views[0].resets:
            raise Finding(f"the witness was reset: {views[0].resets}")


async def _token(url: str) -> str:
    secret = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    async with (
        ClientSession(headers={"Authorization": f"Basic {secret}"}) as http,
        http.post(f"{url}/api/v1/tokens", json={"name": "fuzz"}) as reply,
    ):
        token: str = (await reply.json())["token"]
        return token

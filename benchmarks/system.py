"""The whole system, a process each: a simulated pool, the proxy, a load of clients.

The proxy has the first processor for itself; pool and clients share the second.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks.rig import BenchError, Child, anonymous_bytes, child, compiled, pin, python

PROXY_PROCESSOR = 0
OTHER_PROCESSOR = 1
SNAPSHOT_DONE = '"last":true'
EVERYTHING = {"classes": ["*"], "sets": "members"}
"""As our own clients ask."""
_CONNECT_S = 180.0


class LoadReport(msgspec.Struct):
    """What the clients of load.c counted since the last report.

    `marks`: number, clients that have it, when the last one got it; the same for the awake ones.
    """

    clients: int
    ready: int
    closed: int
    close_code: int
    frames: int
    changes: int
    bytes: int
    marks: list[tuple[int, int, int, int, int]]


class Load:
    """Many clients in one process (load.c)."""

    def __init__(self, process: Child) -> None:
        self._process = process

    async def open(self, count: int) -> LoadReport:
        """Connect more clients; returns when each of them is ready."""
        answer = await self._process.ask(f"open {count}", timeout_s=_CONNECT_S)
        return self._checked(answer)

    async def stall(self, count: int) -> None:
        await self._process.ask(f"stall {count}")

    async def go(self) -> None:
        await self._process.ask("go")

    async def report(self) -> LoadReport:
        return self._checked(await self._process.ask("report"))

    @staticmethod
    def _checked(answer: Any) -> LoadReport:  # noqa: ANN401 - decoded JSON
        report = msgspec.convert(answer, LoadReport)
        if report.closed:
            raise BenchError(f"{report.closed} clients were closed (code {report.close_code})")
        return report


@asynccontextmanager
async def load(
    url: str,
    messages: Sequence[object],
    *,
    ready: str,
    pace: int = 50,
    sleepers: int = 0,
    sleeper_buffer: int = 0,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Load]:
    """Run load.c.

    Args:
        url: of the proxy.
        messages: what each client sends when it is connected.
        ready: text in the message after which a client is ready.
        pace: clients that connect at a time.
        sleepers: how many of the last clients may stop reading.
        sleeper_buffer: size of their receive buffers; 0 is the system's.
        headers: added to the request for the upgrade.
    """
    parts = urlsplit(url)
    program = str(compiled("load.c"))
    options = [str(parts.hostname), str(parts.port), str(pace), str(sleepers), ready]
    options += [str(sleeper_buffer)]
    options += ["".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())]
    async with child(program, *options, processor=OTHER_PROCESSOR) as process:
        lines = [msgspec.json.encode(message).decode() for message in messages]
        await process.tell("\n".join([*lines, "", ""]))
        yield Load(process)


@dataclass(frozen=True, slots=True)
class System:
    """A pool and the proxy on it."""

    pool: Child
    proxy: Child
    url: str
    token: str
    pool_id: str
    pool_url: str

    def clients(
        self, query: object = None, *, sleepers: int = 0, sleeper_buffer: int = 0, pace: int = 50
    ) -> Any:  # noqa: ANN401 - the context manager of `load`
        """Prepare clients that authenticate and subscribe."""
        messages = [
            {"type": "auth", "token": self.token},
            {"type": "subscribe", "id": 1, "query": query or EVERYTHING},
        ]
        return load(
            self.url,
            messages,
            ready=SNAPSHOT_DONE,
            pace=pace,
            sleepers=sleepers,
            sleeper_buffer=sleeper_buffer,
        )

    async def proxy_bytes(self) -> int:
        """Return the proxy's memory, without what is only waiting to be used again."""
        await self.proxy.ask("settle")
        return anonymous_bytes(self.proxy.pid)


@asynccontextmanager
async def system(
    hosts: int, vms: int, *, speed: float = 1.0, limits: Mapping[str, int] | None = None
) -> AsyncIterator[System]:
    """Start a pool and the proxy on it.

    Args:
        hosts: of the pool.
        vms: of the pool.
        speed: how many times faster than XAPI's the pool's delays are.
        limits: settings of the proxy's group of that name; the others are as usual.
    """
    pin(OTHER_PROCESSOR)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            child(
                *python("benchmarks.pool", str(hosts), str(vms), str(speed)),
                processor=OTHER_PROCESSOR,
            )
        )
        pool_url = (await pool.answer())["url"]
        proxy = await stack.enter_async_context(
            child(
                *python("benchmarks.proxy", pool_url, json.dumps(limits or {})),
                processor=PROXY_PROCESSOR,
            )
        )
        started = await proxy.answer()
        yield System(pool, proxy, started["url"], started["token"], started["pool"], pool_url)

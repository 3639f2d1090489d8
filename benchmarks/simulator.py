"""What the simulated pool can do, so that it is known not to be what a benchmark measures."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.figures import Measured
from benchmarks.rig import BenchError, anonymous_bytes, child, cpu_s, median_of, python

_PASSWORD = "x"  # noqa: S105 - of a pool that lives as long as this case
_MORE_THAN_IT_CAN = 100_000


class _Reader:
    """One client of the pool: logs in and follows everything."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._session = ""
        self._token = ""
        self.events = 0
        self.replies = 0

    async def log_in(self) -> None:
        reply = await self._call("session.login_with_password", "root", _PASSWORD)
        self._session = json.loads(reply)["result"]

    async def read(self) -> int:
        """Take what happened since the last time; returns the size of the reply in bytes."""
        body = await self._call("event.from", self._session, ["*"], self._token, 10.0)
        result = json.loads(body)["result"]
        self._token = result["token"]
        self.events += len(result["events"])
        self.replies += 1
        return len(body)

    async def _call(self, method: str, *params: object) -> bytes:
        call = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        async with self._http.post(f"{self._url}/jsonrpc", json=call) as response:
            return await response.read()


@asynccontextmanager
async def _pool(vms: int) -> AsyncIterator[tuple[int, _Reader, aiohttp.ClientSession, str]]:
    """Start the command as a user would; gives the process, a reader, and the pool's address."""
    numbers = ("--vms", str(vms), "--hosts", str(max(2, vms // 60)))
    where = ("--listen", "127.0.0.1:0", "--plain-http", "--password", _PASSWORD)
    manners = ("--json", "--until-stdin-closes")
    async with (
        child(*python("xoproxy", "simulate", *where, *manners, *numbers), processor=1) as pool,
        aiohttp.ClientSession() as http,
    ):
        url = (await pool.answer())["url"]
        reader = _Reader(http, url)
        await reader.log_in()
        yield pool.pid, reader, http, url


async def ready(*, quick: bool) -> dict[str, Measured]:
    """From the start of the command to the answer to the first login."""
    vms = 50 if quick else 1000
    times = []
    for _ in range(1 if quick else 5):
        begun_s = time.perf_counter()
        async with _pool(vms):
            times.append(time.perf_counter() - begun_s)
    return {"simulator_ready_s": median_of(times, f"{vms:,} VMs; the interpreter's start included")}


async def memory(*, quick: bool) -> dict[str, Measured]:
    """Everything asked for once, so that all encodings are there."""
    async with _pool(50 if quick else 5000) as (pid, reader, http, url):
        size = await reader.read()
        async with http.get(f"{url}/_sim/stats") as response:
            objects = sum((await response.json())["objects"].values())
        held = anonymous_bytes(pid) / 1e6
    note = f"{objects:,} objects; after a list of {size / 1e6:.0f} MB"
    return {"simulator_mb": Measured(held, note=note)}


async def ceiling(*, quick: bool) -> dict[str, Measured]:
    """Churn as fast as it goes, with one client that reads everything."""
    seconds = 0.5 if quick else 5.0
    async with _pool(50 if quick else 1000) as (pid, reader, http, url):
        await reader.read()
        await _churn(http, url, _MORE_THAN_IT_CAN)
        begun_s, begun_cpu_s = time.perf_counter(), cpu_s(pid)
        rates = [await _rate(http, url, reader, seconds) for _ in range(3)]
        share = (cpu_s(pid) - begun_cpu_s) / (time.perf_counter() - begun_s)
    note = f"writes, with a reader of {reader.replies:,} replies; {share:.0%} of its processor"
    return {"simulator_changes_per_s": median_of(rates, note)}


async def _rate(http: aiohttp.ClientSession, url: str, reader: _Reader, seconds: float) -> float:
    """Read for some seconds; returns the writes per second meanwhile."""
    before, begun_s = await _generation(http, url), time.perf_counter()
    while time.perf_counter() - begun_s < seconds:
        await reader.read()
    made = await _generation(http, url) - before
    if made <= 0:
        raise BenchError("nothing changed")
    return made / (time.perf_counter() - begun_s)


async def _churn(http: aiohttp.ClientSession, url: str, rate: float) -> None:
    async with http.post(f"{url}/_sim/churn", json={"rate": rate, "lifecycle": True}) as response:
        response.raise_for_status()


async def _generation(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(f"{url}/_sim/stats") as response:
        generation: int = (await response.json())["generation"]
        return generation

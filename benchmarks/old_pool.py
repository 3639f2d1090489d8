"""A pool from before JSON-RPC: how long its first list takes, and how long that stops the loop."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.figures import Measured
from benchmarks.rig import child, median_of, processors_at_start, python
from benchmarks.ticker import Ticker
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.link import LinkState, LinkStatus
from xoproxy.pool.supervisor import Supervisor

_PASSWORD = "x"  # noqa: S105 - of a pool that lives as long as this case
_POOL = PoolId("old")
_PATIENCE_S = 120.0


class _Sink:
    """Waits for the link to be live."""

    def __init__(self) -> None:
        self.live = asyncio.Event()

    def loaded(self, store: Store) -> None:
        pass

    def committed(self, batch: Batch) -> None:
        pass

    def state(self, status: LinkStatus) -> None:
        if status.link.state is LinkState.LIVE:
            self.live.set()


@asynccontextmanager
async def _pool(vms: int) -> AsyncIterator[str]:
    numbers = ("--vms", str(vms), "--hosts", str(max(2, vms // 60)), "--release", "6.0")
    where = ("--listen", "127.0.0.1:0", "--plain-http", "--password", _PASSWORD)
    manners = ("--json", "--until-stdin-closes")
    async with child(
        *python("xoproxy", "simulate", *where, *manners, *numbers), processor=1
    ) as pool:
        yield (await pool.answer())["url"]


async def listed(*, quick: bool) -> dict[str, Measured]:
    """From the configured pool to its live link; a ticker in the loop that holds the store."""
    os.sched_setaffinity(0, processors_at_start)  # the processes that parse must not stay beside us
    vms, runs = (50, 1) if quick else (1000, 5)
    times_s, stalls_ms, objects = [], [], 0
    async with _pool(vms) as url, asyncio.TaskGroup() as group:
        ticker = Ticker()
        ticking = group.create_task(ticker.run())
        for _ in range(runs):
            sink = _Sink()
            supervisor = Supervisor(group, sink, LinkSettings(), lambda pool: Store(pool, "e"))
            ticker.take()
            begun_s = time.perf_counter()
            supervisor.add(PoolConfig(_POOL, "Old", url, "root", _PASSWORD))
            async with asyncio.timeout(_PATIENCE_S):
                await sink.live.wait()
            times_s.append(time.perf_counter() - begun_s)
            stalls_ms.append(ticker.take() * 1e3)
            objects = len(supervisor.store(_POOL))
            await supervisor.close()
        ticking.cancel()
    note = f"{vms:,} VMs, {objects:,} objects, XML-RPC"
    return {
        "old_pool_live_s": median_of(times_s, note),
        "old_pool_stall_ms": median_of(stalls_ms, note),
    }

"""Many pools at once: until all are live, and how long the proxy's loop keeps others waiting.

Two processes beside the case: one with all the simulated pools, one with the proxy.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NoReturn

import msgspec
from pydantic import SecretStr

from benchmarks.figures import Measured
from benchmarks.rig import anonymous_bytes, child, cpu_s, median_of, obey, python
from benchmarks.ticker import Ticker
from xoproxy import app
from xoproxy.settings import LogSettings, ServerSettings, Settings, StorageSettings
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.telemetry import configure_logging

_LIVE_S = 120.0
_QUIET_S = 5.0


async def pools_100(*, quick: bool) -> dict[str, Measured]:
    """100 pools of about 200 objects; in the note, 5 of about 12,000."""
    runs = [await _run(10 if quick else 100, 1, 1) for _ in range(1 if quick else 3)]
    count, note = runs[0][2], ""
    if not quick:
        live_s, stall_ms, objects, cpu, memory = await _run(5, 8, 980)
        note = (
            f"; 5 pools of {objects:,} objects: {live_s:.1f} s, {stall_ms:.0f} ms, "
            f"{cpu:.1f} s of processor, {memory:.0f} MB"
        )
    cpu, memory = runs[-1][3], runs[-1][4]
    about = f"{count} objects a pool; {cpu:.1f} s of processor, {memory:.0f} MB{note}"
    return {
        "pools_100_live_s": median_of([run[0] for run in runs], about),
        "pools_100_stall_ms": median_of([run[1] for run in runs], "from the first attempt on"),
    }


async def _run(count: int, hosts: int, vms: int) -> tuple[float, float, int, float, float]:
    """Return seconds to all live, longest stall in ms, objects a pool, CPU s, MB."""
    async with (
        child(
            *python("benchmarks.many_pools", "pools", str(count), str(hosts), str(vms)),
            processor=1,
        ) as pools,
        child(*python("benchmarks.many_pools", "proxy"), processor=0) as proxy,
    ):
        there = await pools.answer()
        await proxy.answer()
        found = await proxy.ask("follow", urls=there["urls"], timeout_s=_LIVE_S)
        memory = anonymous_bytes(proxy.pid) / 1e6
        return found["live_s"], found["stall_ms"], there["objects"], cpu_s(proxy.pid), memory


# --- the processes --------------------------------------------------------------------------------


async def _pools(count: int, hosts: int, vms: int) -> None:
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(SimulatedPool(generate(hosts, vms, seed)))
            for seed in range(count)
        ]
        tables = pools[0].database.tables
        objects = sum(pools[0].database.count(cls) for cls in tables)
        ready = {"urls": [pool.url for pool in pools], "objects": objects}
        print(msgspec.json.encode(ready).decode(), flush=True)
        await obey({})


async def _proxy(directory: str) -> None:
    settings = Settings(
        admin_password=SecretStr("benchmark"),
        server=ServerSettings(port=0),
        storage=StorageSettings(directory=Path(directory)),
        log=LogSettings(level="warning"),
    )
    async with app.running(settings) as proxy, asyncio.TaskGroup() as group:
        ticker = Ticker()
        ticking = group.create_task(ticker.run(), name="ticker")

        async def follow(urls: list[str]) -> dict[str, float]:
            """Add pools, wait until all are live, and watch the loop a little longer."""
            ticker.take()
            begun_s = time.perf_counter()
            for number, url in enumerate(urls):
                await proxy.registry.add(f"pool-{number}", url, "root", "x")
            async with asyncio.timeout(_LIVE_S):
                await proxy.all_loaded()
            live_s = time.perf_counter() - begun_s
            await asyncio.sleep(_QUIET_S)
            return {"live_s": live_s, "stall_ms": ticker.take() * 1000}

        print("{}", flush=True)
        await obey({"follow": follow})
        ticking.cancel()


def main() -> NoReturn:
    configure_logging("json", "warning")
    role, *numbers = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        if role == "pools":
            asyncio.run(_pools(*map(int, numbers)))
        else:
            with tempfile.TemporaryDirectory() as directory, app.new_runner() as runner:
                runner.run(_proxy(directory))
    sys.exit(0)


if __name__ == "__main__":
    main()

"""Conversations recorded with a real XAPI server, played against the simulator.

The recorder's own replayer compares; it runs as a program of its own, as its users run it.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import shared_files, shared_path
from xoproxy.simulator.pool import SimulatedPool

TRACES = shared_files("traces/public", "*.json")


class PoolThread:
    """A pool that runs beside the tests, for clients that block."""

    def __init__(self, pool: SimulatedPool) -> None:
        self._pool = pool
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="simulated-pool")

    def start(self) -> str:
        self._thread.start()
        assert self._ready.wait(30), "the simulated pool did not start"
        return self._pool.url

    def stop(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._pool:
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    estate = json.loads(shared_path("traces/estate_xapi_24.json").read_text())
    thread = PoolThread(SimulatedPool(estate, password="x", speed=10))
    yield thread.start()
    thread.stop()


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_the_simulator_answers_like_the_recorded_server(url: str, trace: Path):
    shared_path(f"traces/public/{trace.name}")
    replayer = shared_path("traces/replay.py")

    replay = subprocess.run(  # noqa: S603
        [sys.executable, str(replayer), "replay", url, str(trace)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert replay.returncode == 0, replay.stdout + replay.stderr
    assert replay.stdout.splitlines()[-1].endswith(" 0 mismatches")

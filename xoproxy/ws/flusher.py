"""Takes the hub's steps: at once when it was quiet, in ticks while it is busy.

The tick adapts to what a flush costs: as long again, between 5 and 100 ms, so that fan-out takes at
most about half of the loop under load, and what arrives meanwhile is sent as one. (A flush yields
between its slices anyway; a longer tick would only add to the latency.)
"""

import asyncio
import time
from contextlib import suppress

import structlog

from xoproxy.sessions.hub import Hub

_log = structlog.get_logger(__name__)


class Flusher:
    """Runs `Hub.flush` whenever the hub asks for it.

    Args:
        tick_min_s, tick_max_s: bounds of the pause between two flushes.
    """

    def __init__(self, tick_min_s: float = 0.005, tick_max_s: float = 0.1) -> None:
        self._wanted = asyncio.Event()
        self._tick_min_s = tick_min_s
        self._tick_max_s = tick_max_s
        self.last_cost_s = 0.0

    def wake(self) -> None:
        self._wanted.set()

    async def run(self, hub: Hub) -> None:
        """Serve a hub until cancelled."""
        loop_time = time.monotonic
        while True:
            await self._until_wanted(hub.next_beat_s)
            self._wanted.clear()
            cost = 0.0
            hub.beat(loop_time())
            while hub.has_work:
                steps = hub.flush()
                while True:
                    started = loop_time()
                    more = next(steps, self) is not self
                    cost += loop_time() - started
                    if not more:
                        break
                    await asyncio.sleep(0)
                for fault in hub.take_faults():
                    _log.error("view failed", where=fault.where, exc_info=fault.error)
                hub.beat(loop_time())
            self.last_cost_s = cost
            tick = min(max(cost, self._tick_min_s), self._tick_max_s)
            await asyncio.sleep(tick)

    async def _until_wanted(self, beat_s: float | None) -> None:
        """Wait until the hub asks, or the next beat of somebody who is paced."""
        if beat_s is None:
            await self._wanted.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, beat_s - time.monotonic())):
                await self._wanted.wait()

"""How long a loop keeps others waiting."""

import asyncio
import time

_PERIOD_S = 0.001


class Ticker:
    """Wakes every millisecond and remembers the longest time that it came late.

    By the clock, other programs show in it. By the thread's processor time, what the loop itself
    did between two ticks, they do not: that is the longest stall on a machine of one's own.
    """

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._longest_cpu_s = 0.0

    async def run(self) -> None:
        last_s, last_cpu_s = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_PERIOD_S)
            now_s, cpu_s = time.perf_counter(), time.thread_time()
            self._longest_s = max(self._longest_s, now_s - last_s - _PERIOD_S)
            self._longest_cpu_s = max(self._longest_cpu_s, cpu_s - last_cpu_s)
            last_s, last_cpu_s = now_s, cpu_s

    def take_cpu(self) -> float:
        """Return the most processor seconds between two ticks, and begin anew."""
        longest_s, self._longest_cpu_s = self._longest_cpu_s, 0.0
        return longest_s

    def take(self) -> float:
        """Return the longest delay in seconds, and begin anew."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

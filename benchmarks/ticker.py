"""How long a loop keeps others waiting."""

import asyncio
import time

_PERIOD_S = 0.001


class Ticker:
    """Wakes every millisecond and remembers the longest time that it came late."""

    def __init__(self) -> None:
        self._longest_s = 0.0

    async def run(self) -> None:
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(_PERIOD_S)
            now_s = time.perf_counter()
            self._longest_s = max(self._longest_s, now_s - last_s - _PERIOD_S)
            last_s = now_s

    def take(self) -> float:
        """Return the longest delay in seconds, and begin anew."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

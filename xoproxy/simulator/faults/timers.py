"""When faults that last end by themselves."""

import asyncio
from collections.abc import Callable


class Timers:
    """The ends of faults, one for each kind."""

    def __init__(self) -> None:
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def end_after(self, kind: str, seconds: float | None, end: Callable[[], None]) -> None:
        """Schedule the end of a fault (None: never), and forget that of an earlier one."""
        if (timer := self._timers.pop(kind, None)) is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[kind] = asyncio.get_running_loop().call_later(seconds, end)

    def clear(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

"""Keeps the garbage collector from stopping the loop.

A full run looks at every object that can hold others: with a thousand clients some 90,000, which
takes 50 to 100 ms, and while clients come it happens again and again. What lives that long is
nearly all freed by its reference count and need not be looked at. So whatever survived two of the
collector's runs is frozen, and a full run finds next to nothing.

The price: a frozen object that dies in a cycle stays. Ours end without cycles (a test says so for
connections); for those of others, everything is thawed and looked at once a day.
"""

import asyncio
import gc
from types import TracebackType
from typing import Self

_DAY_S = 86_400.0
_MIDDLE = 1


class Collector:
    """Freezes what lives long, from its beginning to its end.

    Args:
        thaw_s: between two looks at everything.
    """

    def __init__(self, thaw_s: float = _DAY_S) -> None:
        self._thaw_s = thaw_s

    def __enter__(self) -> Self:
        gc.freeze()
        gc.callbacks.append(self._ran)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        gc.callbacks.remove(self._ran)
        gc.unfreeze()

    async def run(self) -> None:
        """Look at everything once a day, until cancelled."""
        while True:
            await asyncio.sleep(self._thaw_s)
            self.thaw()

    def thaw(self) -> None:
        """Free what died in cycles; stops the loop for as long as that takes."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    @staticmethod
    def _ran(phase: str, info: dict[str, int]) -> None:
        # Freezing is a matter of pointers, whatever the number of objects.
        if phase == "stop" and info["generation"] == _MIDDLE:
            gc.freeze()

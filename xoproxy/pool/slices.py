"""Long work cut into slices, so that the loop serves others in between.

The slices of many pools would add up in one turn of the loop. So whoever has a great deal to do
(a list of a large pool) holds the one `Turns` of all pools meanwhile; what is small passes by. And
of many great answers that arrive together, one part is taken in at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeVar

T = TypeVar("T")

GREAT_BYTES = 256 * 1024
"""A reply of that size takes about half a millisecond to be scanned."""
GREAT_EVENTS = 200
"""So many take some milliseconds to be compared."""


class Turns:
    """Lets one at a time do what takes long."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._arrival = asyncio.Lock()

    def of(self, *, great: bool) -> AbstractAsyncContextManager[None]:
        """Return what to hold while doing something."""
        return self._turn() if great else nullcontext()

    async def part_taken(self) -> None:
        """Let the others take in a part of their great answers before one takes the next.

        What arrives meanwhile stays with the kernel: readers pause when their buffer is full.
        Nobody is waited for who has nothing yet, so a slow pool holds up no other.
        """
        async with self._arrival:
            await asyncio.sleep(0)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._lock:
            yield
            await asyncio.sleep(0)  # the next one begins in another turn of the loop


async def in_slices(work: Generator[None, None, T]) -> T:
    """Take a generator's steps, letting the loop run between them; return its value."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            value: T = done.value
            return value
        await asyncio.sleep(0)

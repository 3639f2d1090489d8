"""Waking those who wait for the database to change."""

import asyncio
import contextlib


class Bell:
    """Wakes everybody who waits at the moment when it rings."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, deadline: float | None = None) -> None:
        """Return when it rings, or at a time of the loop's clock."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await future
        finally:
            self._waiting.discard(future)

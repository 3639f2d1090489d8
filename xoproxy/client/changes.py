"""What happens in a view, for a program to read at its own pace."""

import asyncio
from collections.abc import Iterable
from typing import Self

from xoproxy.client.errors import Error
from xoproxy.client.objects import Change

Identity = tuple[str, str, str]
"""Pool, class, reference."""


class Signal:
    """Wakes all who wait whenever something happened; ends them all by an error."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self.error: Error | None = None

    async def wait(self) -> None:
        """Wait for the next time.

        Raises:
            Error: there will be none.
        """
        self.check()
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
        self.check()

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def notify(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def fail(self, error: Error) -> None:
        if self.error is None:
            self.error = error
        self.notify()


class Changes:
    """Changes in the order in which they began, as an asynchronous iterator.

    Bounded by nature: at most one change per object waits. A program that reads slowly gets fewer,
    merged changes: from what it saw last to what is now. An object that came and went meanwhile is
    not told at all. So what waits is never more than the objects that it knew and those that are.

    It listens from the moment it was made, and for as long as somebody holds it.
    """

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._waiting: dict[Identity, Change] = {}
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            await self._signal.wait()
        return self._waiting.pop(next(iter(self._waiting)))

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def note(self, changes: Iterable[Change]) -> None:
        """Add what happened."""
        for change in changes:
            identity = change.pool, change.cls, change.ref
            earlier = self._waiting.get(identity)
            merged = change if earlier is None else Change(earlier.before, change.after)
            if merged.before == merged.after:  # both None, too
                self._waiting.pop(identity, None)
            else:
                self._waiting[identity] = merged

    def end(self) -> None:
        """Let the reader come to an end behind what waits."""
        self._ended = True

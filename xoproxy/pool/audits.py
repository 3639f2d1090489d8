"""Whose turn it is to be compared with the pool, and which differences were faults of ours.

A class is listed beside the events, so its list may be ahead of them: a difference that the next
reply tells, too, was no fault. One that it does not tell is something that no event ever told.
"""

from collections.abc import Iterable, Sequence

from xoproxy.model import Ref, XapiClass


class Audits:
    """The round of all classes.

    Args:
        round_s: in which each class is due once; 0 for never.
    """

    def __init__(self, round_s: float) -> None:
        self._round_s = round_s
        self._next_at_s: float | None = None
        self._latest: XapiClass | None = None
        self._unexplained: set[str] = set()

    def due(self, classes: Sequence[XapiClass], now_s: float) -> XapiClass | None:
        """Return the class to list now, if it is time for one.

        Args:
            classes: all of them, sorted; they may be others than the last time.
            now_s: in seconds of a monotonic clock.
        """
        if not classes or not self._round_s:
            return None
        if self._next_at_s is None or now_s < self._next_at_s:
            self._next_at_s = self._next_at_s or now_s + self._round_s / len(classes)
            return None
        self._next_at_s = now_s + self._round_s / len(classes)
        latest = self._latest or ""
        self._latest = next((cls for cls in classes if cls > latest), classes[0])
        return self._latest

    def corrected(self, refs: Iterable[Ref]) -> None:
        """Take note of objects in which a list differed from what we held."""
        self._unexplained.update(refs)

    def forget(self) -> None:
        """Drop what was found: everything is listed anyway."""
        self._unexplained.clear()

    def explained(self, told: Iterable[str]) -> int:
        """Count the corrections that the next reply of the pool does not tell: our faults."""
        if not self._unexplained:
            return 0
        faults = len(self._unexplained.difference(told))
        self.forget()
        return faults

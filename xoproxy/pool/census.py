"""Trust, then verify: XAPI's own counts of its objects against what we hold.

XAPI keeps only the newest few hundred removals of each class; a link that was away for longer
misses some without any error. With every reply it tells how many objects each class has, so a class
whose count disagrees is listed again.

A single disagreement proves nothing: the counts are taken before the records are read, so an
object that came or went in between shows late. Two in a row do. A class that disagrees even after
it was listed is asked about less and less often.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from xoproxy.model import XapiClass

TOMBSTONES_KEPT = 257
"""XAPI trims its list of removals to this many; that many of one class at once may not be all."""

_RUNNING = 2


@dataclass(slots=True)
class _Doubt:
    mismatches: int = 0
    """Disagreeing replies in a row."""
    not_before_s: float = 0.0
    interval_s: float = 0.0


class Census:
    """Decides when to list a class again.

    Args:
        interval_s: between two lists of one class at least.
        interval_max_s: to which it grows while the counts go on disagreeing.
    """

    def __init__(self, interval_s: float, interval_max_s: float) -> None:
        self._interval_s = interval_s
        self._interval_max_s = interval_max_s
        self._doubts: dict[XapiClass, _Doubt] = {}
        self.mismatch_count = 0

    def compare(
        self,
        classes: Iterable[XapiClass],
        counts: Mapping[str, int],
        held: Callable[[XapiClass], int],
        removals: Mapping[XapiClass, int],
    ) -> None:
        """Take note of one reply.

        Args:
            classes: those that have both events and rows.
            counts: XAPI's, by lower-case class; a class that is missing is not compared.
            held: how many objects of a class we have after the reply.
            removals: how many removals of a class the reply brought.
        """
        for cls in classes:
            count = counts.get(cls.lower())
            if count is None:
                continue
            if count == held(cls) and removals.get(cls, 0) < TOMBSTONES_KEPT:
                if cls in self._doubts:
                    self._agree(cls)
            else:
                self.mismatch_count += 1
                doubt = self._doubts.setdefault(cls, _Doubt(interval_s=self._interval_s))
                doubt.mismatches += 1

    def _agree(self, cls: XapiClass) -> None:
        doubt = self._doubts[cls]
        doubt.mismatches = 0
        doubt.interval_s = self._interval_s

    def due(self, now_s: float) -> list[XapiClass]:
        """Name the classes to list now."""
        return [
            cls
            for cls, doubt in self._doubts.items()
            if doubt.mismatches >= _RUNNING and doubt.not_before_s <= now_s
        ]

    def listed(self, cls: XapiClass, now_s: float) -> None:
        """Take note that a class was listed."""
        doubt = self._doubts.setdefault(cls, _Doubt(interval_s=self._interval_s))
        doubt.mismatches = 0
        doubt.not_before_s = now_s + doubt.interval_s
        doubt.interval_s = min(2 * doubt.interval_s, self._interval_max_s)

    def wait_s(self, now_s: float) -> float | None:
        """Tell how long the next poll may wait; None for as long as usual.

        A first disagreement is looked into at once, a proven one when its class may be listed.
        """
        waits = [
            0.0 if doubt.mismatches < _RUNNING else max(0.0, doubt.not_before_s - now_s)
            for doubt in self._doubts.values()
            if doubt.mismatches
        ]
        return min(waits, default=None)

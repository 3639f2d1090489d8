"""What is kept of a series, and which of it answers a question (rrd.ml, rrd_updates.ml).

Four archives, of 5 s, a minute, an hour and a day. An update (`Export`) takes the first archive
that reaches back to its start and is not finer than its interval, or else the longest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.statistics.series import DAY, HOUR, MINUTE, STEP_S, Consolidation
from xoproxy.simulator.statistics.sources import Measured, Source


class NoArchiveError(LookupError):
    """There is nothing that could answer."""


@dataclass(frozen=True, slots=True)
class Archive:
    """`rows` values, each of `size` slots consolidated."""

    how: Consolidation
    size: int
    rows: int
    xff: float

    @property
    def step_s(self) -> int:
        return self.size * STEP_S


SCALES: Final = ((1, 120), (MINUTE, 120), (HOUR, 168), (DAY, 366))


def _archives(*, extremes: bool) -> tuple[Archive, ...]:
    found = []
    for size, rows in SCALES:
        with_extremes = extremes and size > 1
        xff = 1.0 if with_extremes else 0.5
        hows = list(Consolidation) if with_extremes else [Consolidation.AVERAGE]
        found += [Archive(how, size, rows, xff) for how in hows]
    return tuple(found)


_PLAIN: Final = _archives(extremes=False)
_WITH_EXTREMES: Final = _archives(extremes=True)


def archives_of(measured: Measured) -> tuple[Archive, ...]:
    return _WITH_EXTREMES if measured.extremes else _PLAIN


def best_archives(
    measured: Measured, start: int, interval_s: int, how: Consolidation | None, last: int
) -> list[Archive]:
    """Return the archives of one scale that answer a question.

    Args:
        measured: whose.
        start: Unix time from which.
        interval_s: not finer than this.
        how: of this consolidation only.
        last: Unix time of the newest slot's end.
    """
    candidates = [a for a in archives_of(measured) if how in (None, a.how)]
    if not candidates:
        raise NoArchiveError
    fitting = [a for a in candidates if a.size >= interval_s // STEP_S]
    reaching = [a for a in fitting if start > last - a.step_s * a.rows]
    if reaching:
        return [a for a in reaching if a.size == reaching[0].size]
    longest = candidates[-1]
    return [a for a in fitting if a.step_s * a.rows >= longest.step_s * longest.rows]


@dataclass(frozen=True, slots=True)
class Export:
    """An update: the columns, and where in time its rows lie."""

    columns: Sequence[tuple[Measured, Archive]]
    start: int
    step_s: int
    end: int
    row_count: int

    @property
    def legend(self) -> list[str]:
        return [
            f"{archive.how}:{measured.owner}:{measured.uuid}:{source.name}"
            for measured, archive in self.columns
            for source in measured.sources
        ]

    def rows(self) -> Iterator[tuple[int, list[float]]]:
        """Yield (time, values), newest first."""
        for number in range(self.row_count):
            moment = self.end - number * self.step_s
            values: list[float] = []
            for measured, archive in self.columns:
                values += values_at(measured, archive, moment)
            yield moment, values


def values_at(measured: Measured, archive: Archive, moment: int) -> list[float]:
    """Return the values of all sources in the row that ends at a time."""
    group = moment // archive.step_s - 1
    curve = measured.activity.row(archive.size, group, archive.how, archive.xff)
    return [source.low + source.span * curve[source.family] for source in measured.sources]


def export(
    objects: Sequence[Measured],
    start: int,
    interval_s: int,
    how: Consolidation | None,
    now: float,
) -> Export:
    """Choose archives and rows for an update; a negative start is relative to now."""
    last = int(now) // STEP_S * STEP_S
    if start < 0:
        start += last
    chosen = [(m, best_archives(m, start, interval_s, how, last)) for m in objects]
    first = next((archives[0] for _, archives in chosen if archives), None)
    if first is None:
        raise NoArchiveError
    columns = [(m, a) for m, archives in chosen for a in archives if a.size == first.size]
    step = first.step_s
    end = last // step * step
    count = max(0, min(first.rows, (end - start) // step + 1)) if end >= start else 0
    return Export(columns, start // step * step + step, step, end, count)


def latest(measured: Measured, source: Source, now: float) -> float:
    """Return a source's value in the slot that ended last."""
    slot = int(now) // STEP_S - 1
    curve = measured.activity.row(1, slot, Consolidation.AVERAGE, 0.0)
    return source.low + source.span * curve[source.family]

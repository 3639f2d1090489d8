"""Made-up activity over time: a pure function of (seed, object, time), cheap at every scale.

A real host samples every 5 s and consolidates what it sampled into minutes, hours and days. Here
the coarse comes first. A day has a level; its hours deviate from it by an offset each, the minutes
of an hour from the hour, the 5 s slots of a minute from the minute. The offsets of one group are
a fixed set that adds up to zero, turned by a different amount in every group (hours: the same
curve every day). So, without adding up anything:

- the average of any group is exactly the value of the level above it,
- its lowest and highest slot are exactly that value plus the lowest and highest offsets below it,
- two who ask for the same time get the same value, whatever window they ask for.

Where a series begins within a group, the group is the consolidation of the part that is known.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

STEP_S: Final = 5
MINUTE: Final = 12  # slots
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LEVELS: Final = (DAY, HOUR, MINUTE, 1)
FAMILIES: Final = 12  # so many differently shifted curves of one object
UNKNOWN: Final = math.nan

# How far the levels move a value, which stays within 0 and 1: together they are 0.5.
_OF_DAYS, _OF_HOURS, _OF_MINUTES, _OF_SLOTS = 0.05, 0.2, 0.15, 0.1


class Consolidation(StrEnum):
    """How the slots of a group become one value."""

    AVERAGE = "AVERAGE"
    MIN = "MIN"
    MAX = "MAX"


def _offsets(curve: Sequence[float]) -> tuple[float, ...]:
    """Shift a curve so that it adds up to zero, and scale it into -1 to 1."""
    mean = sum(curve) / len(curve)
    reach = max(abs(value - mean) for value in curve)
    return tuple((value - mean) / reach for value in curve)


def _office_hours(hour: int) -> float:
    return math.exp(-(((hour - 14) / 5) ** 2)) + 0.35 * math.exp(-(((hour - 2) / 1.5) ** 2))


def _wander(position: int, size: int) -> float:
    """Give a closed curve with a rough edge and one burst."""
    angle = 2 * math.pi * position / size
    waves = math.sin(angle) + 0.6 * math.sin(3 * angle + 1) + 0.4 * math.sin(7 * angle + 2)
    return waves + 0.5 * math.sin(position * position) + 1.5 * (position == size // 3)


_HOURS: Final = _offsets([_office_hours(hour) for hour in range(24)])
_MINUTES: Final = _offsets([_wander(minute, 60) for minute in range(60)])
_SLOTS: Final = _offsets([_wander(slot, 12) for slot in range(12)])


def mix(seed: int, number: int) -> int:
    """Return 32 well mixed bits."""
    x = (seed ^ number * 0x9E3779B1) & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x045D9F3B & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x045D9F3B & 0xFFFFFFFF
    return x ^ x >> 16


def fraction(seed: int, number: int) -> float:
    """Return a number from 0 to 1 that is always the same for the same arguments."""
    return mix(seed, number) / 0xFFFFFFFF


def _below(extreme: Consolidation, size: int) -> float:
    """Return how far the extreme slot of a group of `size` slots is off the group's average."""
    pick = min if extreme is Consolidation.MIN else max
    reach = 0.0
    if size > 1:
        reach += _OF_SLOTS * pick(_SLOTS)
    if size > MINUTE:
        reach += _OF_MINUTES * pick(_MINUTES)
    if size > HOUR:
        reach += _OF_HOURS * pick(_HOURS)
    return reach


@dataclass(frozen=True, slots=True)
class Activity:
    """How busy one object is, from 0 to 1, in FAMILIES differently shifted variants.

    Slot n is the 5 s that end at (n + 1) * STEP_S.

    Args:
        seed: of the object.
        first_slot: before it nothing is known.
    """

    seed: int
    first_slot: int = 0

    def row(self, size: int, group: int, how: Consolidation, xff: float) -> list[float]:
        """Return the value of each family in group number `group` of `size` slots (of LEVELS).

        Args:
            size: of the group in slots.
            group: its number: it begins with slot group * size.
            how: the consolidation.
            xff: at which share of unknown slots the value is still known.
        """
        begin, end = group * size, (group + 1) * size
        if begin >= self.first_slot:
            return self._whole(size, group, how)
        if self.first_slot - begin > xff * size or self.first_slot >= end:
            return [UNKNOWN] * FAMILIES
        return self.part(self.first_slot, end, how)

    def part(self, begin: int, end: int, how: Consolidation) -> list[float]:
        """Consolidate any slots from `begin` up to, not including, `end`."""
        begin = max(begin, self.first_slot)
        if begin >= end:
            return [UNKNOWN] * FAMILIES
        blocks = list(_blocks(begin, end))
        rows = [self._whole(size, group, how) for size, group in blocks]
        if how is not Consolidation.AVERAGE:
            pick = min if how is Consolidation.MIN else max
            return [pick(values) for values in zip(*rows, strict=True)]
        weights = [size / (end - begin) for size, _ in blocks]
        return [
            sum(value * weight for value, weight in zip(values, weights, strict=True))
            for values in zip(*rows, strict=True)
        ]

    def _whole(self, size: int, group: int, how: Consolidation) -> list[float]:
        """Add up the levels from the day down to the group's own."""
        first = group * size
        day, hour, minute = first // DAY, first // HOUR, first // MINUTE
        value = 0.5 + _OF_DAYS * (2 * fraction(self.seed, day) - 1)
        if how is not Consolidation.AVERAGE:
            value += _below(how, size)
        if size <= HOUR:
            value += _OF_HOURS * _HOURS[(hour + self.seed % 5 - 2) % 24]
        if size > MINUTE:
            return [value] * FAMILIES
        turned = minute + mix(self.seed, hour)
        if size == MINUTE:
            return [value + _OF_MINUTES * _MINUTES[(turned + 5 * f) % 60] for f in range(FAMILIES)]
        slot = first + mix(self.seed, minute)
        return [
            value
            + _OF_MINUTES * _MINUTES[(turned + 5 * f) % 60]
            + _OF_SLOTS * _SLOTS[(slot + f) % 12]
            for f in range(FAMILIES)
        ]


def _blocks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut slots into the largest whole groups: (size, group)."""
    while begin < end:
        size = next(s for s in LEVELS if begin % s == 0 and begin + s <= end)
        yield size, begin // size
        begin += size

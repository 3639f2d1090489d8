"""Made-up series: consolidations are exact, and nothing depends on who asks."""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest

from xoproxy.simulator.statistics.series import (
    DAY,
    FAMILIES,
    HOUR,
    MINUTE,
    Activity,
    Consolidation,
)

NOON = 1_790_000_000 // 5  # a slot of no importance
PLAIN: dict[Consolidation, Callable[[Sequence[float]], float]] = {
    Consolidation.AVERAGE: lambda values: sum(values) / len(values),
    Consolidation.MIN: min,
    Consolidation.MAX: max,
}


def slots(activity: Activity, begin: int, end: int) -> list[tuple[float, ...]]:
    """List, for each family, the values of the finest archive."""
    rows = [activity.row(1, slot, Consolidation.AVERAGE, 0.5) for slot in range(begin, end)]
    return list(zip(*rows, strict=True))


@pytest.mark.parametrize("how", Consolidation)
@pytest.mark.parametrize("size", [MINUTE, HOUR, DAY])
def test_a_group_is_exactly_the_consolidation_of_its_slots(size, how):
    activity = Activity(seed=20260401)
    group = NOON // size

    expected = [PLAIN[how](v) for v in slots(activity, group * size, (group + 1) * size)]

    assert activity.row(size, group, how, 0.5) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("how", Consolidation)
def test_a_group_in_which_a_series_begins_consolidates_what_is_known(how):
    first = NOON // DAY * DAY + 5000
    activity = Activity(seed=7, first_slot=first)
    end = (NOON // DAY + 1) * DAY

    expected = [PLAIN[how](values) for values in slots(activity, first, end)]

    assert activity.row(DAY, NOON // DAY, how, 0.5) == pytest.approx(expected, abs=1e-12)


def test_a_group_is_unknown_when_too_much_of_it_is():
    first = NOON // HOUR * HOUR + HOUR // 2 + 1
    activity = Activity(seed=7, first_slot=first)

    def is_known(xff: float) -> bool:
        return not math.isnan(activity.row(HOUR, NOON // HOUR, Consolidation.AVERAGE, xff)[0])

    assert not is_known(0.5)
    assert is_known(1.0)


def test_before_a_series_begins_nothing_is_known():
    activity = Activity(seed=7, first_slot=NOON)

    assert all(map(math.isnan, activity.row(1, NOON - 1, Consolidation.AVERAGE, 1.0)))
    assert not any(map(math.isnan, activity.row(1, NOON, Consolidation.AVERAGE, 1.0)))


def test_values_stay_within_their_bounds_for_a_year():
    activity = Activity(seed=99)
    days = range(NOON // DAY - 366, NOON // DAY)

    lowest = min(min(activity.row(DAY, day, Consolidation.MIN, 0.5)) for day in days)
    highest = max(max(activity.row(DAY, day, Consolidation.MAX, 0.5)) for day in days)

    assert 0.0 <= lowest < highest <= 1.0


def test_objects_and_families_differ_and_days_repeat_their_shape():
    one, other = Activity(seed=1), Activity(seed=2)
    row = one.row(1, NOON, Consolidation.AVERAGE, 0.5)

    def hours(day: int) -> list[float]:
        return [one.row(HOUR, day * 24 + hour, Consolidation.AVERAGE, 0.5)[0] for hour in range(24)]

    assert len(set(row)) == FAMILIES
    assert row != other.row(1, NOON, Consolidation.AVERAGE, 0.5)
    busiest = max(range(24), key=lambda hour: hours(20_000)[hour])
    assert busiest == max(range(24), key=lambda hour: hours(20_001)[hour])
    assert 11 <= busiest <= 17


def test_a_minute_does_not_jump_from_one_slot_to_the_next():
    values = slots(Activity(seed=5), NOON, NOON + 720)[0]

    steps = [abs(b - a) for a, b in itertools.pairwise(values)]

    assert max(steps) < 0.45  # of the whole range, also where a minute ends
    assert sum(steps) / len(steps) < 0.1

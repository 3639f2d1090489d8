"""Which archive answers, and which rows an update has."""

import itertools
import math

import pytest

from xoproxy.simulator.statistics.archives import (
    NoArchiveError,
    archives_of,
    export,
    latest,
)
from xoproxy.simulator.statistics.series import Activity, Consolidation
from xoproxy.simulator.statistics.sources import Kind, Measured, Source

NOW = 1_790_000_003.7
LAST = 1_790_000_000
SOURCES = [Source("a", Kind("", ""), 0.0, 1.0), Source("b", Kind("", ""), 5.0)]
VM = Measured("vm", "v", Activity(1), SOURCES, extremes=False)
HOST = Measured("host", "h", Activity(2), SOURCES, extremes=True)
AVERAGE = Consolidation.AVERAGE


@pytest.mark.parametrize(
    ("age_s", "interval_s", "step_s"),
    [
        (5, 0, 5),
        (599, 5, 5),
        (600, 5, 60),
        (5, 6, 5),  # an interval is counted in whole steps of 5 s
        (5, 10, 60),
        (5, 60, 60),
        (7199, 5, 60),
        (7200, 5, 3600),
        (5, 64, 60),
        (5, 65, 3600),
        (604_800, 5, 86_400),
        (40_000_000, 5, 86_400),  # older than anything that is kept
    ],
)
def test_the_first_archive_that_reaches_back_far_enough_answers(age_s, interval_s, step_s):
    assert export([VM], LAST - age_s, interval_s, AVERAGE, NOW).step_s == step_s


def test_rows_are_newest_first_and_not_older_than_asked():
    made = export([VM], LAST - 12, 0, AVERAGE, NOW)

    assert [moment for moment, _ in made.rows()] == [LAST, LAST - 5, LAST - 10]
    assert (made.start, made.end, made.step_s, made.row_count) == (LAST - 10, LAST, 5, 3)


def test_a_row_that_ends_at_the_start_is_included_but_not_told_of():
    made = export([VM], LAST - 10, 0, AVERAGE, NOW)  # as rrd_updates.ml

    assert (made.start, made.row_count) == (LAST - 5, 3)


def test_there_are_no_more_rows_than_are_kept():
    assert export([VM], 0, 0, AVERAGE, NOW).row_count == 366


def test_a_negative_start_is_relative_to_the_newest_value():
    assert export([VM], -20, 0, AVERAGE, NOW) == export([VM], LAST - 20, 0, AVERAGE, NOW)


def test_a_start_to_come_gives_no_rows():
    made = export([VM], LAST + 3600, 0, AVERAGE, NOW)

    assert (made.row_count, list(made.rows())) == (0, [])


def test_without_a_consolidation_an_object_gives_all_it_has_of_one_scale():
    assert export([HOST], LAST - 5, 0, None, NOW).legend == [
        "AVERAGE:host:h:a",
        "AVERAGE:host:h:b",
    ]
    assert export([HOST, VM], LAST - 3600, 0, None, NOW).legend == [
        f"{how}:host:h:{name}" for how in ("AVERAGE", "MIN", "MAX") for name in "ab"
    ] + ["AVERAGE:vm:v:a", "AVERAGE:vm:v:b"]


def test_what_is_not_kept_cannot_be_asked_for():
    with pytest.raises(NoArchiveError):
        export([VM], LAST - 5, 0, Consolidation.MIN, NOW)
    with pytest.raises(NoArchiveError):
        export([HOST], LAST - 5, 100_000, None, NOW)
    with pytest.raises(NoArchiveError):
        export([], LAST - 5, 0, None, NOW)


def test_any_two_windows_agree_where_they_overlap():
    long = dict(export([HOST], LAST - 500, 0, AVERAGE, NOW).rows())
    later = dict(export([HOST], LAST - 100, 0, AVERAGE, NOW + 60).rows())

    common = long.keys() & later.keys()

    assert len(common) == 21
    assert all(long[moment] == later[moment] for moment in common)


def test_minutes_are_the_consolidation_of_the_steps_that_they_cover():
    steps = dict(export([HOST], LAST - 590, 0, AVERAGE, NOW).rows())
    minutes = export([HOST], LAST - 480, 60, None, NOW)
    for moment, values in itertools.islice(minutes.rows(), 3):
        covered = [steps[t][0] for t in range(moment - 55, moment + 1, 5)]
        expected = [sum(covered) / 12, min(covered), max(covered)]
        assert values[::2] == pytest.approx(expected)


def test_the_latest_value_is_that_of_the_newest_row():
    _, values = next(iter(export([VM], LAST, 0, AVERAGE, NOW).rows()))

    assert [latest(VM, source, NOW) for source in SOURCES] == values


def test_nothing_is_known_from_before_a_vm_started():
    vm = Measured("vm", "v", Activity(1, first_slot=LAST // 5 - 2), SOURCES, extremes=False)

    rows = list(export([vm], LAST - 20, 0, AVERAGE, NOW).rows())

    assert [math.isnan(values[0]) for _, values in rows] == [False, False, True, True, True]


def test_a_year_is_kept_in_four_scales():
    assert [(a.step_s, a.rows) for a in archives_of(VM)] == [
        (5, 120),
        (60, 120),
        (3600, 168),
        (86_400, 366),
    ]
    assert [a.how for a in archives_of(HOST)] == ["AVERAGE", *["AVERAGE", "MIN", "MAX"] * 3]

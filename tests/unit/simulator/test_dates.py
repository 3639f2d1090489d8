"""Dates as XAPI writes them."""

import pytest

from xoproxy.simulator.dates import seconds_of


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("19700101T00:00:00Z", 0),
        ("20260401T12:00:02Z", 1_775_044_802),
        ("", 0),
        ("20260401", 0),
        ("2026-04-01T12:00:02Z", 0),
    ],
)
def test_a_date_is_a_time_and_anything_else_is_none(date, seconds):
    assert seconds_of(date) == seconds

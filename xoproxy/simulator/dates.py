"""Dates as XAPI writes them."""

import calendar
import time


def seconds_of(date: str) -> int:
    """Return the Unix time of a date; 0 for what is none."""
    try:
        return calendar.timegm(time.strptime(date, "%Y%m%dT%H:%M:%SZ"))
    except ValueError:
        return 0

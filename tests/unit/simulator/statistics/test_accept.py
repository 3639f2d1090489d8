"""What a client would like best."""

import pytest

from xoproxy.simulator.statistics.accept import preferred

OFFERED = ("application/json", "text/xml")


@pytest.mark.parametrize(
    ("header", "best"),
    [
        ("*/*", "application/json"),
        ("text/xml", "text/xml"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/*", "text/xml"),
        ("text/xml;q=0.5,application/json;q=0.9", "application/json"),
        ("text/xml;q=0.9, application/json;q=0.5", "text/xml"),
        ("image/png", None),
        ("image/png, */*;q=0.1", "application/json"),
        ("", None),
    ],
)
def test_the_best_of_what_is_offered_is_chosen(header, best):
    assert preferred(header, OFFERED) == best


@pytest.mark.parametrize("header", ["json", "text/xml;q", "text/xml;q=much", "a/b/c"])
def test_nonsense_is_refused(header):
    with pytest.raises(ValueError, match=r".*"):
        preferred(header, OFFERED)

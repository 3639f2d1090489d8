"""What a client may ask of a window, and what it is told when it may not."""

import pytest

from xoproxy.cache.fields import FieldPath
from xoproxy.cache.query import QueryError, parse_query
from xoproxy.cache.window_query import OrderField, Span, parse_span

NAME = OrderField(FieldPath("name_label"))


def window(**members):
    return parse_query({"classes": ["VM"], "window": [0, 50]} | members).window


def test_a_window_is_ordered_by_name_at_last():
    found = window(order=["-power_state", "other_config.folder"], window=[100, 50])
    assert found.span == Span(100, 50)
    assert found.arrangement.order == (
        OrderField(FieldPath("power_state"), descending=True),
        OrderField(FieldPath("other_config", "folder")),
        NAME,
    )
    assert window().arrangement.order == (NAME,)
    assert window(order=["-name_label"]).arrangement.order == (
        OrderField(FieldPath("name_label"), descending=True),
    )


def test_dates_are_known_as_such():
    (snapshot_time, _) = window(order=["snapshot_time"]).arrangement.order
    assert snapshot_time.is_date


def test_a_class_without_names_is_ordered_by_reference_alone():
    assert window(classes=["VM_metrics"]).arrangement.order == ()


def test_facets_name_each_field_once():
    found = window(facets=["power_state", "tags", "tags", "other_config.folder", "resident_on"])
    assert list(map(str, found.arrangement.facets)) == [
        "power_state",
        "tags",
        "other_config.folder",
        "resident_on",
    ]


def test_equal_windows_are_equal():
    assert window(order=["-power_state"]) == window(order=["-power_state"])
    assert window(order=['other_config."a"']) == window(order=["other_config.a"])
    assert window() != window(window=[0, 51])
    assert parse_query({"classes": ["VM"]}).window is None


@pytest.mark.parametrize(
    ("members", "message", "hint", "at"),
    [
        ({"classes": ["VM", "host"]}, "one class", "once for each class", "/classes"),
        ({"classes": ["*"]}, "one class", "once for each class", "/classes"),
        ({"window": [0]}, "two numbers", "[offset, count]", "/window"),
        ({"window": "0"}, "two numbers", "[offset, count]", "/window"),
        ({"window": [0.0, 1]}, "whole numbers", "[offset, count]", "/window"),
        ({"window": [False, 1]}, "whole numbers", "[offset, count]", "/window"),
        ({"window": [-1, 1]}, "not negative", "[offset, count]", "/window"),
        ({"window": [0, -1]}, "not negative", "[offset, count]", "/window"),
        ({"window": [0, 1_001]}, "at most 1000", "move the window", "/window"),
        ({"window": None, "order": ["uuid"]}, "order needs a window", '"window"', "/order"),
        ({"window": None, "facets": ["uuid"]}, "facets needs a window", '"window"', "/facets"),
        ({"order": "uuid"}, "list of texts", None, "/order"),
        ({"order": ["uuid"] * 5}, "order: at most 4", None, "/order"),
        ({"facets": ["uuid"] * 9}, "facets: at most 8", None, "/facets"),
        ({"order": ["name_label", "-pwer_state"]}, "no field", "power_state?", "/order/1"),
        ({"order": ["tags"]}, "tags is a set", None, "/order/0"),
        ({"order": ["other_config"]}, "is a map", "other_config.key", "/order/0"),
        ({"order": ["resident_on.name_label"]}, "is no map", "host", "/order/0"),
        ({"facets": ["other_config"]}, "name a key", "other_config.key", "/facets/0"),
        ({"facets": ["VBDs.type"]}, "is no map", "VBD", "/facets/0"),
    ],
)
def test_what_makes_no_sense_is_refused(members, message, hint, at):
    with pytest.raises(QueryError) as raised:
        window(**members)
    assert message in raised.value.message
    assert at == raised.value.at
    if hint is None:
        assert raised.value.hint is None
    else:
        assert hint in (raised.value.hint or "")


def test_the_position_of_an_error_counts_the_minus():
    for text, position in (("nope", 0), ("-nope", 1)):
        with pytest.raises(QueryError) as raised:
            window(order=[text])
        assert raised.value.position == position


def test_counts_only_and_far_away():
    assert parse_span([0, 0]) == Span(0, 0)
    assert parse_span((2**40, 1_000)) == Span(2**40, 1_000)

"""What XAPI's decoder takes and refuses."""

import pytest

from xoproxy.simulator.wiretypes import EPOCH, TaggedDate, WrongTypeError, parse

ENUMS = {"colour": ("red", "green")}


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("string", "x", "x"),
        ("int", 5, 5),
        ("int", "-12", -12),
        ("int", 9223372036854775807, 9223372036854775807),
        ("float", 1, 1.0),
        ("float", "0.5", 0.5),
        ("bool", True, True),
        ("datetime", "20240131T12:00:00Z", "20240131T12:00:00Z"),
        ("datetime", "2024-01-31T12:00:00Z", "20240131T12:00:00Z"),
        ("datetime", "20240131T12:00:00", "20240131T12:00:00"),
        ("datetime", "epoch", EPOCH),
        ("enum colour", "red", "red"),
        ("VM ref", "any text", "any text"),
        ("string set", ["b", "a", "b"], ["b", "a", "b"]),
        ("(string -> int) map", {"a": "1"}, {"a": 1}),
        ("(int -> string set) map", {"1": ["x"]}, {"1": ["x"]}),
        ("(enum colour -> string) map", {"red": "x"}, {"red": "x"}),
        ("(VM ref -> (string -> string) map) map", {"r": {"k": "v"}}, {"r": {"k": "v"}}),
    ],
)
def test_accepted(kind: str, given, expected):
    accepted = parse(kind, ENUMS).accept(given)

    assert accepted == expected
    assert type(accepted) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("string", 5),
        ("string", None),
        ("string", TaggedDate("20240131T12:00:00Z")),
        ("int", TaggedDate("5")),
        ("float", TaggedDate("5")),
        ("enum colour", TaggedDate("red")),
        ("int", 1.5),
        ("int", True),
        ("int", "abc"),
        ("int", "9223372036854775808"),
        ("float", False),
        ("float", "abc"),
        ("bool", 0),
        ("bool", "false"),
        ("datetime", "yesterday"),
        ("datetime", 0),
        ("enum colour", "blue"),
        ("enum colour", 1),
        ("VM ref", 1),
        ("string set", "x"),
        ("string set", [1]),
        ("(string -> string) map", ["a"]),
        ("(string -> string) map", {"a": 1}),
        ("(int -> int) map", {"x": 1}),
        ("(enum colour -> string) map", {"blue": "x"}),
    ],
)
def test_refused(kind: str, given):
    with pytest.raises(WrongTypeError):
        parse(kind, ENUMS).accept(given)


def test_a_date_with_its_tag_is_a_date_only():
    date = TaggedDate("2024-01-31T12:00:00Z")

    assert parse("datetime", {}).accept(date) == "20240131T12:00:00Z"
    assert type(parse("datetime", {}).accept(date)) is str
    with pytest.raises(WrongTypeError, match=r"got 'D\(2024-01-31T12:00:00Z\)'"):
        parse("string", {}).accept(date)


def test_a_refusal_says_what_came():
    with pytest.raises(WrongTypeError, match=r"Failure\(\"Expected string, got 'I\(5\)'\"\)"):
        parse("string", {}).accept(5)

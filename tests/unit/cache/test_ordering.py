"""Where objects stand in a list."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.cache.diff import split
from xoproxy.cache.fields import FieldPath
from xoproxy.cache.ordering import COMPARED_CHARACTERS, Ordering, value_at
from xoproxy.cache.window_query import OrderField

_ABSENT = object()


def record(value):
    return split(json.dumps({} if value is _ABSENT else {"f": value}).encode())


def key(value, **options):
    return Ordering((OrderField(FieldPath("f"), **options),)).key(record(value))


def ordered(values, **options):
    return sorted(values, key=lambda value: key(value, **options))


def test_texts_stand_without_regard_to_case():
    assert ordered(["b", "A", "a", "C", ""]) == ["", "A", "a", "b", "C"]
    assert key("Straße") == key("STRASSE")


def test_descending_is_ascending_the_other_way_round_but_for_what_is_absent():
    values = ["ab", "abc", "", "a", "é", "z\0", "z", "\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff"]
    assert ordered(values, descending=True) == ordered(values)[::-1]
    assert ordered([2, None, 1], descending=True) == [2, 1, None]
    assert ordered([2, None, 1]) == [1, 2, None]


def test_numbers_and_booleans_stand_by_value():
    assert ordered([10, 9, 9.5, -1, 2**53 + 1, 2**53]) == [-1, 9, 9.5, 10, 2**53, 2**53 + 1]
    assert ordered([True, False]) == [False, True]
    assert ordered([True, False], descending=True) == [True, False]


def test_what_is_no_plain_value_is_absent():
    for value in (None, [], ["x"], {}, {"k": "v"}, _ABSENT):
        assert key(value) == key(None)


def test_kinds_do_not_meet():
    mixed = [True, 3, "x", None, "", 0, False]
    assert ordered(mixed) == [False, True, 0, 3, "", "x", None]
    assert ordered(mixed, descending=True) == ["x", "", 3, 0, True, False, None]


def test_dates_are_compared_however_they_are_spelt():
    dates = ["20240131T12:00:00Z", "2024-02-01T00:00:00Z", "20240301T00:00:00Z"]
    for order in itertools.permutations(dates):
        assert ordered(order, is_date=True) == dates


def test_long_texts_are_compared_by_their_beginning():
    begin = "x" * COMPARED_CHARACTERS
    assert key(begin + "a") == key(begin + "b")


def test_the_first_field_counts_most():
    ordering = Ordering(
        (
            OrderField(FieldPath("a"), descending=True),
            OrderField(FieldPath("m", "k")),
        )
    )
    records = [
        {"a": 2, "m": {"k": "y"}},
        {"a": 2},
        {"a": 1, "m": {"k": "x"}},
        {"m": {"k": "w"}},
    ]
    shuffled = [records[2], records[0], records[3], records[1]]
    assert sorted(shuffled, key=lambda r: ordering.key(split(json.dumps(r).encode()))) == records


def test_values_at_paths():
    fields = split(b'{"a": 1, "m": {"a.b": "v"}, "n": null}')
    assert value_at(fields, FieldPath("a")) == 1
    assert value_at(fields, FieldPath("m", "a.b")) == "v"
    for path in (FieldPath("m", "x"), FieldPath("a", "x"), FieldPath("n"), FieldPath("o")):
        assert value_at(fields, path) is None


_texts = st.text(st.characters(codec="utf-8"), max_size=4)


@given(_texts, _texts)
def test_any_two_texts_stand_in_opposite_order_when_descending(a, b):
    ascending = (key(a) > key(b)) - (key(a) < key(b))
    descending = (key(a, descending=True) > key(b, descending=True)) - (
        key(a, descending=True) < key(b, descending=True)
    )
    assert ascending == -descending

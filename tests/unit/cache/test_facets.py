"""Counting values."""

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.cache.diff import split
from xoproxy.cache.facets import MAX_VALUES, VALUE_CHARACTERS, Facets, facet_values
from xoproxy.cache.fields import FieldPath

A, B = FieldPath("a"), FieldPath("b")


def values(record, *paths):
    return facet_values(split(json.dumps(record).encode()), paths)


def test_values_are_counted_as_texts():
    assert values({"a": "Running"}, A) == (("Running",),)
    assert values({"a": True}, A) == (("true",),)
    assert values({"a": 1.5}, A) == (("1.5",),)
    assert values({"a": 2**60}, A) == ((str(2**60),),)
    assert values({"a": ""}, A) == (("",),)


def test_members_of_sets_are_counted_one_by_one_and_once():
    assert values({"a": ["x", "y", "x"]}, A) == (("x", "y"),)
    assert values({"a": []}, A) == ((),)


def test_what_is_absent_is_not_counted():
    assert values({"b": "x", "a": None}, A, B, FieldPath("b", "k")) == ((), ("x",), ())


def test_a_long_value_is_counted_by_its_beginning():
    ((found,),) = values({"a": "x" * 1_000}, A)
    assert found == "x" * VALUE_CHARACTERS


def test_counts_follow_the_objects():
    facets = Facets((A, B))
    facets.replace((), (("x",), ("p", "q")))
    facets.replace((), (("x",), ()))
    assert facets.shown == {"a": {"x": 2}, "b": {"p": 1, "q": 1}}
    shown = facets.shown
    facets.replace((("x",), ()), (("x",), ()))
    assert facets.shown is shown
    facets.replace((("x",), ()), (("y",), ("q",)))
    assert facets.shown == {"a": {"x": 1, "y": 1}, "b": {"p": 1, "q": 2}}
    facets.replace((("y",), ("q",)), ())
    facets.replace((("x",), ("p", "q")), ())
    assert facets.shown == {"a": {}, "b": {}}


def test_of_too_many_values_the_most_frequent_are_shown():
    facets = Facets((A,))
    for number in range(MAX_VALUES + 50):
        facets.replace((), ((f"{number:03}",),))
    facets.replace((), (("249",),))
    shown = facets.shown["a"]
    assert shown == dict(sorted(shown.items(), key=lambda item: (-item[1], item[0])))
    assert len(shown) == MAX_VALUES
    assert shown == {"249": 2} | {f"{n:03}": 1 for n in range(MAX_VALUES - 1)}


def test_values_that_become_few_again_are_all_shown():
    facets = Facets((A,))
    values = [((f"{number:03}",),) for number in range(MAX_VALUES + 50)]
    for value in values:
        facets.replace((), value)
    for number, value in enumerate(values[:-1], 1):
        facets.replace(value, ())
        assert len(facets.shown["a"]) == min(MAX_VALUES, len(values) - number)
    assert facets.shown["a"] == {"249": 1}


_sets = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 5), _sets)))
def test_counts_are_what_counter_says(steps):
    facets = Facets((A,))
    held: dict[int, tuple[tuple[str, ...], ...]] = {}
    for number, found in steps:
        facets.replace(held.get(number, ()), (found,))
        held[number] = (found,)
    assert facets.shown == {"a": dict(Counter(t for (texts,) in held.values() for t in texts))}

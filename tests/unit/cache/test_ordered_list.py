"""A sorted list with places; tests/properties/test_ordered_list.py compares it with `sorted`."""

import random

import pytest

from xoproxy.cache.ordered_list import OrderedList


def test_thousands_of_items_stand_where_they_should():
    rng = random.Random(1)
    numbers = rng.sample(range(1_000_000), 5_000)
    found = OrderedList(numbers[:2_000])
    for number in numbers[2_000:]:
        found.add(number)
    for number in numbers[:1_500]:
        found.remove(number)
    expected = sorted(numbers[1_500:])
    assert len(found) == len(expected)
    assert found.slice(0, 10_000) == expected
    assert found.slice(1_234, 700) == expected[1_234:1_934]
    assert found.remove(expected[2_345]) == 2_345
    assert found.add(expected[2_345]) == 2_345


def test_an_empty_list():
    found: OrderedList[int] = OrderedList()
    assert found.slice(0, 5) == []
    assert found.add(1) == 0
    assert found.remove(1) == 0
    with pytest.raises(KeyError):
        found.remove(1)
    assert len(found) == 0


def test_beyond_the_end_there_is_nothing():
    found = OrderedList([1, 2, 3])
    assert found.slice(2, 5) == [3]
    assert found.slice(3, 5) == []
    assert found.slice(0, 0) == []

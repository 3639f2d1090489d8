"""The order-statistic list against Python's own `sorted`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xoproxy.cache import ordered_list
from xoproxy.cache.ordered_list import OrderedList

_numbers = st.integers(0, 200)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    """Have blocks cut and emptied as often as in a list of a million."""
    size, ordered_list._BLOCK = ordered_list._BLOCK, 3
    yield
    ordered_list._BLOCK = size


class Machine(RuleBasedStateMachine):
    @initialize(items=st.sets(_numbers))
    def begin(self, items):
        self.model = sorted(items)
        self.list = OrderedList(items)

    @rule(item=_numbers)
    def toggle(self, item):
        if item in self.model:
            rank = self.list.remove(item)
            assert self.model.index(item) == rank
            self.model.remove(item)
        else:
            rank = self.list.add(item)
            self.model = sorted([*self.model, item])
            assert self.model.index(item) == rank

    @rule(items=st.lists(_numbers, max_size=30, unique=True))
    def toggle_many(self, items):
        for item in items:
            self.toggle(item)

    @rule(item=_numbers)
    def what_is_not_there(self, item):
        if item not in self.model:
            with pytest.raises(KeyError):
                self.list.remove(item)

    @rule(start=st.integers(0, 60), count=st.integers(0, 40))
    def slice(self, start, count):
        assert self.model[start : start + count] == self.list.slice(start, count)

    @invariant()
    def is_the_same(self):
        assert len(self.model) == len(self.list)
        assert self.model == self.list.slice(0, len(self.model))


TestOrderedList = Machine.TestCase
TestOrderedList.settings = settings(stateful_step_count=40)


@given(st.sets(st.tuples(st.integers(0, 2), st.text(max_size=2))))
def test_tuples_are_ordered_as_python_orders_them(items):
    filled: OrderedList[tuple[int, str]] = OrderedList()
    for item in items:
        filled.add(item)
    assert filled.slice(0, len(items)) == sorted(items)

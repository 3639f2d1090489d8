"""A pool as it stood at a position, whatever happens to it afterwards."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import world
from tests.properties.replica import canonical
from xoproxy.cache.journal import Expired, JournalBudget
from xoproxy.cache.state import State, merge
from xoproxy.cache.store import Store
from xoproxy.model import Key, PoolId, Ref, Removal, Upsert, XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")


def ref(name):
    return Ref(f"OpaqueRef:{name}")


def vm(name, **fields):
    return Upsert(VM, ref(name), json.dumps(fields).encode())


def commit(store, *events):
    return world.play(store, events)


@pytest.fixture
def store():
    """Return a store with VMs a (n 1, on h) and b (n 1), and host h."""
    store = Store(PoolId("p"), "epoch")
    commit(store, vm("a", n=1, on=ref("h")), vm("b", n=1), Upsert(HOST, ref("h"), b"{}"))
    return store


def content(state, cls=VM):
    return {e.ref.removeprefix("OpaqueRef:"): json.loads(e.raw) for e in state.entries(cls)}


class TestPast:
    def test_of_the_present_is_the_store(self, store):
        state = State(store, store.seq)
        assert state.get(ref("a")) is store.get(ref("a"))
        assert list(state.entries(VM)) == list(store.entries(VM))
        assert state.get(ref("nobody")) is None

    def test_an_object_that_changed_is_as_it_was(self, store):
        state = State(store, store.seq)
        commit(store, vm("a", n=2, on=ref("h"), new=1))
        commit(store, vm("a", n=3))
        assert content(state) == {"a": {"n": 1, "on": ref("h")}, "b": {"n": 1}}
        assert content(State(store, 4)) == {"a": {"n": 2, "on": ref("h"), "new": 1}, "b": {"n": 1}}

    def test_an_object_that_went_is_there(self, store):
        state = State(store, store.seq)
        commit(store, vm("a", n=2))
        commit(store, Removal(ref("a")))
        assert content(state) == {"a": {"n": 1, "on": ref("h")}, "b": {"n": 1}}

    def test_an_object_that_came_is_not(self, store):
        state = State(store, store.seq)
        commit(store, vm("c"))
        commit(store, vm("c", n=1))
        assert state.get(ref("c")) is None
        assert set(content(state)) == {"a", "b"}

    def test_an_object_that_went_and_came_again_is_the_old_one(self, store):
        state, old = State(store, store.seq), store.get(ref("a"))
        commit(store, Removal(ref("a")))
        commit(store, vm("a", n=9))
        commit(store, vm("a", n=10))
        found = state.get(ref("a"))
        assert old is not None
        assert found is not None
        assert (found.key, json.loads(found.raw)) == (old.key, {"n": 1, "on": ref("h")})

    def test_it_stays_when_it_was_looked_at_before(self, store):
        state = State(store, store.seq)
        assert content(state)["a"]["n"] == 1
        commit(store, vm("a", n=2))
        assert content(state)["a"]["n"] == 1
        commit(store, Removal(ref("a")))
        assert content(state)["a"]["n"] == 1

    def test_who_mentioned_whom(self, store):
        for _ in store.index_references():
            pass
        state = State(store, store.seq)
        commit(store, vm("a", n=1), vm("b", on=ref("h")), vm("c", on=ref("h")))
        assert list(state.referrers(ref("h"))) == [ref("a")]
        assert set(State(store, store.seq).referrers(ref("h"))) == {ref("b"), ref("c")}


class TestBounds:
    def test_beyond_the_history_there_is_nothing(self, store):
        for seq in (0, 2, 4):
            with pytest.raises(Expired):
                State(store, seq)

    def test_what_was_noted_in_time_may_be_forgotten_by_the_journal(self, store):
        state = State(store, store.seq)
        commit(store, vm("a", n=2))
        state.keep_up()
        store.journal.drop_oldest()
        commit(store, vm("b", n=2))
        assert content(state) == {"a": {"n": 1, "on": ref("h")}, "b": {"n": 1}}

    def test_what_was_not_is_missed(self):
        store = Store(PoolId("p"), "epoch", JournalBudget(pool_bytes=0))
        commit(store, vm("a", n=1))
        state = State(store, store.seq)
        commit(store, vm("a", n=2))
        with pytest.raises(Expired):
            state.get(ref("a"))

    def test_a_long_history_can_be_taken_in_slices(self, store):
        state = State(store, store.seq)
        for number in range(10):
            commit(store, vm("a", n=number + 2))
        state.keep_up()
        steps = state.prepare(slice_size=3)
        assert len(list(steps)) == 4
        assert content(state)["a"]["n"] == 1

    def test_and_looked_at_before_the_slices_are_through(self, store):
        state = State(store, store.seq)
        for number in range(10):
            commit(store, vm("a", n=number + 2))
        steps = state.prepare(slice_size=3)
        next(steps, None)
        assert content(state)["a"]["n"] == 1
        assert list(steps) == []


class TestMerge:
    def test_the_first_old_and_the_last_new_values_count(self, store):
        step: dict = {}
        merge(commit(store, vm("a", n=2, on=ref("h"), x=1)).changes, step)
        merge(commit(store, vm("a", n=3, y=1)).changes, step)
        (merged,) = step.values()
        assert (merged.existed, merged.exists) == (True, True)
        assert {n: bytes(v) for n, v in merged.before.items()} == {
            "n": b"1",
            "on": b'"OpaqueRef:h"',
        }
        assert {n: bytes(v) for n, v in merged.after.items()} == {"n": b"3", "y": b"1"}
        assert merged.names == {"n", "on", "x", "y"}

    def test_a_field_that_went_and_came_back(self, store):
        step: dict = {}
        merge(commit(store, vm("b")).changes, step)
        merge(commit(store, vm("b", n=2)).changes, step)
        (merged,) = step.values()
        assert bytes(merged.before["n"]) == b"1"
        assert bytes(merged.after["n"]) == b"2"

    def test_what_came_and_went_is_nothing(self, store):
        step: dict = {}
        merge(commit(store, vm("c")).changes, step)
        merge(commit(store, Removal(ref("c"))).changes, step)
        assert step == {}

    def test_the_old_and_the_new_object_of_one_reference_are_two(self, store):
        step: dict = {}
        merge(commit(store, Removal(ref("b"))).changes, step)
        merge(commit(store, vm("b")).changes, step)
        assert [(k, m.existed, m.exists) for k, m in step.items()] == [
            (Key("1"), True, False),
            (Key("3"), False, True),
        ]


@given(world.full_pools(), st.lists(world.batches, min_size=1, max_size=8), st.booleans())
def test_every_earlier_state_can_be_read_back(first, history, early):
    """Whether it was asked for then or is asked for now."""
    model, store = world.Model(), Store(PoolId("p"), "epoch")
    states = []
    for batch in [first, *history]:
        world.play(store, model.apply(batch))
        model.committed(store.seq)
        if early:
            states.append(State(store, store.seq))
    if not early:
        states = [State(store, seq) for seq in model.past if store.journal.reaches(seq)]
    for _ in store.index_references():
        pass

    for state in states:
        past = model.past[state.seq]
        found = {e.ref: json.loads(e.raw) for cls in world.CLASSES for e in state.entries(cls)}
        assert canonical(found) == canonical(past)
        for name in world.OBJECTS:
            entry = state.get(Ref(world.ref(name)))
            assert (entry is None) == (world.ref(name) not in past)
            mentioning = {r for r, record in past.items() if world.ref(name) in canonical(record)}
            assert set(state.referrers(Ref(world.ref(name)))) == mentioning

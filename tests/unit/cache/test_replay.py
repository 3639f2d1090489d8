"""A store from what was saved, what came before and what came after; or word that they differ."""

import json
from dataclasses import replace

import pytest

from tests.unit.cache.test_store import VM, commit, ref, removal, upsert
from xoproxy.cache.journal import Expired, JournalBudget
from xoproxy.cache.replay import BrokenHistory, replay
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId


class Line:
    """A store, the batches that made it, and what it was after each."""

    def __init__(self) -> None:
        self.store = Store(PoolId("p"), "epoch")
        commit(self.store, upsert("a", n=1), upsert("b", n=1))
        self.saved = [self.store.saved()]
        self.batches: list[Batch] = []

    def commit(self, *events):
        self.batches.append(commit(self.store, *events, at_s=len(self.saved), token="t"))
        self.saved.append(self.store.saved())


@pytest.fixture
def line():
    line = Line()
    line.commit(upsert("a", n=2, gone=1), removal("b"))
    line.commit(upsert("b", n=3), upsert("a", n=2))
    line.commit(upsert("a", n=4, gone=2), upsert("c"))
    line.commit(removal("c"))
    return line


def replayed(saved, batches):
    return replay(saved, batches, JournalBudget())


def contents(store):
    return {e.ref: (e.key, e.seq, json.loads(e.raw)) for e in store.entries(VM)}


@pytest.mark.parametrize("saved", range(5))
@pytest.mark.parametrize("first", range(5))
def test_whatever_was_saved_when_the_end_is_the_same(line, saved, first):
    if first > saved:
        return  # a gap; see below
    store = replayed(line.saved[saved], line.batches[first:])
    assert contents(store) == contents(line.store)
    assert (store.seq, store.next_key) == (line.store.seq, line.store.next_key)
    tail = line.batches[first].from_seq if first < 4 else store.seq
    assert list(store.journal.since(tail)) == list(line.store.journal.since(tail))
    with pytest.raises(Expired):
        store.journal.since(tail - 1)


def test_it_goes_on_as_the_one_before(line):
    store = replayed(line.saved[2], line.batches)
    for each in (store, line.store):
        commit(each, upsert("d"), removal("a"))
    assert contents(store) == contents(line.store)


def test_a_restored_store_is_loaded_and_knows_its_classes(line):
    saved = replace(line.saved[4], classes=frozenset({VM}))
    store = replayed(saved, [])
    assert store.loaded
    assert store.classes == {VM}
    assert store.xapi_token == line.store.xapi_token


def test_references_can_be_indexed(line):
    line.commit(upsert("a", on=ref("b")))
    store = replayed(line.saved[1], line.batches)
    for _ in store.index_references():
        pass
    assert list(store.referrers(ref("b"))) == [ref("a")]


def damaged(line):
    """Name what may not pass: what was saved, and batches that do not belong to it."""
    one, two, three, four = line.batches
    (first, second) = three.changes
    yield "a gap after what was saved", line.saved[0], [two, three]
    yield "a gap before it", line.saved[3], [one, three, four]
    yield "too early an end", line.saved[4], [one, two]
    yield "another epoch", line.saved[0], [replace(one, epoch="x")]
    yield "another pool", line.saved[0], [replace(one, pool=PoolId("q"))]
    yield "a missing change", line.saved[2], [replace(three, changes=(first,))]
    yield "another state", replace(line.saved[2], entries=[]), [three]
    yield "an object that is there", line.saved[2], [replace(three, changes=(second, second))]
    other = [replace_key(e) for e in line.saved[2].entries]
    yield "another object of that name", replace(line.saved[2], entries=other), [three]


def replace_key(entry):
    return type(entry)("z", entry.ref, entry.cls, entry.seq, entry.raw)


@pytest.mark.parametrize("number", range(9))
def test_what_does_not_fit_is_refused(line, number):
    _, saved, batches = list(damaged(line))[number]
    with pytest.raises(BrokenHistory):
        replayed(saved, batches)


def test_a_store_is_not_restored_with_a_history_that_ends_elsewhere(line):
    with pytest.raises(ValueError, match="does not end"):
        Store.restored(line.saved[1], line.batches[:2])

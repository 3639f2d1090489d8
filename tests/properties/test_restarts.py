"""A store that is restarted again and again is the one that never was: now, and at every past."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.properties.replica import canonical
from tests.properties.world import Model, batches, full_pools, play
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId
from xoproxy.storage.history.checkpoints import write_draft
from xoproxy.storage.history.pool_history import DiskBudget, Pinned, PoolHistory
from xoproxy.storage.history.restoring import restore

KEY = b"k" * 32
POOL = PoolId("p")
UNBOUNDED = (1 << 40, 1 << 40, 1e12)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), batches),
        st.tuples(st.just("batch"), batches),
        st.tuples(st.just("pin"), st.none()),
        st.tuples(st.just("put"), st.none()),
        st.tuples(st.just("mark"), st.none()),
        st.tuples(st.sampled_from(["kill", "kill", "tear", "end"]), st.integers(0, 60)),
    ),
    max_size=14,
)
bounds = st.sampled_from([UNBOUNDED, UNBOUNDED, (3000, 2000, 1e12), (600, 600, 1e12)])


class Kept:
    """A store with a history on the disk, and the ways in which its process may end."""

    def __init__(self, directory: Path, bound: tuple[int, int, float]) -> None:
        self.directory = directory / POOL
        self.bound = bound
        self.store = Store(POOL, "epoch", JournalBudget(*bound))
        self._history = self._new_history()
        self._pinned: Pinned | None = None

    def commit(self, batch: Batch, *, first: bool) -> None:
        if first:
            self._history.begin()
            self.pin()
            self.put()
        elif batch.changes:
            self._history.append(batch)

    def pin(self) -> None:
        self._pinned = self._history.pin()

    def put(self) -> None:
        if self._pinned is not None:
            draft = write_draft(self._pinned.saved, self.directory, KEY)
            assert self._history.put(self._pinned, *draft)
            self._pinned = None
            while self._history.forget_oldest(wanted_seq=self.store.journal.tail):
                pass

    def mark(self) -> None:
        self._history.mark()

    def end_and_begin(self, how: str, cut: int) -> None:
        """End as `how` says and start again; what was only half written is no loss."""
        if how == "end":
            self._history.end(live=True)
        elif how == "tear":
            path = self._history.segments[-1].path
            whole = path.read_bytes()
            self._history.mark()
            more = path.read_bytes()[len(whole) :]
            path.write_bytes(whole + more[: min(cut, len(more) - 1)])
        found = restore(self.directory, KEY, JournalBudget(*self.bound), ended=how == "end")
        assert found is not None
        self.store = found.store
        self._history = self._new_history()
        self._history.go_on(found)
        self._pinned = None
        assert self._history.writing

    def _new_history(self) -> PoolHistory:
        return PoolHistory(self.directory, KEY, self.store, DiskBudget(1 << 40, lambda: False))


def values(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


def changes_after(store: Store, seq: int) -> list[tuple]:
    return [
        (c.seq, c.key, c.ref, c.cls, values(c.before), values(c.after))
        for c in store.journal.since(seq)
    ]


def objects(store: Store) -> dict:
    return {
        e.ref: (e.key, e.cls, e.seq, values(e.raw))
        for cls in store.by_class.classes()
        for e in store.entries(cls)
    }


def past(store: Store, seq: int) -> dict:
    """Return what the pool held at a position: by the undo overlay."""
    state = State(store, seq)
    classes = list(store.by_class.classes())
    classes += [c.cls for c in store.journal.since(seq) if c.cls not in classes]
    return {
        str(entry.ref): values(entry.raw)
        for cls in dict.fromkeys(classes)
        for entry in state.entries(cls)
    }


@example(  # an object that comes and goes within one batch: no change, but was it given a key?
    pool=[],
    history=[("batch", [("set", "host-a", {}), ("remove", "host-a", None)]), ("kill", 0)],
    bound=UNBOUNDED,
)
@given(full_pools(), steps, bounds)
@settings(max_examples=150, deadline=None)
def test_restarts_change_nothing(pool, history, bound):
    with tempfile.TemporaryDirectory() as directory:
        model, kept = Model(), Kept(Path(directory), bound)
        spared = Store(POOL, "epoch", JournalBudget(*bound))
        events = model.apply(pool)
        play(spared, events)
        kept.commit(play(kept.store, events), first=True)
        model.committed(spared.seq)
        for kind, value in history:
            match kind:
                case "batch":
                    events = model.apply(value)
                    play(spared, events)
                    kept.commit(play(kept.store, events), first=False)
                    model.committed(spared.seq)
                case "pin":
                    kept.pin()
                case "put":
                    kept.put()
                case "mark":
                    kept.mark()
                case how:
                    kept.end_and_begin(how, value)
            check(spared, kept.store, model)
            if bound is UNBOUNDED:
                assert kept.store.journal.tail == spared.journal.tail


def check(spared: Store, restarted: Store, model: Model) -> None:
    assert restarted.seq == spared.seq
    assert restarted.epoch == spared.epoch
    assert restarted.next_key == spared.next_key
    assert canonical(objects(restarted)) == canonical(objects(spared))
    # spelling may differ, and with it what fits a small journal
    common = max(restarted.journal.tail, spared.journal.tail)
    assert canonical(changes_after(restarted, common)) == canonical(changes_after(spared, common))
    for seq, then in model.past.items():
        if restarted.journal.reaches(seq):
            assert canonical(past(restarted, seq)) == canonical(then)

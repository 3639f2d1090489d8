"""A pool's history, whatever happens: nothing lost, nothing invented, nothing mutated."""

import json
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from xoproxy.cache.diff import same_json, same_value, split
from xoproxy.cache.index import references_in
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass

NAMES = ["a", "b", "c", "d", "e"]
CLASSES = {"a": "VM", "b": "VM", "c": "VM", "d": "host", "e": "host"}

names = st.sampled_from(NAMES)
records = st.dictionaries(
    st.sampled_from(["n", "m", "on", "map"]),
    st.one_of(
        st.integers(0, 2),
        st.sampled_from([True, 1.0, "OpaqueRef:a", "OpaqueRef:d", "OpaqueRef:NULL"]),
        st.dictionaries(st.sampled_from("xy"), st.integers(0, 1)),
    ),
)
upserts = st.tuples(st.just("upsert"), names, records, st.booleans())
removals = st.tuples(st.just("remove"), names)
batches = st.tuples(
    st.sampled_from(["events", "relist"]),
    st.lists(upserts | removals, max_size=6),
    st.sets(st.sampled_from(["VM", "host"])),
)
histories = st.lists(batches, min_size=1, max_size=8)


def ref(name) -> Ref:
    return Ref(f"OpaqueRef:{name}")


def as_event(step):
    if step[0] == "remove":
        return Removal(ref(step[1]))
    _, name, record, reordered = step
    members = list(record.items())
    if reordered:
        members.reverse()
    return Upsert(XapiClass(CLASSES[name]), ref(name), json.dumps(dict(members)).encode())


def apply_to_model(model: dict, batch) -> dict:
    """Say what a pool holds after a batch: the plain meaning of events and relists."""
    kind, steps, classes = batch
    after = dict(model)
    listed = set()
    for step in steps:
        if step[0] == "upsert":
            after[step[1]] = step[2]
            listed.add(step[1])
        elif kind == "events":
            after.pop(step[1], None)
    if kind == "relist":
        after = {n: r for n, r in after.items() if n in listed or CLASSES[n] not in classes}
    return after


def commit(store: Store, batch, at_s: float, step: int = 2):
    kind, steps, classes = batch
    events = [as_event(s) for s in steps]
    if kind == "events":
        prepared = store.prepare(events)
    else:
        listed = [event for event in events if isinstance(event, Upsert)]
        prepared = store.prepare_relist(sorted(map(XapiClass, classes)), listed)
    while prepared.step(step):
        pass
    return store.commit(prepared, at_s)


def contents(store: Store) -> dict:
    return {name: entry.raw for name in NAMES if (entry := store.get(ref(name))) is not None}


def same(model: dict, raws: dict) -> bool:
    return model.keys() == raws.keys() and all(
        same_value(record, json.loads(raws[name])) for name, record in model.items()
    )


def undo(raws: dict, change) -> None:
    """Take one change back; checks that it says truly what was there after it."""
    name = change.ref.removeprefix("OpaqueRef:")
    if change.before is None:
        assert same_json(raws.pop(name), change.after)
        return
    if change.after is None:
        assert name not in raws
        raws[name] = change.before
        return
    fields, old, new = split(raws[name]), split(change.before), split(change.after)
    for field in new:
        assert same_value(json.loads(bytes(fields.pop(field))), json.loads(bytes(new[field])))
    assert not old.keys() & fields.keys()
    raws[name] = json.dumps(
        {f: json.loads(bytes(v)) for f, v in {**fields, **old}.items()}
    ).encode()


@given(histories)
@settings(max_examples=150)
def test_the_store_holds_what_the_pool_said(history):
    store = Store(PoolId("p"), "e")
    model: dict = {}
    for number, batch in enumerate(history):
        commit(store, batch, number)
        model = apply_to_model(model, batch)

        assert same(model, contents(store))
        for cls in ("VM", "host"):
            entries = {e.ref for e in store.entries(XapiClass(cls))}
            assert entries == {ref(n) for n in model if CLASSES[n] == cls}


@given(histories)
@settings(max_examples=150)
def test_undoing_the_journal_gives_every_earlier_state(history):
    store = Store(PoolId("p"), "e")
    past = []
    for number, batch in enumerate(history):
        commit(store, batch, number)
        past.append((store.seq, contents(store)))

    for seq, then in past:
        raws = contents(store)
        for change in reversed(list(store.journal.since(seq))):
            undo(raws, change)
        assert same({name: json.loads(raw) for name, raw in then.items()}, raws)


@given(histories)
@settings(max_examples=150)
def test_seq_grows_by_one_and_entries_say_when_they_changed(history):
    store = Store(PoolId("p"), "e")
    for number, batch in enumerate(history):
        before = store.seq
        committed = commit(store, batch, number)

        assert [c.seq for c in committed.changes] == list(range(before + 1, store.seq + 1))
        assert (committed.from_seq, committed.to_seq) == (before, store.seq)
        assert len({c.ref for c in committed.changes}) == len(committed.changes)
        for change in committed.changes:
            entry = store.get(change.ref)
            assert (entry is None) == (change.after is None)
            if entry is not None:
                assert (entry.seq, entry.key) == (change.seq, change.key)


@given(histories)
@settings(max_examples=150)
def test_a_key_names_one_object_for_ever(history):
    store, owners, alive = Store(PoolId("p"), "e"), {}, {}
    for number, batch in enumerate(history):
        for change in commit(store, batch, number).changes:
            if change.before is None:
                assert change.key not in owners
                owners[change.key] = change.ref
                alive[change.ref] = change.key
            else:
                assert alive[change.ref] == change.key
            if change.after is None:
                del alive[change.ref]
    assert alive == {e.ref: e.key for n in NAMES if (e := store.get(ref(n))) is not None}


@given(histories)
@settings(max_examples=100)
def test_saying_the_same_again_makes_no_change(history):
    store = Store(PoolId("p"), "e")
    for number, batch in enumerate(history):
        commit(store, batch, number)
        seq, entries = store.seq, [store.get(ref(name)) for name in NAMES]
        again = [
            Upsert(e.cls, e.ref, json.dumps(dict(reversed(json.loads(e.raw).items()))).encode())
            for e in entries
            if e is not None
        ]
        prepared = store.prepare_relist([XapiClass("VM"), XapiClass("host")], again)
        while prepared.step():
            pass
        assert store.commit(prepared, number).changes == ()
        assert store.seq == seq
        assert all(e is store.get(ref(n)) for n, e in zip(NAMES, entries, strict=True))


@given(histories)
@settings(max_examples=100)
def test_nothing_is_ever_mutated(history):
    store, seen = Store(PoolId("p"), "e"), []
    for number, batch in enumerate(history):
        changes = commit(store, batch, number).changes
        for thing in (*changes, *(e for n in NAMES if (e := store.get(ref(n))) is not None)):
            seen.append((thing, repr(thing)))
    assert all(repr(thing) == text for thing, text in seen)


@given(histories, st.integers(0, 4), st.integers(1, 3))
@settings(max_examples=100)
def test_the_reference_index_is_right_whenever_it_was_begun(history, begin, slice_size):
    store = Store(PoolId("p"), "e")
    building: Iterator[None] = iter(())
    for number, batch in enumerate(history):
        commit(store, batch, number)
        if number == begin:
            building = store.index_references(slice_size)
        next(building, None)
    for _ in store.index_references():
        pass
    for _ in building:
        pass

    for name in NAMES:
        mentioned_by = {
            ref(n) for n, raw in contents(store).items() if ref(name) in references_in(raw)
        }
        assert set(store.referrers(ref(name))) == mentioned_by


@given(
    st.lists(st.tuples(st.integers(0, 2), batches, st.floats(0, 40)), max_size=25),
    st.integers(300, 3000),
    st.integers(200, 2000),
)
@settings(max_examples=150)
def test_journals_keep_their_bounds_and_never_have_a_hole(steps, total_bytes, pool_bytes):
    budget = JournalBudget(total_bytes, pool_bytes, age_s=60)
    stores = [Store(PoolId(str(number)), "e", budget) for number in range(3)]
    committed: dict[int, list] = {0: [], 1: [], 2: []}
    now = 0.0
    for number, batch, wait in steps:
        now += wait
        store = stores[number]
        was_loaded = store.loaded
        changes = commit(store, batch, now).changes
        if was_loaded:
            committed[number].extend(changes)

        assert budget.used_bytes == sum(s.journal.used_bytes for s in stores) <= total_bytes
        for pool, each in enumerate(stores):
            journal = each.journal
            assert 0 <= journal.used_bytes <= pool_bytes
            assert journal.head == each.seq
            kept = [c for c in committed[pool] if c.seq > journal.tail]
            assert list(journal.since(journal.tail)) == kept
            assert not journal.reaches(journal.tail - 1)
        if changes and store.journal.batch_count:
            assert now - store.journal.oldest_at_s <= 60

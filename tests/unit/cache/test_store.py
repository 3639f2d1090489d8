import json

import pytest

from xoproxy.cache.journal import Expired
from xoproxy.cache.store import Store, key_text
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")


def ref(name: str) -> Ref:
    return Ref(f"OpaqueRef:{name}")


def upsert(name: str, cls=VM, **fields) -> Upsert:
    return Upsert(cls, ref(name), json.dumps({"uuid": name, **fields}).encode())


def removal(name: str) -> Removal:
    return Removal(ref(name))


def commit(store: Store, *events, at_s: float = 0, token: str | None = None):
    prepared = store.prepare(events)
    while prepared.step():
        pass
    return store.commit(prepared, at_s, token)


def relist(store: Store, classes, *records):
    prepared = store.prepare_relist(classes, records)
    while prepared.step(1):
        pass
    return store.commit(prepared, 0)


@pytest.fixture
def store():
    """Return a store that was loaded with VMs a and b on host h."""
    store = Store(PoolId("p"), "epoch")
    commit(store, upsert("a", n=1, on=ref("h")), upsert("b", n=1), upsert("h", HOST))
    return store


def test_the_first_batch_loads_the_pool_and_is_no_history():
    store = Store(PoolId("p"), "epoch")
    assert not store.loaded

    batch = commit(store, upsert("a"), upsert("b"), token="00,00")

    assert store.loaded
    assert len(batch.changes) == 2
    assert (batch.from_seq, batch.to_seq) == (0, 2)
    assert (store.seq, store.journal.tail) == (2, 2)
    assert store.xapi_token == batch.xapi_token == "00,00"
    with pytest.raises(Expired):
        store.journal.since(0)


def test_an_empty_pool_is_loaded_too():
    store = Store(PoolId("p"), "epoch")
    commit(store)
    assert store.loaded


def test_a_change_says_what_was_and_what_is(store):
    batch = commit(store, upsert("a", n=2, on=ref("h")), at_s=5.0)

    [change] = batch.changes
    assert (batch.from_seq, batch.to_seq, change.seq) == (3, 4, 4)
    assert (change.before, change.after) == (b'{"n":1}', b'{"n":2}')
    assert store.get(ref("a")).seq == 4
    assert batch.at_s == 5.0
    assert [change] == list(store.journal.since(3))


def test_an_addition_and_a_removal_carry_the_record(store):
    batch = commit(store, upsert("c", n=1), removal("b"))

    added, removed = batch.changes
    assert (added.before, added.after) == (None, b'{"uuid": "c", "n": 1}')
    assert (removed.before, removed.after) == (b'{"uuid": "b", "n": 1}', None)
    assert store.get(ref("b")) is None
    assert len(store) == 3


def test_what_equals_what_we_hold_is_no_change(store):
    same = store.get(ref("a"))
    reordered = Upsert(VM, ref("b"), b'{"n":1,"uuid":"b"}')
    prepared = store.prepare([Upsert(VM, same.ref, same.raw), reordered, removal("unknown")])
    prepared.step()
    batch = store.commit(prepared, 0)

    assert batch.changes == ()
    assert (prepared.event_count, prepared.unchanged_count) == (3, 3)
    assert store.seq == 3
    assert same is store.get(ref("a"))
    assert store.journal.batch_count == 0


def test_a_batch_without_changes_still_moves_the_token(store):
    assert commit(store, token="01,00").xapi_token == store.xapi_token == "01,00"
    assert commit(store).xapi_token == "01,00"


def test_nothing_is_seen_before_the_commit(store):
    prepared = store.prepare([upsert("a", n=2), removal("b"), upsert("c")])
    while prepared.step(1):
        pass

    assert b'"n": 1' in store.get(ref("a")).raw
    assert store.get(ref("b")) is not None
    assert store.get(ref("c")) is None
    assert store.seq == 3


def test_preparing_goes_in_steps(store):
    prepared = store.prepare(upsert(f"x{n}") for n in range(10))

    assert prepared.step(4)
    assert prepared.event_count == 4
    assert prepared.step(6)
    assert not prepared.step(1)
    assert prepared.event_count == 10


def test_two_preparations_at_once_are_refused(store):
    first, second = (store.prepare([upsert("a", n=n)]) for n in (2, 3))
    for prepared in (first, second):
        prepared.step()
    store.commit(first, 0)

    with pytest.raises(RuntimeError, match="only writer"):
        store.commit(second, 0)
    assert store.seq == 4


def test_a_record_cut_from_a_larger_reply_is_copied(store):
    reply = bytearray(b'[{"uuid":"c"}]')
    commit(store, Upsert(VM, ref("c"), memoryview(bytes(reply))[1:-1]))

    kept = store.get(ref("c")).raw
    assert type(kept) is bytes
    assert kept == b'{"uuid":"c"}'
    commit(store, Upsert(VM, ref("c"), memoryview(b'[{"uuid":"C"}]')[1:-1]))
    assert type(store.get(ref("c")).raw) is bytes


def test_only_what_is_new_is_checked_and_mended_records_are_kept(store):
    seen = []

    def checked(raw: bytes) -> bytes:
        seen.append(raw)
        return raw.replace(b"1e999", b"null").replace(b"\xff", b"?")

    def told(name: str, rest: bytes):
        raw = b'{"uuid":"%s","n":1,"on":"OpaqueRef:h"%s}' % (name.encode(), rest)
        prepared = store.prepare([Upsert(VM, ref(name), raw)], checked)
        prepared.step()
        return store.commit(prepared, 0).changes

    told("a", b',"x":1')
    assert seen == [b'{"x":1}'], "of a change, the changed values"
    told("a", b',"x":1')
    assert len(seen) == 1, "of what we hold, nothing"
    told("c", b',"x":1e999')
    assert json.loads(store.get(ref("c")).raw)["x"] is None
    told("a", b',"x":1e999')
    assert json.loads(store.get(ref("a")).raw)["x"] is None, "comparing it would have failed"
    told("a", b',"x":"\xff"')
    assert json.loads(store.get(ref("a")).raw)["x"] == "?"
    assert told("a", b',"x":"\xff"') == (), "mended alike, it is no change"


def test_an_object_keeps_its_key_while_it_lives(store):
    key = store.get(ref("a")).key
    commit(store, upsert("a", n=2))

    assert key == store.get(ref("a")).key
    assert store.by_class.get(VM, key) is store.get(ref("a"))


def test_an_object_that_comes_back_has_a_new_key(store):
    key = store.get(ref("a")).key
    commit(store, removal("a"))
    commit(store, upsert("a"))

    assert key != store.get(ref("a")).key


def test_a_later_event_of_the_same_object_wins_and_leaves_no_gap(store):
    batch = commit(
        store, upsert("a", n=2), upsert("b", n=5), upsert("c", n=1), upsert("a", n=3), removal("c")
    )

    assert [(ref("b"), 4), (ref("a"), 5)] == [(c.ref, c.seq) for c in batch.changes]
    assert [store.get(c.ref).seq for c in batch.changes] == [4, 5]
    assert b'"n": 3' in store.get(ref("a")).raw
    assert store.get(ref("c")) is None
    assert 5 == batch.to_seq == store.seq


def test_an_object_that_changes_and_changes_back_in_one_batch_is_no_change(store):
    raw = store.get(ref("a")).raw
    batch = commit(store, upsert("a", n=2), upsert("b", n=2), Upsert(VM, ref("a"), raw))

    assert [ref("b")] == [change.ref for change in batch.changes]
    assert store.get(ref("a")).raw == raw


def test_a_relist_changes_only_what_changed(store):
    batch = relist(store, [VM], upsert("a", n=1, on=ref("h")), upsert("c", n=1))

    assert [(ref("c"), True), (ref("b"), False)] == [
        (change.ref, change.after is not None) for change in batch.changes
    ]
    assert store.get(ref("h")) is not None
    assert {ref("a"), ref("c")} == {entry.ref for entry in store.entries(VM)}


def test_a_relist_of_an_empty_class_removes_all_of_it(store):
    relist(store, [VM])

    assert list(store.entries(VM)) == []
    assert [ref("h")] == [entry.ref for entry in store.entries(HOST)]


def test_who_refers_to_an_object_is_known_once_indexed(store):
    with pytest.raises(RuntimeError, match="not built"):
        store.referrers(ref("h"))
    for _ in store.index_references(1):
        pass
    assert {ref("a")} == set(store.referrers(ref("h")))

    commit(store, upsert("b", on=ref("h")), upsert("a", on=ref("NULL")))
    assert {ref("b")} == set(store.referrers(ref("h")))

    commit(store, removal("b"))
    assert set() == set(store.referrers(ref("h")))


def test_the_reference_index_is_right_though_the_pool_changes_meanwhile(store):
    commit(store, *(upsert(f"x{n}", on=ref("h")) for n in range(10)))
    steps = store.index_references(2)
    next(steps)
    commit(
        store, upsert("x0"), upsert("x9"), removal("x1"), removal("x8"), upsert("new", on=ref("h"))
    )
    for _ in steps:
        pass

    assert {ref("a"), ref("new"), *(ref(f"x{n}") for n in range(2, 8))} == set(
        store.referrers(ref("h"))
    )
    assert list(store.index_references()) == []


def test_keys_are_numbers_in_base_36():
    assert [key_text(n) for n in (0, 9, 10, 35, 36, 1295, 1296)] == [
        "0",
        "9",
        "a",
        "z",
        "10",
        "zz",
        "100",
    ]

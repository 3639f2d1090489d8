"""What goes with what."""

import json

import pytest

from xoproxy.cache.derivation import dependents, goes_with, with_anchors, with_dependents
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass


def ref(name):
    return Ref(f"OpaqueRef:{name}")


def upsert(cls, name, **fields):
    record = {"uuid": f"uuid-{name}", **fields}
    return Upsert(XapiClass(cls), ref(name), json.dumps(record).encode())


def commit(store, *events):
    prepared = store.prepare(events)
    while prepared.step():
        pass
    store.commit(prepared, 0.0)


@pytest.fixture
def store():
    store = Store(PoolId("p"), "epoch")
    commit(
        store,
        upsert("VM", "vm", metrics=ref("m"), guest_metrics=ref("g"), snapshot_of="OpaqueRef:NULL"),
        upsert("VM", "snapshot", snapshot_of=ref("vm"), current_operations={ref("task"): "x"}),
        upsert("VM", "other"),
        upsert("VBD", "vbd", VM=ref("vm"), metrics=ref("bm")),
        upsert("VDI", "vdi", VBDs=[ref("vbd"), ref("gone")]),
        upsert("VIF", "vif", VM=ref("vm")),
        upsert("VGPU", "vgpu", VM=ref("vm")),
        upsert("console", "console", VM=ref("vm")),
        upsert("VM_metrics", "m"),
        upsert("VM_guest_metrics", "g"),
        upsert("VBD_metrics", "bm"),
        upsert("message", "message", obj_uuid="uuid-vm"),
        upsert("task", "task"),
        upsert("SR", "sr"),
    )
    for _ in store.index_references():
        pass
    return store


WITH_VM = ["snapshot", "vbd", "vdi", "vif", "vgpu", "console", "m", "g", "bm", "message", "task"]


@pytest.mark.parametrize("name", WITH_VM)
def test_goes_with_the_vm(store, name):
    state = State(store, store.seq)
    assert ref("vm") in {entry.ref for entry in with_anchors(state, ref(name))}
    assert goes_with(state, store.get(ref(name)), lambda e: e.ref == ref("vm"))
    assert not goes_with(state, store.get(ref(name)), lambda e: e.ref == ref("other"))


def test_what_goes_with_nothing_is_by_itself(store):
    state = State(store, store.seq)
    assert [e.ref for e in with_anchors(state, ref("sr"))] == [ref("sr")]
    assert list(with_anchors(state, ref("gone"))) == []


def test_all_that_goes_with_an_object_is_found_from_it(store):
    """Step by step: whoever is an anchor names those whose anchor it is."""
    state = State(store, store.seq)
    found, queue = {ref("vm")}, [ref("vm")]
    while queue:
        entry = state.get(queue.pop())
        for dependent in dependents(state, entry) if entry is not None else ():
            if dependent not in found:
                found.add(dependent)
                queue.append(dependent)
    assert {ref(name) for name in WITH_VM} <= found


def test_snapshots_of_each_other_do_not_go_round_for_ever(store):
    commit(store, upsert("VM", "vm", snapshot_of=ref("snapshot")))
    state = State(store, store.seq)
    assert {e.ref for e in with_anchors(state, ref("vm"))} == {ref("vm"), ref("snapshot")}


def test_the_past_has_its_own_anchors(store):
    past = State(store, store.seq)
    commit(store, upsert("VBD", "vbd", VM=ref("other")), Removal(ref("vm")))
    now = State(store, store.seq)
    assert ref("vm") in {e.ref for e in with_anchors(past, ref("vdi"))}
    assert ref("vm") in {e.ref for e in with_anchors(past, ref("message"))}
    assert [e.ref for e in with_anchors(now, ref("message"))] == [ref("message")]
    assert ref("other") in {e.ref for e in with_anchors(now, ref("vdi"))}


def test_what_goes_with_an_object_goes_with_it_at_any_remove(store):
    state = State(store, store.seq)
    vm = state.get(ref("vm"))
    assert vm is not None
    assert {ref(name) for name in WITH_VM} <= set(with_dependents(state, vm))
    assert ref("vdi") not in set(dependents(state, vm)), "it goes with the disk's device only"

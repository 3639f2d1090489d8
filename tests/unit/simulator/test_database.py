"""The database: stamps, both sides of relations, tombstones, and going back."""

import pytest

from xoproxy.simulator.database import MESSAGE_LIMIT, Database, RowMissingError, Write
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.wiretypes import EPOCH, NULL

VM, HOST, VDI = "OpaqueRef:vm", "OpaqueRef:host", "OpaqueRef:vdi"
ESTATE = {
    "VM": {VM: {"uuid": "vm-uuid", "name_label": "one", "resident_on": HOST}},
    "host": {HOST: {"uuid": "host-uuid", "hostname": "h"}},
    "VDI": {VDI: {"uuid": "vdi-uuid"}},
}


@pytest.fixture
def db() -> Database:
    database = Database(DataModel.load())
    database.load(ESTATE)
    return database


def stamps(db: Database, cls: str, ref: str) -> tuple[int, int]:
    row = db.row(cls, ref)
    return row.created, row.modified


def test_load_fills_in_what_the_model_knows(db: Database):
    record = db.record("VM", VM)

    assert set(record) == set(db.model.classes["VM"].fields)
    assert record["power_state"] == "Halted"
    assert record["snapshot_time"] == EPOCH
    assert record["affinity"] == NULL
    assert record["VBDs"] == []


def test_load_derives_the_other_side_of_relations(db: Database):
    assert db.get("host", HOST, "resident_VMs") == [VM]


def test_load_corrects_a_derived_side_and_keeps_its_order():
    db = Database(DataModel.load())
    vms = {ref: {"resident_on": HOST} for ref in ("a", "b", "c")}
    db.load({"VM": vms, "host": {HOST: {"resident_VMs": ["c", "gone", "a"]}}})

    assert db.get("host", HOST, "resident_VMs") == ["c", "a", "b"]


def test_load_ignores_classes_and_fields_that_the_model_lacks():
    db = Database(DataModel.load())
    db.load({"no_such_class": {"r": {}}, "VM": {VM: {"no_such_field": 1}}})

    assert "no_such_field" not in db.record("VM", VM)


def test_load_takes_given_stamps_and_goes_on_behind_them():
    db = Database(DataModel.load())
    db.load(ESTATE, {VM: (3, 40)}, generation=7)

    assert stamps(db, "VM", VM) == (3, 40)
    assert stamps(db, "host", HOST) == (7, 7)
    assert db.generation == 41


def test_load_makes_floats_of_ints():
    db = Database(DataModel.load())
    db.load({"VM": {VM: {"HVM_shadow_multiplier": 2}}})

    assert type(db.get("VM", VM, "HVM_shadow_multiplier")) is float


def test_a_write_stamps_the_row_and_raises_the_generation_by_one(db: Database):
    before = db.generation

    assert db.write("VM", VM, "name_label", "two")
    assert stamps(db, "VM", VM) == (1, before)
    assert db.generation == before + 1


def test_an_equal_write_leaves_no_trace(db: Database):
    before = db.generation, stamps(db, "VM", VM)

    assert not db.write("VM", VM, "name_label", "one")
    assert not db.write("VM", VM, "tags", [])
    assert before == (db.generation, stamps(db, "VM", VM))


def test_equality_is_strict_about_types(db: Database):
    db.write("VM", VM, "user_version", 1)

    assert db.write("VM", VM, "user_version", value=True)


def test_a_set_in_another_order_is_another_value(db: Database):
    db.write("VM", VM, "tags", ["a", "b"])

    assert db.write("VM", VM, "tags", ["b", "a"])


def test_values_are_never_changed_in_place(db: Database):
    vm = db.create("VM", {})
    disks = db.get("VM", vm, "VBDs")
    db.create("VBD", {"VM": vm})

    assert disks == []
    assert len(db.get("VM", vm, "VBDs")) == 1


def test_text_is_cut_where_xml_cannot_hold_it(db: Database):
    db.write("VM", VM, "name_label", "good\x01lost")

    assert db.get("VM", VM, "name_label") == "good"


def test_creating_touches_the_other_side_with_the_same_stamp(db: Database):
    before = db.generation
    vbd = db.create("VBD", {"VM": VM, "VDI": VDI})

    assert stamps(db, "VBD", vbd) == (before, before)
    assert stamps(db, "VM", VM)[1] == before
    assert stamps(db, "VDI", VDI)[1] == before
    assert db.generation == before + 1
    assert db.get("VM", VM, "VBDs") == [vbd]


def test_newer_references_come_first_in_a_derived_set(db: Database):
    first, second = (db.create("VIF", {"VM": VM}) for _ in range(2))

    assert db.get("VM", VM, "VIFs") == [second, first]


def test_moving_a_reference_changes_the_old_and_the_new_target(db: Database):
    other = db.create("host", {})
    db.write("VM", VM, "resident_on", other)

    assert db.get("host", HOST, "resident_VMs") == []
    assert db.get("host", other, "resident_VMs") == [VM]
    assert stamps(db, "host", HOST)[1] == stamps(db, "host", other)[1] == db.generation - 1


def test_destroying_the_pointing_side_updates_the_derived_set(db: Database):
    vbd = db.create("VBD", {"VM": VM})
    db.destroy("VBD", vbd)

    assert db.get("VM", VM, "VBDs") == []


def test_destroying_the_target_leaves_the_reference_dangling_and_unstamped(db: Database):
    appliance = db.create("VM_appliance", {})
    db.write("VM", VM, "appliance", appliance)
    before = stamps(db, "VM", VM)
    db.destroy("VM_appliance", appliance)

    assert db.get("VM", VM, "appliance") == appliance
    assert stamps(db, "VM", VM) == before


def test_a_reference_to_nothing_is_accepted(db: Database):
    assert db.write("VM", VM, "resident_on", "OpaqueRef:nothing")


def test_many_to_many_is_kept_on_both_sides(db: Database):
    group = db.create("VM_group", {})
    db.write("VM", VM, "groups", [group])
    assert db.get("VM_group", group, "VMs") == [VM]

    db.write("VM", VM, "groups", [])
    assert db.get("VM_group", group, "VMs") == []


def test_derived_fields_cannot_be_written(db: Database):
    with pytest.raises(ValueError, match="other side"):
        db.write("VM", VM, "VBDs", [])


def test_a_missing_row_is_named(db: Database):
    with pytest.raises(RowMissingError) as caught:
        db.get("VM", "OpaqueRef:bad", "name_label")
    assert (caught.value.cls, caught.value.ref) == ("VM", "OpaqueRef:bad")


def test_lookup_by_uuid_follows_creation_writes_and_destruction(db: Database):
    ref = db.create("network", {})
    old = db.get("network", ref, "uuid")
    db.write("network", ref, "uuid", "new")
    assert (db.by_uuid("network", old), db.by_uuid("network", "new")) == (None, ref)

    db.destroy("network", ref)
    assert db.by_uuid("network", "new") is None


@pytest.mark.parametrize(("destroyed", "kept"), [(511, 511), (512, 257), (600, 345), (766, 511)])
def test_tombstones_are_cut_when_the_list_is_full(db: Database, destroyed: int, kept: int):
    refs = [db.create("network", {}) for _ in range(destroyed)]
    for ref in refs:
        db.destroy("network", ref)

    stones = db.tables["network"].tombstones
    assert [s.ref for s in stones] == refs[-kept:]


def test_a_tombstone_knows_when_the_row_lived(db: Database):
    created = db.generation
    ref = db.create("network", {})
    deleted = db.generation
    db.destroy("network", ref)

    stone = db.tables["network"].tombstones[-1]
    assert (stone.ref, stone.created, stone.deleted) == (ref, created, deleted)


def test_touch_costs_two_generations_and_changes_nothing(db: Database):
    before, record = db.generation, db.record("VM", VM)
    db.touch("VM", VM)

    assert db.generation == before + 2
    assert stamps(db, "VM", VM)[1] == before
    assert db.record("VM", VM) == record


def test_rows_stand_in_the_order_of_their_changes(db: Database):
    other = db.create("VM", {})
    db.write("VM", VM, "name_label", "latest")

    assert db.refs("VM") == [other, VM]


def test_an_encoding_is_forgotten_when_the_row_changes_on_either_side(db: Database):
    db.row("VM", VM).wire["json"] = b"old"
    db.create("VBD", {"VM": VM})

    assert db.row("VM", VM).wire == {}


def test_observers_see_each_write_and_the_other_side(db: Database):
    seen: list[Write] = []
    db.observers.append(seen.append)
    vbd = db.create("VBD", {"VM": VM})
    db.destroy("VBD", vbd)

    told = [(w.op, w.cls, w.row.ref) for w in seen]
    assert told == [
        ("add", "VBD", vbd),
        ("mod", "VM", VM),
        ("del", "VBD", vbd),
        ("mod", "VM", VM),
    ]


def test_waiters_are_called_once_for_each_real_change(db: Database):
    calls = []
    db.changed.append(lambda: calls.append(1))
    db.write("VM", VM, "name_label", "one")
    db.write("VM", VM, "name_label", "two")

    assert len(calls) == 1


def test_messages_keep_their_newest_and_bury_the_rest(db: Database):
    first = db.message_create("N", 3, "VM", "vm-uuid", "body")
    for _ in range(MESSAGE_LIMIT):
        db.message_create("N", 3, "VM", "vm-uuid", "body")

    assert db.count("message") == MESSAGE_LIMIT
    assert not db.exists("message", first)
    assert [s.ref for s in db.tables["message"].tombstones] == [first]


def test_a_snapshot_is_not_touched_by_later_writes(db: Database):
    snapshot = db.snapshot()
    before = db.generation
    db.write("VM", VM, "name_label", "later")
    db.create("VBD", {"VM": VM})
    db.restore(snapshot)

    assert db.generation == before
    assert db.get("VM", VM, "name_label") == "one"
    assert db.get("VM", VM, "VBDs") == []
    assert db.count("VBD") == 0


def test_rewind_takes_back_every_kind_of_change(db: Database):
    keep = db.create("VBD", {"VM": VM, "uuid": "keep"})
    expected = db.generation, db.record("VM", VM), db.record("VBD", keep), stamps(db, "VM", VM)
    db.write("VM", VM, "name_label", "later")
    made = db.create("VBD", {"VM": VM})
    db.write("VBD", keep, "uuid", "changed")
    db.destroy("VBD", keep)

    assert db.rewind(4) == 4
    assert not db.exists("VBD", made)
    assert expected == (
        db.generation,
        db.record("VM", VM),
        db.record("VBD", keep),
        stamps(db, "VM", VM),
    )
    assert db.by_uuid("VBD", "keep") == keep


def test_rewind_goes_no_further_than_it_knows(db: Database):
    db.write("VM", VM, "name_label", "later")

    assert db.rewind(100) == 1
    assert db.get("VM", VM, "name_label") == "one"


def test_reindex_stamps_the_classes_with_derived_fields_and_forgets_deletions(db: Database):
    metrics = db.create("VM_metrics", {})
    gone = db.create("network", {})
    db.destroy("network", gone)
    session = db.create("session", {})
    task = db.create("task", {})
    before = stamps(db, "VM_metrics", metrics)
    db.reindex()

    assert stamps(db, "VM", VM) == (db.generation - 1, db.generation - 1)
    assert stamps(db, "VM_metrics", metrics) == before
    assert not any(table.tombstones for table in db.tables.values())
    assert not db.exists("session", session)
    assert not db.exists("task", task)

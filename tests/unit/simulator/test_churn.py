"""Churn: believable changes, as many as asked, that leave the pool in order."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import shared_files, skip_or_fail
from xoproxy.simulator.churn import Churn, run
from xoproxy.simulator.database import Database, Write
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dumps import load_estate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.lifecycle import Power, Writes
from xoproxy.simulator.wiretypes import MapType, RefType, SetType, WireType

MODEL = DataModel.load()
NULL = "OpaqueRef:NULL"
LOST_AT_RESTARTS = {("VBD", "metrics"), ("VIF", "metrics")}  # those rows do not persist


def small_pool(seed: int = 1) -> Database:
    database = Database(MODEL)
    database.load(generate(2, 12, seed))
    return database


def references(kind: WireType, value: object) -> Iterator[tuple[str, str]]:
    match kind:
        case RefType(target):
            yield target, str(value)
        case SetType(item):
            assert isinstance(value, list)
            for member in value:
                yield from references(item, member)
        case MapType(key, item):
            assert isinstance(value, dict)
            for name, member in value.items():
                yield from references(key, name)
                yield from references(item, member)
        case _:
            pass


def dangling(database: Database) -> set[tuple[str, str, str]]:
    return {
        (cls, name, ref)
        for cls, table in database.tables.items()
        for row in table.rows.values()
        for name, field in table.model.fields.items()
        for target, ref in references(field.type, row.fields[name])
        if ref != NULL and target in database.tables and not database.exists(target, ref)
    }


def disorder(database: Database) -> list[str]:
    """Name what a pool never shows, not even for a moment."""
    found = []
    for ref in database.refs("VM"):
        vm = database.record("VM", ref)
        if vm["power_state"] in ("Running", "Paused"):
            if not database.exists("host", vm["resident_on"]):
                found.append(f"{vm['name_label']} is {vm['power_state']} on no host")
        elif vm["consoles"] and vm["resident_on"] == NULL and not vm["current_operations"]:
            found.append(f"{vm['name_label']} has a console and no host")
        lost = [task for task in vm["current_operations"] if not database.exists("task", task)]
        found += [f"{vm['name_label']}: no task {task}" for task in lost]
    for ref in database.refs("host_metrics"):
        metrics = database.record("host_metrics", ref)
        if not 0 <= metrics["memory_free"] <= metrics["memory_total"]:
            found.append(f"memory of {ref}")
    return found


def state(database: Database) -> dict:
    records = {
        cls: {ref: database.record(cls, ref) for ref in database.refs(cls)}
        for cls in database.tables
    }
    for message in records["message"].values():
        del message["uuid"]  # made up by the database
    return records


@given(seed=st.integers(0, 2**32), lifecycle=st.booleans())
@settings(max_examples=8, deadline=None)
def test_no_step_leaves_the_pool_in_disorder(*, seed: int, lifecycle: bool) -> None:
    database = small_pool(seed % 5)
    churn = Churn(database, seed, lifecycle=lifecycle)
    for number in range(300):
        generation = database.generation
        assert churn.step() == database.generation - generation > 0
        if number % 10 == 0:
            assert dangling(database) == set()
            assert disorder(database) == []


def test_the_same_seed_makes_the_same_changes() -> None:
    def after(seed: int) -> dict:
        database = small_pool()
        churn = Churn(database, seed, lifecycle=True, clock=lambda: "20260101T00:00:00Z")
        for _ in range(1500):
            churn.step()
        return state(database)

    assert after(4) == after(4)
    assert after(4) != after(5)


def test_changes_are_of_all_kinds() -> None:
    database = small_pool()
    seen: Counter[tuple[str, str]] = Counter()
    database.observers.append(lambda write: seen.update([(write.op, write.cls)]))
    power_states = set()
    churn = Churn(database, lifecycle=True)
    for _ in range(6000):
        churn.step()
        power_states |= {database.get("VM", vm, "power_state") for vm in database.refs("VM")}
    assert power_states == {"Running", "Halted", "Suspended", "Paused"}
    wanted = {
        *(("mod", cls) for cls in ("VM", "VM_metrics", "VM_guest_metrics", "host", "host_metrics")),
        *(("mod", cls) for cls in ("SR", "VDI", "VBD", "VIF", "network", "task")),
        *((op, cls) for op in ("add", "del") for cls in ("task", "console", "VM", "VDI", "VBD")),
        *((op, cls) for op in ("add", "del") for cls in ("VIF", "VM_metrics", "VM_guest_metrics")),
        ("add", "message"),
    }
    assert wanted <= seen.keys()


def test_without_lifecycle_no_machine_or_disk_comes_or_goes() -> None:
    database = small_pool()
    vms = set(database.refs("VM"))
    disks = {ref for ref in database.refs("VDI") if database.get("VDI", ref, "type") == "user"}
    churn = Churn(database)
    for _ in range(3000):
        churn.step()
    assert vms == set(database.refs("VM"))
    assert disks <= set(database.refs("VDI"))


def test_with_lifecycle_the_number_of_machines_stays_about_the_same() -> None:
    database = small_pool()
    before = database.count("VM")
    churn = Churn(database, lifecycle=True)
    counts = []
    for _ in range(8000):
        churn.step()
        counts.append(database.count("VM"))
    assert before * 0.6 < min(counts) <= max(counts) < before * 1.4
    assert len(set(counts)) > 3


def test_a_start_shows_in_the_order_of_a_real_pool() -> None:
    database = small_pool()
    order: dict[str, list[str]] = {}
    last: dict[str, dict] = {vm: database.record("VM", vm) for vm in database.refs("VM")}

    def observe(write: Write) -> None:
        if write.cls == "VM" and write.op == "mod":
            before = last.get(write.row.ref, {})
            changed = [f for f, v in write.row.fields.items() if v != before.get(f)]
            if write.row.fields["current_operations"] != before.get("current_operations"):
                changed.append("/".join(write.row.fields["current_operations"].values()) or "done")
            order.setdefault(write.row.ref, []).extend(changed)
            last[write.row.ref] = dict(write.row.fields)

    database.observers.append(observe)
    churn = Churn(database)
    for _ in range(4000):
        churn.step()
    starts = [
        fields[fields.index("start") : fields.index("done", fields.index("start"))]
        for fields in order.values()
        if "start" in fields and "done" in fields[fields.index("start") :]
    ]
    assert starts
    wanted = ["scheduled_to_be_resident_on", "resident_on", "power_state", "guest_metrics", "domid"]
    for seen in starts:
        places = [seen.index(field) for field in wanted]
        assert places == sorted(places)
        assert "consoles" in seen[places[-1] :]


@pytest.mark.parametrize("limit", [1, 7, 39, 40, 200, 1000])
def test_a_limited_churn_ends_with_nothing_half_done(limit: int) -> None:
    database = small_pool()
    churn = Churn(database, lifecycle=True)
    done = 0
    while done < limit:
        done += churn.step(limit - done)
    assert limit <= done <= limit + 3
    assert len(churn) == 0
    assert database.count("task") == 0
    for vm in database.refs("VM"):
        assert database.get("VM", vm, "current_operations") == {}
        assert database.get("VM", vm, "allowed_operations")


def test_it_goes_on_when_objects_are_taken_away_under_it() -> None:
    database = small_pool()
    churn = Churn(database, lifecycle=True)
    for number in range(3000):
        churn.step()
        if number % 50 == 25:
            for task in database.refs("task"):
                database.destroy("task", task)
        if number % 500 == 499:
            database.reindex()
            Power(Writes(database, random.Random(1))).recover()
    remaining = 300
    while remaining > 0:
        remaining -= churn.step(remaining)
    assert disorder(database) == []
    assert {found[:2] for found in dangling(database)} <= LOST_AT_RESTARTS


def test_it_goes_on_after_the_database_went_back() -> None:
    database = small_pool()
    churn = Churn(database, lifecycle=True)
    for _ in range(10):
        for _ in range(300):
            churn.step()
        database.rewind(120)
        database.reindex()
        Power(Writes(database, random.Random(1))).recover()
    remaining = 300
    while remaining > 0:
        remaining -= churn.step(remaining)
    assert disorder(database) == []
    assert {found[:2] for found in dangling(database)} <= LOST_AT_RESTARTS


@pytest.mark.parametrize("path", shared_files("recorded/xenadmin", "*"), ids=lambda path: path.name)
def test_dumps_can_be_changed_too(path: Path) -> None:
    if not path.exists():
        skip_or_fail("the recorded dumps are not there")
    loaded = load_estate(path)
    database = Database(MODEL)
    database.load(loaded.estate, loaded.stamps, loaded.generation)
    before = dangling(database)
    churn = Churn(database, lifecycle=True)
    changes = 0
    while changes < 2000:
        changes += churn.step(2000 - changes)
    assert len(churn) == 0
    assert disorder(database) == []
    assert {name for _, name, _ in dangling(database)} <= {name for _, name, _ in before}
    for cls, table in database.tables.items():
        for row in table.rows.values():
            for name, field in table.model.fields.items():
                assert field.type.accept(row.fields[name]) == row.fields[name], (cls, name)


def test_an_all_but_empty_database_changes_too() -> None:
    database = Database(MODEL)
    database.load({"pool": {"OpaqueRef:p": {"uuid": "p"}}})
    churn = Churn(database)
    assert all(churn.step() > 0 for _ in range(20))


def test_a_database_without_anything_stays_as_it_is() -> None:
    database = Database(MODEL)
    database.load({})
    assert Churn(database).step() == 0


# -- the rate ------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(("rate", "seconds"), [(0.2, 25), (1, 10), (30, 10), (2000, 0.5)])
async def test_the_rate_is_kept(rate: float, seconds: float) -> None:
    database = small_pool()
    before = database.generation
    start = asyncio.get_running_loop().time()
    done = await run(Churn(database), rate, seconds)
    assert done == database.generation - before
    assert done == pytest.approx(rate * seconds, abs=2)
    assert asyncio.get_running_loop().time() - start == pytest.approx(seconds, rel=0.25)


@pytest.mark.looptime
async def test_delays_are_made_up_for() -> None:
    database = small_pool()
    before = database.generation
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(Churn(database), 100))
        await asyncio.sleep(10)
        assert database.generation - before == pytest.approx(1000, abs=5)
        task.cancel()

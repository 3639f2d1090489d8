"""What is measured follows from what the database says."""

import pytest

from tests.shared import shared_files, shared_path
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dumps import load_estate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.statistics.choice import Statistics, UnknownSourceError, source_of
from xoproxy.simulator.statistics.sources import Measured, last_run, srs_on, vms_on

STATISTICS = Statistics(seed=3)


@pytest.fixture(scope="module")
def db() -> Database:
    database = Database(DataModel.load())
    database.load(generate(2, 40, seed=5))
    return database


def names(measured: Measured) -> list[str]:
    return [source.name for source in measured.sources]


def bounds(measured: Measured, name: str) -> tuple[float, float]:
    source = source_of(measured, name)
    return source.low, source.low + source.span


def running_vm(db: Database) -> str:
    """Find a plain running VM with tools, a disk and a NIC."""
    return next(
        ref
        for host in db.refs("host")
        for ref in vms_on(db, host)
        if not db.get("VM", ref, "is_control_domain")
        and db.exists("VM_guest_metrics", db.get("VM", ref, "guest_metrics"))
    )


def test_a_vm_has_a_source_for_each_vcpu_and_each_attached_device(db):
    vm = running_vm(db)
    measured = STATISTICS.measure(db, "VM", vm)
    metrics = db.get("VM", vm, "metrics")
    vcpus = db.get("VM_metrics", metrics, "VCPUs_number")
    disks = {
        db.get("VBD", vbd, "device")
        for vbd in db.get("VM", vm, "VBDs")
        if not db.get("VBD", vbd, "empty")
    }

    found = names(measured)

    assert [n for n in found if n.startswith("cpu")] == [f"cpu{i}" for i in range(vcpus)]
    assert {n.split("_")[1] for n in found if n.startswith("vbd_")} == disks
    assert {n for n in found if n.startswith("vif_0")} >= {"vif_0_rx", "vif_0_tx"}
    assert len(found) == len(set(found))


def test_a_device_that_is_unplugged_is_measured_no_more(db):
    vm = running_vm(db)
    vif = db.get("VM", vm, "VIFs")[0]
    device = db.get("VIF", vif, "device")
    db.write("VIF", vif, "currently_attached", value=False)
    try:
        assert f"vif_{device}_rx" not in names(STATISTICS.measure(db, "VM", vm))
        assert f"vif_{device}_rx" in names(STATISTICS.measure(db, "VM", vm, ran=True))
    finally:
        db.write("VIF", vif, "currently_attached", value=True)


def test_memory_is_what_the_database_says(db):
    vm = running_vm(db)
    measured = STATISTICS.measure(db, "VM", vm)
    target = db.get("VM", vm, "memory_target")
    actual = db.get("VM_metrics", db.get("VM", vm, "metrics"), "memory_actual")

    assert bounds(measured, "memory_target") == (target, target)
    assert bounds(measured, "memory") == (actual, actual)
    low, high = bounds(measured, "memory_internal_free")
    assert 0 < low < high < target / 1024


def test_a_host_is_described_by_its_own_facts(db):
    host = db.refs("host")[0]
    measured = STATISTICS.measure(db, "host", host)
    total = db.get("host_metrics", db.get("host", host, "metrics"), "memory_total") / 1024
    physical = {
        db.get("PIF", pif, "device")
        for pif in db.get("host", host, "PIFs")
        if db.get("PIF", pif, "physical")
    }

    assert bounds(measured, "memory_total_kib") == (total, total)
    assert {n for n in names(measured) if n.startswith("pif_") and n.endswith("_rx")} == {
        *(f"pif_{device}_rx" for device in physical),
        "pif_aggr_rx",
    }
    for sr in srs_on(db, host):
        short = db.get("SR", sr, "uuid")[:8]
        assert f"io_throughput_total_{short}" in names(measured)
        assert f"latency_{short}" in names(measured)
    assert len(names(measured)) == len(set(names(measured)))


def test_totals_and_means_agree_with_their_parts_in_both_bounds(db):
    host = STATISTICS.measure(db, "host", db.refs("host")[0])
    vm = STATISTICS.measure(db, "VM", running_vm(db))
    disk = next(n for n in names(vm) if n.endswith("_io_throughput_total")).removesuffix("total")

    def added(measured: Measured, parts: list[str]) -> list[float]:
        both = [bounds(measured, part) for part in parts]
        return [sum(low for low, _ in both), sum(high for _, high in both)]

    cpus = [n for n in names(host) if n.startswith("cpu") and n != "cpu_avg"]
    mean = [value / len(cpus) for value in added(host, cpus)]
    assert bounds(host, "cpu_avg") == pytest.approx(mean)
    nics = [n for n in names(host) if n.startswith("pif_eth") and n.endswith("_tx")]
    assert bounds(host, "pif_aggr_tx") == pytest.approx(added(host, nics))
    parts = [disk + "read", disk + "write"]
    assert bounds(vm, disk + "total") == pytest.approx(added(vm, parts))
    states = [n for n in names(vm) if n.startswith("runstate_")]
    assert added(vm, states) == pytest.approx([1.0, 1.0])


def test_everything_stays_within_what_its_kind_allows(db):
    objects = [("host", ref) for ref in db.refs("host")]
    objects += [("VM", ref) for host in db.refs("host") for ref in vms_on(db, host)]
    objects += [("SR", ref) for ref in db.refs("SR")]
    for cls, ref in objects:
        for source in STATISTICS.measure(db, cls, ref).sources:
            reached = sorted((source.low, source.low + source.span))
            assert 0 <= reached[0] <= reached[1] <= source.kind.maximum, source


def test_a_series_begins_when_its_vm_started(db):
    vm = running_vm(db)
    metrics = db.get("VM", vm, "metrics")
    before = db.get("VM_metrics", metrics, "start_time")
    db.write("VM_metrics", metrics, "start_time", "20260401T12:00:02Z")
    try:
        first = STATISTICS.measure(db, "VM", vm).activity.first_slot
    finally:
        db.write("VM_metrics", metrics, "start_time", before)

    assert first * 5 == 1_775_044_805  # the first whole step after 12:00:02


def test_what_claims_to_have_begun_in_the_future_is_not_believed(db):
    host = db.refs("host")[0]
    before = db.get("host", host, "other_config")
    db.write("host", host, "other_config", {**before, "boot_time": "99999999999."})
    try:
        assert STATISTICS.measure(db, "host", host).activity.first_slot == 0
    finally:
        db.write("host", host, "other_config", before)


def test_the_end_of_a_vm_is_told_by_the_pools_messages():
    database = Database(DataModel.load())
    record = {"uuid": "u", "metrics": "m"}
    database.load({"VM": {"v": record}, "VM_metrics": {"m": {}}})
    assert last_run(database, "v") is None  # it never ran

    database.write("VM_metrics", "m", "start_time", "20260401T12:00:00Z")
    for name, timestamp in (
        ("VM_SHUTDOWN", "20260401T13:00:00Z"),
        ("VM_SHUTDOWN", "20260401T14:00:00Z"),
        ("VM_CLONED", "20260401T15:00:00Z"),
    ):
        database.message_create(name, 5, "VM", "u", "", timestamp=timestamp)

    assert last_run(database, "v") == 1_775_052_000


def test_what_is_archived_can_be_chosen(db):
    statistics = Statistics()
    measured = statistics.measure(db, "VM", running_vm(db))
    assert "cpu0" in names(statistics.archived(measured))
    assert "runstate_blocked" not in names(statistics.archived(measured))

    statistics.record(measured, "runstate_blocked")
    statistics.forget(measured, "cpu0")

    assert "cpu0" not in names(statistics.archived(measured))
    assert "runstate_blocked" in names(statistics.archived(measured))
    with pytest.raises(UnknownSourceError):
        statistics.record(measured, "nope")


@pytest.mark.parametrize("path", shared_files("recorded/xenadmin", "*"), ids=lambda p: p.name)
def test_hosts_of_recorded_pools_are_measured(path):
    shared_path(f"recorded/xenadmin/{path.name}")
    database = Database(DataModel.load())
    database.load(load_estate(path).estate)
    for host in database.refs("host"):
        objects = [("host", host)]
        objects += [("VM", ref) for ref in vms_on(database, host)]
        objects += [("SR", ref) for ref in srs_on(database, host)]
        for cls, ref in objects:
            found = names(STATISTICS.measure(database, cls, ref))
            assert len(found) == len(set(found)) > 0

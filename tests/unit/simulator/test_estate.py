"""Generated estates: the same for the same seed, whole, and believable."""

import json
import re
import statistics

import pytest

from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.estate import Estate, generate
from xoproxy.simulator.estate.names import PLACES
from xoproxy.simulator.rules import RULES, allowed
from xoproxy.simulator.wiretypes import MapType, RefType, SetType, WireType

MODEL = DataModel.load()
NULL = "OpaqueRef:NULL"


def loaded(estate: Estate) -> Database:
    database = Database(MODEL)
    database.load(estate)
    return database


@pytest.fixture(scope="module")
def database() -> Database:
    return loaded(generate(3, 80, 7, "Testpool"))


def records(database: Database, cls: str) -> list[dict]:
    return [database.record(cls, ref) for ref in database.refs(cls)]


def plain_vms(database: Database) -> list[dict]:
    return [
        vm
        for vm in records(database, "VM")
        if not (vm["is_a_template"] or vm["is_control_domain"] or vm["is_a_snapshot"])
    ]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert json.dumps(generate(2, 30, 5)) == json.dumps(generate(2, 30, 5))
    assert json.dumps(generate(2, 30, 5)) != json.dumps(generate(2, 30, 6))


@pytest.mark.parametrize(("hosts", "vms"), [(1, 0), (1, 1), (5, 9), (40, 3)])
def test_it_has_as_many_hosts_and_vms_as_asked(hosts: int, vms: int) -> None:
    database = loaded(generate(hosts, vms, 3))
    assert hosts == database.count("host")
    assert vms == len(plain_vms(database))
    assert hosts == sum(vm["is_control_domain"] for vm in records(database, "VM"))


@pytest.mark.parametrize(("hosts", "vms"), [(0, 5), (1, -1)])
def test_impossible_numbers_are_refused(hosts: int, vms: int) -> None:
    with pytest.raises(ValueError, match="at least 1 host"):
        generate(hosts, vms)


def test_only_classes_and_fields_of_the_model_are_written() -> None:
    for cls, objects in generate(2, 40).items():
        for record in objects.values():
            assert set(record) <= set(MODEL.classes[cls].fields), cls


def test_every_value_has_the_type_of_the_model(database: Database) -> None:
    for cls in database.tables:
        for record in records(database, cls):
            for name, field in MODEL.classes[cls].fields.items():
                accepted = field.type.accept(record[name])
                assert accepted == record[name]
                assert type(accepted) is type(record[name]), (cls, name)


def test_every_reference_leads_to_an_object(database: Database) -> None:
    def check(kind: WireType, value: object, where: str) -> None:
        match kind:
            case RefType(target):
                assert value == NULL or database.exists(target, str(value)), where
            case SetType(item):
                assert isinstance(value, list)
                for member in value:
                    check(item, member, where)
            case MapType(key, item):
                assert isinstance(value, dict)
                for name, member in value.items():
                    check(key, name, where)
                    check(item, member, where)
            case _:
                pass

    for cls, table in database.tables.items():
        for record in records(database, cls):
            for name, field in table.model.fields.items():
                check(field.type, record[name], f"{cls}.{name}")


def test_uuids_are_unique_and_well_formed(database: Database) -> None:
    uuids = [r["uuid"] for cls in database.tables for r in records(database, cls) if "uuid" in r]
    assert len(uuids) == len(set(uuids))
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) for uuid in uuids)


def test_the_pool_is_called_as_asked_or_after_its_city() -> None:
    def name(estate: Estate) -> str:
        (pool,) = estate["pool"].values()
        return str(pool["name_label"])

    assert name(generate(1, 0, name="Mein Pool")) == "Mein Pool"
    assert name(generate(1, 0)) in PLACES.values()
    assert len({name(generate(1, 0, seed)) for seed in range(20)}) > 3


def test_about_seventy_percent_of_the_vms_run() -> None:
    vms = plain_vms(loaded(generate(4, 1000)))
    running = sum(vm["power_state"] == "Running" for vm in vms)
    assert 0.65 < running / len(vms) < 0.75
    assert {"Running", "Halted", "Suspended", "Paused"} == {vm["power_state"] for vm in vms}


def test_living_vms_stand_on_a_host_and_the_others_do_not(database: Database) -> None:
    for vm in plain_vms(database):
        alive = vm["power_state"] in ("Running", "Paused")
        assert alive == (vm["resident_on"] != NULL)
        assert alive == (vm["domid"] > 0)
        assert alive == bool(vm["consoles"])
        metrics = database.record("VM_metrics", vm["metrics"])
        assert alive == (metrics["memory_actual"] > 0)
        for ref in vm["VBDs"]:
            assert database.get("VBD", ref, "currently_attached") == (vm["power_state"] != "Halted")


def test_guests_fit_into_the_memory_of_their_hosts(database: Database) -> None:
    for host in records(database, "host"):
        metrics = database.record("host_metrics", host["metrics"])
        assert 0 < metrics["memory_free"] < metrics["memory_total"]


def test_it_holds_what_pools_hold(database: Database) -> None:
    classes = """Bond Certificate GPU_group PBD PCI PGPU PIF PIF_metrics SM SR VBD VDI VIF VLAN VM
        VM_appliance VM_group VM_guest_metrics VM_metrics console host host_cpu host_metrics message
        network pool user"""
    assert [cls for cls in classes.split() if not database.count(cls)] == []
    assert database.count("pool") == 1
    assert 20 <= sum(vm["is_default_template"] for vm in records(database, "VM")) <= 60
    assert {"ext", "nfs", "lvmoiscsi", "iso", "udev"} == {
        sr["type"] for sr in records(database, "SR")
    }
    assert sum(sr["is_tools_sr"] for sr in records(database, "SR")) == 1
    snapshots = [vm for vm in records(database, "VM") if vm["is_a_snapshot"]]
    assert snapshots
    assert all(vm["VBDs"] and vm["snapshot_metadata"] for vm in snapshots)
    assert any(vm["tags"] for vm in plain_vms(database))
    assert any(not vm["name_label"].isascii() for vm in plain_vms(database))


def test_hosts_have_addresses_of_their_own_and_the_first_one_leads(database: Database) -> None:
    addresses = [host["address"] for host in records(database, "host")]
    assert len(set(addresses)) == 3
    assert all(address.startswith("10.") for address in addresses)
    master = records(database, "pool")[0]["master"]
    assert database.get("host", master, "address") == addresses[0]


def test_fields_that_clients_read_without_a_guard_are_there(database: Database) -> None:
    (pool,) = records(database, "pool")
    assert {"cpu_count", "socket_count"} <= pool["cpu_info"].keys()
    assert pool["restrictions"]
    for host in records(database, "host"):
        version = {"product_version", "product_brand", "platform_version", "build_number"}
        assert version <= host["software_version"].keys()
        assert {"boot_time", "agent_start_time"} <= host["other_config"].keys()
        assert host["license_params"]
        assert host["chipset_info"]
        assert host["cpu_info"]
    for vm in plain_vms(database):
        assert "cores-per-socket" in vm["platform"]
        assert vm["HVM_boot_params"]
        assert vm["domain_type"] == "hvm"
        assert vm["recommendations"].startswith("<restrictions>")
    for metrics in records(database, "VM_guest_metrics"):
        assert {"name", "distro", "major"} <= metrics["os_version"].keys()
        assert "0/ip" in metrics["networks"]
        assert {"major", "minor"} <= metrics["PV_drivers_version"].keys()


def test_records_are_as_big_as_real_ones(database: Database) -> None:
    def median_bytes(some: list[dict]) -> float:
        return statistics.median(len(json.dumps(r, separators=(",", ":"))) for r in some)

    running = [vm for vm in plain_vms(database) if vm["power_state"] == "Running"]
    assert 4000 < median_bytes(running) < 6500
    assert median_bytes([v for v in records(database, "VM") if v["is_default_template"]]) > 3000
    assert 4000 < median_bytes(records(database, "host")) < 9000
    assert 600 < median_bytes(records(database, "VDI")) < 1200
    assert 500 < median_bytes(records(database, "VBD")) < 700


def test_a_thousand_vms_can_be_made() -> None:
    assert len(plain_vms(loaded(generate(4, 1000)))) == 1000


def test_everything_advertises_what_the_rules_allow(database: Database) -> None:
    assert {"SR", "VBD", "VDI", "VIF"} <= set(RULES)
    for cls in RULES:
        for ref in database.refs(cls):
            assert allowed(database, cls, ref) == database.get(cls, ref, "allowed_operations")


def test_repositories_count_their_disks(database: Database) -> None:
    for sr in records(database, "SR"):
        disks = [database.record("VDI", vdi) for vdi in sr["VDIs"]]
        assert sum(disk["virtual_size"] for disk in disks) == sr["virtual_allocation"]
        assert sum(disk["physical_utilisation"] for disk in disks) == sr["physical_utilisation"]

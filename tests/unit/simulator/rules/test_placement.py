"""Where VMs can run: XAPI's reasons, in its order (xapi_vm_helpers.ml, assert_can_boot_here)."""

from typing import Any

import pytest

from tests.unit.simulator.worlds import HOST, OTHER, VM, load
from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import placement

GIB = 1 << 30


def pool(hosts: int = 1) -> Database:
    """Return a pool whose hosts could all take the VM."""
    db = load()
    for number in range(hosts):
        host = HOST if number == 0 else db.create("host", {}, f"OpaqueRef:host-{number}")
        metrics = db.create("host_metrics", {"live": True, "memory_free": (8 + number) * GIB})
        db.write("host", host, "metrics", metrics)
        db.write("host", host, "enabled", value=True)
    return db


def why(db: Database) -> list[str] | None:
    refused = placement.unfit(db, VM, HOST)
    return None if refused is None else refused.description


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"VCPUs_max": 0}, ["INVALID_VALUE", "VCPUs_max", "0"]),
        ({"VCPUs_at_startup": 0}, ["INVALID_VALUE", "VCPUs-at-startup", "0"]),
        ({"memory_dynamic_min": 2 * GIB}, ["MEMORY_CONSTRAINT_VIOLATION"]),
        ({"HVM_shadow_multiplier": 0.5}, ["INVALID_VALUE", "HVM_shadow_multiplier", "0.5"]),
    ],
)
def test_vms_that_run_nowhere(fields: dict[str, Any], error: list[str]):
    db = pool()
    for name, value in fields.items():
        db.write("VM", VM, name, value)
    assert why(db) == error


def test_the_order_of_reasons():
    """Take away one reason after the other."""
    db = pool()
    sr = db.create("SR", {})
    vdi = db.create("VDI", {"SR": sr})
    db.create("VBD", {"VM": VM, "VDI": vdi})
    network = db.create("network", {})
    db.create("PIF", {"network": network, "host": "OpaqueRef:elsewhere"})
    db.create("VIF", {"VM": VM, "network": network})
    metrics = db.get("host", HOST, "metrics")
    db.write("host_metrics", metrics, "live", value=False)
    db.write("host_metrics", metrics, "memory_free", 7)
    for field, value in (
        ("enabled", False),
        ("virtual_hardware_platform_versions", [0, 1]),
        ("capabilities", ["xen-3.0-x86_64"]),
        ("cpu_info", {"cpu_count": "1"}),
    ):
        db.write("host", HOST, field, value)
    db.write("VM", VM, "hardware_platform_version", 2)

    assert why(db) == ["HOST_NOT_LIVE"]
    db.write("host_metrics", metrics, "live", value=True)
    assert why(db) == ["HOST_DISABLED", HOST]
    db.write("host", HOST, "enabled", value=True)
    code = "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION"
    assert why(db) == [code, HOST, "[0; 1]", VM, "2"]
    db.write("VM", VM, "hardware_platform_version", 1)
    assert why(db) == ["VM_HVM_REQUIRED", VM]
    db.write("host", HOST, "capabilities", ["hvm-3.0-x86_64"])
    assert why(db) == ["VM_REQUIRES_SR", VM, sr]
    db.create("PBD", {"SR": sr, "host": HOST, "currently_attached": True})
    assert why(db) == ["VM_REQUIRES_NETWORK", VM, network]
    db.create("PIF", {"network": network, "host": HOST})
    assert why(db) == ["HOST_NOT_ENOUGH_FREE_MEMORY", str(GIB // 2), "7"]
    db.write("host_metrics", metrics, "memory_free", GIB)
    assert why(db) == ["HOST_NOT_ENOUGH_PCPUS", "2", "1"]
    db.write("VM", VM, "platform", {"vcpu-unrestricted": "true"})
    assert why(db) is None


def test_who_is_announced_counts_before_it_has_arrived():
    db = pool()
    before = placement.free_memory(db, HOST)
    db.write("VM", OTHER, "scheduled_to_be_resident_on", HOST)
    assert placement.free_memory(db, HOST) == before - GIB // 2
    assert placement.free_memory(db, HOST, but=OTHER) == before


def test_the_host_with_most_room_unless_the_vm_has_a_favourite():
    db = pool(hosts=3)
    assert placement.choose(db, VM) == "OpaqueRef:host-2"
    db.write("VM", VM, "affinity", HOST)
    assert placement.choose(db, VM) == HOST
    db.write("host", HOST, "enabled", value=False)
    assert placement.choose(db, VM) == "OpaqueRef:host-2"
    for host in db.refs("host"):
        db.write("host", host, "enabled", value=False)
    with pytest.raises(XapiError, match="NO_HOSTS_AVAILABLE"):
        placement.choose(db, VM)


def test_memory_that_is_missing_is_told_if_nothing_else_is():
    db = pool(hosts=2)
    for free, host in ((5, HOST), (9, "OpaqueRef:host-1")):
        db.write("host_metrics", db.get("host", host, "metrics"), "memory_free", free)
    with pytest.raises(XapiError) as found:
        placement.choose(db, VM)
    needed = str(GIB // 2)
    assert found.value.description == ["HOST_NOT_ENOUGH_FREE_MEMORY", needed, "9"]


def test_hosts_that_are_being_evacuated_are_not_chosen():
    db = pool(hosts=2)
    db.write("host", "OpaqueRef:host-1", "current_operations", {"task": "evacuate"})
    assert placement.choose(db, VM) == HOST


def test_vms_of_an_anti_affine_group_keep_apart():
    db = pool(hosts=2)
    group = db.create("VM_group", {"placement": "anti_affinity"})
    for vm in (VM, OTHER):
        db.write("VM", vm, "groups", [group])
    db.write("VM", OTHER, "power_state", "Running")
    db.write("VM", OTHER, "resident_on", "OpaqueRef:host-1")
    assert placement.choose(db, VM) == HOST
    db.write("VM_group", group, "placement", "normal")
    assert placement.choose(db, VM) == "OpaqueRef:host-1"


def test_a_network_without_nics_is_where_its_vms_are():
    db = pool(hosts=2)
    network = db.create("network", {})
    for vm in (VM, OTHER):
        db.create("VIF", {"VM": vm, "network": network, "currently_attached": vm == OTHER})
    assert len(placement.possible_hosts(db, VM)) == 2
    db.write("VM", OTHER, "power_state", "Running")
    db.write("VM", OTHER, "resident_on", "OpaqueRef:host-1")
    assert placement.possible_hosts(db, VM) == ["OpaqueRef:host-1"]

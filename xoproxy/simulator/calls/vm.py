"""Class `VM`: rows that come and go."""

import uuid as uuids

from xoproxy.simulator.calls import vm_checks
from xoproxy.simulator.calls.host import hosts_that_run
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.wiretypes import NULL, Json

MIB = 1 << 20

# Fields of a VM that its copy does not take over.
_OWN_FIELDS = {
    "affinity": NULL,
    "blobs": {},
    "children": [],
    "consoles": [],
    "current_operations": {},
    "domid": -1,
    "guest_metrics": NULL,
    "is_default_template": False,
    "last_booted_record": "",
    "parent": NULL,
    "power_state": "Halted",
    "resident_on": NULL,
    "scheduled_to_be_resident_on": NULL,
    "snapshot_info": {},
    "snapshot_of": NULL,
    "snapshot_time": "19700101T00:00:00Z",
    "suspend_VDI": NULL,
    "transportable_snapshot_id": "",
    "uuid": "",
}


@operation("VM.create")
def create(call: Call, record: dict[str, Json]) -> str:
    """Add a VM, halted and without devices."""
    other_config = dict(record["other_config"])
    other_config.setdefault("mac_seed", str(uuids.uuid4()))
    domain_type = record["domain_type"]
    if domain_type == "unspecified":
        domain_type = "hvm" if record["HVM_boot_policy"] else "pv"
    made = {
        **record,
        "other_config": other_config,
        "domain_type": domain_type,
        "domid": -1,
        "power_state": "Halted",
        "suspend_VDI": NULL,
        "blocked_operations": {},
        "last_booted_record": "",
        "memory_overhead": overhead_of(record),
    }
    return _add(call, made)


@operation("VM.clone")
def clone(call: Call, vm: str, new_name: str) -> str:
    """Copy a VM with its devices; the new one gets addresses of its own."""
    with vm_checks.running(call, vm, "clone") as record:
        other_config = {**record["other_config"], "mac_seed": str(uuids.uuid4())}
        copy = _add(
            call,
            {**record, **_OWN_FIELDS, "name_label": new_name, "other_config": other_config},
        )
        for vbd in record["VBDs"]:
            _clone_vbd(call, vbd, copy)
        for vif in record["VIFs"]:
            source = call.db.record("VIF", vif)
            mac = devices.mac_of(source["device"], other_config["mac_seed"])
            devices.add_vif(call.db, {**source, "uuid": "", "VM": copy, "MAC": mac})
    return copy


@operation("VM.destroy")
def destroy(call: Call, vm: str) -> None:
    """Delete a VM and what is its own; disks stay."""
    if call.db.get("VM", vm, "is_default_template"):
        raise XapiError("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", vm)
    with vm_checks.running(call, vm, "destroy") as record:
        call.db.write("VM", vm, "appliance", NULL)
        for vbd in record["VBDs"]:
            devices.remove_device(call.db, "VBD", vbd)
        for vif in record["VIFs"]:
            devices.remove_device(call.db, "VIF", vif)
        for cls, field in (("console", "consoles"), ("VTPM", "VTPMs"), ("VUSB", "VUSBs")):
            for ref in record[field]:
                call.db.destroy(cls, ref)
        for cls, field in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
            if call.db.exists(cls, record[field]):
                call.db.destroy(cls, record[field])
        call.db.destroy("VM", vm)


@operation("VM.get_possible_hosts")
def get_possible_hosts(call: Call, vm: str) -> list[str]:
    call.db.row("VM", vm)
    return hosts_that_run(call)


@operation("VM.assert_operation_valid")
def assert_operation_valid(call: Call, vm: str, name: str) -> None:
    vm_checks.check(call, vm, name)


@operation("VM.update_allowed_operations")
def update_allowed_operations(call: Call, vm: str) -> None:
    vm_checks.allow(call, vm)


@operation("VM.compute_memory_overhead")
def compute_memory_overhead(call: Call, vm: str) -> int:
    return overhead_of(call.db.record("VM", vm))


def overhead_of(record: dict[str, Json]) -> int:
    """Estimate what a VM needs besides its memory: page tables, device models."""
    vcpus: int = record["VCPUs_max"]
    memory: int = record["memory_static_max"]
    return (3 + vcpus + memory // MIB // 128) * MIB


def _add(call: Call, record: dict[str, Json]) -> str:
    metrics = call.db.create("VM_metrics", {"VCPUs_utilisation": {"0": 0.0}})
    made = {**record, "metrics": metrics}
    vm = call.db.create("VM", made)
    vm_checks.allow(call, vm)
    return vm


def _clone_vbd(call: Call, vbd: str, vm: str) -> None:
    """Copy a VBD and, unless it is a CD drive, the disk in it."""
    source = call.db.record("VBD", vbd)
    vdi = source["VDI"]
    if source["type"] == "Disk" and call.db.exists("VDI", vdi):
        disk = call.db.record("VDI", vdi)
        new = str(uuids.uuid4())
        vdi = call.db.create("VDI", {**disk, "uuid": new, "location": new})
    devices.add_vbd(call.db, {**source, "uuid": "", "VM": vm, "VDI": vdi})

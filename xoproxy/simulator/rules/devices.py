"""What XAPI refuses on the devices of VMs: classes `VBD` and `VIF`.

The order of checks is that of xapi_vbd_helpers.ml and xapi_vif_helpers.ml (valid_operations).
That a disk cannot be shared is no part of it: XAPI leaves this check out of what it advertises,
as too expensive, and makes it when a disk is about to be attached (`attach_refusal`).
Devices read the state of their VM: its rules name `devices_of` as readers.
"""

from collections.abc import Iterator
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Reader, Rules
from xoproxy.simulator.wiretypes import Json

_PLUGGING: Final = {"plug", "unplug", "unplug_force"}
_PARALLEL: Final = {"pause", "unpause"}
_ATTACHING: Final = {"attach", "plug", "insert"}
_BESIDE_ATTACHING: Final = {"copy", "mirror"}  # of a disk, while a VBD is attached
_ENDING: Final = {"clean_shutdown", "hard_shutdown", "suspend", "pause"}  # of the VM

_Record = dict[str, Json]


def _vbd_refusal(db: Database, vbd: str, operation: str) -> XapiError | None:
    record = db.row("VBD", vbd).fields
    if not db.exists("VM", record["VM"]):
        return XapiError("HANDLE_INVALID", "VM", record["VM"])
    vm = db.row("VM", record["VM"]).fields
    return (
        _concurrent_on_vbd(vbd, record, operation)
        or _medium_refusal(vbd, record, operation)
        or _power_refusal(vbd, record, vm, operation)
        or _ending_refusal(record["VM"], vm, operation)
        or _hotplug_refusal(db, record["VM"], vm, operation, "vbd")
        or _cd_refusal(db, record, vm, operation)
        or _disk_refusal(db, vbd, record, operation)
    )


def _vif_refusal(db: Database, vif: str, operation: str) -> XapiError | None:
    record = db.row("VIF", vif).fields
    if not db.exists("VM", record["VM"]):
        return XapiError("HANDLE_INVALID", "VM", record["VM"])
    vm = db.row("VM", record["VM"]).fields
    for task, running in record["current_operations"].items():
        return XapiError("OTHER_OPERATION_IN_PROGRESS", "VIF", vif, running, task)
    return (
        _power_refusal(vif, record, vm, operation)
        or _ending_refusal(record["VM"], vm, operation)
        or _hotplug_refusal(db, record["VM"], vm, operation, "vif")
    )


def attach_refusal(db: Database, vbd: str) -> XapiError | None:
    """Tell why the disk of a detached VBD cannot be given to it: others write, or it may not.

    Disks of suspended VMs count as offline, and the control domain may share any.
    """
    record = db.row("VBD", vbd).fields
    if record["currently_attached"] or record["empty"] or not db.exists("VDI", record["VDI"]):
        return None
    disk = db.row("VDI", record["VDI"]).fields
    writes = record["mode"] == "RW"
    others = [
        other["mode"]
        for other in (db.row("VBD", ref).fields for ref in disk["VBDs"] if ref != vbd)
        if (other["currently_attached"] or other["current_operations"])
        and not _is_apart(db, other["VM"])
    ]
    shared = disk["sharable"] or _is_control_domain(db, record["VM"])
    if not shared and ("RW" in others or (writes and others)):
        return XapiError("VDI_IN_USE", record["VDI"])
    if writes and disk["read_only"]:
        return XapiError("VDI_READONLY", record["VDI"])
    return None


def _is_apart(db: Database, vm: str) -> bool:
    """Whether a VM's disks are really offline, or may be shared all the same."""
    if not db.exists("VM", vm):
        return True
    return _is_control_domain(db, vm) or db.get("VM", vm, "power_state") == "Suspended"


def _is_control_domain(db: Database, vm: str) -> bool:
    return db.exists("VM", vm) and bool(db.get("VM", vm, "is_control_domain"))


def _concurrent_on_vbd(vbd: str, record: _Record, operation: str) -> XapiError | None:
    """One operation at a time, but for pauses, which go beside each other."""
    for task, running in record["current_operations"].items():
        beside = operation in _PARALLEL and running in _PARALLEL
        if not beside and not (operation == "unpause" and running == "attach"):
            return XapiError("OTHER_OPERATION_IN_PROGRESS", "VBD", vbd, running, task)
    return None


def _medium_refusal(vbd: str, record: _Record, operation: str) -> XapiError | None:
    if operation in {"unplug", "unplug_force"} and not record["unpluggable"]:
        return XapiError("VBD_NOT_UNPLUGGABLE", vbd)
    if operation not in {"insert", "eject"}:
        return None
    if record["type"] != "CD":
        return XapiError("VBD_NOT_REMOVABLE_MEDIA", vbd)
    if operation == "eject" and record["empty"]:
        return XapiError("VBD_IS_EMPTY", vbd)
    if operation == "insert" and not record["empty"]:
        return XapiError("VBD_NOT_EMPTY", vbd)
    return None


def _power_refusal(device: str, record: _Record, vm: _Record, operation: str) -> XapiError | None:
    state = vm["power_state"]
    if state == "Running":
        if operation == "plug" and record["currently_attached"]:
            return XapiError("DEVICE_ALREADY_ATTACHED", device)
        if operation in {"unplug", "unplug_force"} and not record["currently_attached"]:
            return XapiError("DEVICE_ALREADY_DETACHED", device)
        return None
    if operation in _PLUGGING or (operation in _PARALLEL and state != "Paused"):
        return XapiError("VM_BAD_POWER_STATE", record["VM"], "running", state.lower())
    return None


def _ending_refusal(ref: str, vm: _Record, operation: str) -> XapiError | None:
    if operation not in {"plug", "unplug"}:
        return None
    for running in vm["current_operations"].values():
        if running in _ENDING:
            text = f"Current operation on VM:{ref} is {running}"
            return XapiError("OPERATION_NOT_ALLOWED", text)
    return None


def _hotplug_refusal(
    db: Database, ref: str, vm: _Record, operation: str, device: str
) -> XapiError | None:
    """HVM guests need drivers for it, unless they tell that they can."""
    if operation not in _PLUGGING or not _runs_as_hvm(db, vm):
        return None
    if not db.exists("VM_guest_metrics", vm["guest_metrics"]):
        return XapiError("VM_MISSING_PV_DRIVERS", ref)
    guest = db.row("VM_guest_metrics", vm["guest_metrics"]).fields
    claim = guest[f"can_use_hotplug_{device}"]
    if claim == "no":
        text = f"The guest tells that it cannot hotplug a {device.upper()}"
        return XapiError("OPERATION_NOT_ALLOWED", text)
    drivers = guest["PV_drivers_detected"] or guest["PV_drivers_version"]
    if claim == "unspecified" and not drivers:
        return XapiError("VM_MISSING_PV_DRIVERS", ref)
    return None


def _cd_refusal(db: Database, record: _Record, vm: _Record, operation: str) -> XapiError | None:
    if record["type"] != "CD":
        return None
    if operation in _PLUGGING and _runs_as_hvm(db, vm):
        text = "CD drives of HVM guests are not plugged: insert or eject the medium"
        return XapiError("OPERATION_NOT_ALLOWED", text)
    if operation in {"insert", "eject"} and vm["power_state"] == "Suspended":
        return XapiError("VM_BAD_POWER_STATE", record["VM"], "halted, running", "suspended")
    return None


def _disk_refusal(db: Database, vbd: str, record: _Record, operation: str) -> XapiError | None:
    if record["empty"]:
        return None
    if not db.exists("VDI", record["VDI"]):
        return XapiError("HANDLE_INVALID", "VDI", record["VDI"])
    disk = db.row("VDI", record["VDI"]).fields
    if not disk["managed"]:
        return XapiError("VDI_NOT_MANAGED", vbd)
    for task, running in disk["current_operations"].items():
        if operation in _ATTACHING and running not in _BESIDE_ATTACHING:
            return XapiError("OTHER_OPERATION_IN_PROGRESS", "VDI", record["VDI"], running, task)
    return None


def _runs_as_hvm(db: Database, vm: _Record) -> bool:
    if vm["power_state"] != "Running":
        return False
    kind = vm["domain_type"]
    if db.exists("VM_metrics", vm["metrics"]):
        now = db.get("VM_metrics", vm["metrics"], "current_domain_type")
        kind = kind if now == "unspecified" else now
    return bool(kind == "hvm" or (kind == "unspecified" and vm["HVM_boot_policy"]))


def devices_of(db: Database, vm: str) -> Iterator[Reader]:
    """List the devices of a VM, whose rules read its state."""
    for cls in ("VBD", "VIF"):
        for device in db.get("VM", vm, f"{cls}s"):
            yield cls, device


def _disk_of(db: Database, vbd: str) -> Iterator[Reader]:
    disk = db.get("VBD", vbd, "VDI")
    if db.exists("VDI", disk):
        yield "VDI", disk


VBD: Final = Rules(
    ("attach", "unpause", "pause", "insert", "eject", "plug", "unplug", "unplug_force"),
    _vbd_refusal,
    readers=_disk_of,
)
VIF: Final = Rules(("attach", "plug", "unplug"), _vif_refusal)

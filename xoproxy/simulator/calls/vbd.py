"""Class `VBD`: drives of VMs, and the disks in them.

Order of checks: xapi_vbd.ml, and the rules.
"""

import re
from typing import Final

from xoproxy.simulator.calls.operations import (
    drive,
    operation_on,
    operations_on,
    wait_until_allowed,
)
from xoproxy.simulator.calls.reach import require_vm_online
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.rules import allow
from xoproxy.simulator.rules.devices import attach_refusal
from xoproxy.simulator.wiretypes import NULL, Json

SLOTS: Final = 255
_FLOPPY: Final = re.compile(r"fd[ab]\d*")
# Disks of other types are XAPI's own.
_FOR_VMS: Final = {
    "system", "user", "ephemeral", "suspend", "crashdump", "metadata", "rrd", "pvs_cache",
}  # fmt: skip


@operation("VBD.create")
def create(call: Call, record: dict[str, Json]) -> str:
    _require_disk(call, record)
    vm = call.db.row("VM", record["VM"]).fields
    for task, running in vm["current_operations"].items():
        if running in {"migrate_send", "pool_migrate"}:
            raise XapiError("OTHER_OPERATION_IN_PROGRESS", "VM", record["VM"], running, task)
    place = record["userdevice"]
    free = get_allowed_devices(call, record["VM"])
    if place == "autodetect" and free:
        place = free[0]
    if not _is_place(place, record["type"]):
        raise XapiError("INVALID_DEVICE", place)
    if devices.slot_of(place) in _slots(call, record["VM"]):
        raise XapiError("DEVICE_ALREADY_EXISTS", place)
    return devices.add_vbd(call.db, {**record, "userdevice": place, "device": ""})


def _require_disk(call: Call, record: dict[str, Json]) -> None:
    """Refuse a disk that does not fit into such a drive."""
    vdi, is_cd = record["VDI"], record["type"] == "CD"
    if not record["empty"]:
        kind = call.db.get("VDI", vdi, "type")
        if kind not in _FOR_VMS:
            raise XapiError("VDI_INCOMPATIBLE_TYPE", vdi, kind)
    if is_cd and record["mode"] != "RO":
        raise XapiError("VBD_CDS_MUST_BE_READONLY")
    if record["empty"] and not is_cd:
        raise XapiError("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if is_cd and not record["empty"]:
        _require_iso(call, vdi)
    if record["mode"] == "RW" and call.db.get("VDI", vdi, "read_only"):
        raise XapiError("VDI_READONLY", vdi)


def _require_iso(call: Call, vdi: str) -> None:
    content = call.db.get("SR", call.db.get("VDI", vdi, "SR"), "content_type")
    if content != "iso":
        raise XapiError("VDI_IS_NOT_ISO", vdi, content)


@operation("VBD.destroy")
def destroy(call: Call, vbd: str) -> None:
    record = call.db.record("VBD", vbd)
    if record["currently_attached"]:
        raise XapiError("OPERATION_NOT_ALLOWED", f"VBD '{record['uuid']}' still attached")
    devices.remove_device(call.db, "VBD", vbd)


@operation("VBD.insert")
async def insert(call: Call, vbd: str, vdi: str) -> None:
    async with operations_on(call, ("VBD", vbd, "insert")):
        require_vm_online(call, call.db.get("VBD", vbd, "VM"))
        _require_iso(call, vdi)
        if not call.db.get("VDI", vdi, "managed"):
            raise XapiError("VDI_NOT_MANAGED", vdi)
        devices.change_medium(call.db, vbd, vdi)


@operation("VBD.eject")
async def eject(call: Call, vbd: str) -> None:
    async with operations_on(call, ("VBD", vbd, "eject")):
        require_vm_online(call, call.db.get("VBD", vbd, "VM"))
        devices.change_medium(call.db, vbd, NULL)


@operation("VBD.plug")
async def plug(call: Call, vbd: str) -> None:
    await wait_until_allowed(call, "VBD", vbd, "plug")
    assert_attachable(call, vbd)
    with operation_on(call, "VBD", vbd, "plug"):
        require_vm_online(call, call.db.get("VBD", vbd, "VM"))
        await drive(call, devices.plug(call.db, "VBD", vbd))


@operation("VBD.unplug")
async def unplug(call: Call, vbd: str) -> None:
    async with operations_on(call, ("VBD", vbd, "unplug")):
        require_vm_online(call, call.db.get("VBD", vbd, "VM"))
        await drive(call, devices.unplug(call.db, "VBD", vbd))


@operation("VBD.unplug_force")
async def unplug_force(call: Call, vbd: str) -> None:
    async with operations_on(call, ("VBD", vbd, "unplug_force")):
        require_vm_online(call, call.db.get("VBD", vbd, "VM"))
        call.db.write("VBD", vbd, "currently_attached", value=False)


@operation("VBD.assert_attachable")
def assert_attachable(call: Call, vbd: str) -> None:
    refused = attach_refusal(call.db, vbd)
    if refused is not None:
        raise refused


@operation("VBD.set_mode")
def set_mode(call: Call, vbd: str, mode: str) -> None:
    vm = call.db.get("VBD", vbd, "VM")
    state = call.db.get("VM", vm, "power_state")
    if state != "Halted":
        raise XapiError("VM_BAD_POWER_STATE", vm, "halted", state.lower())
    call.db.write("VBD", vbd, "mode", mode)


@operation("VBD.set_type")
def set_type(call: Call, vbd: str, kind: str) -> None:
    call.db.write("VBD", vbd, "type", kind)
    allow(call.db, "VBD", vbd)


@operation("VBD.set_unpluggable")
def set_unpluggable(call: Call, vbd: str, value: bool) -> None:  # noqa: FBT001
    call.db.write("VBD", vbd, "unpluggable", value)
    allow(call.db, "VBD", vbd)


@operation("VM.get_allowed_VBD_devices")
def get_allowed_devices(call: Call, vm: str) -> list[str]:
    used = _slots(call, vm)
    return [str(slot) for slot in range(SLOTS) if slot not in used]


def _slots(call: Call, vm: str) -> set[int | None]:
    """List the taken slots of a VM's drives."""
    used = {call.db.get("VBD", vbd, "userdevice") for vbd in call.db.get("VM", vm, "VBDs")}
    return {devices.slot_of(place) for place in used} - {None}


def _is_place(place: str, kind: str) -> bool:
    if kind == "Floppy":
        return _FLOPPY.fullmatch(place) is not None
    slot = devices.slot_of(place)
    return slot is not None and slot < SLOTS

"""Classes `SR`, `PBD` and `VDI`: their rows. There is no storage behind them."""

import asyncio
import uuid as uuids
from typing import Final

from xoproxy.simulator import allowed
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.wiretypes import Json

SCAN_S: Final = 1.0
UNKNOWN_SIZE: Final = -1  # what XAPI writes before a driver has told


@operation("SR.introduce")
def introduce_sr(
    call: Call,
    uuid: str,
    name_label: str,
    name_description: str,
    sr_type: str,
    content_type: str,
    shared: bool,  # noqa: FBT001
    sm_config: dict[str, str],
) -> str:
    """Add the record of storage that exists already."""
    if uuid and call.db.by_uuid("SR", uuid) is not None:
        raise XapiError("SR_UUID_EXISTS", uuid)
    record = {
        "uuid": uuid or str(uuids.uuid4()),
        "name_label": name_label,
        "name_description": name_description,
        "type": sr_type.lower(),
        "content_type": content_type,
        "shared": shared,
        "sm_config": sm_config,
        "physical_size": UNKNOWN_SIZE,
        "physical_utilisation": UNKNOWN_SIZE,
        "allowed_operations": list(allowed.SR),
    }
    return call.db.create("SR", record)


@operation("SR.forget")
def forget_sr(call: Call, sr: str) -> None:
    """Delete the records of an SR, its PBDs and VDIs; the PBDs must be unplugged."""
    pbds = call.db.get("SR", sr, "PBDs")
    plugged = [pbd for pbd in pbds if call.db.get("PBD", pbd, "currently_attached")]
    if plugged:
        raise XapiError("SR_HAS_PBD", sr)
    for pbd in pbds:
        call.db.destroy("PBD", pbd)
    for vdi in call.db.get("SR", sr, "VDIs"):
        call.db.destroy("VDI", vdi)
    call.db.destroy("SR", sr)


@operation("SR.get_supported_types")
def get_supported_types(call: Call) -> list[str]:
    return sorted({row.fields["type"] for row in call.db.tables["SM"].rows.values()})


@operation("PBD.create")
def create_pbd(call: Call, record: dict[str, Json]) -> str:
    host, sr, config = record["host"], record["SR"], record["device_config"]
    for pbd in call.db.get("SR", sr, "PBDs"):
        if call.db.get("PBD", pbd, "host") == host:
            raise XapiError("PBD_EXISTS", sr, host, pbd)
    _require_no_master_key(config)
    call.db.row("host", host)
    return call.db.create("PBD", record)


@operation("PBD.set_device_config")
def set_device_config(call: Call, pbd: str, value: dict[str, str]) -> None:
    _require_no_master_key(value)
    call.db.write("PBD", pbd, "device_config", value)


def _require_no_master_key(config: dict[str, str]) -> None:
    """XAPI tells the drivers itself who is the master."""
    if "SRmaster" in config:
        reason = "This key is for internal use only"
        raise XapiError("VALUE_NOT_SUPPORTED", "SRmaster", config["SRmaster"], reason)


@operation("PBD.destroy")
def destroy_pbd(call: Call, pbd: str) -> None:
    if call.db.get("PBD", pbd, "currently_attached"):
        raise XapiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    call.db.destroy("PBD", pbd)


@operation("PBD.plug")
def plug_pbd(call: Call, pbd: str) -> None:
    call.db.write("PBD", pbd, "currently_attached", value=True)


@operation("PBD.unplug")
def unplug_pbd(call: Call, pbd: str) -> None:
    """Detach storage from a host, unless a VM there uses one of its disks."""
    record = call.db.record("PBD", pbd)
    used = [
        vdi
        for vdi in call.db.get("SR", record["SR"], "VDIs")
        for vbd in call.db.get("VDI", vdi, "VBDs")
        if _is_used_on(call, vbd, record["host"])
    ]
    if record["currently_attached"] and used:
        raise XapiError("VDI_IN_USE", *used)
    call.db.write("PBD", pbd, "currently_attached", value=False)


def _is_used_on(call: Call, vbd: str, host: str) -> bool:
    record = call.db.record("VBD", vbd)
    if not record["currently_attached"] or not call.db.exists("VM", record["VM"]):
        return False
    return bool(call.db.get("VM", record["VM"], "resident_on") == host)


@operation("SR.scan")
async def scan_sr(call: Call, sr: str) -> None:
    """Look for changed disks and find none; only the operation itself shows."""
    current = call.db.get("SR", sr, "current_operations")
    call.db.write("SR", sr, "current_operations", {**current, call.task: "scan"})
    try:
        await asyncio.sleep(SCAN_S / call.world.speed)
    finally:
        if call.db.exists("SR", sr):
            current = call.db.get("SR", sr, "current_operations")
            left = {task: op for task, op in current.items() if task != call.task}
            call.db.write("SR", sr, "current_operations", left)


@operation("VDI.create")
def create_vdi(call: Call, record: dict[str, Json]) -> str:
    sr = record["SR"]
    pbds = call.db.get("SR", sr, "PBDs")
    if not any(call.db.get("PBD", pbd, "currently_attached") for pbd in pbds):
        raise XapiError("SR_HAS_NO_PBDS", sr)
    uuid = str(uuids.uuid4())
    made = {
        **record,
        "uuid": uuid,
        "location": uuid,
        "managed": True,
        "allowed_operations": list(allowed.VDI),
    }
    vdi = call.db.create("VDI", made)
    _allocate(call, sr, record["virtual_size"])
    return vdi


@operation("VDI.destroy")
def destroy_vdi(call: Call, vdi: str) -> None:
    """Delete a disk and the VBDs that hold it; CD drives are emptied."""
    record = _unused(call, vdi, "destroy")
    call.db.destroy("VDI", vdi)
    devices.release_disk(call.db, record["VBDs"])
    if call.db.exists("SR", record["SR"]):
        _allocate(call, record["SR"], -record["virtual_size"])


@operation("VDI.resize")
def resize_vdi(call: Call, vdi: str, size: int) -> None:
    record = _unused(call, vdi, "resize")
    call.db.write("VDI", vdi, "virtual_size", size)
    if call.db.exists("SR", record["SR"]):
        _allocate(call, record["SR"], size - record["virtual_size"])


def _unused(call: Call, vdi: str, name: str) -> dict[str, Json]:
    """Refuse what cannot be done to a disk that a VM has; returns its record."""
    record = call.db.record("VDI", vdi)
    if any(call.db.get("VBD", vbd, "currently_attached") for vbd in record["VBDs"]):
        raise XapiError("VDI_IN_USE", vdi, name)
    return record


def _allocate(call: Call, sr: str, size: int) -> None:
    allocated = call.db.get("SR", sr, "virtual_allocation")
    call.db.write("SR", sr, "virtual_allocation", allocated + size)

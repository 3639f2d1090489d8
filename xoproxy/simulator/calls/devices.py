"""Classes `VBD` and `VIF`: the devices of VMs, and what XAPI refuses about them."""

import hashlib
import re

from xoproxy.simulator import allowed
from xoproxy.simulator.calls.network import destroy_vif
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import NULL, Json

VBD_SLOTS = 255
VIF_SLOTS = 7

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


@operation("VBD.create")
def create_vbd(call: Call, record: dict[str, Json]) -> str:
    is_cd = record["type"] == "CD"
    if not record["empty"]:
        call.db.row("VDI", record["VDI"])
    if is_cd and record["mode"] != "RO":
        raise XapiError("VBD_CDS_MUST_BE_READONLY")
    if record["empty"] and not is_cd:
        raise XapiError("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if record["mode"] == "RW" and call.db.get("VDI", record["VDI"], "read_only"):
        raise XapiError("VDI_READONLY", record["VDI"])
    slots = [call.db.get("VBD", v, "userdevice") for v in call.db.get("VM", record["VM"], "VBDs")]
    slot = record["userdevice"]
    if slot == "autodetect":
        slot = next(str(n) for n in range(VBD_SLOTS) if str(n) not in slots)
    if not _is_vbd_slot(slot):
        raise XapiError("INVALID_DEVICE", slot)
    if slot in slots:
        raise XapiError("DEVICE_ALREADY_EXISTS", slot)
    return add_vbd(call, {**record, "userdevice": slot})


def add_vbd(call: Call, record: dict[str, Json]) -> str:
    """Add the row of a VBD, detached, and that of its metrics."""
    operations = allowed.device_operations(
        attached=False, cd=record["type"] == "CD", empty=record["empty"]
    )
    made = {
        **record,
        "metrics": call.db.create("VBD_metrics", {}),
        "VDI": NULL if record["empty"] else record["VDI"],
        "currently_attached": False,
        "allowed_operations": operations,
    }
    return call.db.create("VBD", made)


@operation("VBD.destroy")
def destroy_vbd(call: Call, vbd: str) -> None:
    if call.db.get("VBD", vbd, "currently_attached"):
        raise XapiError("OPERATION_NOT_ALLOWED", f"VBD '{vbd}' still attached")
    remove_vbd(call, vbd)


def remove_vbd(call: Call, vbd: str) -> None:
    """Delete a VBD's row and that of its metrics."""
    metrics = call.db.get("VBD", vbd, "metrics")
    if call.db.exists("VBD_metrics", metrics):
        call.db.destroy("VBD_metrics", metrics)
    call.db.destroy("VBD", vbd)


@operation("VBD.insert")
def insert(call: Call, vbd: str, vdi: str) -> None:
    record = call.db.record("VBD", vbd)
    call.db.row("VDI", vdi)
    _require_removable(vbd, record)
    if not record["empty"]:
        raise XapiError("VBD_NOT_EMPTY", vbd)
    call.db.write("VBD", vbd, "VDI", vdi)
    call.db.write("VBD", vbd, "empty", value=False)
    _allow_vbd(call, vbd)


@operation("VBD.eject")
def eject(call: Call, vbd: str) -> None:
    record = call.db.record("VBD", vbd)
    _require_removable(vbd, record)
    if record["empty"]:
        raise XapiError("VBD_IS_EMPTY", vbd)
    call.db.write("VBD", vbd, "empty", value=True)
    call.db.write("VBD", vbd, "VDI", NULL)
    _allow_vbd(call, vbd)


@operation("VBD.plug")
def plug_vbd(call: Call, vbd: str) -> None:
    _require_running(call, call.db.get("VBD", vbd, "VM"))
    if call.db.get("VBD", vbd, "currently_attached"):
        raise XapiError("DEVICE_ALREADY_ATTACHED", vbd)
    call.db.write("VBD", vbd, "currently_attached", value=True)
    _allow_vbd(call, vbd)


@operation("VBD.unplug")
def unplug_vbd(call: Call, vbd: str) -> None:
    _require_running(call, call.db.get("VBD", vbd, "VM"))
    if not call.db.get("VBD", vbd, "currently_attached"):
        raise XapiError("DEVICE_ALREADY_DETACHED", vbd)
    call.db.write("VBD", vbd, "currently_attached", value=False)
    _allow_vbd(call, vbd)


@operation("VBD.set_mode")
def set_vbd_mode(call: Call, vbd: str, mode: str) -> None:
    vm = call.db.get("VBD", vbd, "VM")
    state = call.db.get("VM", vm, "power_state")
    if state != "Halted":
        raise XapiError("VM_BAD_POWER_STATE", vm, "halted", state.lower())
    call.db.write("VBD", vbd, "mode", mode)


@operation("VIF.create")
def create_vif(call: Call, record: dict[str, Json]) -> str:
    device, vm, mac = record["device"], record["VM"], record["MAC"]
    if not call.db.get("network", record["network"], "managed"):
        raise XapiError("NETWORK_UNMANAGED", record["network"])
    if not device.isascii() or not device.isdigit():
        raise XapiError("INVALID_DEVICE", device)
    if not mac and call.db.exists("VM", vm):
        seed = call.db.get("VM", vm, "other_config").get("mac_seed")
        mac = mac if seed is None else mac_of(device, seed)
    if not _MAC.fullmatch(mac):
        raise XapiError("MAC_INVALID", mac)
    if any(call.db.get("VIF", v, "device") == device for v in call.db.get("VM", vm, "VIFs")):
        raise XapiError("DEVICE_ALREADY_EXISTS", device)
    return add_vif(call, {**record, "MAC": mac, "MAC_autogenerated": not record["MAC"]})


def add_vif(call: Call, record: dict[str, Json]) -> str:
    """Add the row of a VIF, detached, and that of its metrics."""
    made = {
        **record,
        "metrics": call.db.create("VIF_metrics", {}),
        "currently_attached": False,
        "allowed_operations": allowed.device_operations(attached=False),
    }
    return call.db.create("VIF", made)


def mac_of(device: str, seed: str) -> str:
    """Derive a locally administered unicast address, the same for the same device and seed."""
    digest = hashlib.sha256(f"{seed}/{device}".encode()).digest()
    return ":".join(f"{b:02x}" for b in (digest[0] & 0xFC | 0x02, *digest[1:6]))


@operation("VIF.destroy")
def destroy_one_vif(call: Call, vif: str) -> None:
    record = call.db.record("VIF", vif)
    vm = record["VM"]
    running = call.db.exists("VM", vm) and call.db.get("VM", vm, "power_state") == "Running"
    if running and record["currently_attached"]:
        raise XapiError("OPERATION_NOT_ALLOWED", "VIF currently attached to a running VM")
    destroy_vif(call, vif)


@operation("VIF.plug")
def plug_vif(call: Call, vif: str) -> None:
    _require_running(call, call.db.get("VIF", vif, "VM"))
    if call.db.get("VIF", vif, "currently_attached"):
        raise XapiError("DEVICE_ALREADY_ATTACHED", vif)
    _attach_vif(call, vif, attached=True)


@operation("VIF.unplug")
def unplug_vif(call: Call, vif: str) -> None:
    _require_running(call, call.db.get("VIF", vif, "VM"))
    if not call.db.get("VIF", vif, "currently_attached"):
        raise XapiError("DEVICE_ALREADY_DETACHED", vif)
    _attach_vif(call, vif, attached=False)


@operation("VM.get_allowed_VBD_devices")
def get_allowed_vbd_devices(call: Call, vm: str) -> list[str]:
    used = {call.db.get("VBD", v, "userdevice") for v in call.db.get("VM", vm, "VBDs")}
    return [str(n) for n in range(VBD_SLOTS) if str(n) not in used]


@operation("VM.get_allowed_VIF_devices")
def get_allowed_vif_devices(call: Call, vm: str) -> list[str]:
    used = {call.db.get("VIF", v, "device") for v in call.db.get("VM", vm, "VIFs")}
    return [str(n) for n in range(VIF_SLOTS) if str(n) not in used]


def _is_vbd_slot(slot: str) -> bool:
    """Accept a number, or the name of a Linux disk."""
    if slot.isascii() and slot.isdigit():
        return int(slot) < VBD_SLOTS
    return re.fullmatch(r"(xvd|hd|sd)[a-z]{1,2}\d*", slot) is not None


def _require_removable(vbd: str, record: dict[str, Json]) -> None:
    if record["type"] != "CD":
        raise XapiError("VBD_NOT_REMOVABLE_MEDIA", vbd)


def _require_running(call: Call, vm: str) -> None:
    state = call.db.get("VM", vm, "power_state")
    if state != "Running":
        raise XapiError("VM_BAD_POWER_STATE", vm, "running", state.lower())


def _allow_vbd(call: Call, vbd: str) -> None:
    record = call.db.record("VBD", vbd)
    operations = allowed.device_operations(
        attached=record["currently_attached"], cd=record["type"] == "CD", empty=record["empty"]
    )
    call.db.write("VBD", vbd, "allowed_operations", operations)


def _attach_vif(call: Call, vif: str, *, attached: bool) -> None:
    call.db.write("VIF", vif, "currently_attached", attached)
    operations = allowed.device_operations(attached=attached)
    call.db.write("VIF", vif, "allowed_operations", operations)

"""Class `PBD`: how hosts reach repositories.

Order of checks: xapi_pbd.ml, and the rules of the repository.
"""

from collections.abc import Iterator

from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.reach import require_online
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hardware import CAPACITY_BYTES
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.rules import allow
from xoproxy.simulator.wiretypes import Json

_WITHOUT_SIZE = ("iso", "udev")


@operation("PBD.create")
async def create(call: Call, record: dict[str, Json]) -> str:
    host, sr, config = record["host"], record["SR"], record["device_config"]
    async with operations_on(call, ("SR", sr, "pbd_create")):
        for pbd in call.db.get("SR", sr, "PBDs"):
            if call.db.get("PBD", pbd, "host") == host:
                raise XapiError("PBD_EXISTS", sr, host, pbd)
        _require_no_master_key(config)
        call.db.row("host", host)
        return call.db.create("PBD", {**record, "currently_attached": False})


@operation("PBD.set_device_config")
def set_device_config(call: Call, pbd: str, value: dict[str, str]) -> None:
    _require_no_master_key(value)
    call.db.write("PBD", pbd, "device_config", value)


def _require_no_master_key(config: dict[str, str]) -> None:
    key = "SRmaster"
    if key in config:
        raise XapiError(
            "VALUE_NOT_SUPPORTED", key, config[key], "This key is for internal use only"
        )


@operation("PBD.destroy")
async def destroy(call: Call, pbd: str) -> None:
    sr = call.db.get("PBD", pbd, "SR")
    async with operations_on(call, ("SR", sr, "pbd_destroy")):
        remove(call, pbd)


def remove(call: Call, pbd: str) -> None:
    if call.db.get("PBD", pbd, "currently_attached"):
        raise XapiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    call.db.destroy("PBD", pbd)


@operation("PBD.plug")
async def plug(call: Call, pbd: str) -> None:
    record = call.db.record("PBD", pbd)
    sr = record["SR"]
    async with operations_on(call, ("SR", sr, "plug")):
        require_driver(call, call.db.get("SR", sr, "type"))
        if record["currently_attached"]:
            return
        require_online(call, record["host"])
        _require_sharable(call, sr, record["host"])
        await drive(call, disks.working())
        call.db.write("PBD", pbd, "currently_attached", value=True)
        allow(call.db, "SR", sr)
        _tell_size(call, sr)


@operation("PBD.unplug")
async def unplug(call: Call, pbd: str) -> None:
    """Detach storage from a host, unless a VM there uses one of its disks."""
    record = call.db.record("PBD", pbd)
    async with operations_on(call, ("SR", record["SR"], "unplug")):
        if not call.db.get("PBD", pbd, "currently_attached"):
            return
        require_online(call, record["host"])
        used = list(_used_on(call, record["SR"], record["host"]))
        if used:
            raise XapiError("VDI_IN_USE", *used)
        await drive(call, disks.working())
        call.db.write("PBD", pbd, "currently_attached", value=False)
        allow(call.db, "SR", record["SR"])


def require_driver(call: Call, kind: str) -> None:
    if not any(row.fields["type"] == kind for row in call.db.tables["SM"].rows.values()):
        raise XapiError("SR_UNKNOWN_DRIVER", kind)


def _require_sharable(call: Call, sr: str, host: str) -> None:
    """Let one host only reach storage that is not shared."""
    if call.db.get("SR", sr, "shared"):
        return
    for pbd in call.db.get("SR", sr, "PBDs"):
        other = call.db.row("PBD", pbd).fields
        if other["currently_attached"] and other["host"] != host:
            raise XapiError("SR_NOT_SHARABLE", sr, other["host"])


def _tell_size(call: Call, sr: str) -> None:
    """Let a driver tell what it found, where nobody knew."""
    record = call.db.row("SR", sr).fields
    if record["physical_size"] < 0:
        size = 0 if record["type"] in _WITHOUT_SIZE else CAPACITY_BYTES
        call.db.write("SR", sr, "physical_size", size)
    if record["physical_utilisation"] < 0:
        rows = [call.db.row("VDI", vdi).fields for vdi in record["VDIs"]]
        used = sum(row["physical_utilisation"] for row in rows)
        call.db.write("SR", sr, "physical_utilisation", used)


def _used_on(call: Call, sr: str, host: str) -> Iterator[str]:
    """List the disks of a repository that VMs on a host have."""
    for vdi in call.db.get("SR", sr, "VDIs"):
        disk = call.db.row("VDI", vdi).fields
        vbds = [call.db.row("VBD", vbd).fields for vbd in disk["VBDs"]]
        vms = [vbd["VM"] for vbd in vbds if vbd["currently_attached"]]
        here = any(
            call.db.exists("VM", vm) and call.db.get("VM", vm, "resident_on") == host for vm in vms
        )
        if here and disk["type"] != "metadata":
            yield vdi

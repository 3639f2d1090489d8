"""Class `VDI`: disks come, change and go.

Order of checks: message_forwarding.ml (repository, then disk), xapi_vdi.ml, and the rules.
"""

import re
from typing import Final

from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.reach import require_plugged
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.lifecycle.writes import Steps, Takes
from xoproxy.simulator.wiretypes import Json

UNPLUGGING_S: Final = 4.0  # that VDI.data_destroy waits for VBDs to go
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_TOLD: Final = (
    "uuid", "name_label", "name_description", "SR", "type", "sharable", "read_only",
    "other_config", "location", "xenstore_data", "sm_config", "managed", "virtual_size",
    "physical_utilisation", "metadata_of_pool", "is_a_snapshot", "snapshot_time", "snapshot_of",
)  # fmt: skip


@operation("VDI.create")
async def create(call: Call, record: dict[str, Json]) -> str:
    if record["type"] == "cbt_metadata":
        raise XapiError("VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata")
    async with operations_on(call, ("SR", record["SR"], "vdi_create")):
        return await make_disk(call, record["SR"], record)


async def make_disk(call: Call, sr: str, record: dict[str, Json]) -> str:
    """Create a disk in a repository whose `vdi_create` is under way already."""
    require_plugged(call, sr)
    disks.require_size(record["virtual_size"])
    size = disks.rounded(record["virtual_size"])
    taken = disks.footprint(call.db, sr, size)
    disks.require_space(call.db, sr, taken)
    await drive(call, disks.working())
    sized = {"virtual_size": size, "physical_utilisation": taken}
    return disks.add_disk(call.db, sr, {**record, **sized})


@operation("VDI.introduce")
async def introduce(call: Call, *values: Json) -> str:
    """Add the row of a disk that the storage holds already; what it knows counts for more."""
    record: dict[str, Json] = dict(zip(_TOLD, values, strict=True))
    sr, uuid, location = record["SR"], record["uuid"], record["location"]
    async with operations_on(call, ("SR", sr, "vdi_introduce")):
        require_plugged(call, sr)
        for vdi in call.db.get("SR", sr, "VDIs"):
            if call.db.get("VDI", vdi, "location") == location:
                raise XapiError("LOCATION_NOT_UNIQUE", sr, location)
        if not _UUID.fullmatch(uuid) or call.db.by_uuid("VDI", uuid) is not None:
            raise XapiError("UUID_INVALID", "VDI", uuid)
        await drive(call, disks.working())
        volume = call.world.hardware.take_volume(call.db.get("SR", sr, "uuid"), location) or {}
        sizes = ("virtual_size", "physical_utilisation")
        told = {name: volume[name] for name in sizes if name in volume}
        return disks.add_disk(call.db, sr, {**record, **told})


@operation("VDI.destroy")
async def destroy(call: Call, vdi: str) -> None:
    """Delete a disk and the VBDs that hold it; CD drives are emptied."""
    sr = call.db.get("VDI", vdi, "SR")
    async with operations_on(call, ("SR", sr, "vdi_destroy"), ("VDI", vdi, "destroy")):
        require_plugged(call, sr)
        require_managed(call, vdi)
        await drive(call, disks.working())
        disks.remove_disk(call.db, vdi)


@operation("VDI.forget")
async def forget(call: Call, vdi: str) -> None:
    """Delete a disk's row only; a scan finds the disk again."""
    async with operations_on(call, ("VDI", vdi, "forget")):
        record = call.db.record("VDI", vdi)
        if call.db.exists("SR", record["SR"]):
            uuid = call.db.get("SR", record["SR"], "uuid")
            call.world.hardware.put_volume(uuid, kept_by_storage(record))
        disks.remove_disk(call.db, vdi)


def kept_by_storage(record: dict[str, Json]) -> dict[str, Json]:
    """Return what the storage itself knows of a disk."""
    names = (
        "uuid", "name_label", "name_description", "location", "type", "virtual_size",
        "physical_utilisation", "read_only", "is_a_snapshot", "snapshot_time", "cbt_enabled",
    )  # fmt: skip
    return {name: record[name] for name in names}


@operation("VDI.resize")
async def resize(call: Call, vdi: str, size: int) -> None:
    sr = call.db.get("VDI", vdi, "SR")
    require_plugged(call, sr)
    async with operations_on(call, ("SR", sr, "vdi_resize"), ("VDI", vdi, "resize")):
        require_managed(call, vdi)
        before = call.db.record("VDI", vdi)
        if size < before["virtual_size"]:
            raise disks.invalid_size("shrinking not allowed")
        disks.require_size(size)
        after = disks.rounded(size)
        grown = disks.footprint(call.db, sr, after)
        grown -= disks.footprint(call.db, sr, before["virtual_size"])
        disks.require_space(call.db, sr, grown)
        await drive(call, disks.working())
        call.db.write("VDI", vdi, "virtual_size", after)
        taken = before["physical_utilisation"] + grown
        call.db.write("VDI", vdi, "physical_utilisation", taken)
        disks.allocate(call.db, sr, after - before["virtual_size"], grown)


@operation("VDI.update")
async def update(call: Call, vdi: str) -> None:
    """Ask the storage what it knows of a disk: the same as we."""
    async with operations_on(call, ("VDI", vdi, "update")):
        require_plugged(call, call.db.get("VDI", vdi, "SR"))
        await drive(call, disks.working())


@operation("VDI.snapshot")
async def snapshot(call: Call, vdi: str, driver_params: dict[str, str]) -> str:
    taken = {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": call.db.now()}
    return await _twin(call, vdi, "snapshot", {**taken, "sm_config": driver_params})


@operation("VDI.clone")
async def clone(call: Call, vdi: str, driver_params: dict[str, str]) -> str:
    return await _twin(call, vdi, "clone", {"sm_config": driver_params})


@operation("VDI.revert")
async def revert(call: Call, vdi: str) -> None:
    """Take a disk back to a snapshot of it; its rows tell the same as before."""
    record = call.db.record("VDI", vdi)
    if not record["is_a_snapshot"]:
        raise XapiError("REVERT_ONLY_ALLOWED_ON_SNAPSHOT")
    source = ("VDI", record["snapshot_of"], "revert_to")
    sr = ("SR", record["SR"], "vdi_revert")
    async with operations_on(call, sr, ("VDI", vdi, "revert_from"), source):
        require_plugged(call, record["SR"])
        await drive(call, disks.working())


async def _twin(call: Call, vdi: str, name: str, members: dict[str, Json]) -> str:
    """Make a disk that shares its data with another one, and so takes up next to nothing."""
    sr = call.db.get("VDI", vdi, "SR")
    async with operations_on(call, ("SR", sr, f"vdi_{name}"), ("VDI", vdi, name)):
        require_plugged(call, sr)
        require_managed(call, vdi)
        await drive(call, disks.working())
        record = call.db.record("VDI", vdi)
        sizes = {
            "virtual_size": record["virtual_size"],
            "physical_utilisation": disks.BLOCK,
            "cbt_enabled": name == "snapshot" and record["cbt_enabled"],
        }
        return disks.add_disk(call.db, sr, {**disks.given(record), **sizes, **members})


@operation("VDI.data_destroy")
async def data_destroy(call: Call, vdi: str) -> None:
    """Leave nothing of a snapshot but the map of what changed."""
    sr = call.db.get("VDI", vdi, "SR")
    async with operations_on(call, ("SR", sr, "vdi_data_destroy"), ("VDI", vdi, "data_destroy")):
        kind = call.db.get("VDI", vdi, "type")
        if kind == "cbt_metadata":
            return
        call.db.write("VDI", vdi, "type", "cbt_metadata")
        try:
            require_plugged(call, sr)
            require_managed(call, vdi)
            await drive(call, _until_free(call, vdi))
        except BaseException:
            call.db.write("VDI", vdi, "type", kind)
            raise
        before = call.db.get("VDI", vdi, "physical_utilisation")
        left = min(before, disks.MIB)
        call.db.write("VDI", vdi, "physical_utilisation", left)
        disks.allocate(call.db, sr, 0, left - before)


def _until_free(call: Call, vdi: str) -> Steps:
    """Wait a little for the VBDs of a disk to go away."""
    tries = 40
    for _ in range(tries):
        if not call.db.get("VDI", vdi, "VBDs"):
            return
        yield Takes(UNPLUGGING_S / tries)
    raise XapiError("VDI_IN_USE", vdi, "data_destroy")


def require_managed(call: Call, vdi: str) -> None:
    if not call.db.get("VDI", vdi, "managed"):
        raise XapiError("VDI_NOT_MANAGED", vdi)

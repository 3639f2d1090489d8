"""Class `SR`: repositories of disks come, are scanned, and go.

Order of checks: xapi_sr.ml, and the rules.
"""

import uuid as uuids
from typing import Final

from xoproxy.simulator.calls import pbd as pbds
from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.probe import require_config
from xoproxy.simulator.calls.reach import require_online, require_plugged
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vdi import kept_by_storage
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hardware import CAPACITY_BYTES
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.rules import allow
from xoproxy.simulator.rules.storage import features_of

SCAN_S: Final = 1.0
UNKNOWN_SIZE: Final = -1  # what XAPI writes before a driver has told


@operation("SR.introduce")
def introduce(
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
    uuid = uuid or str(uuids.uuid4())
    record = {
        "uuid": uuid,
        "name_label": name_label,
        "name_description": name_description,
        "type": sr_type.lower(),
        "content_type": content_type,
        "shared": shared,
        "sm_config": sm_config,
        "physical_size": UNKNOWN_SIZE,
        "physical_utilisation": UNKNOWN_SIZE,
    }
    call.world.hardware.take_repository(uuid)
    sr = call.db.create("SR", record)
    allow(call.db, "SR", sr)
    return sr


@operation("SR.create")
async def create(
    call: Call,
    host: str,
    device_config: dict[str, str],
    physical_size: int,
    name_label: str,
    name_description: str,
    sr_type: str,
    content_type: str,
    shared: bool,  # noqa: FBT001
    sm_config: dict[str, str],
) -> str:
    """Make storage and its record; a shared one is plugged into every host."""
    require_online(call, host)
    kind = sr_type.lower()
    pbds.require_driver(call, kind)
    require_config(call, kind, device_config)
    sr = introduce(call, "", name_label, name_description, kind, content_type, shared, sm_config)
    hosts = call.db.refs("host") if shared else [host]
    made = [
        call.db.create("PBD", {"host": h, "SR": sr, "device_config": device_config}) for h in hosts
    ]
    allow(call.db, "SR", sr)
    try:
        await drive(call, disks.working(SCAN_S))
    except BaseException:
        _remove(call, sr)
        raise
    size = physical_size if physical_size > 0 else CAPACITY_BYTES
    call.db.write("SR", sr, "physical_size", 0 if kind in {"iso", "udev"} else size)
    call.db.write("SR", sr, "physical_utilisation", 0)
    for pbd in made:
        await pbds.plug(call, pbd)
    return sr


@operation("SR.make")
def make(call: Call, *_arguments: object) -> str:
    del call
    raise XapiError("MESSAGE_DEPRECATED")


@operation("SR.forget")
async def forget(call: Call, sr: str) -> None:
    """Delete the records of an SR, its PBDs and VDIs; the PBDs must be unplugged."""
    async with operations_on(call, ("SR", sr, "forget")):
        record = call.db.record("SR", sr)
        call.world.hardware.put_repository(record["uuid"], record)
        for vdi in record["VDIs"]:
            disk = kept_by_storage(call.db.record("VDI", vdi))
            call.world.hardware.put_volume(record["uuid"], disk)
        _remove(call, sr)


@operation("SR.destroy")
async def destroy(call: Call, sr: str) -> None:
    """Delete storage, and its records; the PBDs must be unplugged, and no disks left."""
    async with operations_on(call, ("SR", sr, "destroy")):
        record = call.db.record("SR", sr)
        if record["other_config"].get("indestructible") == "true":
            raise XapiError("SR_INDESTRUCTIBLE", sr)
        await drive(call, disks.working(SCAN_S))
        call.world.hardware.wipe(record["uuid"])
        _remove(call, sr)


def _remove(call: Call, sr: str) -> None:
    for pbd in call.db.get("SR", sr, "PBDs"):
        pbds.remove(call, pbd)
    for vdi in call.db.get("SR", sr, "VDIs"):
        disks.drop_disk(call.db, vdi)
    call.db.destroy("SR", sr)


@operation("SR.scan")
async def scan(call: Call, sr: str) -> None:
    """Bring the records of disks in line with what the storage holds."""
    async with operations_on(call, ("SR", sr, "scan")):
        require_plugged(call, sr)
        await drive(call, disks.working(SCAN_S))
        uuid = call.db.get("SR", sr, "uuid")
        lost = call.world.hardware.take_losses(uuid)
        vdis = call.db.get("SR", sr, "VDIs")
        known = {call.db.get("VDI", vdi, "location"): vdi for vdi in vdis}
        for location in lost & known.keys():
            disks.remove_disk(call.db, known[location])
        for volume in call.world.hardware.take_volumes(uuid):
            if volume["location"] not in known:  # it is when the database went back
                disks.add_disk(call.db, sr, {"physical_utilisation": 0, **volume})
        _sum_up(call, sr)


def _sum_up(call: Call, sr: str) -> None:
    """Write what a driver tells after a scan."""
    rows = [call.db.row("VDI", vdi).fields for vdi in call.db.get("SR", sr, "VDIs")]
    call.db.write("SR", sr, "virtual_allocation", sum(row["virtual_size"] for row in rows))


@operation("SR.update")
async def update(call: Call, sr: str) -> None:
    async with operations_on(call, ("SR", sr, "update")):
        require_plugged(call, sr)
        await drive(call, disks.working())


@operation("SR.assert_supports_database_replication")
def assert_supports_database_replication(call: Call, sr: str) -> None:
    connected = [call.db.row("PBD", pbd).fields for pbd in call.db.get("SR", sr, "PBDs")]
    hosts = {pbd["host"] for pbd in connected if pbd["currently_attached"]}
    if hosts < set(call.db.refs("host")) or len(hosts) < len(connected):
        raise XapiError("SR_HAS_NO_PBDS", sr)
    if "SR_METADATA" not in features_of(call.db, sr):
        raise XapiError("SR_OPERATION_NOT_SUPPORTED", sr)


@operation("SR.set_shared")
def set_shared(call: Call, sr: str, value: bool) -> None:  # noqa: FBT001
    connected = call.db.get("SR", sr, "PBDs")
    if not value and len(connected) > 1:
        raise XapiError("SR_HAS_MULTIPLE_PBDS", *connected)
    call.db.write("SR", sr, "shared", value)


@operation("SR.get_supported_types")
def get_supported_types(call: Call) -> list[str]:
    return sorted({row.fields["type"] for row in call.db.tables["SM"].rows.values()})

"""Classes `SR`, `PBD` and `VDI`: their rows. There is no storage behind them."""

import uuid as uuids

from xoproxy.simulator import allowed
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json

UNKNOWN_SIZE = -1  # what XAPI writes before a driver has told


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
    if "SRmaster" in config:  # XAPI tells the drivers itself who is the master
        raise XapiError("INVALID_VALUE", "SRmaster", config["SRmaster"])
    for pbd in call.db.get("SR", sr, "PBDs"):
        if call.db.get("PBD", pbd, "host") == host:
            raise XapiError("PBD_EXISTS", sr, host, pbd)
    call.db.row("host", host)
    return call.db.create("PBD", record)


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
    for vdi in call.db.get("SR", record["SR"], "VDIs"):
        for vbd in call.db.get("VDI", vdi, "VBDs"):
            device = call.db.record("VBD", vbd)
            here = call.db.get("VM", device["VM"], "resident_on") == record["host"]
            if device["currently_attached"] and here:
                raise XapiError("VDI_IN_USE", vdi, "unplug")
    call.db.write("PBD", pbd, "currently_attached", value=False)

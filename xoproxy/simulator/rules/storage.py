"""What XAPI refuses on storage: classes `SR` and `VDI`.

The order of checks is that of xapi_sr_operations.ml (valid_operations) and xapi_vdi.ml
(check_operation_error). What a repository's driver can do stands in the features of its `SM`.
Whether any host reaches a disk is no part of it: calls ask that for themselves, as nearly all do
in XAPI, and a plugged PBD changes nothing on thousands of disks.
"""

from collections.abc import Iterator
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Reader, Rules
from xoproxy.simulator.wiretypes import Json

_Record = dict[str, Json]

# The feature of a driver that an operation on an SR needs; others need none.
_SR_FEATURES: Final = {
    "update": "SR_UPDATE",
    "vdi_create": "VDI_CREATE",
    "vdi_destroy": "VDI_DELETE",
    "vdi_introduce": "VDI_INTRODUCE",
    "vdi_resize": "VDI_RESIZE",
    "vdi_snapshot": "VDI_SNAPSHOT",
    "vdi_mirror": "VDI_MIRROR",
    "vdi_enable_cbt": "VDI_CONFIG_CBT",
    "vdi_disable_cbt": "VDI_CONFIG_CBT",
    "vdi_data_destroy": "VDI_CONFIG_CBT",
    "vdi_list_changed_blocks": "VDI_CONFIG_CBT",
    "vdi_set_on_boot": "VDI_RESET_ON_BOOT",
    "vdi_revert": "VDI_REVERT",
}
_SR_ADVERTISED: Final = (
    "vdi_enable_cbt", "vdi_list_changed_blocks", "unplug", "plug", "pbd_create",
    "vdi_disable_cbt", "update", "pbd_destroy", "vdi_introduce", "vdi_resize", "vdi_clone",
    "vdi_data_destroy", "scan", "vdi_snapshot", "vdi_mirror", "vdi_create", "vdi_destroy",
    "vdi_set_on_boot", "forget", "destroy",
)  # fmt: skip
_NOT_ON_TOOLS: Final = {"vdi_create", "vdi_destroy"}

_VDI_FEATURES: Final = {
    "snapshot": "VDI_SNAPSHOT",
    "destroy": "VDI_DELETE",
    "resize": "VDI_RESIZE",
    "update": "VDI_UPDATE",
    "resize_online": "VDI_RESIZE_ONLINE",
    "generate_config": "VDI_GENERATE_CONFIG",
    "clone": "VDI_CLONE",
    "mirror": "VDI_MIRROR",
    "enable_cbt": "VDI_CONFIG_CBT",
    "disable_cbt": "VDI_CONFIG_CBT",
    "data_destroy": "VDI_CONFIG_CBT",
    "list_changed_blocks": "VDI_CONFIG_CBT",
    "set_on_boot": "VDI_RESET_ON_BOOT",
    "revert_to": "VDI_REVERT",
    "revert_from": "VDI_REVERT",
}
# Not among them: list_changed_blocks, as there are no blocks here, and what has no call.
_VDI_ADVERTISED: Final = (
    "generate_config", "update", "resize_online", "forget", "destroy", "data_destroy",
    "disable_cbt", "enable_cbt", "set_on_boot", "mirror", "snapshot", "resize", "copy", "clone",
)  # fmt: skip
_LIVE: Final = {
    "snapshot", "resize_online", "blocked", "clone", "mirror", "enable_cbt", "disable_cbt",
    "data_destroy", "revert_to",
}  # fmt: skip
_NOT_ON_CBT_METADATA: Final = {
    "clone", "copy", "disable_cbt", "enable_cbt", "mirror", "resize", "resize_online", "snapshot",
    "set_on_boot",
}  # fmt: skip


def features_of(db: Database, sr: str) -> set[str]:
    """List what the driver of a repository can do; nothing when there is no such driver."""
    wanted = db.get("SR", sr, "type")
    for row in db.tables["SM"].rows.values():
        if row.fields["type"] == wanted:
            return set(row.fields["features"])
    return set()


def is_plugged(db: Database, sr: str) -> bool:
    """Whether any host reaches a repository."""
    return any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs"))


def _sr_refusal(db: Database, sr: str, operation: str) -> XapiError | None:
    record = db.row("SR", sr).fields
    needed = _SR_FEATURES.get(operation)
    forbidden = record["is_tools_sr"] and operation in _NOT_ON_TOOLS
    if needed is not None and (forbidden or needed not in features_of(db, sr)):
        return XapiError("SR_OPERATION_NOT_SUPPORTED", sr)
    if operation in {"destroy", "forget"} and is_plugged(db, sr):
        return XapiError("SR_HAS_PBD", sr)
    if operation == "destroy":
        if not record["PBDs"]:
            return XapiError("SR_HAS_NO_PBDS", sr)
        if any(_is_kept(db.row("VDI", vdi).fields) for vdi in record["VDIs"]):
            return XapiError("SR_NOT_EMPTY")
    for task, running in record["current_operations"].items():
        return XapiError("OTHER_OPERATION_IN_PROGRESS", "SR", sr, running, task)
    return None


def _is_kept(disk: _Record) -> bool:
    return bool(disk["managed"]) and disk["type"] != "rrd"


def _vdi_refusal(db: Database, vdi: str, operation: str) -> XapiError | None:
    record = db.row("VDI", vdi).fields
    sr = record["SR"]
    if not db.exists("SR", sr):
        return XapiError("HANDLE_INVALID", "SR", sr)
    return (
        _concurrent(vdi, record, operation)
        or _in_use(db, vdi, record, operation)
        or _without_feature(db, sr, operation)
        or _cbt_refusal(vdi, record, operation)
        or _removal_refusal(db, vdi, record, operation)
        or _copy_refusal(vdi, record, operation)
    )


def _concurrent(vdi: str, record: _Record, operation: str) -> XapiError | None:
    """Refuse what cannot run beside another operation.

    A copy leaves room for others, which its own VBDs keep out where need be; a mirror leaves
    room for the end of its source.
    """
    for task, running in record["current_operations"].items():
        if running != "copy" and not (running == "mirror" and operation == "destroy"):
            return XapiError("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi, running, task)
    return None


def _in_use(db: Database, vdi: str, record: _Record, operation: str) -> XapiError | None:
    vbds = {vbd: db.row("VBD", vbd).fields for vbd in record["VBDs"]}
    active = [vbd for vbd in vbds.values() if vbd["currently_attached"]]
    if operation == "copy":
        active = [vbd for vbd in active if vbd["mode"] == "RW"]
    if active and operation not in _LIVE:
        return XapiError("VDI_IN_USE", vdi, operation)
    if operation != "data_destroy":  # which waits for the VBDs to go
        for vbd in vbds.values():
            for task, running in vbd["current_operations"].items():
                return XapiError("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi, running, task)
    return None


def _without_feature(db: Database, sr: str, operation: str) -> XapiError | None:
    needed = _VDI_FEATURES.get(operation)
    if needed is not None and needed not in features_of(db, sr):
        return XapiError("SR_OPERATION_NOT_SUPPORTED", sr)
    return None


def _cbt_refusal(vdi: str, record: _Record, operation: str) -> XapiError | None:
    if record["type"] == "cbt_metadata" and operation in _NOT_ON_CBT_METADATA:
        return XapiError("VDI_INCOMPATIBLE_TYPE", vdi, record["type"])
    if record["cbt_enabled"] and operation in {"mirror", "set_on_boot"}:
        return XapiError("VDI_CBT_ENABLED", vdi)
    if operation in {"enable_cbt", "disable_cbt"}:
        return _cbt_switch_refusal(vdi, record)
    return None


def _cbt_switch_refusal(vdi: str, record: _Record) -> XapiError | None:
    if record["is_a_snapshot"]:
        return XapiError("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi}")
    if record["type"] not in {"user", "system"}:
        return XapiError("VDI_INCOMPATIBLE_TYPE", vdi, record["type"])
    if record["on_boot"] == "reset":
        return XapiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    return None


def _removal_refusal(db: Database, vdi: str, record: _Record, operation: str) -> XapiError | None:
    if operation == "data_destroy":
        if not record["is_a_snapshot"]:
            return XapiError("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}")
        if not record["cbt_enabled"]:
            return XapiError("VDI_NO_CBT_METADATA", vdi)
    if operation in {"destroy", "data_destroy"}:
        sr = db.row("SR", record["SR"]).fields
        if sr["type"] == "udev":
            return XapiError("VDI_IS_A_PHYSICAL_DEVICE", vdi)
        if sr["is_tools_sr"]:
            return XapiError("SR_OPERATION_NOT_SUPPORTED", record["SR"])
    if operation in {"destroy", "data_destroy", "forget"} and record["type"] == "rrd":
        return XapiError("VDI_HAS_RRDS", vdi)
    return None


def _copy_refusal(vdi: str, record: _Record, operation: str) -> XapiError | None:
    if operation == "copy" and record["type"] in {"ha_statefile", "redo_log"}:
        return XapiError("OPERATION_NOT_ALLOWED", f"A {record['type']} is not copied")
    if operation != "snapshot":
        return None
    if record["sharable"]:
        return XapiError("VDI_IS_SHARABLE", vdi)
    if record["on_boot"] == "reset":
        return XapiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    if "copy" in record["current_operations"].values():
        return XapiError("OPERATION_NOT_ALLOWED", "No snapshot while a copy is made")
    return None


def _vbds_of(db: Database, vdi: str) -> Iterator[Reader]:
    for vbd in db.get("VDI", vdi, "VBDs"):
        yield "VBD", vbd


SR: Final = Rules(_SR_ADVERTISED, _sr_refusal)
VDI: Final = Rules(_VDI_ADVERTISED, _vdi_refusal, readers=_vbds_of)

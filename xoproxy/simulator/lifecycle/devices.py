"""Rows of VBDs and VIFs, with those of their metrics, and how devices are plugged."""

import hashlib
import re
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.lifecycle.writes import NULL, Record, Steps
from xoproxy.simulator.rules import allow, drop

_LETTERS: Final = 26
_DISK: Final = re.compile(r"(?:xvd|hd|sd)([a-z]{1,2})\d*")


def add_vbd(db: Database, record: Record) -> str:
    """Add a VBD, detached unless its VM is to resume with it."""
    made = {
        **record,
        "metrics": db.create("VBD_metrics", {}),
        "VDI": NULL if record["empty"] else record["VDI"],
        "currently_attached": _comes_attached(db, record),
        "current_operations": {},
    }
    return _added(db, "VBD", made)


def add_vif(db: Database, record: Record) -> str:
    """Add a VIF, detached unless its VM is to resume with it."""
    made = {
        **record,
        "metrics": db.create("VIF_metrics", {}),
        "currently_attached": _comes_attached(db, record),
        "current_operations": {},
    }
    return _added(db, "VIF", made)


def _comes_attached(db: Database, record: Record) -> bool:
    suspended = db.get("VM", record["VM"], "power_state") == "Suspended"
    return bool(suspended and record.get("currently_attached"))


def _added(db: Database, cls: str, record: Record) -> str:
    device = db.create(cls, record)
    allow(db, cls, device)
    _allow_owner(db, record["VM"])
    return device


def remove_device(db: Database, cls: str, device: str) -> None:
    """Delete a VBD or VIF, and before it its metrics."""
    record = db.row(cls, device).fields
    vm, metrics = record["VM"], record["metrics"]
    if db.exists(f"{cls}_metrics", metrics):
        db.destroy(f"{cls}_metrics", metrics)
    drop(db, cls, device)
    _allow_owner(db, vm)


def _allow_owner(db: Database, vm: str) -> None:
    """Let a VM advertise what the disks that it has now allow."""
    if db.exists("VM", vm):
        allow(db, "VM", vm)


def change_medium(db: Database, vbd: str, vdi: str) -> None:
    """Put a disk into a drive, or take it out (NULL)."""
    before = db.get("VBD", vbd, "VDI")
    if vdi == NULL:
        db.write("VBD", vbd, "empty", value=True)
        db.write("VBD", vbd, "VDI", vdi)
    else:
        db.write("VBD", vbd, "VDI", vdi)
        db.write("VBD", vbd, "empty", value=False)
    allow(db, "VBD", vbd)
    if db.exists("VDI", before):
        allow(db, "VDI", before)
    _allow_owner(db, db.get("VBD", vbd, "VM"))


def release_disk(db: Database, vbds: list[str]) -> None:
    """Rid VBDs of a disk that is gone: drives are emptied, others go with it."""
    for vbd in vbds:
        if db.get("VBD", vbd, "type") == "CD":
            change_medium(db, vbd, NULL)
        else:
            remove_device(db, "VBD", vbd)


def plug(db: Database, cls: str, device: str) -> Steps:
    yield int(db.write(cls, device, "currently_attached", value=True))
    if cls == "VBD":
        name = device_name(db.get(cls, device, "userdevice"))
        yield int(db.write(cls, device, "device", name))


def unplug(db: Database, cls: str, device: str) -> Steps:
    yield 0  # the guest has to let go first
    yield int(db.write(cls, device, "currently_attached", value=False))


def slot_of(userdevice: str) -> int | None:
    """Return the number behind a VBD's place: "1", "xvdb", "hdb" and "sdb" are the same one."""
    if userdevice.isascii() and userdevice.isdigit():
        return int(userdevice)
    found = _DISK.fullmatch(userdevice)
    if found is None:
        return None
    number = 0
    for letter in found[1]:
        number = number * _LETTERS + ord(letter) - ord("a") + 1
    return number - 1


def device_name(userdevice: str) -> str:
    """Return what the control domain calls a VBD: "1" is xvdb; names stay."""
    if not userdevice.isdigit():
        return userdevice
    letters, number = "", int(userdevice) + 1
    while number:
        number, letter = divmod(number - 1, _LETTERS)
        letters = chr(ord("a") + letter) + letters
    return f"xvd{letters}"


def mac_of(device: str, seed: str) -> str:
    """Derive a locally administered unicast address, the same for the same device and seed."""
    digest = hashlib.sha256(f"{seed}/{device}".encode()).digest()
    return ":".join(f"{b:02x}" for b in (digest[0] & 0xFC | 0x02, *digest[1:6]))

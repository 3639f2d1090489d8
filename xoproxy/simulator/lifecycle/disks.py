"""Disks in their repositories: how large they become, what they take up, how long a copy takes.

A repository's `virtual_allocation` is the sum of its disks' sizes: who adds or removes a disk
here need not think of it.
"""

import uuid as uuids
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.lifecycle.writes import NULL, Record, Steps, Takes
from xoproxy.simulator.rules import allow

MIB: Final = 1 << 20
GIB: Final = 1 << 30
BLOCK: Final = 2 * MIB  # of a VHD
EXTENT: Final = 4 * MIB  # of a volume group
MOST_BYTES: Final = 2040 * GIB  # that a VHD holds
CALL_S: Final = 0.5  # that a storage manager takes for a small thing
COPIED_PER_S: Final = 200 * MIB
_SECTOR: Final = 512
_HEADERS: Final = 4 * _SECTOR
_THICK: Final = ("lvm", "lvmoiscsi", "lvmohba", "lvmofcoe")

# What somebody gave a disk, and its copies take over.
_GIVEN: Final = (
    "name_label", "name_description", "type", "sharable", "other_config", "xenstore_data",
    "on_boot", "allow_caching",
)  # fmt: skip


def rounded(size: int) -> int:
    """Return the size that a disk gets that is asked for with `size`: whole blocks."""
    return -(-size // BLOCK) * BLOCK


def require_size(size: int) -> None:
    """Refuse what the storage managers refuse."""
    if not MIB <= size <= MOST_BYTES:
        bounds = f"VDI size must be between 1 MB and {MOST_BYTES // MIB} MB"
        raise invalid_size(bounds)


def invalid_size(reason: str) -> XapiError:
    return XapiError("SR_BACKEND_FAILURE_79", "", f"VDI Invalid size [opterr={reason}]", "")


def footprint(db: Database, sr: str, size: int) -> int:
    """Return what a new disk takes up: volume groups hold it in full, file systems its map."""
    blocks = -(-size // BLOCK)
    table = -(-4 * blocks // _SECTOR) * _SECTOR
    if db.get("SR", sr, "type") not in _THICK:
        return _HEADERS + table
    return -(-(size + _HEADERS + table) // EXTENT) * EXTENT


def require_space(db: Database, sr: str, needed: int) -> None:
    size = db.get("SR", sr, "physical_size")
    if size >= 0 and needed > size - db.get("SR", sr, "physical_utilisation"):
        raise XapiError("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")


def add_disk(db: Database, sr: str, record: Record) -> str:
    """Add a disk's row: first what the storage knows, then what was given; at last the sums."""
    uuid = str(uuids.uuid4())
    told = ("other_config", "sharable", "tags", "xenstore_data", "on_boot", "allow_caching")
    known = {name: value for name, value in record.items() if name not in told}
    base = {"uuid": uuid, "location": uuid, "managed": True, "parent": NULL}
    vdi = db.create("VDI", {**base, **known, "SR": sr})
    for name in told:
        if name in record:
            db.write("VDI", vdi, name, record[name])
    allow(db, "VDI", vdi)
    taken = db.get("VDI", vdi, "physical_utilisation")
    allocate(db, sr, db.get("VDI", vdi, "virtual_size"), taken)
    return vdi


def drop_disk(db: Database, vdi: str) -> None:
    """Delete a disk's row and what held it."""
    record = db.row("VDI", vdi).fields
    db.destroy("VDI", vdi)
    devices.release_disk(db, record["VBDs"])
    if record["type"] == "suspend":
        for vm in db.refs("VM"):
            if db.get("VM", vm, "suspend_VDI") == vdi:
                db.write("VM", vm, "suspend_VDI", NULL)


def remove_disk(db: Database, vdi: str) -> None:
    """Delete a disk's row and what held it; the sums of its repository follow."""
    record = db.row("VDI", vdi).fields
    drop_disk(db, vdi)
    if db.exists("SR", record["SR"]):
        allocate(db, record["SR"], -record["virtual_size"], -record["physical_utilisation"])


def allocate(db: Database, sr: str, virtual: int, physical: int) -> None:
    """Count disks in (or, negative, out of) a repository."""
    allocated = db.get("SR", sr, "virtual_allocation") + virtual
    db.write("SR", sr, "virtual_allocation", allocated)
    used = db.get("SR", sr, "physical_utilisation")
    if used >= 0:  # else no driver has told yet
        db.write("SR", sr, "physical_utilisation", max(used + physical, 0))
    allow(db, "SR", sr)  # an empty one can be destroyed


def given(record: Record) -> Record:
    """Return what a copy of a disk takes over from it."""
    return {name: record[name] for name in _GIVEN}


def working(seconds: float = CALL_S) -> Steps:
    """Let a storage manager work before its results show."""
    yield Takes(seconds)


def transfer(db: Database, task: str, size: int) -> Steps:
    """Move a disk's data, and tell of it in the task now and then."""
    parts = min(max(size // GIB, 5), 50)
    for part in range(parts):
        yield Takes(size / COPIED_PER_S / parts)
        if db.exists("task", task):
            db.write("task", task, "progress", round((part + 1) / (parts + 1), 3))


def attach_to_domain(db: Database, domain: str, vdi: str, mode: str) -> str:
    """Give a control domain a disk to read or write; returns the VBD."""
    used = [devices.slot_of(db.get("VBD", v, "userdevice")) for v in db.get("VM", domain, "VBDs")]
    place = next(slot for slot in range(len(used) + 1) if slot not in used)
    record = {
        "VM": domain,
        "VDI": vdi,
        "userdevice": str(place),
        "mode": mode,
        "type": "Disk",
        "empty": False,
        "unpluggable": True,
    }
    vbd = devices.add_vbd(db, record)
    for _ in devices.plug(db, "VBD", vbd):
        pass
    allow(db, "VBD", vbd)
    return vbd


def detach_from_domain(db: Database, vbd: str) -> None:
    db.write("VBD", vbd, "currently_attached", value=False)
    allow(db, "VBD", vbd)
    devices.remove_device(db, "VBD", vbd)

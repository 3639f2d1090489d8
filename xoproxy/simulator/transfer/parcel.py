"""What a pool sends to another one of a VM: its rows, and where they are to go."""

from typing import Any, Final, Literal

from msgspec import Struct, field

from xoproxy.simulator.database import Database

Record = dict[str, Any]
MESSAGES_MAX: Final = 200  # that go along: a request's body is limited


class Machine(Struct, frozen=True):
    """A VM, or a snapshot of it, with the rows that are its own."""

    ref: str
    record: Record
    metrics: Record
    guest_metrics: Record
    drives: list[Record]
    nics: list[Record]


class Parcel(Struct, frozen=True):
    """A VM on its way.

    Attributes:
        step: `check` only looks, `disks` makes room, `arrive` ends it well, `drop` badly.
        host: of the receiving pool.
        machines: the VM, then its snapshots.
        disks: by the sender's references.
        storage, networks: where disks and NICs go: {sender's reference: receiver's}.
        made: what became of the disks: {sender's reference: receiver's}.
        copy: the sender keeps its VM, so this is another one.
        messages: alerts about the VM, oldest first; they move with it.
    """

    step: Literal["check", "disks", "arrive", "drop"]
    host: str
    machines: list[Machine] = []
    disks: dict[str, Record] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    copy: bool = False
    messages: list[Record] = []


def family(db: Database, vm: str, *, copy: bool) -> list[str]:
    """List what goes together: a VM and its snapshots, which a copy leaves behind."""
    return [vm] if copy else [vm, *db.get("VM", vm, "snapshots")]


def disks_of(db: Database, vm: str) -> list[str]:
    """List the disks of a VM, and its memory while it is suspended; CDs stay where they are."""
    record = db.row("VM", vm).fields
    drives = [db.row("VBD", vbd).fields for vbd in record["VBDs"]]
    found = [drive["VDI"] for drive in drives if drive["type"] == "Disk"]
    return [vdi for vdi in [*found, record["suspend_VDI"]] if db.exists("VDI", vdi)]


def pack(db: Database, vm: str, parcel: Parcel) -> Parcel:
    """Put a VM into a parcel that says already where it goes."""
    vms = family(db, vm, copy=parcel.copy)
    return Parcel(
        step=parcel.step,
        host=parcel.host,
        machines=[_machine(db, member) for member in vms],
        disks={vdi: db.record("VDI", vdi) for member in vms for vdi in disks_of(db, member)},
        storage=parcel.storage,
        networks=parcel.networks,
        made=parcel.made,
        copy=parcel.copy,
        messages=[] if parcel.copy else [db.record("message", ref) for ref in alerts(db, vm)],
    )


def alerts(db: Database, vm: str) -> list[str]:
    """List the newest messages about a VM, oldest first."""
    uuid = db.get("VM", vm, "uuid")
    about = [
        row.ref for row in db.tables["message"].rows.values() if row.fields["obj_uuid"] == uuid
    ]
    return about[-MESSAGES_MAX:]


def _machine(db: Database, vm: str) -> Machine:
    record = db.record("VM", vm)
    return Machine(
        ref=vm,
        record=record,
        metrics=_followed(db, "VM_metrics", record["metrics"]),
        guest_metrics=_followed(db, "VM_guest_metrics", record["guest_metrics"]),
        drives=[db.record("VBD", vbd) for vbd in record["VBDs"]],
        nics=[{**db.record("VIF", vif), "ref": vif} for vif in record["VIFs"]],
    )


def _followed(db: Database, cls: str, ref: str) -> Record:
    return db.record(cls, ref) if db.exists(cls, ref) else {}

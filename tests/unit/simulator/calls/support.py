"""What tests of calls share: a record of writes, and a little hardware for the small world."""

from tests.unit.simulator.worlds import HOST, VM, Client
from xoproxy.simulator.database import Database, Row, Write
from xoproxy.simulator.rules import allowed
from xoproxy.simulator.wiretypes import NULL, Json

_UNSEEN = {"task", "session"}
DISK_FEATURES = (
    "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_UPDATE", "VDI_CLONE", "VDI_SNAPSHOT",
    "VDI_RESIZE", "VDI_MIRROR", "VDI_RESET_ON_BOOT", "VDI_CONFIG_CBT",
)  # fmt: skip
GIB = 1 << 30


class Journal:
    """Readable lines of all writes from now on: `add VDI`, `mod VDI.virtual_size`, `del VDI`."""

    def __init__(self, db: Database) -> None:
        self.lines: list[str] = []
        self._seen: dict[str, dict[str, Json]] = {}
        for table in db.tables.values():
            for row in table.rows.values():
                self._seen[row.ref] = dict(row.fields)
        db.observers.append(self._note)

    def _note(self, write: Write) -> None:
        if write.cls in _UNSEEN:
            return
        if write.op == "mod":
            self.lines += [f"mod {write.cls}.{name}" for name in self._changed(write.row)]
        else:
            self.lines.append(f"{write.op} {write.cls}")
        self._seen[write.row.ref] = dict(write.row.fields)

    def _changed(self, row: Row) -> list[str]:
        before = self._seen[row.ref]
        return [name for name, value in row.fields.items() if before[name] != value]


def add_sm(user: Client, kind: str = "nfs", features: tuple[str, ...] = DISK_FEATURES) -> str:
    return user.db.create("SM", {"type": kind, "features": dict.fromkeys(features, 1)})


def add_sr(user: Client, kind: str = "nfs", *, content: str = "user", plugged: bool = True) -> str:
    """Add a repository with a PBD on the only host, and its driver."""
    if not any(row.fields["type"] == kind for row in user.db.tables["SM"].rows.values()):
        add_sm(user, kind)
    record = {"type": kind, "content_type": content, "physical_size": 1 << 40}
    sr = user.db.create("SR", record)
    user.db.create("PBD", {"SR": sr, "host": HOST, "currently_attached": plugged})
    settle(user, "SR", sr)
    return sr


def add_vdi(user: Client, sr: str, **members: Json) -> str:
    """Add a disk as if it had always been there."""
    record = {"SR": sr, "virtual_size": GIB, "type": "user", "managed": True, **members}
    vdi = user.db.create("VDI", record)
    user.db.write("VDI", vdi, "location", user.db.get("VDI", vdi, "uuid"))
    total = sum(user.db.get("VDI", ref, "virtual_size") for ref in user.db.get("SR", sr, "VDIs"))
    user.db.write("SR", sr, "virtual_allocation", total)
    settle(user, "VDI", vdi)
    return vdi


def allocation(user: Client, sr: str) -> int:
    size: int = user.db.get("SR", sr, "virtual_allocation")
    return size


def add_vbd(user: Client, vdi: str = NULL, **members: Json) -> str:
    """Add a drive as if it had always been there."""
    record = {"VM": VM, "VDI": vdi, "type": "Disk", "mode": "RW", "userdevice": "0", **members}
    vbd = user.db.create("VBD", {"empty": vdi == NULL, "unpluggable": True, **record})
    settle(user, "VBD", vbd)
    if vdi != NULL:
        settle(user, "VDI", vdi)
    return vbd


def run(user: Client, vm: str = VM, *, drivers: bool = True) -> None:
    """Let a VM run, by nature or with drivers."""
    guest = user.db.create("VM_guest_metrics", {"PV_drivers_detected": drivers})
    user.db.write("VM", vm, "domain_type", "hvm")
    user.db.write("VM", vm, "guest_metrics", guest)
    user.db.write("VM", vm, "resident_on", HOST)
    user.db.write("VM", vm, "power_state", "Running")
    settle(user, "VM", vm)
    for cls in ("VBD", "VIF"):
        for device in user.db.get("VM", vm, f"{cls}s"):
            settle(user, cls, device)


def settle(user: Client, cls: str, ref: str) -> None:
    user.db.write(cls, ref, "allowed_operations", allowed(user.db, cls, ref))


def untrue(db: Database, *classes: str) -> list[str]:
    """List the objects that advertise something else than the rules say."""
    classes = classes or ("SR", "VBD", "VDI", "VIF")
    return [
        f"{cls} {ref}: {row.fields['allowed_operations']}, by the rules {allowed(db, cls, ref)}"
        for cls in classes
        for ref, row in db.tables[cls].rows.items()
        if set(row.fields["allowed_operations"]) != set(allowed(db, cls, ref))
    ]


def add_nic(user: Client, number: int = 0, host: str = HOST, **members: Json) -> str:
    """Add a NIC, attached, with its network, as if it had always been there."""
    bridge = f"xenbr{number}"
    networks = user.db.tables["network"].rows.items()
    network = next((ref for ref, row in networks if row.fields["bridge"] == bridge), None)
    record = {
        "device": f"eth{number}",
        "host": host,
        "network": network or user.db.create("network", {"bridge": bridge}),
        "MAC": f"02:00:00:00:00:{user.db.count('PIF'):02x}",
        "metrics": user.db.create("PIF_metrics", {"carrier": True, "speed": 10000}),
        "physical": True,
        "MTU": 1500,
        "VLAN": -1,
        "currently_attached": True,
    }
    return user.db.create("PIF", {**record, **members})


def broken(db: Database) -> list[str]:
    """List what does not fit together of PIFs, VLANs, bonds and networks."""
    wrong = _broken_vlans(db)
    for bond, row in db.tables["Bond"].rows.items():
        if row.fields["primary_slave"] not in row.fields["slaves"]:
            wrong.append(f"Bond {bond}: its first member is none")
    for pif, row in db.tables["PIF"].rows.items():
        for cls, field in (("PIF_metrics", "metrics"), ("network", "network")):
            if not db.exists(cls, row.fields[field]):
                wrong.append(f"PIF {pif}: no {field}")
        if row.fields["VLAN"] >= 0 and not db.exists("VLAN", row.fields["VLAN_master_of"]):
            wrong.append(f"PIF {pif}: its VLAN is gone")
    for network, row in db.tables["network"].rows.items():
        hosts = [db.get("PIF", pif, "host") for pif in row.fields["PIFs"]]
        if len(set(hosts)) != len(hosts):
            wrong.append(f"network {network}: two PIFs of one host")
    return wrong


def _broken_vlans(db: Database) -> list[str]:
    wrong = []
    for vlan, row in db.tables["VLAN"].rows.items():
        untagged = db.row("PIF", row.fields["untagged_PIF"]).fields
        tagged = db.row("PIF", row.fields["tagged_PIF"]).fields
        ends = (untagged["VLAN"], untagged["VLAN_master_of"], untagged["host"], untagged["device"])
        if ends != (row.fields["tag"], vlan, tagged["host"], tagged["device"]):
            wrong.append(f"VLAN {vlan}: {ends}")
    return wrong

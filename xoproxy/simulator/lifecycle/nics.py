"""NICs of hosts as the network daemon sees them: up, down, and what depends on them."""

import hashlib
import uuid as uuids
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.lifecycle.writes import Record

ADDRESS: Final = ("ip_configuration_mode", "IP", "netmask", "gateway", "DNS")
VLAN_MAC: Final = "fe:ff:ff:ff:ff:ff"
UNTAGGED: Final = -1  # a PIF's VLAN when it has none
NO_ADDRESS: Final[Record] = {
    "ip_configuration_mode": "None", "IP": "", "netmask": "", "gateway": "", "DNS": "",
}  # fmt: skip


def bring_up(db: Database, pif: str) -> None:
    """Attach a PIF and what it stands on: the PIF below a VLAN, the members of a bond."""
    below = []
    vlan = db.get("PIF", pif, "VLAN_master_of")
    if db.exists("VLAN", vlan):
        below.append(db.get("VLAN", vlan, "tagged_PIF"))
    for bond in db.get("PIF", pif, "bond_master_of"):
        below += db.get("Bond", bond, "slaves")
    for other in below:
        db.write("PIF", other, "currently_attached", value=True)
    db.write("PIF", pif, "currently_attached", value=True)
    for bond in db.get("PIF", pif, "bond_master_of"):
        db.write("Bond", bond, "links_up", len(db.get("Bond", bond, "slaves")))
    for tunnel in db.get("PIF", pif, "tunnel_access_PIF_of"):
        db.write("tunnel", tunnel, "status", {"active": "true"})
    if db.get("PIF", pif, "ip_configuration_mode") == "DHCP" and not db.get("PIF", pif, "IP"):
        lease(db, pif)


def bring_down(db: Database, pif: str) -> None:
    db.write("PIF", pif, "currently_attached", value=False)
    for tunnel in db.get("PIF", pif, "tunnel_access_PIF_of"):
        db.write("tunnel", tunnel, "status", {"active": "false"})


def lease(db: Database, pif: str) -> None:
    """Let a DHCP server answer: the same address for the same NIC."""
    digest = hashlib.sha256(db.get("PIF", pif, "uuid").encode()).digest()
    low = f"{digest[1]}.{digest[2] % 254 + 1}"
    net = f"10.{digest[0]}"
    for name, value in (
        ("IP", f"{net}.{low}"),
        ("netmask", "255.255.0.0"),
        ("gateway", f"{net}.0.1"),
        ("DNS", f"{net}.0.1"),
    ):
        db.write("PIF", pif, name, value)


def move_address(db: Database, source: str, target: str) -> None:
    """Give a PIF the address of another one, which then has none."""
    for name in ADDRESS:
        db.write("PIF", target, name, db.get("PIF", source, name))
    for name, value in NO_ADDRESS.items():
        db.write("PIF", source, name, value)


def new_metrics(db: Database, told: Record | None = None) -> str:
    return db.create("PIF_metrics", told or {})


def add_pif(db: Database, record: Record, ref: str | None = None) -> str:
    """Add a PIF that is not attached and has no address."""
    base: Record = {
        "MTU": 1500,
        "VLAN": UNTAGGED,
        "physical": False,
        "currently_attached": False,
        "managed": True,
        "management": False,
        **NO_ADDRESS,
    }
    return db.create("PIF", {**base, **record}, ref)


def remove_pif(db: Database, pif: str) -> None:
    """Delete a PIF's row, and its metrics unless another PIF has the same."""
    metrics = db.get("PIF", pif, "metrics")
    db.destroy("PIF", pif)
    shared = any(row.fields["metrics"] == metrics for row in db.tables["PIF"].rows.values())
    if db.exists("PIF_metrics", metrics) and not shared:
        db.destroy("PIF_metrics", metrics)


def add_vlan(db: Database, tagged: str, tag: int, network: str) -> str:
    """Add a VLAN and its PIF, which has the metrics of the PIF below; returns the VLAN."""
    base = db.row("PIF", tagged).fields
    vlan, untagged = (f"OpaqueRef:{uuid}" for uuid in (_uuid(), _uuid()))
    record = {
        "device": base["device"],
        "network": network,
        "host": base["host"],
        "MAC": VLAN_MAC,
        "MTU": base["MTU"],
        "metrics": base["metrics"],
        "VLAN": tag,
        "VLAN_master_of": vlan,
    }
    add_pif(db, record, untagged)
    members = {"tagged_PIF": tagged, "untagged_PIF": untagged, "tag": tag}
    return db.create("VLAN", members, vlan)


def remove_vlan(db: Database, vlan: str) -> None:
    untagged = db.get("VLAN", vlan, "untagged_PIF")
    db.destroy("VLAN", vlan)
    if db.exists("PIF", untagged):
        remove_pif(db, untagged)


def free_device(db: Database, host: str, stem: str) -> str:
    """Return the first name with a number that no PIF of a host has."""
    used = {db.get("PIF", pif, "device") for pif in db.get("host", host, "PIFs")}
    return next(f"{stem}{n}" for n in range(len(used) + 1) if f"{stem}{n}" not in used)


def vifs_on(db: Database, host: str, network: str) -> list[str]:
    """List the VIFs of a network whose VMs live on a host, or could nowhere else."""
    only = db.count("host") == 1
    found = []
    for vif in db.get("network", network, "VIFs"):
        vm = db.get("VIF", vif, "VM")
        if db.exists("VM", vm) and (only or db.get("VM", vm, "resident_on") == host):
            found.append(vif)
    return found


def _uuid() -> str:
    return str(uuids.uuid4())

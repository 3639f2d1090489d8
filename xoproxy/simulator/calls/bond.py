"""Class `Bond`: several NICs of a host as one, with all that stood on them.

Order of checks: xapi_bond.ml.
"""

import uuid as uuids

from xoproxy.simulator.calls import pif as pifs
from xoproxy.simulator.calls.network import require_managed
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vif import is_mac
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import nics
from xoproxy.simulator.wiretypes import NULL


@operation("Bond.create")
def create(
    call: Call,
    network: str,
    members: list[str],
    mac: str,
    mode: str,
    properties: dict[str, str],
) -> str:
    members = list(dict.fromkeys(members))
    if not members:
        raise XapiError("PIF_BOND_NEEDS_MORE_MEMBERS")
    require_managed(call, network)
    host = call.db.get("PIF", members[0], "host")
    pifs.require_unconnected(call, host, network)
    if mac and not is_mac(mac):
        raise XapiError("MAC_INVALID", mac)
    _require_fit(call, members)
    primary = _primary_of(call, members)
    master, bond = (f"OpaqueRef:{uuids.uuid4()}" for _ in range(2))
    first = call.db.row("PIF", primary).fields
    record = {
        "device": nics.free_device(call.db, host, "bond"),
        "network": network,
        "host": host,
        "MAC": mac or first["MAC"],
        "MTU": first["MTU"],
        "metrics": nics.new_metrics(call.db, {"carrier": True}),
        "properties": first["properties"],
    }
    nics.add_pif(call.db, record, master)
    joined = {
        "master": master,
        "primary_slave": primary,
        "mode": mode,
        "properties": properties,
        "auto_update_mac": not mac,
    }
    call.db.create("Bond", joined, bond)
    for pif in members:
        call.db.write("PIF", pif, "bond_slave_of", bond)
    _move_up(call, primary, master, members)
    return bond


def _require_fit(call: Call, members: list[str]) -> None:
    for pif in members:
        pifs.require_managed(call, pif)
        record = call.db.row("PIF", pif).fields
        if call.db.exists("Bond", record["bond_slave_of"]):
            raise XapiError("PIF_ALREADY_BONDED", pif)
        if record["VLAN"] != nics.UNTAGGED:
            raise XapiError("PIF_VLAN_EXISTS", record["device"])
        if record["tunnel_access_PIF_of"]:
            raise XapiError("IS_TUNNEL_ACCESS_PIF", pif)
    rows = [call.db.row("PIF", pif).fields for pif in members]
    if len({row["host"] for row in rows}) != 1:
        raise XapiError("PIF_CANNOT_BOND_CROSS_HOST")
    if any(row["properties"] != rows[0]["properties"] for row in rows):
        raise XapiError("INCOMPATIBLE_PIF_PROPERTIES")
    addressed = [row for row in rows if row["ip_configuration_mode"] != "None"]
    if len(addressed) > 1 and not any(row["management"] for row in rows):
        raise XapiError("PIF_BOND_MORE_THAN_ONE_IP")


def _primary_of(call: Call, members: list[str]) -> str:
    """Choose whose addresses the bond takes over."""
    rows = [call.db.row("PIF", pif) for pif in members]
    management = [row.ref for row in rows if row.fields["management"]]
    addressed = [row.ref for row in rows if row.fields["ip_configuration_mode"] != "None"]
    return [*management, *addressed, members[0]][0]


def _move_up(call: Call, primary: str, master: str, members: list[str]) -> None:
    """Let the bond stand where its members stood."""
    db = call.db
    network, host = (db.get("PIF", master, name) for name in ("network", "host"))
    nics.move_address(db, primary, master)
    for pif in members:
        _move_vlans(call, pif, master)
        for vif in nics.vifs_on(db, host, db.get("PIF", pif, "network")):
            db.write("VIF", vif, "network", network)
    _move_management(call, members, master)
    if any(db.get("PIF", pif, "currently_attached") for pif in members):
        nics.bring_up(db, master)
    kept = any(db.get("PIF", pif, "disallow_unplug") for pif in members)
    db.write("PIF", master, "disallow_unplug", kept)
    for pif in members:
        for name, value in nics.NO_ADDRESS.items():
            db.write("PIF", pif, name, value)
        db.write("PIF", pif, "disallow_unplug", value=False)


def _move_management(call: Call, sources: list[str], target: str) -> None:
    for pif in sources:
        if call.db.get("PIF", pif, "management"):
            call.db.write("PIF", target, "management", value=True)
            nics.bring_up(call.db, target)
            call.db.write("PIF", pif, "management", value=False)


def _move_vlans(call: Call, source: str, target: str) -> None:
    """Make the VLANs of a PIF anew on another one, on the same networks."""
    db = call.db
    for old in db.get("PIF", source, "VLAN_slave_of"):
        untagged = db.row("PIF", db.get("VLAN", old, "untagged_PIF")).fields
        taken = {db.get("VLAN", vlan, "tag") for vlan in db.get("PIF", target, "VLAN_slave_of")}
        network, plugged = untagged["network"], untagged["currently_attached"]
        tag, address = untagged["VLAN"], {name: untagged[name] for name in nics.ADDRESS}
        nics.remove_vlan(db, old)
        if tag in taken:
            continue
        new = db.get("VLAN", nics.add_vlan(db, target, tag, network), "untagged_PIF")
        for name, value in address.items():
            db.write("PIF", new, name, value)
        if plugged:
            nics.bring_up(db, new)


@operation("Bond.destroy")
def destroy(call: Call, bond: str) -> None:
    """Take a bond apart; its first member takes over what stood on it."""
    db = call.db
    record = db.record("Bond", bond)
    master, members = record["master"], record["slaves"]
    for one in members:
        db.write("PIF", one, "bond_slave_of", NULL)
    pif = db.record("PIF", master)
    if members:
        first = record["primary_slave"]
        _move_down(call, master, first if first in members else members[0])
    nics.bring_down(db, master)
    db.destroy("Bond", bond)
    for vlan in pif["VLAN_slave_of"]:
        if db.exists("VLAN", vlan):
            nics.remove_vlan(db, vlan)
    nics.remove_pif(db, master)
    for one in members if pif["currently_attached"] else ():
        nics.bring_up(db, one)


def _move_down(call: Call, master: str, primary: str) -> None:
    """Let a member stand where the bond stood."""
    db = call.db
    pif = db.record("PIF", master)
    nics.move_address(db, master, primary)
    for vif in nics.vifs_on(db, pif["host"], pif["network"]):
        db.write("VIF", vif, "network", db.get("PIF", primary, "network"))
    _move_vlans(call, master, primary)
    _move_management(call, [master], primary)
    db.write("PIF", primary, "disallow_unplug", pif["disallow_unplug"])


@operation("Bond.set_property")
def set_property(call: Call, bond: str, name: str, value: str) -> None:
    properties = call.db.get("Bond", bond, "properties")
    call.db.write("Bond", bond, "properties", {**properties, name: value})

"""Class `VLAN`: networks with a tag on a NIC, on one host or on all.

Order of checks: xapi_vlan.ml, xapi_pool.ml.
"""

from collections.abc import Sequence
from typing import Final

from xoproxy.simulator.calls import pif as pifs
from xoproxy.simulator.calls.network import require_managed
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import nics

HIGHEST_TAG: Final = 4094  # 4095 is reserved (802.1Q)


@operation("VLAN.create")
def create(call: Call, tagged: str, tag: int, network: str) -> str:
    require_managed(call, network)
    pifs.require_managed(call, tagged)
    record = call.db.row("PIF", tagged).fields
    pifs.require_unconnected(call, record["host"], network)
    if call.db.exists("Bond", record["bond_slave_of"]):
        raise XapiError("CANNOT_ADD_VLAN_TO_BOND_SLAVE", tagged)
    if record["VLAN"] >= 0:
        raise XapiError("PIF_IS_VLAN", tagged)
    if not 0 <= tag <= HIGHEST_TAG:
        raise XapiError("VLAN_TAG_INVALID", str(tag))
    if any(call.db.get("VLAN", vlan, "tag") == tag for vlan in record["VLAN_slave_of"]):
        raise XapiError("PIF_VLAN_EXISTS", record["device"])
    if record["tunnel_access_PIF_of"]:
        raise XapiError("IS_TUNNEL_ACCESS_PIF", tagged)
    vlan = nics.add_vlan(call.db, tagged, tag, network)
    pifs.plug(call, call.db.get("VLAN", vlan, "untagged_PIF"))
    return vlan


@operation("VLAN.destroy")
def destroy(call: Call, vlan: str) -> None:
    pif = call.db.get("VLAN", vlan, "untagged_PIF")
    if call.db.exists("PIF", pif):
        pifs.require_unbonded(call, pif)
        pifs.require_no_member_management(call, pif)
        pifs.require_no_ha(call, pif)
        pifs.unplug(call, pif)
    nics.remove_vlan(call.db, vlan)


@operation("PIF.create_VLAN")
def create_on_device(call: Call, device: str, network: str, host: str, tag: int) -> str:
    """Add a VLAN on the NIC of this name; returns its PIF."""
    for pif in call.db.get("host", host, "PIFs"):
        record = call.db.row("PIF", pif).fields
        if record["device"] == device and record["VLAN"] == nics.UNTAGGED:
            vlan = create(call, pif, tag, network)
            untagged: str = call.db.get("VLAN", vlan, "untagged_PIF")
            return untagged
    raise XapiError("INVALID_VALUE", "device", device)


@operation("PIF.destroy")
def destroy_pif(call: Call, pif: str) -> None:
    """Delete the PIF of a VLAN, and that with it."""
    if call.db.get("PIF", pif, "VLAN") < 0:
        raise XapiError("PIF_IS_PHYSICAL", pif)
    destroy(call, call.db.get("PIF", pif, "VLAN_master_of"))


@operation("pool.create_VLAN")
def create_on_all(call: Call, device: str, network: str, tag: int) -> list[str]:
    """Add a VLAN on the NICs of this name of all hosts, or on none."""
    found = []
    for host in call.db.refs("host"):
        pifs_here = (call.db.row("PIF", p) for p in call.db.get("host", host, "PIFs"))
        fitting = [
            row.ref
            for row in pifs_here
            if (row.fields["device"], row.fields["VLAN"]) == (device, nics.UNTAGGED)
        ]
        if not fitting:
            raise XapiError("INVALID_VALUE", "device", device)
        found += fitting[:1]
    return _create_on(call, found, network, tag)


@operation("pool.create_VLAN_from_PIF")
def create_beside(call: Call, pif: str, network: str, tag: int) -> list[str]:
    """Add a VLAN on all PIFs of a PIF's network: one on each host."""
    base = call.db.get("PIF", pif, "network")
    return _create_on(call, call.db.get("network", base, "PIFs"), network, tag)


def _create_on(call: Call, tagged: Sequence[str], network: str, tag: int) -> list[str]:
    made: list[str] = []
    try:
        for pif in tagged:
            made.append(create(call, pif, tag, network))  # noqa: PERF401 (kept when one fails)
    except XapiError:
        for vlan in made:
            destroy(call, vlan)
        raise
    return [call.db.get("VLAN", vlan, "untagged_PIF") for vlan in made]

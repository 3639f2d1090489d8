"""Class `PIF`: NICs of hosts, and what stands on them.

Order of checks: xapi_pif.ml.
"""

import ipaddress
from typing import Final

from xoproxy.simulator.calls.network import free_bridge
from xoproxy.simulator.calls.reach import require_online
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vif import is_mac
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import nics
from xoproxy.simulator.wiretypes import NULL, Json

_PROPERTIES: Final = {"gro": ("on", "off")}
_NIC_FIELDS: Final = ("device", "MAC", "MTU", "network", "PCI", "capabilities", "properties")

_TOLD: Final = (
    "device", "network", "host", "MAC", "MTU", "VLAN", "physical", "ip_configuration_mode", "IP",
    "netmask", "gateway", "DNS", "bond_slave_of", "VLAN_master_of", "management", "other_config",
    "disallow_unplug", "ipv6_configuration_mode", "IPv6", "ipv6_gateway", "primary_address_type",
    "managed", "properties",
)  # fmt: skip


# -- what others ask too -------------------------------------------------------------------


def require_managed(call: Call, pif: str) -> None:
    """Refuse a PIF that is not ours, or on a host that does not answer."""
    require_online(call, call.db.get("PIF", pif, "host"))
    if not call.db.get("PIF", pif, "managed"):
        raise XapiError("PIF_UNMANAGED", pif)


def require_unconnected(call: Call, host: str, network: str) -> None:
    """Refuse a second PIF of a host on the same network."""
    for pif in call.db.get("network", network, "PIFs"):
        if call.db.get("PIF", pif, "host") == host:
            raise XapiError("NETWORK_ALREADY_CONNECTED", host, pif)


def require_unbonded(call: Call, pif: str) -> None:
    record = call.db.row("PIF", pif).fields
    if call.db.exists("Bond", record["bond_slave_of"]) or record["bond_master_of"]:
        raise XapiError("PIF_ALREADY_BONDED", pif)


def require_no_member_management(call: Call, pif: str) -> None:
    """Keep the interface over which a member talks to the coordinator."""
    record = call.db.row("PIF", pif).fields
    masters = {call.db.get("pool", pool, "master") for pool in call.db.refs("pool")}
    if record["management"] and record["currently_attached"] and record["host"] not in masters:
        raise XapiError("PIF_IS_MANAGEMENT_INTERFACE", pif)


def require_no_ha(call: Call, pif: str) -> None:
    """Refuse to change an interface that HA, or the redo log, counts on."""
    if not call.db.get("PIF", pif, "currently_attached"):
        return
    for pool in call.db.refs("pool"):
        if call.db.get("pool", pool, "ha_enabled"):
            raise XapiError("HA_IS_ENABLED")
        if call.db.get("pool", pool, "redo_log_enabled"):
            raise XapiError("REDO_LOG_IS_ENABLED")


# -- up and down ---------------------------------------------------------------------------


@operation("PIF.plug")
def plug(call: Call, pif: str) -> None:
    require_managed(call, pif)
    for tunnel in call.db.get("PIF", pif, "tunnel_access_PIF_of"):
        transport = call.db.get("tunnel", tunnel, "transport_PIF")
        if call.db.get("PIF", transport, "ip_configuration_mode") == "None":
            raise XapiError("TRANSPORT_PIF_NOT_CONFIGURED", transport)
        plug(call, transport)
    if call.db.exists("Bond", call.db.get("PIF", pif, "bond_slave_of")):
        raise XapiError("CANNOT_PLUG_BOND_SLAVE", pif)
    nics.bring_up(call.db, pif)


@operation("PIF.unplug")
def unplug(call: Call, pif: str) -> None:
    require_managed(call, pif)
    require_no_ha(call, pif)
    record = call.db.row("PIF", pif).fields
    if record["currently_attached"] and record["management"]:
        raise XapiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    _require_no_vif(call, record["network"], record["host"])
    if record["disallow_unplug"]:
        raise XapiError("PIF_DOES_NOT_ALLOW_UNPLUG", pif)
    for tunnel in record["tunnel_transport_PIF_of"]:
        unplug(call, call.db.get("tunnel", tunnel, "access_PIF"))
    nics.bring_down(call.db, pif)


def _require_no_vif(call: Call, network: str, host: str) -> None:
    if not call.db.exists("network", network):
        return
    for vif in call.db.get("network", network, "VIFs"):
        record = call.db.row("VIF", vif).fields
        if not record["currently_attached"] or not call.db.exists("VM", record["VM"]):
            continue
        vm = call.db.row("VM", record["VM"]).fields
        if vm["resident_on"] == host and vm["power_state"] in {"Running", "Paused"}:
            raise XapiError("VIF_IN_USE", network, vif)


# -- coming and going ----------------------------------------------------------------------


@operation("PIF.scan")
def scan(call: Call, host: str) -> None:
    """Add PIFs for NICs that have none."""
    require_online(call, host)
    known = _physical(call, host)
    for nic in call.world.hardware.nics(host):
        if nic["device"] not in known:  # it is when the database went back
            _introduce(call, host, nic["device"], managed=True)


@operation("PIF.introduce")
def introduce(call: Call, host: str, mac: str, device: str, managed: bool) -> str:  # noqa: FBT001
    require_online(call, host)
    physical = _physical(call, host)
    free = {nic["device"]: nic["MAC"] for nic in call.world.hardware.nics(host)}
    mac = mac.lower() or {**physical, **free}.get(device, "")
    if not is_mac(mac):
        raise XapiError("MAC_INVALID", mac)
    if device in physical:
        raise XapiError("DUPLICATE_PIF_DEVICE_NAME", device)
    if free.get(device, "").lower() != mac:
        code = "COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS"
        raise XapiError(code, device, mac)
    return _introduce(call, host, device, managed=managed)


def _physical(call: Call, host: str) -> dict[str, str]:
    """List the addresses of a host's NICs that have PIFs."""
    pifs = [call.db.row("PIF", pif).fields for pif in call.db.get("host", host, "PIFs")]
    return {pif["device"]: pif["MAC"] for pif in pifs if pif["physical"]}


def _introduce(call: Call, host: str, device: str, *, managed: bool) -> str:
    nic = call.world.hardware.take_nic(host, device)
    network = _network_for(call, host, nic)
    record: dict[str, Json] = {name: nic[name] for name in _NIC_FIELDS if name in nic}
    metrics = nics.new_metrics(call.db, nic.get("told"))
    extra = {"host": host, "network": network, "metrics": metrics}
    return nics.add_pif(call.db, {**record, **extra, "physical": True, "managed": managed})


def _network_for(call: Call, host: str, nic: dict[str, Json]) -> str:
    """Find the network of a NIC: the one it was on, or by XAPI's convention on names; or make it.

    A host has one PIF on a network, so it must not be taken.
    """
    number = nic["device"].removeprefix("eth")
    bridge = f"br{nic['device']}" if number == nic["device"] else f"xenbr{number}"
    networks = call.db.tables["network"].rows
    named = [ref for ref, row in networks.items() if row.fields["bridge"] == bridge]
    for network in (nic.get("network", NULL), *named):
        if call.db.exists("network", network) and not _is_connected(call, host, network):
            return str(network)
    label = f"Pool-wide network associated with {nic['device']}"
    record = {"name_label": label, "bridge": free_bridge(call) if named else bridge}
    return call.db.create("network", record)


def _is_connected(call: Call, host: str, network: str) -> bool:
    pifs = call.db.get("network", network, "PIFs")
    return any(call.db.get("PIF", pif, "host") == host for pif in pifs)


@operation("PIF.db_introduce")
def db_introduce(call: Call, *values: Json) -> str:
    """Add the row of a PIF as it is told, which is not attached and in no bond."""
    record = dict(zip(_TOLD, values, strict=True))
    extra = {"metrics": nics.new_metrics(call.db), "bond_slave_of": NULL}
    return nics.add_pif(call.db, {**record, **extra})


@operation("PIF.db_forget")
def db_forget(call: Call, pif: str) -> None:
    nics.remove_pif(call.db, pif)


@operation("PIF.forget")
def forget(call: Call, pif: str) -> None:
    """Delete a PIF; its NIC stays, and a scan finds it."""
    record = call.db.record("PIF", pif)
    require_unbonded(call, pif)
    if record["VLAN_slave_of"] or record["VLAN"] != nics.UNTAGGED:
        raise XapiError("PIF_VLAN_STILL_EXISTS", pif)
    if record["tunnel_transport_PIF_of"] or record["tunnel_access_PIF_of"]:
        raise XapiError("PIF_TUNNEL_STILL_EXISTS", pif)
    require_no_member_management(call, pif)
    require_no_ha(call, pif)
    nics.bring_down(call.db, pif)
    if record["physical"]:
        nic: dict[str, Json] = {name: record[name] for name in _NIC_FIELDS}
        if call.db.exists("PIF_metrics", record["metrics"]):
            nic["told"] = {**call.db.record("PIF_metrics", record["metrics"]), "uuid": ""}
        call.world.hardware.put_nic(record["host"], nic)
    nics.remove_pif(call.db, pif)


# -- settings ------------------------------------------------------------------------------


@operation("PIF.reconfigure_ip")
def reconfigure_ip(
    call: Call, pif: str, mode: str, address: str, netmask: str, gateway: str, dns: str
) -> None:
    require_managed(call, pif)
    require_no_ha(call, pif)
    for name, value in (("IP", address), ("netmask", netmask), ("gateway", gateway)):
        needed = mode == "Static" and name != "gateway"
        if (value or needed) and not _is_address(value):
            raise XapiError("INVALID_IP_ADDRESS_SPECIFIED", name)
    record = call.db.row("PIF", pif).fields
    management = record["management"]
    if management and mode == "None" and record["primary_address_type"] == "IPv4":
        raise XapiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    told = {"IP": address, "netmask": netmask, "gateway": gateway}
    if management and mode == "DHCP":  # its server gives the host the address that it has
        told = {name: record[name] for name in told}
    call.db.write("PIF", pif, "ip_configuration_mode", mode)
    for name, value in told.items():
        call.db.write("PIF", pif, name, value)
    if dns:
        call.db.write("PIF", pif, "DNS", dns)
    _renew(call, pif)


def _renew(call: Call, pif: str) -> None:
    """Let an attached PIF take up its new addresses."""
    if call.db.get("PIF", pif, "currently_attached"):
        call.db.write("PIF", pif, "currently_attached", value=False)
        nics.bring_up(call.db, pif)


@operation("PIF.reconfigure_ipv6")
def reconfigure_ipv6(call: Call, pif: str, mode: str, address: str, gateway: str, dns: str) -> None:
    require_managed(call, pif)
    require_no_ha(call, pif)
    if gateway and not _is_address(gateway):
        raise XapiError("INVALID_IP_ADDRESS_SPECIFIED", "gateway")
    _require_prefixed(address)
    record = call.db.row("PIF", pif).fields
    if record["management"] and mode == "None" and record["primary_address_type"] == "IPv6":
        raise XapiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    call.db.write("PIF", pif, "ipv6_configuration_mode", mode)
    call.db.write("PIF", pif, "ipv6_gateway", gateway)
    call.db.write("PIF", pif, "IPv6", [address])
    if dns:
        call.db.write("PIF", pif, "DNS", dns)
    _renew(call, pif)


def _require_prefixed(address: str) -> None:
    if not address:
        return
    if "/" not in address:
        raise XapiError("INVALID_IP_ADDRESS_SPECIFIED", "An address needs the length of its prefix")
    try:
        ipaddress.IPv6Interface(address)
    except ValueError:
        raise XapiError("INVALID_IP_ADDRESS_SPECIFIED", "IPv6") from None


@operation("PIF.set_primary_address_type")
def set_primary_address_type(call: Call, pif: str, kind: str) -> None:
    require_no_ha(call, pif)
    if call.db.get("PIF", pif, "management"):
        raise XapiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    call.db.write("PIF", pif, "primary_address_type", kind)


@operation("PIF.set_property")
def set_property(call: Call, pif: str, name: str, value: str) -> None:
    """Set a property of a NIC or a bond; the members of a bond follow."""
    if value not in _PROPERTIES.get(name, ()):
        raise XapiError("INVALID_VALUE", "properties", f"{name} = {value}")
    record = call.db.row("PIF", pif).fields
    own = record["physical"] or record["bond_master_of"]
    if not own or call.db.exists("Bond", record["bond_slave_of"]):
        raise XapiError("CANNOT_CHANGE_PIF_PROPERTIES", pif)
    members = [m for bond in record["bond_master_of"] for m in call.db.get("Bond", bond, "slaves")]
    for one in (pif, *members):
        properties = call.db.get("PIF", one, "properties")
        call.db.write("PIF", one, "properties", {**properties, name: value})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

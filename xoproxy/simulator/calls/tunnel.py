"""Class `tunnel`: networks between hosts over a PIF with an address.

Order of checks: xapi_tunnel.ml.
"""

import uuid as uuids

from xoproxy.simulator.calls import pif as pifs
from xoproxy.simulator.calls.network import require_managed
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices, nics


@operation("tunnel.create")
def create(call: Call, transport: str, network: str, protocol: str) -> str:
    require_managed(call, network)
    pifs.require_managed(call, transport)
    record = call.db.row("PIF", transport).fields
    if call.db.exists("Bond", record["bond_slave_of"]):
        raise XapiError("CANNOT_ADD_TUNNEL_TO_BOND_SLAVE", transport)
    pifs.require_unconnected(call, record["host"], network)
    hosts = call.db.tables["host"].rows.values()
    backends = {h.fields["software_version"].get("network_backend") for h in hosts}
    if backends != {"openvswitch"}:
        raise XapiError("OPENVSWITCH_NOT_ACTIVE")
    if record["tunnel_access_PIF_of"]:
        raise XapiError("IS_TUNNEL_ACCESS_PIF", transport)
    if record["ip_configuration_mode"] == "None":
        raise XapiError("TRANSPORT_PIF_NOT_CONFIGURED", transport)
    access, tunnel = (f"OpaqueRef:{uuids.uuid4()}" for _ in range(2))
    pif = {
        "device": nics.free_device(call.db, record["host"], "tunnel"),
        "network": network,
        "host": record["host"],
        "MAC": devices.mac_of("0", access),
        "MTU": record["MTU"],
        "metrics": record["metrics"],
    }
    nics.add_pif(call.db, pif, access)
    ends = {"access_PIF": access, "transport_PIF": transport, "protocol": protocol}
    call.db.create("tunnel", {**ends, "status": {"active": "false"}}, tunnel)
    pifs.plug(call, access)
    return tunnel


@operation("tunnel.destroy")
def destroy(call: Call, tunnel: str) -> None:
    access = call.db.get("tunnel", tunnel, "access_PIF")
    pifs.unplug(call, access)
    nics.remove_pif(call.db, access)
    call.db.destroy("tunnel", tunnel)

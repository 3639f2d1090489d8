"""Class `network`: bridges, and what may be on them."""

from typing import Final

from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.wiretypes import Json

DEFAULT_MTU: Final = 1500
BRIDGE_LENGTH: Final = 15
RESERVED_BRIDGES: Final = ("xen", "xapi", "vif", "tap", "eth")


@operation("network.create")
def create(call: Call, record: dict[str, Json]) -> str:
    mtu = record["MTU"] if record["MTU"] > 0 else DEFAULT_MTU
    bridge = record["bridge"]
    if not bridge:
        bridge = free_bridge(call)
    elif len(bridge) > BRIDGE_LENGTH or bridge.startswith(RESERVED_BRIDGES):
        raise XapiError("INVALID_VALUE", "bridge", bridge)
    elif bridge in _bridges(call):
        raise XapiError("BRIDGE_NAME_EXISTS", bridge)
    return call.db.create("network", {**record, "MTU": mtu, "bridge": bridge})


def free_bridge(call: Call) -> str:
    """Return a name for a bridge that no network has."""
    used = _bridges(call)
    return next(f"xapi{n}" for n in range(len(used) + 1) if f"xapi{n}" not in used)


def _bridges(call: Call) -> set[str]:
    return {row.fields["bridge"] for row in call.db.tables["network"].rows.values()}


@operation("network.destroy")
def destroy(call: Call, network: str) -> None:
    """Delete a network and, as XAPI does, its VIFs; not while one is attached or a PIF is on it."""
    record = call.db.record("network", network)
    attached = _attached(call, network)
    if attached:
        raise XapiError("NETWORK_CONTAINS_VIF", *attached)
    if record["PIFs"]:
        raise XapiError("NETWORK_CONTAINS_PIF", *record["PIFs"])
    if record["other_config"].get("is_host_internal_management_network") == "true":
        raise XapiError("CANNOT_DESTROY_SYSTEM_NETWORK", network)
    for vif in record["VIFs"]:
        devices.remove_device(call.db, "VIF", vif)
    call.db.destroy("network", network)


@operation("network.set_default_locking_mode")
def set_default_locking_mode(call: Call, network: str, value: str) -> None:
    attached = _attached(call, network)
    if attached:
        raise XapiError("VIF_IN_USE", network, attached[0])
    call.db.write("network", network, "default_locking_mode", value)


@operation("network.add_purpose")
def add_purpose(call: Call, network: str, purpose: str) -> None:
    """Let a network be used for something; no two networks of a pool for what excludes it."""
    current = call.db.get("network", network, "purpose")
    if purpose in current:
        return
    (other,) = {"nbd", "insecure_nbd"} - {purpose}
    if any(other in row.fields["purpose"] for row in call.db.tables["network"].rows.values()):
        raise XapiError("NETWORK_INCOMPATIBLE_PURPOSES", purpose, other)
    call.db.write("network", network, "purpose", [*current, purpose])


def require_managed(call: Call, network: str) -> None:
    if not call.db.get("network", network, "managed"):
        raise XapiError("NETWORK_UNMANAGED", network)


def _attached(call: Call, network: str) -> list[str]:
    vifs: list[str] = call.db.get("network", network, "VIFs")
    return [vif for vif in vifs if call.db.get("VIF", vif, "currently_attached")]

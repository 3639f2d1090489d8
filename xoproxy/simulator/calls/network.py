"""Class `network`."""

from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json


@operation("network.create")
def create(call: Call, record: dict[str, Json]) -> str:
    if not record["bridge"]:
        used = {row.fields["bridge"] for row in call.db.tables["network"].rows.values()}
        number = next(n for n in range(len(used) + 1) if f"xapi{n}" not in used)
        record = {**record, "bridge": f"xapi{number}"}
    return call.db.create("network", record)


@operation("network.destroy")
def destroy(call: Call, network: str) -> None:
    """Delete a network and, as XAPI does, its VIFs; not while one is attached or a PIF is on it."""
    record = call.db.record("network", network)
    if record["PIFs"]:
        raise XapiError("NETWORK_CONTAINS_PIF", *record["PIFs"])
    attached = [v for v in record["VIFs"] if call.db.get("VIF", v, "currently_attached")]
    if attached:
        raise XapiError("NETWORK_CONTAINS_VIF", *attached)
    for vif in record["VIFs"]:
        destroy_vif(call, vif)
    call.db.destroy("network", network)


def destroy_vif(call: Call, vif: str) -> None:
    """Delete a VIF's row and that of its metrics."""
    metrics = call.db.get("VIF", vif, "metrics")
    if call.db.exists("VIF_metrics", metrics):
        call.db.destroy("VIF_metrics", metrics)
    call.db.destroy("VIF", vif)

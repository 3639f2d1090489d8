"""Class `pool`: what excludes each other there (xapi_pool_helpers.ml)."""

from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Rules

# What is not simulated is not advertised, like synchronising updates.
ADVERTISED: Final = ("cluster_create", "designate_new_master", "ha_enable", "eject")

# What blocks everything else says so in a code of its own.
_CODES: Final = {
    "ha_enable": "HA_ENABLE_IN_PROGRESS",
    "ha_disable": "HA_DISABLE_IN_PROGRESS",
    "cluster_create": "CLUSTER_CREATE_IN_PROGRESS",
    "designate_new_master": "DESIGNATE_NEW_MASTER_IN_PROGRESS",
}


def refusal(db: Database, ref: str, operation: str) -> XapiError | None:
    pool = db.row("pool", ref).fields
    for task, running in pool["current_operations"].items():
        if running in _CODES:
            return XapiError(_CODES[running])
        return XapiError("OTHER_OPERATION_IN_PROGRESS", "pool", ref, running, task)
    if operation in {"ha_enable", "cluster_create", "eject"} and pool["ha_enabled"]:
        return XapiError("HA_IS_ENABLED")
    if operation == "ha_disable" and not pool["ha_enabled"]:
        return XapiError("HA_NOT_ENABLED")
    return None


POOL: Final = Rules(ADVERTISED, refusal)

"""Class `host`: why an operation is refused (xapi_host_helpers.ml, valid_operations)."""

from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Rules

# `enable` is not here: servers before 2026 do not advertise it.
ADVERTISED: Final = (
    "vm_migrate",
    "provision",
    "vm_resume",
    "vm_start",
    "evacuate",
    "power_on",
    "shutdown",
    "reboot",
    "apply_updates",
)

# Operations that bring VMs and those that take them away exclude each other; starts do neither.
_BRINGS: Final = {"provision", "vm_resume", "vm_migrate"}
_TAKES: Final = {"evacuate", "reboot", "shutdown"}
_ENDS: Final = {"reboot", "shutdown", "apply_updates"}


def refusal(db: Database, ref: str, operation: str) -> XapiError | None:
    host = db.row("host", ref).fields
    current = host["current_operations"]
    for task, running in current.items():
        if _excludes(running, operation):
            return XapiError("OTHER_OPERATION_IN_PROGRESS", "host", ref, running, task)
    if operation in _ENDS and host["enabled"]:
        return XapiError("HOST_NOT_DISABLED")
    if operation == "power_on":
        metrics = host["metrics"]
        if db.exists("host_metrics", metrics) and db.get("host_metrics", metrics, "live"):
            return XapiError("HOST_IS_LIVE", ref)
        if host["power_on_mode"] == "":
            return XapiError("HOST_POWER_ON_MODE_DISABLED")
    return None


def _excludes(running: str, operation: str) -> bool:
    if (operation in _BRINGS and running in _TAKES) or (operation in _TAKES and running in _BRINGS):
        return True
    if operation in _ENDS and running in _ENDS and operation != running:
        return True
    return running == operation == "provision"


HOST: Final = Rules(ADVERTISED, refusal)

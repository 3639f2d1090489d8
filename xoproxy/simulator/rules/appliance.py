"""Class `VM_appliance`: what can be done with a group of VMs (xapi_vm_appliance_lifecycle.ml)."""

from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Rules

_STOPPING: Final = {"clean_shutdown", "hard_shutdown", "shutdown"}


def _refusal(db: Database, ref: str, operation: str) -> XapiError | None:
    """One operation at a time; what would change none of the VMs is refused."""
    record = db.row("VM_appliance", ref).fields
    for task, running in record["current_operations"].items():
        return XapiError("OTHER_OPERATION_IN_PROGRESS", "VM_appliance", ref, running, task)
    states = [db.get("VM", vm, "power_state") for vm in record["VMs"]]
    if not states:
        return XapiError("OPERATION_NOT_ALLOWED", "Appliance has no VMs.")
    if operation == "start" and all(state == "Running" for state in states):
        return XapiError("OPERATION_NOT_ALLOWED", "Appliance is already running.")
    if operation in _STOPPING and all(state == "Halted" for state in states):
        return XapiError("OPERATION_NOT_ALLOWED", "Appliance is already shut down.")
    return None


VM_APPLIANCE: Final = Rules(("shutdown", "hard_shutdown", "clean_shutdown", "start"), _refusal)

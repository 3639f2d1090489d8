"""Class `VTPM`: it comes and goes while its VM is halted (xapi_vm_lifecycle.ml)."""

from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.registry import Rules
from xoproxy.simulator.rules.vm import power_state_error


def _refusal(db: Database, ref: str, operation: str) -> XapiError | None:
    record = db.row("VTPM", ref).fields
    for task, running in record["current_operations"].items():
        return XapiError("OTHER_OPERATION_IN_PROGRESS", "VTPM", ref, running, task)
    if operation == "destroy" and db.exists("VM", record["VM"]):
        state = db.get("VM", record["VM"], "power_state")
        return None if state == "Halted" else power_state_error(record["VM"], ("Halted",), state)
    return None


VTPM: Final = Rules(("destroy",), _refusal)

"""What XAPI checks before an operation on a VM, in its order, and what it marks while one runs."""

import contextlib
from collections.abc import Iterator

from xoproxy.simulator import allowed
from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json

_HALTED = ("Halted",)
_RUNNING = ("Running",)

# Where an operation is possible; others are in any state. XAPI prints them in this order.
POWER_STATES: dict[str, tuple[str, ...]] = {
    "start": _HALTED,
    "start_on": _HALTED,
    "provision": _HALTED,
    "make_into_template": _HALTED,
    "changing_shadow_memory": _HALTED,
    "changing_NVRAM": _HALTED,
    "create_vtpm": _HALTED,
    "changing_VCPUs": _HALTED,
    "changing_static_range": _HALTED,
    "changing_memory_limits": _HALTED,
    "clone": _HALTED,
    "copy": _HALTED,
    "unpause": ("Paused",),
    "resume": ("Suspended",),
    "resume_on": ("Suspended",),
    "clean_shutdown": _RUNNING,
    "clean_reboot": _RUNNING,
    "pause": _RUNNING,
    "suspend": _RUNNING,
    "pool_migrate": _RUNNING,
    "changing_VCPUs_live": _RUNNING,
    "changing_memory_live": _RUNNING,
    "call_plugin": _RUNNING,
    "send_sysrq": _RUNNING,
    "send_trigger": _RUNNING,
    "hard_reboot": ("Paused", "Running"),
    "hard_shutdown": ("Paused", "Suspended", "Running"),
    "checkpoint": ("Paused", "Suspended", "Running"),
    "migrate_send": ("Halted", "Suspended", "Running"),
    "destroy": ("Halted", "Suspended"),
    "export": ("Halted", "Suspended"),
    "changing_dynamic_range": ("Halted", "Running"),
}

_OF_TEMPLATES = {
    *allowed.TEMPLATE,
    "destroy",
    "migrate_send",
    "metadata_export",
    "make_into_template",
}
_OF_SNAPSHOTS = {*allowed.VM_SNAPSHOT}


def check(call: Call, vm: str, operation: str) -> dict[str, Json]:
    """Refuse an operation that the VM's state does not allow; returns its record."""
    record = call.db.record("VM", vm)
    if operation in record["blocked_operations"]:
        raise XapiError("OPERATION_BLOCKED", vm, record["blocked_operations"][operation])
    require_power_state(vm, record, POWER_STATES.get(operation, ()))
    for task, running in record["current_operations"].items():
        raise XapiError("OTHER_OPERATION_IN_PROGRESS", "VM", vm, running, task)
    if record["is_a_snapshot"]:
        if operation not in _OF_SNAPSHOTS:
            raise XapiError("VM_IS_SNAPSHOT", vm, operation)
    elif record["is_a_template"] and operation not in _OF_TEMPLATES:
        raise XapiError("VM_IS_TEMPLATE", vm, operation)
    if record["is_control_domain"] and operation not in allowed.CONTROL_DOMAIN:
        raise XapiError("OPERATION_NOT_ALLOWED", "This operation is not allowed on dom0")
    return record


def require_power_state(vm: str, record: dict[str, Json], states: tuple[str, ...]) -> None:
    if states and record["power_state"] not in states:
        expected = ", ".join(state.lower() for state in states)
        raise XapiError("VM_BAD_POWER_STATE", vm, expected, record["power_state"].lower())


@contextlib.contextmanager
def running(call: Call, vm: str, operation: str) -> Iterator[dict[str, Json]]:
    """Check an operation, then show it in current_operations while the body runs."""
    record = check(call, vm, operation)
    call.db.write("VM", vm, "current_operations", {call.task: operation})
    allow(call, vm)
    try:
        yield record
    finally:
        if call.db.exists("VM", vm):
            current = call.db.get("VM", vm, "current_operations")
            left = {task: op for task, op in current.items() if task != call.task}
            call.db.write("VM", vm, "current_operations", left)
            allow(call, vm)


def allow(call: Call, vm: str) -> None:
    """Advertise what the VM's state allows."""
    call.db.write("VM", vm, "allowed_operations", allowed_now(call, call.db.record("VM", vm)))


def allowed_now(call: Call, record: dict[str, Json]) -> list[str]:
    if record["current_operations"]:
        return []
    if record["is_control_domain"]:
        return list(allowed.CONTROL_DOMAIN)
    if record["is_a_snapshot"]:
        return list(allowed.VM_SNAPSHOT)
    if record["is_a_template"]:
        return list(allowed.TEMPLATE)
    guest = record["guest_metrics"]
    tools = call.db.exists("VM_guest_metrics", guest) and bool(
        call.db.get("VM_guest_metrics", guest, "PV_drivers_version")
    )
    return allowed.vm_operations(record["power_state"], tools=tools)

"""Class `VM`: setters that check more than the type."""

from xoproxy.simulator.calls import vm_checks
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.calls.vm import overhead_of
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import shown_float

_RESTART_PRIORITIES = ("", "restart", "best-effort")


def _natural(field: str) -> Handler:
    def run(call: Call, vm: str, value: int) -> None:
        if value < 0:
            raise XapiError("INVALID_VALUE", f"{field} must be non-negative", str(value))
        call.db.write("VM", vm, field, value)

    return run


for _field in ("order", "start_delay", "shutdown_delay"):
    operation(f"VM.set_{_field}")(_natural(_field))


@operation("VM.set_ha_restart_priority")
def set_ha_restart_priority(call: Call, vm: str, value: str) -> None:
    if value not in _RESTART_PRIORITIES:
        raise XapiError("INVALID_VALUE", "ha_restart_priority", value)
    call.db.write("VM", vm, "ha_restart_priority", value)


@operation("VM.set_ha_always_run")
def set_ha_always_run(call: Call, vm: str, value: bool) -> None:  # noqa: FBT001
    """Set the priority that took the place of this old switch."""
    set_ha_restart_priority(call, vm, "restart" if value else "")


@operation("VM.set_HVM_shadow_multiplier")
def set_hvm_shadow_multiplier(call: Call, vm: str, value: float) -> None:
    vm_checks.check(call, vm, "changing_shadow_memory")
    if value < 1.0:
        raise XapiError("INVALID_VALUE", "multiplier", shown_float(value))
    call.db.write("VM", vm, "HVM_shadow_multiplier", value)


@operation("VM.set_HVM_boot_policy")
def set_hvm_boot_policy(call: Call, vm: str, value: str) -> None:
    """Set how a VM boots, from which its type follows."""
    call.db.write("VM", vm, "domain_type", "hvm" if value else "pv")
    call.db.write("VM", vm, "HVM_boot_policy", value)


@operation("VM.set_domain_type")
def set_domain_type(call: Call, vm: str, value: str) -> None:
    record = call.db.record("VM", vm)
    vm_checks.require_power_state(vm, record, ("Halted",))
    call.db.write("VM", vm, "HVM_boot_policy", "BIOS order" if value == "hvm" else "")
    call.db.write("VM", vm, "domain_type", value)


@operation("VM.set_VCPUs_max")
def set_vcpus_max(call: Call, vm: str, value: int) -> None:
    record = vm_checks.check(call, vm, "changing_VCPUs")
    if value < max(1, record["VCPUs_at_startup"]):
        raise XapiError("INVALID_VALUE", "VCPUs_max", str(value))
    call.db.write("VM", vm, "VCPUs_max", value)
    _refresh_overhead(call, vm)


@operation("VM.set_VCPUs_at_startup")
def set_vcpus_at_startup(call: Call, vm: str, value: int) -> None:
    record = call.db.record("VM", vm)
    if not 1 <= value <= record["VCPUs_max"]:
        raise XapiError("INVALID_VALUE", "VCPUs_at_startup", str(value))
    call.db.write("VM", vm, "VCPUs_at_startup", value)


@operation("VM.set_VCPUs_number_live")
def set_vcpus_number_live(call: Call, vm: str, value: int) -> None:
    record = vm_checks.check(call, vm, "changing_VCPUs_live")
    if not 1 <= value <= record["VCPUs_max"]:
        raise XapiError("INVALID_VALUE", "VCPUs_number_live", str(value))
    if call.db.exists("VM_metrics", record["metrics"]):
        call.db.write("VM_metrics", record["metrics"], "VCPUs_number", value)


@operation("VM.set_memory_limits")
def set_memory_limits(
    call: Call, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    vm_checks.check(call, vm, "changing_memory_limits")
    _write_memory(call, vm, (static_min, dynamic_min, dynamic_max, static_max))


@operation("VM.set_memory")
def set_memory(call: Call, vm: str, value: int) -> None:
    vm_checks.check(call, vm, "changing_memory_limits")
    static_min = min(call.db.get("VM", vm, "memory_static_min"), value)
    _write_memory(call, vm, (static_min, value, value, value))


@operation("VM.set_memory_dynamic_range")
def set_memory_dynamic_range(call: Call, vm: str, low: int, high: int) -> None:
    record = vm_checks.check(call, vm, "changing_dynamic_range")
    _write_memory(call, vm, (record["memory_static_min"], low, high, record["memory_static_max"]))


@operation("VM.set_memory_static_range")
def set_memory_static_range(call: Call, vm: str, low: int, high: int) -> None:
    record = vm_checks.check(call, vm, "changing_static_range")
    _write_memory(call, vm, (low, record["memory_dynamic_min"], record["memory_dynamic_max"], high))


def _one_limit(place: int) -> Handler:
    """Make a setter of one of the four limits (see _LIMITS)."""

    def run(call: Call, vm: str, value: int) -> None:
        static = place in {0, 3}
        vm_checks.check(call, vm, "changing_static_range" if static else "changing_dynamic_range")
        limits = [call.db.get("VM", vm, name) for name in _LIMITS]
        limits[place] = value
        _write_memory(call, vm, (limits[0], limits[1], limits[2], limits[3]))

    return run


# In the order that their values must have.
_LIMITS = ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max")

for _place, _limit in enumerate(_LIMITS):
    operation(f"VM.set_{_limit}")(_one_limit(_place))


def _write_memory(call: Call, vm: str, limits: tuple[int, int, int, int]) -> None:
    if list(limits) != sorted(limits) or limits[0] < 0:
        rule = "Memory limits must satisfy: static_min <= dynamic_min <= dynamic_max <= static_max"
        raise XapiError("MEMORY_CONSTRAINT_VIOLATION", rule)
    for name, value in zip(_LIMITS, limits, strict=True):
        call.db.write("VM", vm, name, value)
    call.db.write("VM", vm, "memory_target", limits[1])
    _refresh_overhead(call, vm)


def _refresh_overhead(call: Call, vm: str) -> None:
    call.db.write("VM", vm, "memory_overhead", overhead_of(call.db.record("VM", vm)))

"""Class `VM`: setters that check more than the type, or after which the VM allows something else.

Sources: xapi_vm.ml, xapi_vm_helpers.ml, and which operation each is from message_forwarding.ml.
"""

from typing import Final

from xoproxy.simulator.calls import generated
from xoproxy.simulator.calls.operations import operations_on
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.calls.vm import refresh_overhead
from xoproxy.simulator.calls.vm_operations import life_of
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import allow, placement
from xoproxy.simulator.rules.vm import power_state_error
from xoproxy.simulator.wiretypes import NULL, Json, shown_float

_RESTART_PRIORITIES: Final = ("", "restart", "best-effort")
_VCPUS_RULE: Final = (
    "VCPU values must satisfy: 0 < VCPUs_at_startup \N{LESS-THAN OR EQUAL TO} VCPUs_max"
)


def _natural(field: str) -> Handler:
    def run(call: Call, vm: str, value: int) -> None:
        if value < 0:
            raise XapiError("INVALID_VALUE", f"{field} must be non-negative", str(value))
        call.db.write("VM", vm, field, value)

    return run


for _field in ("order", "start_delay", "shutdown_delay"):
    operation(f"VM.set_{_field}")(_natural(_field))


# -- what rules read -----------------------------------------------------------------------


def _followed(name: str) -> Handler:
    """Make a setter of a field that decides what the VM allows."""

    def run(call: Call, vm: str, *arguments: Json) -> None:
        cls = call.db.model.classes["VM"]
        write = generated.handler_for(cls, cls.messages[name])
        if write is None:
            raise XapiError("NOT_IMPLEMENTED", f"VM.{name}")
        write(call, vm, *arguments)
        allow(call.db, "VM", vm)

    return run


for _name in ("set", "add_to", "remove_from"):
    operation(f"VM.{_name}_blocked_operations")(_followed(f"{_name}_blocked_operations"))


@operation("VM.set_is_a_template")
async def set_is_a_template(call: Call, vm: str, value: bool) -> None:  # noqa: FBT001
    """Make a template of a VM, which is an operation, or a VM of a template, which is none."""
    record = call.db.record("VM", vm)
    if not value:
        if call.db.exists("VM_metrics", record["metrics"]):
            call.db.write("VM_metrics", record["metrics"], "install_time", call.db.now())
        call.db.write("VM", vm, "is_a_template", value=False)
        allow(call.db, "VM", vm)
        return
    async with operations_on(call, ("VM", vm, "make_into_template")):
        call.db.write("VM", vm, "ha_always_run", value=False)
        for vusb in record["VUSBs"]:
            call.db.destroy("VUSB", vusb)
        call.db.write("VM", vm, "groups", [])
        if call.db.exists("VM_metrics", record["metrics"]):
            call.db.destroy("VM_metrics", record["metrics"])
        call.db.write("VM", vm, "metrics", NULL)
        call.db.write("VM", vm, "is_a_template", value=True)


@operation("VM.set_appliance")
def set_appliance(call: Call, vm: str, appliance: str) -> None:
    """Put a VM into an appliance, or (NULL) out of it; both appliances then allow other things."""
    record = call.db.record("VM", vm)
    if appliance != NULL:
        if record["is_control_domain"]:
            raise XapiError("OPERATION_NOT_ALLOWED", "Control domains cannot be in appliances")
        if record["is_a_snapshot"] or record["is_a_template"]:
            text = "Templates and snapshots cannot be in appliances"
            raise XapiError("OPERATION_NOT_ALLOWED", text)
    call.db.write("VM", vm, "appliance", appliance)
    if call.db.exists("VM_appliance", record["appliance"]):
        allow(call.db, "VM_appliance", record["appliance"])
    allow(call.db, "VM", vm)


@operation("VM.set_groups")
def set_groups(call: Call, vm: str, groups: list[str]) -> None:
    record = call.db.record("VM", vm)
    if record["is_control_domain"] or record["is_a_template"]:
        text = "Control domains, templates, and snapshots cannot be added to VM groups."
        raise XapiError("OPERATION_NOT_ALLOWED", text)
    if len(groups) > 1:
        text = "A VM can have up to one VM group."
        raise XapiError("OPERATION_NOT_ALLOWED", text)
    call.db.write("VM", vm, "groups", groups)


@operation("VM.set_suspend_VDI")
def set_suspend_vdi(call: Call, vm: str, vdi: str) -> None:
    """Give a suspended VM another image of its memory."""
    state = call.db.get("VM", vm, "power_state")
    if state != "Suspended":
        raise power_state_error(vm, ("Suspended",), state)
    kind = call.db.get("VDI", vdi, "type")
    if kind != "suspend":
        raise XapiError("VDI_INCOMPATIBLE_TYPE", vdi, kind)
    call.db.write("VM", vm, "suspend_VDI", vdi)


@operation("VM.set_ha_restart_priority")
def set_ha_restart_priority(call: Call, vm: str, value: str) -> None:
    if value not in _RESTART_PRIORITIES:
        raise XapiError("INVALID_VALUE", "ha_restart_priority", value)
    if call.db.write("VM", vm, "ha_restart_priority", value):
        if call.db.get("VM", vm, "power_state") == "Running":
            call.db.write("VM", vm, "ha_always_run", value=value == "restart")
        allow(call.db, "VM", vm)


@operation("VM.set_ha_always_run")
def set_ha_always_run(call: Call, vm: str, value: bool) -> None:  # noqa: FBT001
    """Set the priority that took the place of this old switch."""
    set_ha_restart_priority(call, vm, "restart" if value else "")


# -- how a VM boots ------------------------------------------------------------------------


@operation("VM.set_HVM_boot_policy")
def set_hvm_boot_policy(call: Call, vm: str, value: str) -> None:
    """Set how a VM boots, from which its type follows."""
    call.db.write("VM", vm, "domain_type", "hvm" if value else "pv")
    call.db.write("VM", vm, "HVM_boot_policy", value)


@operation("VM.set_domain_type")
def set_domain_type(call: Call, vm: str, value: str) -> None:
    state = call.db.get("VM", vm, "power_state")
    if state != "Halted":
        raise power_state_error(vm, ("Halted",), state)
    call.db.write("VM", vm, "HVM_boot_policy", "BIOS order" if value == "hvm" else "")
    call.db.write("VM", vm, "domain_type", value)


@operation("VM.set_actions_after_crash")
def set_actions_after_crash(call: Call, vm: str, value: str) -> None:
    field = "VM.actions_after_crash"
    if value == "rename_restart":
        text = "option would leak a domain; VMs and not domains are managed by this API"
        raise XapiError("VALUE_NOT_SUPPORTED", field, value, text)
    if value.startswith("coredump") and call.db.get("VM", vm, "domain_type") != "pv":
        text = "cannot invoke a coredump of an HVM, PVH or PV-in-PVH domain"
        raise XapiError("VALUE_NOT_SUPPORTED", field, value, text)
    call.db.write("VM", vm, "actions_after_crash", value)


@operation("VM.set_bios_strings")
def set_bios_strings(call: Call, vm: str, value: dict[str, str]) -> None:
    if call.db.get("VM", vm, "bios_strings"):
        raise XapiError("VM_BIOS_STRINGS_ALREADY_SET")
    call.db.write("VM", vm, "bios_strings", value)


@operation("VM.copy_bios_strings")
def copy_bios_strings(call: Call, vm: str, host: str) -> None:
    set_bios_strings(call, vm, call.db.get("host", host, "bios_strings"))


def _nvram(name: str) -> Handler:
    async def run(call: Call, vm: str, *arguments: Json) -> None:
        cls = call.db.model.classes["VM"]
        write = generated.handler_for(cls, cls.messages[name])
        async with operations_on(call, ("VM", vm, "changing_NVRAM")):
            if write is not None:
                write(call, vm, *arguments)

    return run


for _name in ("set", "add_to", "remove_from"):
    operation(f"VM.{_name}_NVRAM")(_nvram(f"{_name}_NVRAM"))


# -- processors ----------------------------------------------------------------------------


@operation("VM.set_VCPUs_max")
async def set_vcpus_max(call: Call, vm: str, value: int) -> None:
    async with operations_on(call, ("VM", vm, "changing_VCPUs")):
        if value < max(1, call.db.get("VM", vm, "VCPUs_at_startup")):
            raise XapiError("INVALID_VALUE", _VCPUS_RULE, str(value))
        call.db.write("VM", vm, "VCPUs_max", value)
        _refresh_overhead(call, vm)
        _ask_for_reboot(call, vm)


@operation("VM.set_VCPUs_at_startup")
def set_vcpus_at_startup(call: Call, vm: str, value: int) -> None:
    record = call.db.record("VM", vm)
    if vm in _control_domains(call):
        text = "set_VCPUs_at_startup is not allowed on dom0"
        raise XapiError("OPERATION_NOT_ALLOWED", text)
    if not 1 <= value <= record["VCPUs_max"]:
        raise XapiError("INVALID_VALUE", _VCPUS_RULE, str(value))
    call.db.write("VM", vm, "VCPUs_at_startup", value)


@operation("VM.set_VCPUs_number_live")
async def set_vcpus_number_live(call: Call, vm: str, value: int) -> None:
    async with operations_on(call, ("VM", vm, "changing_VCPUs_live")):
        record = call.db.record("VM", vm)
        if not 1 <= value <= record["VCPUs_max"]:
            raise XapiError("INVALID_VALUE", "VCPUs_number_live", str(value))
        if call.db.exists("VM_metrics", record["metrics"]):
            call.db.write("VM_metrics", record["metrics"], "VCPUs_number", value)


# -- memory --------------------------------------------------------------------------------

# In the order that their values must have.
_LIMITS: Final = (
    "memory_static_min",
    "memory_dynamic_min",
    "memory_dynamic_max",
    "memory_static_max",
)


@operation("VM.set_HVM_shadow_multiplier")
async def set_hvm_shadow_multiplier(call: Call, vm: str, value: float) -> None:
    async with operations_on(call, ("VM", vm, "changing_shadow_memory")):
        _write_shadow_multiplier(call, vm, value)


@operation("VM.set_shadow_multiplier_live")
async def set_shadow_multiplier_live(call: Call, vm: str, value: float) -> None:
    async with operations_on(call, ("VM", vm, "changing_shadow_memory_live")):
        _write_shadow_multiplier(call, vm, value)


def _write_shadow_multiplier(call: Call, vm: str, value: float) -> None:
    if value < 1.0:
        raise XapiError("INVALID_VALUE", "multiplier", shown_float(value))
    call.db.write("VM", vm, "HVM_shadow_multiplier", value)
    _refresh_overhead(call, vm)


@operation("VM.set_memory_limits")
async def set_memory_limits(
    call: Call, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    async with operations_on(call, ("VM", vm, "changing_memory_limits")):
        _write_limits(call, vm, (static_min, dynamic_min, dynamic_max, static_max))
        _ask_for_reboot(call, vm)


@operation("VM.set_memory")
async def set_memory(call: Call, vm: str, value: int) -> None:
    async with operations_on(call, ("VM", vm, "changing_memory_limits")):
        static_min = call.db.get("VM", vm, "memory_static_min")
        _write_limits(call, vm, (static_min, value, value, value))
        _ask_for_reboot(call, vm)


@operation("VM.set_memory_dynamic_range")
async def set_memory_dynamic_range(call: Call, vm: str, low: int, high: int) -> None:
    """Set within which bounds memory may be given and taken; a running VM follows at once."""
    async with operations_on(call, ("VM", vm, "changing_dynamic_range")):
        record = call.db.record("VM", vm)
        limits = record["memory_static_min"], low, high, record["memory_static_max"]
        if record["power_state"] != "Running":
            _write_limits(call, vm, limits)
            return
        _require_order(limits)
        target = min(max(record["memory_target"], low), high)
        _take_memory(call, record, target - record["memory_target"])
        for name, value in zip(_LIMITS, limits, strict=True):
            call.db.write("VM", vm, name, value)
        call.db.write("VM", vm, "memory_target", target)


@operation("VM.set_memory_static_range")
async def set_memory_static_range(call: Call, vm: str, low: int, high: int) -> None:
    async with operations_on(call, ("VM", vm, "changing_static_range")):
        record = call.db.record("VM", vm)
        dynamic = record["memory_dynamic_min"], record["memory_dynamic_max"]
        _write_limits(call, vm, (low, *dynamic, high))
        _ask_for_reboot(call, vm)


def _one_limit(place: int) -> Handler:
    """Make a setter of one of the four limits, which sets it with its partner."""

    async def run(call: Call, vm: str, value: int) -> None:
        limits = [call.db.get("VM", vm, name) for name in _LIMITS]
        limits[place] = value
        if place in {0, 3}:
            await set_memory_static_range(call, vm, limits[0], limits[3])
        else:
            await set_memory_dynamic_range(call, vm, limits[1], limits[2])

    return run


for _place, _limit in enumerate(_LIMITS):
    operation(f"VM.set_{_limit}")(_one_limit(_place))


@operation("VM.set_memory_target_live")
async def set_memory_target_live(call: Call, vm: str, _target: int) -> None:
    """Do nothing with it: the dynamic range took the place of this call."""
    async with operations_on(call, ("VM", vm, "changing_memory_live")):
        pass


@operation("VM.wait_memory_target_live")
async def wait_memory_target_live(call: Call, vm: str) -> None:
    """Wait for nothing: guests here are at their target at once."""
    async with operations_on(call, ("VM", vm, "awaiting_memory_live")):
        record = call.db.record("VM", vm)
        if call.db.exists("VM_metrics", record["metrics"]):
            target = record["memory_target"]
            call.db.write("VM_metrics", record["metrics"], "memory_actual", target)


def _require_order(limits: tuple[int, int, int, int]) -> None:
    if list(limits) != sorted(limits) or limits[0] < 0:
        rule = "Memory limits must satisfy: static_min <= dynamic_min <= dynamic_max <= static_max"
        raise XapiError("MEMORY_CONSTRAINT_VIOLATION", rule)


def _write_limits(call: Call, vm: str, limits: tuple[int, int, int, int]) -> None:
    """Write the limits of a VM that does not run (a control domain's count at its next boot)."""
    _require_order(limits)
    for name, value in zip(_LIMITS, limits, strict=True):
        call.db.write("VM", vm, name, value)
    if call.db.get("VM", vm, "power_state") == "Halted":
        call.db.write("VM", vm, "memory_target", limits[1])
    _refresh_overhead(call, vm)


def _refresh_overhead(call: Call, vm: str) -> None:
    """Compute the overhead anew; what it grows by, a VM that runs takes of its host."""
    record = call.db.record("VM", vm)
    if record["power_state"] == "Running" and not record["is_control_domain"]:
        size = placement.overhead_of(record)
        _take_memory(call, record, size - record["memory_overhead"])
    if not record["is_control_domain"]:
        refresh_overhead(call, vm)


def _take_memory(call: Call, record: dict[str, Json], size: int) -> None:
    host = record["resident_on"]
    if not call.db.exists("host", host):
        return
    available = placement.free_memory(call.db, host)
    if size > available:
        raise XapiError("HOST_NOT_ENOUGH_FREE_MEMORY", str(size), str(available))
    life_of(call).power.domains.use_memory(host, size)


def _ask_for_reboot(call: Call, vm: str) -> None:
    """Mark a running control domain: it takes the change over when it boots again."""
    if call.db.get("VM", vm, "power_state") == "Running":
        call.db.write("VM", vm, "requires_reboot", value=True)


def _control_domains(call: Call) -> set[str]:
    return {row.fields["control_domain"] for row in call.db.tables["host"].rows.values()}

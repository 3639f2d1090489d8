"""Class `VM`: why an operation is refused, in the order in which XAPI looks.

The order shows in errors: what an operator blocked, the power state, what is under way, what a
template, a snapshot or a control domain cannot do, what the guest must help with, and at last
disks and devices. Sources: xapi_vm_lifecycle.ml, the data model's errors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.devices import devices_of
from xoproxy.simulator.rules.registry import Reader, Rules
from xoproxy.simulator.wiretypes import Json

_HALTED: Final = ("Halted",)
_RUNNING: Final = ("Running",)

# Where an operation is possible; others are in any state. XAPI prints them in this order.
POWER_STATES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("start", "start_on", "provision", "make_into_template"), _HALTED),
    **dict.fromkeys(("changing_shadow_memory", "changing_NVRAM", "create_vtpm"), _HALTED),
    **dict.fromkeys(("changing_VCPUs", "changing_static_range", "changing_memory_limits"), _HALTED),
    **dict.fromkeys(("clone", "copy"), _HALTED),
    **dict.fromkeys(("csvm", "resume", "resume_on"), ("Suspended",)),
    **dict.fromkeys(("clean_shutdown", "clean_reboot", "pause", "suspend"), _RUNNING),
    **dict.fromkeys(("pool_migrate", "snapshot_with_quiesce", "sysprep"), _RUNNING),
    **dict.fromkeys(("changing_VCPUs_live", "changing_shadow_memory_live"), _RUNNING),
    **dict.fromkeys(("changing_memory_live", "awaiting_memory_live"), _RUNNING),
    **dict.fromkeys(("call_plugin", "send_sysrq", "send_trigger", "data_source_op"), _RUNNING),
    **dict.fromkeys(("create_template", "destroy", "export"), ("Halted", "Suspended")),
    **dict.fromkeys(
        ("checkpoint", "get_boot_record", "shutdown", "hard_shutdown"),
        ("Paused", "Suspended", "Running"),
    ),
    "unpause": ("Paused",),
    "hard_reboot": ("Paused", "Running"),
    "migrate_send": ("Halted", "Suspended", "Running"),
    "changing_dynamic_range": ("Halted", "Running"),
}

# In the order of a recorded server. What XAPI runs without ever advertising it is not here, nor
# is `sysprep`, which is not simulated.
ADVERTISED: Final = (
    "create_vtpm",
    "changing_NVRAM",
    "changing_dynamic_range",
    "changing_shadow_memory",
    "changing_static_range",
    "make_into_template",
    "migrate_send",
    "pool_migrate",
    "changing_VCPUs_live",
    "provision",
    "destroy",
    "metadata_export",
    "export",
    "resume_on",
    "resume",
    "suspend",
    "hard_reboot",
    "hard_shutdown",
    "clean_reboot",
    "clean_shutdown",
    "unpause",
    "pause",
    "start_on",
    "start",
    "checkpoint",
    "revert",
    "clone",
    "copy",
    "snapshot",
)

# Sets of which any members run beside each other.
_TOGETHER: Final = ({"clone", "copy", "export"}, {"snapshot", "checkpoint"}, {"get_boot_record"})
_BESIDE_MIGRATE_SEND: Final = {"metadata_export", "clean_shutdown", "clean_reboot"}

_OF_TEMPLATES: Final = {
    *("changing_dynamic_range", "changing_static_range", "changing_memory_limits"),
    *("changing_shadow_memory", "changing_VCPUs", "changing_NVRAM"),
    *("clone", "copy", "export", "metadata_export", "provision"),
}
_OF_PLAIN_TEMPLATES: Final = _OF_TEMPLATES | {"destroy", "migrate_send"}
_OF_SNAPSHOTS: Final = {
    *("revert", "clone", "copy", "export", "destroy", "hard_shutdown", "metadata_export"),
}
_OF_CONTROL_DOMAINS: Final = {
    *("data_source_op", "changing_memory_live", "awaiting_memory_live", "metadata_export"),
    *("changing_dynamic_range", "changing_memory_limits", "changing_static_range"),
    *("start", "start_on", "changing_VCPUs", "destroy"),
}
_CHANGEABLE_IN_CONTROL_DOMAINS: Final = {
    *("changing_VCPUs", "changing_static_range", "changing_memory_limits"),
}
_MOVES_MEMORY: Final = {"suspend", "checkpoint", "pool_migrate", "migrate_send"}
# One of these a guest must say that it can (VM_guest_metrics.other).
_FEATURES: Final = {
    "clean_shutdown": ("feature-shutdown", "feature-poweroff"),
    "clean_reboot": ("feature-shutdown", "feature-reboot"),
    "changing_VCPUs_live": ("feature-vcpu-hotplug",),
    **dict.fromkeys(_MOVES_MEMORY, ("feature-suspend",)),
}
_FORCEABLE: Final = {"clean_shutdown", "clean_reboot", *_MOVES_MEMORY}


@dataclass(frozen=True, slots=True)
class _Case:
    """An operation that somebody wants on a VM; `strict` when the guest must be able to help."""

    db: Database
    ref: str
    vm: dict[str, Json]
    operation: str
    strict: bool

    def follow(self, field: str, cls: str) -> dict[str, Json]:
        """Return the record that a reference leads to; empty when it leads nowhere."""
        ref = self.vm[field]
        return self.db.row(cls, ref).fields if self.db.exists(cls, ref) else {}


_Check: TypeAlias = Callable[[_Case], XapiError | None]


def refusal(db: Database, ref: str, operation: str, *, strict: bool = True) -> XapiError | None:
    """Tell why an operation is refused now.

    Args:
        db: the pool's database.
        ref: the VM; RowMissingError when there is none.
        operation: as in the data model.
        strict: False for a forced migration, which trusts that the guest will take part.
    """
    case = _Case(db, ref, db.row("VM", ref).fields, operation, strict)
    for check in _CHECKS:
        refused = check(case)
        if refused is not None:
            return refused
    return None


def power_state_error(ref: str, states: tuple[str, ...], actual: str) -> XapiError:
    expected = ", ".join(state.lower() for state in states)
    return XapiError("VM_BAD_POWER_STATE", ref, expected, actual.lower())


def _blocked(case: _Case) -> XapiError | None:
    blocked = case.vm["blocked_operations"]
    if case.operation not in blocked:
        return None
    return XapiError("OPERATION_BLOCKED", case.ref, blocked[case.operation])


def _power_state(case: _Case) -> XapiError | None:
    states = POWER_STATES.get(case.operation)
    if states is None or case.vm["power_state"] in states:
        return None
    if case.operation in _CHANGEABLE_IN_CONTROL_DOMAINS and case.vm["is_control_domain"]:
        states = ("Halted", "Running")
    elif case.operation in {"clone", "copy"} and _may_be_cloned_suspended(case):
        states = ("Halted", "Suspended")
    if case.vm["power_state"] in states:
        return None
    return power_state_error(case.ref, states, case.vm["power_state"])


def _may_be_cloned_suspended(case: _Case) -> bool:
    if case.vm["is_a_snapshot"]:
        return True
    pools = case.db.tables["pool"].rows.values()
    return any(p.fields["other_config"].get("allow_clone_suspended_vm") == "true" for p in pools)


def _busy(case: _Case) -> XapiError | None:
    current = case.vm["current_operations"]
    if not current or _runs_beside(case.operation, set(current.values())):
        return None
    task, running = next(iter(current.items()))
    return XapiError("OTHER_OPERATION_IN_PROGRESS", "VM", case.ref, running, task)


def _runs_beside(operation: str, current: set[str]) -> bool:
    if operation == "hard_shutdown":
        return operation not in current
    if operation == "hard_reboot":
        return not current & {"hard_shutdown", "hard_reboot"}
    if current == {"migrate_send"} and operation in _BESIDE_MIGRATE_SEND:
        return True
    return any(operation in together and current <= together for together in _TOGETHER)


def _template(case: _Case) -> XapiError | None:
    if not case.vm["is_a_template"] or case.vm["is_a_snapshot"]:
        return None
    if case.operation in (_OF_TEMPLATES if _is_default(case) else _OF_PLAIN_TEMPLATES):
        return None
    return XapiError("VM_IS_TEMPLATE", case.ref, case.operation)


def _is_default(case: _Case) -> bool:
    marked = case.vm["other_config"].get("default_template", "").lower() in {"1", "true"}
    return bool(case.vm["is_default_template"] or marked)


def _default(case: _Case) -> XapiError | None:
    """A VM keeps what made it a default template. XAPI looks at it while it destroys."""
    if case.operation == "destroy" and _is_default(case):
        return XapiError("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", case.ref)
    return None


def _snapshot(case: _Case) -> XapiError | None:
    if not case.vm["is_a_snapshot"] or case.operation in _OF_SNAPSHOTS:
        return None
    return XapiError("VM_IS_SNAPSHOT", case.ref, case.operation)


def _only(case: _Case) -> XapiError | None:
    if case.operation == "provision" and not case.vm["is_a_template"]:
        return XapiError("PROVISION_ONLY_ALLOWED_ON_TEMPLATE")
    if case.operation == "revert" and not case.vm["is_a_snapshot"]:
        return XapiError("REVERT_ONLY_ALLOWED_ON_SNAPSHOT")
    return None


def _immobile(case: _Case) -> XapiError | None:
    """Metrics tell what a domain was built with; without them the next start's platform counts."""
    if not case.strict:
        return None
    metrics = case.follow("metrics", "VM_metrics") or {
        "nomigrate": _is_true(case, "nomigrate"),
        "nested_virt": _is_true(case, "nested-virt"),
    }
    if case.operation in _MOVES_MEMORY and (metrics["nomigrate"] or metrics["nested_virt"]):
        return XapiError("VM_IS_IMMOBILE", case.ref)
    if case.operation == "changing_dynamic_range" and metrics["nested_virt"]:
        return XapiError("VM_IS_USING_NESTED_VIRT", case.ref)
    return None


def _is_true(case: _Case, key: str) -> bool:
    return case.vm["platform"].get(key, "").lower() in {"1", "true"}


def _control_domain(case: _Case) -> XapiError | None:
    if not case.vm["is_control_domain"]:
        return None
    hosts = case.db.tables["host"].rows.values()
    if case.operation in {"changing_VCPUs", "destroy"} and any(
        host.fields["control_domain"] == case.ref for host in hosts
    ):
        return XapiError("OPERATION_NOT_ALLOWED", "This operation is not allowed on dom0")
    if case.operation in _OF_CONTROL_DOMAINS:
        return None
    return XapiError("OPERATION_NOT_ALLOWED", "This operation is not allowed on a control domain")


def _feature(case: _Case) -> XapiError | None:
    """A guest that runs fully virtualised has to say what it can; others can by nature."""
    needed = _FEATURES.get(case.operation)
    if needed is None or case.vm["power_state"] != "Running":
        return None
    domain_type = case.follow("metrics", "VM_metrics").get("current_domain_type", "unspecified")
    if domain_type not in {"hvm", "unspecified"}:
        return None
    told = case.follow("guest_metrics", "VM_guest_metrics").get("other", {})
    if case.operation in _MOVES_MEMORY and "data-cant-suspend-reason" in told:
        return XapiError("VM_NON_SUSPENDABLE", case.ref, told["data-cant-suspend-reason"])
    if not case.strict and case.operation in _FORCEABLE:
        return None
    if any(told.get(feature) == "1" for feature in needed):
        return None
    return XapiError("VM_LACKS_FEATURE", case.ref)


def _quiesce(case: _Case) -> XapiError | None:
    if case.operation == "snapshot_with_quiesce":  # XAPI dropped it
        return XapiError("VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", case.ref, "")
    return None


def _reset_on_boot(case: _Case) -> XapiError | None:
    if case.operation not in {"checkpoint", "snapshot", "suspend", "pool_migrate"}:
        return None
    for vbd in case.vm["VBDs"]:
        vdi = case.db.get("VBD", vbd, "VDI")
        if not case.db.exists("VDI", vdi) or case.db.get("VDI", vdi, "on_boot") != "reset":
            continue
        if case.operation != "pool_migrate" or case.db.get("VDI", vdi, "allow_caching"):
            return XapiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    return None


def _devices(case: _Case) -> XapiError | None:
    if case.operation in _MOVES_MEMORY:
        state = case.vm["power_state"]
        bound = {"migrate_send": "Halted", "checkpoint": "Suspended"}.get(case.operation) != state
        if case.vm["attached_PCIs"]:
            return XapiError("VM_HAS_PCI_ATTACHED", case.ref)
        if case.vm["VGPUs"] and bound:
            return XapiError("VM_HAS_VGPU", case.ref)
    if case.operation in {"snapshot", *_MOVES_MEMORY} and case.vm["VUSBs"]:
        return XapiError("VM_HAS_VUSBS", case.ref)
    return None


def _belongings(case: _Case) -> XapiError | None:
    """A VM that something else counts on does not become a template."""
    if case.operation != "make_into_template":
        return None
    for field, cls, code in (
        ("appliance", "VM_appliance", "VM_IS_PART_OF_AN_APPLIANCE"),
        ("protection_policy", "VMPP", "VM_ASSIGNED_TO_PROTECTION_POLICY"),
        ("snapshot_schedule", "VMSS", "VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE"),
    ):
        if case.db.exists(cls, case.vm[field]):
            return XapiError(code, case.ref, case.vm[field])
    return None


def _service(case: _Case) -> XapiError | None:
    is_system = case.vm["other_config"].get("is_system_domain", "").lower() in {"1", "true"}
    if case.operation == "query_services" and not is_system:
        return XapiError("NOT_SYSTEM_DOMAIN", case.ref)
    if case.operation == "create_vtpm" and case.vm["VTPMs"]:
        return XapiError("VTPM_MAX_AMOUNT_REACHED", str(len(case.vm["VTPMs"])))
    return None


_CHECKS: Final[tuple[_Check, ...]] = (
    _blocked,
    _power_state,
    _busy,
    _template,
    _snapshot,
    _default,
    _only,
    _immobile,
    _control_domain,
    _feature,
    _quiesce,
    _reset_on_boot,
    _devices,
    _belongings,
    _service,
)


def _readers_of(db: Database, vm: str) -> Iterator[Reader]:
    yield from devices_of(db, vm)
    appliance = db.get("VM", vm, "appliance")
    if db.exists("VM_appliance", appliance):
        yield "VM_appliance", appliance
    for vtpm in db.get("VM", vm, "VTPMs"):
        yield "VTPM", vtpm


VM: Final = Rules(ADVERTISED, refusal, readers=_readers_of)

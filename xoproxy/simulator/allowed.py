"""Which operations XAPI advertises (`allowed_operations`) for an object in a given state.

The advertised sets only: what really is refused, and with which error, is others' business.
"""

_ALWAYS = ("changing_dynamic_range",)
_HALTED = (
    *_ALWAYS,
    "changing_shadow_memory",
    "changing_static_range",
    "changing_NVRAM",
    "changing_VCPUs",
    "create_vtpm",
    "make_into_template",
    "migrate_send",
    "destroy",
    "export",
    "start_on",
    "start",
    "clone",
    "copy",
    "snapshot",
)
_RUNNING = (
    *_ALWAYS,
    "changing_VCPUs_live",
    "hard_reboot",
    "hard_shutdown",
    "pause",
    "snapshot",
)
_RUNNING_WITH_TOOLS = (
    *_ALWAYS,
    "migrate_send",
    "pool_migrate",
    "changing_VCPUs_live",
    "suspend",
    "hard_reboot",
    "hard_shutdown",
    "clean_reboot",
    "clean_shutdown",
    "pause",
    "checkpoint",
    "snapshot",
)
_BY_POWER_STATE = {
    "Halted": _HALTED,
    "Running": _RUNNING,
    "Paused": (*_ALWAYS, "unpause", "hard_reboot", "hard_shutdown", "checkpoint", "snapshot"),
    "Suspended": ("resume_on", "resume", "hard_shutdown", "migrate_send", "export", "destroy"),
}

TEMPLATE = (
    *_ALWAYS,
    "changing_shadow_memory",
    "changing_static_range",
    "changing_NVRAM",
    "provision",
    "export",
    "clone",
    "copy",
)
VM_SNAPSHOT = ("revert", "clone", "copy", "export", "destroy", "hard_shutdown", "metadata_export")
CONTROL_DOMAIN = (*_ALWAYS, "changing_static_range")
HOST = ("vm_migrate", "provision", "vm_resume", "vm_start", "evacuate")
SR = (
    "vdi_enable_cbt",
    "vdi_list_changed_blocks",
    "unplug",
    "plug",
    "pbd_create",
    "vdi_disable_cbt",
    "update",
    "pbd_destroy",
    "vdi_resize",
    "vdi_clone",
    "vdi_data_destroy",
    "scan",
    "vdi_snapshot",
    "vdi_mirror",
    "vdi_create",
    "vdi_destroy",
    "vdi_set_on_boot",
)
ISO_SR = ("unplug", "plug", "pbd_create", "update", "pbd_destroy", "scan", "forget", "destroy")
VDI = (
    "generate_config",
    "update",
    "forget",
    "destroy",
    "enable_cbt",
    "snapshot",
    "resize",
    "copy",
    "clone",
)
VDI_IN_USE = ("generate_config", "update", "resize_online", "enable_cbt", "snapshot", "clone")


def vm_operations(power_state: str, *, tools: bool = True) -> list[str]:
    """List the operations of a plain VM.

    Args:
        power_state: as in the record.
        tools: whether the guest has drivers that tell of their features.
    """
    if power_state == "Running" and tools:
        return list(_RUNNING_WITH_TOOLS)
    return list(_BY_POWER_STATE[power_state])


def device_operations(*, attached: bool, cd: bool = False, empty: bool = False) -> list[str]:
    """List the operations of a VBD or VIF."""
    operations = ["attach", "unplug"] if attached else ["attach"]
    if cd:
        operations.append("insert" if empty else "eject")
    return operations

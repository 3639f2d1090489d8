"""What VMs of each kind allow, and with what the rest is refused (xapi_vm_lifecycle.ml)."""

from typing import Any

import pytest

from tests.unit.simulator.worlds import DOM0, HOST, OTHER, VM, load
from xoproxy.simulator.database import Database
from xoproxy.simulator.rules import allowed
from xoproxy.simulator.rules.vm import ADVERTISED, refusal

FEATURES = ("shutdown", "reboot", "suspend", "poweroff", "vcpu-hotplug")
NEVER_ADVERTISED = {
    "create_template", "power_state_reset", "csvm", "get_boot_record", "send_sysrq",
    "send_trigger", "query_services", "shutdown", "call_plugin", "changing_memory_live",
    "awaiting_memory_live", "changing_memory_limits", "changing_shadow_memory_live",
    "changing_VCPUs", "assert_operation_valid", "data_source_op", "update_allowed_operations",
    "import", "reverting",
}  # fmt: skip
HALTED = {
    "create_vtpm", "changing_NVRAM", "changing_dynamic_range", "changing_shadow_memory",
    "changing_static_range", "make_into_template", "migrate_send", "destroy", "export",
    "metadata_export", "start_on", "start", "clone", "copy", "snapshot",
}  # fmt: skip
WITHOUT_TOOLS = {
    "changing_dynamic_range", "hard_reboot", "hard_shutdown", "pause", "snapshot",
    "metadata_export",
}  # fmt: skip
WITH_TOOLS = WITHOUT_TOOLS | {
    "migrate_send", "pool_migrate", "changing_VCPUs_live", "suspend", "clean_reboot",
    "clean_shutdown", "checkpoint",
}  # fmt: skip
OF_TEMPLATES = {
    "changing_dynamic_range", "changing_static_range", "changing_shadow_memory", "changing_NVRAM",
    "clone", "copy", "export", "metadata_export", "provision",
}  # fmt: skip


def change(db: Database, **fields: Any) -> None:
    for name, value in fields.items():
        db.write("VM", VM, name, value)


def run(db: Database, *, domain_type: str = "hvm", **told: str) -> None:
    """Let the VM run, with a guest that told this."""
    metrics = db.create("VM_metrics", {"current_domain_type": domain_type})
    guest = db.create("VM_guest_metrics", {"other": told})
    change(db, power_state="Running", resident_on=HOST, metrics=metrics, guest_metrics=guest)


def tools() -> dict[str, str]:
    return {f"feature-{name}": "1" for name in FEATURES}


def code(db: Database, operation: str, vm: str = VM) -> list[str] | None:
    refused = refusal(db, vm, operation)
    return None if refused is None else refused.description


def test_a_vm_in_each_state():
    db = load()
    assert set(allowed(db, "VM", VM)) == HALTED
    run(db)
    assert set(allowed(db, "VM", VM)) == WITHOUT_TOOLS
    run(db, **tools())
    assert set(allowed(db, "VM", VM)) == WITH_TOOLS
    change(db, power_state="Paused")
    paused = {"unpause", "hard_reboot", "hard_shutdown", "checkpoint", "snapshot"}
    assert set(allowed(db, "VM", VM)) == paused | {"metadata_export"}
    change(db, power_state="Suspended")
    suspended = {"resume", "resume_on", "hard_shutdown", "migrate_send", "destroy", "export"}
    kept = {"checkpoint", "snapshot", "metadata_export"}
    assert set(allowed(db, "VM", VM)) == suspended | kept


def test_paravirtual_guests_need_not_say_what_they_can():
    db = load()
    run(db, domain_type="pv")
    assert set(allowed(db, "VM", VM)) == WITH_TOOLS


def test_templates_snapshots_and_control_domains():
    db = load()
    change(db, is_a_template=True)
    assert set(allowed(db, "VM", VM)) == OF_TEMPLATES | {"destroy", "migrate_send"}
    change(db, is_default_template=True)
    assert set(allowed(db, "VM", VM)) == OF_TEMPLATES
    change(db, is_default_template=False, is_a_snapshot=True)
    snapshot = {"revert", "clone", "copy", "export", "destroy", "metadata_export"}
    assert set(allowed(db, "VM", VM)) == snapshot
    change(db, power_state="Suspended")
    assert set(allowed(db, "VM", VM)) == snapshot | {"hard_shutdown"}
    control = {"changing_dynamic_range", "changing_static_range", "metadata_export"}
    assert set(allowed(db, "VM", DOM0)) == control


def test_what_is_never_advertised():
    assert not NEVER_ADVERTISED & set(ADVERTISED)
    assert len(set(ADVERTISED)) == len(ADVERTISED)


@pytest.mark.parametrize(
    ("current", "beside"),
    [
        (["clone"], {"clone", "copy", "export", "hard_shutdown", "hard_reboot"}),
        (["clone", "copy"], {"clone", "copy", "export", "hard_shutdown", "hard_reboot"}),
        (["snapshot"], {"snapshot", "checkpoint", "hard_shutdown", "hard_reboot"}),
        (["hard_shutdown"], set()),
        (["hard_reboot"], {"hard_shutdown"}),
        (["start"], {"hard_shutdown", "hard_reboot"}),
        (
            ["migrate_send"],
            {"metadata_export", "clean_shutdown", "clean_reboot", "hard_shutdown", "hard_reboot"},
        ),
    ],
)
def test_what_runs_beside_each_other(current: list[str], beside: set[str]):
    db = load()
    found = set()
    for state in ("Halted", "Running", "Paused", "Suspended"):
        run(db, **tools())
        change(db, power_state=state, current_operations={})
        idle = set(allowed(db, "VM", VM))
        change(db, current_operations={f"task {n}": name for n, name in enumerate(current)})
        now = set(allowed(db, "VM", VM))
        assert now <= idle
        found |= now
    assert found == beside


def test_the_first_operation_under_way_is_named():
    db = load()
    change(db, current_operations={"task 1": "clone", "task 2": "copy"})
    busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "clone", "task 1"]
    assert code(db, "start") == busy


def test_the_order_of_checks():
    """Take away one reason after the other."""
    db = load()
    run(db, **{"data-cant-suspend-reason": "why"})
    disk = db.create("VDI", {"on_boot": "reset"})
    db.create("VBD", {"VM": VM, "VDI": disk, "type": "Disk"})
    change(db, attached_PCIs=[db.create("PCI", {})])
    vusb = db.create("VUSB", {"VM": VM})
    db.write("VM_metrics", db.get("VM", VM, "metrics"), "nomigrate", value=True)
    change(
        db,
        blocked_operations={"suspend": "no"},
        power_state="Paused",
        current_operations={"task": "clone"},
        is_a_template=True,
        is_control_domain=True,
    )
    assert code(db, "suspend") == ["OPERATION_BLOCKED", VM, "no"]
    change(db, blocked_operations={})
    assert code(db, "suspend") == ["VM_BAD_POWER_STATE", VM, "running", "paused"]
    change(db, power_state="Running")
    busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "clone", "task"]
    assert code(db, "suspend") == busy
    change(db, current_operations={})
    assert code(db, "suspend") == ["VM_IS_TEMPLATE", VM, "suspend"]
    change(db, is_a_snapshot=True)
    assert code(db, "suspend") == ["VM_IS_SNAPSHOT", VM, "suspend"]
    change(db, is_a_template=False, is_a_snapshot=False)
    assert code(db, "suspend") == ["VM_IS_IMMOBILE", VM]
    db.write("VM_metrics", db.get("VM", VM, "metrics"), "nomigrate", value=False)
    control = "This operation is not allowed on a control domain"
    assert code(db, "suspend") == ["OPERATION_NOT_ALLOWED", control]
    change(db, is_control_domain=False)
    assert code(db, "suspend") == ["VM_NON_SUSPENDABLE", VM, "why"]
    guest = db.get("VM", VM, "guest_metrics")
    db.write("VM_guest_metrics", guest, "other", {})
    assert code(db, "suspend") == ["VM_LACKS_FEATURE", VM]
    db.write("VM_guest_metrics", guest, "other", tools())
    assert code(db, "suspend") == ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
    db.write("VDI", disk, "on_boot", "persist")
    assert code(db, "suspend") == ["VM_HAS_PCI_ATTACHED", VM]
    change(db, attached_PCIs=[])
    assert code(db, "suspend") == ["VM_HAS_VUSBS", VM]
    db.destroy("VUSB", vusb)
    assert code(db, "suspend") is None


def test_a_forced_migration_trusts_the_guest_but_not_if_it_says_no():
    db = load()
    run(db)
    assert refusal(db, VM, "pool_migrate") is not None
    assert refusal(db, VM, "pool_migrate", strict=False) is None
    run(db, **{"data-cant-suspend-reason": "why"})
    refused = refusal(db, VM, "pool_migrate", strict=False)
    assert refused is not None
    assert refused.code == "VM_NON_SUSPENDABLE"


def test_only_templates_are_provisioned_and_only_snapshots_reverted():
    db = load()
    assert code(db, "provision") == ["PROVISION_ONLY_ALLOWED_ON_TEMPLATE"]
    assert code(db, "revert") == ["REVERT_ONLY_ALLOWED_ON_SNAPSHOT"]
    assert code(db, "query_services", OTHER) == ["NOT_SYSTEM_DOMAIN", OTHER]


def test_suspended_vms_are_cloned_where_the_pool_says_so():
    db = load()
    change(db, power_state="Suspended")
    assert code(db, "clone") == ["VM_BAD_POWER_STATE", VM, "halted", "suspended"]
    (pool,) = db.refs("pool")
    db.write("pool", pool, "other_config", {"allow_clone_suspended_vm": "true"})
    assert code(db, "clone") is None
    change(db, power_state="Running")
    assert code(db, "clone") == ["VM_BAD_POWER_STATE", VM, "halted, suspended", "running"]

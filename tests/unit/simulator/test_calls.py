"""Hand-written calls: what they refuse and what they leave behind."""

import pytest

from tests.unit.simulator.worlds import DOM0, OTHER, VM, Client, client
from xoproxy.simulator.wiretypes import NULL

NEW_VM = {
    "name_label": "new",
    "user_version": 1,
    "is_a_template": False,
    "affinity": NULL,
    "memory_static_max": 1 << 30,
    "memory_dynamic_max": 1 << 30,
    "memory_dynamic_min": 1 << 29,
    "memory_static_min": 1 << 28,
    "VCPUs_params": {},
    "VCPUs_max": 2,
    "VCPUs_at_startup": 1,
    "actions_after_shutdown": "destroy",
    "actions_after_reboot": "restart",
    "actions_after_crash": "restart",
    "PV_bootloader": "",
    "PV_kernel": "",
    "PV_ramdisk": "",
    "PV_args": "",
    "PV_bootloader_args": "",
    "PV_legacy_args": "",
    "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"order": "cd"},
    "platform": {},
    "PCI_bus": "",
    "other_config": {},
    "recommendations": "",
}


async def network(user: Client) -> str:
    ref: str = await user.call("network.create", {"other_config": {}})
    return ref


async def vif(user: Client, **members) -> dict:
    return {
        "VM": VM,
        "network": await network(user),
        "device": "0",
        "MAC": "02:00:00:00:00:03",
        "MTU": 1500,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **members,
    }


# -- VM ------------------------------------------------------------------------------------


async def test_create_vm():
    async with client() as user:
        ref = await user.call("VM.create", NEW_VM)
        record = user.db.record("VM", ref)

        assert user.db.exists("VM_metrics", record["metrics"])
        assert (record["domid"], record["domain_type"]) == (-1, "hvm")
        assert record["memory_overhead"] > 0
        assert "mac_seed" in record["other_config"]
        assert "start" in record["allowed_operations"]


async def test_clone_vm_copies_devices_under_new_addresses():
    async with client() as user:
        disk = user.db.create("VDI", {"name_label": "disk"})
        user.db.create("VBD", {"VM": VM, "VDI": disk, "type": "Disk", "empty": False})
        mac = user.db.get("VIF", await user.call("VIF.create", await vif(user)), "MAC")
        seen: list[tuple[str, str]] = []
        user.db.observers.append(lambda w: seen.append((w.op, w.row.ref)))
        copy = user.db.record("VM", ref := await user.call("VM.clone", VM, "copy"))

        assert ("mod", VM) in seen
        assert (copy["name_label"], copy["power_state"]) == ("copy", "Halted")
        assert copy["uuid"] != "vm-uuid"
        (vbd,), (interface,) = copy["VBDs"], copy["VIFs"]
        assert user.db.get("VBD", vbd, "VDI") not in {disk, NULL}
        assert user.db.get("VIF", interface, "MAC") != mac
        assert user.db.get("VM", VM, "current_operations") == {}
        assert ref not in user.db.get("VM", VM, "children")


async def test_destroy_vm_takes_what_is_its_own_and_leaves_disks():
    async with client() as user:
        ref = await user.call("VM.create", NEW_VM)
        metrics = user.db.get("VM", ref, "metrics")
        disk = user.db.create("VDI", {})
        vbd = user.db.create("VBD", {"VM": ref, "VDI": disk})
        interface = await user.call("VIF.create", await vif(user, VM=ref))
        await user.call("VM.destroy", ref)

        gone = {"VM": ref, "VM_metrics": metrics, "VBD": vbd, "VIF": interface}
        assert not any(user.db.exists(cls, r) for cls, r in gone.items())
        assert user.db.count("VIF_metrics") == 0
        assert user.db.get("VDI", disk, "VBDs") == []


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("clean_shutdown", "running"),
        ("hard_shutdown", "paused, suspended, running"),
        ("hard_reboot", "paused, running"),
        ("unpause", "paused"),
        ("suspend", "running"),
        ("pause", "running"),
    ],
)
async def test_power_states(operation: str, expected: str):
    async with client() as user:
        error = ["VM_BAD_POWER_STATE", VM, expected, "halted"]
        assert await user.error(f"VM.{operation}", VM) == error


async def test_checks_come_in_the_order_of_xapi():
    async with client() as user:
        question = ("VM.assert_operation_valid", VM, "start")
        user.db.write("VM", VM, "is_a_template", value=True)
        assert await user.error(*question) == ["VM_IS_TEMPLATE", VM, "start"]
        user.db.write("VM", VM, "current_operations", {"task": "clone"})
        busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "clone", "task"]
        assert await user.error(*question) == busy
        user.db.write("VM", VM, "power_state", "Running")
        bad = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        assert await user.error(*question) == bad
        await user.call("VM.add_to_blocked_operations", VM, "start", "because")
        blocked = ["OPERATION_BLOCKED", VM, "because"]
        assert await user.error(*question) == blocked


async def test_destroy_refuses():
    async with client() as user:
        assert (await user.error("VM.destroy", DOM0))[0] == "VM_BAD_POWER_STATE"
        user.db.write("VM", OTHER, "is_default_template", value=True)
        default = ["VM_CANNOT_DELETE_DEFAULT_TEMPLATE", OTHER]
        assert await user.error("VM.destroy", OTHER) == default
        user.db.write("VM", OTHER, "is_a_template", value=True)
        template = ["VM_IS_TEMPLATE", OTHER, "destroy"]
        assert await user.error("VM.destroy", OTHER) == template


async def test_start_without_a_host_that_could():
    async with client() as user:
        error = ["NO_HOSTS_AVAILABLE"]
        assert await user.error("VM.start", VM, False, False) == error
        assert await user.call("VM.get_possible_hosts", VM) == []


@pytest.mark.parametrize("field", ["order", "start_delay", "shutdown_delay"])
async def test_negative_orders(field: str):
    async with client() as user:
        error = ["INVALID_VALUE", f"{field} must be non-negative", "-1"]
        assert await user.error(f"VM.set_{field}", VM, -1) == error
        await user.call(f"VM.set_{field}", VM, 3)
        assert await user.call(f"VM.get_{field}", VM) == 3


async def test_memory_limits_have_an_order():
    async with client() as user:
        await user.call("VM.set_memory_limits", VM, 1, 4, 2, 3)
        fields = ("static_min", "dynamic_min", "dynamic_max", "static_max")
        assert [user.db.get("VM", VM, f"memory_{f}") for f in fields] == [1, 2, 3, 4]

        error = await user.error("VM.set_memory_dynamic_max", VM, 5)
        assert error[0] == "MEMORY_CONSTRAINT_VIOLATION"


async def test_vcpus_keep_within_their_maximum():
    async with client() as user:
        await user.call("VM.set_VCPUs_max", VM, 4)
        await user.call("VM.set_VCPUs_at_startup", VM, 3)

        rule = "VCPU values must satisfy: 0 < VCPUs_at_startup \N{LESS-THAN OR EQUAL TO} VCPUs_max"
        assert await user.error("VM.set_VCPUs_max", VM, 2) == ["INVALID_VALUE", rule, "2"]
        assert await user.error("VM.set_VCPUs_at_startup", VM, 5) == ["INVALID_VALUE", rule, "5"]


# -- messages -----------------------------------------------------------------------


async def test_messages():
    async with client() as user:
        ref = await user.call("message.create", "N", 3, "VM", "vm-uuid", "b")
        host = await user.call("message.create", "N", 3, "Host", "host-uuid", "b")
        since = "19700101T00:00:00Z"
        found = await user.call("message.get", "VM", "vm-uuid", since)

        assert [row.ref for row in found.rows] == [ref]
        assert await user.call("message.get_all") == [ref, host]
        bad = ["UUID_INVALID", "VM", "nope"]
        assert await user.error("message.create", "N", 3, "VM", "nope", "b") == bad
        await user.call("message.destroy_many", [ref, host])
        gone = ["HANDLE_INVALID", "message", ref]
        assert await user.error("message.get_record", ref) == gone

"""What VMs are told, and what they allow after it."""

import asyncio

import pytest

from tests.unit.simulator.test_power import START, enable, free_memory, give_tools, state
from tests.unit.simulator.worlds import DOM0, HOST, OTHER, VM, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

GIB = 1 << 30


async def test_blocked_operations_are_not_advertised():
    async with client() as user:
        await user.call("VM.set_blocked_operations", VM, {"start": "no", "clone": "never"})
        allowed = user.db.get("VM", VM, "allowed_operations")
        assert not {"start", "clone"} & set(allowed)
        assert "snapshot" in allowed
        await user.call("VM.remove_from_blocked_operations", VM, "start")
        assert "start" in user.db.get("VM", VM, "allowed_operations")
        assert await user.error("VM.clone", VM, "x") == ["OPERATION_BLOCKED", VM, "never"]


async def test_a_vm_becomes_a_template_and_a_vm_again():
    async with client() as user:
        enable(user)
        metrics = user.db.get("VM", VM, "metrics")
        await user.call("VM.set_is_a_template", VM, True)
        record = user.db.record("VM", VM)
        assert (record["is_a_template"], record["metrics"]) == (True, NULL)
        assert not user.db.exists("VM_metrics", metrics)
        assert {"provision", "clone", "destroy"} <= set(record["allowed_operations"])
        assert "start" not in record["allowed_operations"]

        await user.call("VM.set_is_a_template", VM, False)
        assert "start" in user.db.get("VM", VM, "allowed_operations")
        await user.call("VM.start", *START)
        bad = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        assert await user.error("VM.set_is_a_template", VM, True) == bad


async def test_a_running_vm_gives_memory_back_and_takes_what_there_is():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)
        before = free_memory(user)
        await user.call("VM.set_memory_dynamic_range", VM, GIB // 2, GIB // 2)
        assert user.db.get("VM", VM, "memory_target") == GIB // 2
        assert free_memory(user) == before + GIB // 2

        metrics = user.db.get("host", HOST, "metrics")
        user.db.write("host_metrics", metrics, "memory_free", 5)
        error = ["HOST_NOT_ENOUGH_FREE_MEMORY", str(GIB // 2), "5"]
        assert await user.error("VM.set_memory_dynamic_range", VM, GIB, GIB) == error
        assert user.db.get("VM", VM, "memory_dynamic_min") == GIB // 2


async def test_the_size_of_a_running_vm_stays():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)
        bad = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        assert await user.error("VM.set_memory_limits", VM, 1, 4, 2, 3) == bad
        assert await user.error("VM.set_memory_static_max", VM, GIB) == bad
        assert await user.error("VM.set_VCPUs_max", VM, 3) == bad
        assert await user.error("VM.set_HVM_shadow_multiplier", VM, 2.0) == bad


async def test_a_control_domain_takes_its_size_over_when_it_boots():
    async with client() as user:
        for limit in ("static_min", "dynamic_min", "dynamic_max", "static_max"):
            user.db.write("VM", DOM0, f"memory_{limit}", GIB)
        await user.call("VM.set_memory_static_range", DOM0, GIB, 2 * GIB)
        assert user.db.get("VM", DOM0, "requires_reboot")
        error = ["OPERATION_NOT_ALLOWED", "This operation is not allowed on dom0"]
        assert await user.error("VM.set_VCPUs_max", DOM0, 4) == error


async def test_a_guest_gets_processors_while_it_runs_if_it_can():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        assert await user.error("VM.set_VCPUs_number_live", VM, 2) == ["VM_LACKS_FEATURE", VM]
        await asyncio.sleep(15)
        await user.call("VM.set_VCPUs_number_live", VM, 2)
        assert user.db.get("VM_metrics", user.db.get("VM", VM, "metrics"), "VCPUs_number") == 2


async def test_an_appliance_starts_and_stops_in_its_order():
    async with client() as user:
        enable(user)
        appliance = await user.call("VM_appliance.create", {"name_label": "a"})
        for order, vm in enumerate((VM, OTHER)):
            await user.call("VM.set_appliance", vm, appliance)
            await user.call("VM.set_order", vm, order)
        assert user.db.get("VM_appliance", appliance, "allowed_operations") == ["start"]
        part = ["VM_IS_PART_OF_AN_APPLIANCE", VM, appliance]
        assert await user.error("VM.set_is_a_template", VM, True) == part

        changes: list[tuple[str, str]] = []
        last = {vm: user.db.get("VM", vm, "power_state") for vm in (VM, OTHER)}

        def observe(_write: object) -> None:
            for vm, before in last.items():
                now = user.db.get("VM", vm, "power_state")
                if now != before:
                    last[vm] = now
                    changes.append((vm, now))

        user.db.observers.append(observe)
        await user.call("VM_appliance.start", appliance, False)
        assert [c for c in changes if c[1] == "Running"] == [(VM, "Running"), (OTHER, "Running")]
        changes.clear()
        await user.call("VM_appliance.hard_shutdown", appliance)
        assert changes == [(OTHER, "Halted"), (VM, "Halted")]
        assert user.db.count("task") == 0


async def test_an_appliance_of_which_a_part_fails():
    async with client() as user:
        appliance = await user.call("VM_appliance.create", {"name_label": "a"})
        await user.call("VM.set_appliance", VM, appliance)
        error = ["OPERATION_PARTIALLY_FAILED", "VM_appliance.start"]
        assert await user.error("VM_appliance.start", appliance, False) == error
        assert (await user.error("VM_appliance.shutdown", appliance))[0] == "OPERATION_NOT_ALLOWED"


async def test_a_trusted_module_comes_and_goes_while_the_vm_is_halted():
    async with client() as user:
        enable(user)
        vtpm = await user.call("VTPM.create", VM, False)
        assert await user.error("VTPM.create", VM, False) == ["VTPM_MAX_AMOUNT_REACHED", "1"]
        assert user.db.get("VTPM", vtpm, "allowed_operations") == ["destroy"]
        await user.call("VM.start", *START)
        assert user.db.get("VTPM", vtpm, "allowed_operations") == []
        bad = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        assert await user.error("VTPM.destroy", vtpm) == bad
        await user.call("VM.hard_shutdown", VM)
        await user.call("VTPM.destroy", vtpm)
        assert "create_vtpm" in user.db.get("VM", VM, "allowed_operations")


async def test_groups_are_for_plain_vms_one_each():
    async with client() as user:
        group = user.db.create("VM_group", {})
        await user.call("VM.set_groups", VM, [group])
        assert user.db.get("VM_group", group, "VMs") == [VM]
        for vm, groups in ((VM, [group, group]), (DOM0, [group])):
            error = await user.error("VM.set_groups", vm, groups)
            assert error[0] == "OPERATION_NOT_ALLOWED"


async def test_a_memory_image_is_changed_while_the_vm_is_suspended():
    async with client() as user:
        image = user.db.create("VDI", {"type": "suspend"})
        bad = ["VM_BAD_POWER_STATE", VM, "suspended", "halted"]
        assert await user.error("VM.set_suspend_VDI", VM, image) == bad
        user.db.write("VM", VM, "power_state", "Suspended")
        disk = user.db.create("VDI", {"type": "user"})
        kind = ["VDI_INCOMPATIBLE_TYPE", disk, "user"]
        assert await user.error("VM.set_suspend_VDI", VM, disk) == kind
        await user.call("VM.set_suspend_VDI", VM, image)
        assert user.db.get("VM", VM, "suspend_VDI") == image


async def test_new_device_models_come_with_a_new_domain():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        before, free = user.db.get("VM", VM, "domid"), free_memory(user)
        await user.call("VM.restart_device_models", VM)
        assert user.db.get("VM", VM, "domid") != before
        assert (state(user), free_memory(user)) == ("Running", free)


async def test_requests_to_guests():
    async with client() as user:
        enable(user)
        bad = ["VM_BAD_POWER_STATE", VM, "running", "halted"]
        assert await user.error("VM.send_sysrq", VM, "s") == bad
        assert await user.error("VM.call_plugin", VM, "x", "y", {}) == bad
        await user.call("VM.start", *START)
        await user.call("VM.send_sysrq", VM, "s")
        await user.call("VM.send_trigger", VM, "power")
        missing = ["XENAPI_MISSING_PLUGIN", "x"]
        assert await user.error("VM.call_host_plugin", VM, "x", "y", {}) == missing
        assert await user.error("VM.call_plugin", VM, "x", "y", {}) == missing
        failure = await user.error("VM.call_plugin", VM, "guest-agent-operation", "y", {})
        assert failure[0] == "XENAPI_PLUGIN_FAILURE"
        assert state(user) == "Running"

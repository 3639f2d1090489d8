"""Power operations, run to their end against the lifecycle."""

import asyncio

import pytest

from tests.unit.simulator.worlds import DOM0, HOST, OTHER, POOL, VM, Client, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

START = (VM, False, False)
GIB = 1 << 30
FEATURES = ("shutdown", "reboot", "suspend", "poweroff", "vcpu-hotplug")


def enable(user: Client, free: int = 64 * GIB) -> None:
    """Let VMs start on the only host."""
    size = {"memory_free": free, "memory_total": 64 * GIB}
    metrics = user.db.create("host_metrics", {"live": True, **size})
    user.db.write("host", HOST, "metrics", metrics)
    user.db.write("host", HOST, "enabled", value=True)
    for vm in (VM, OTHER):
        user.db.write("VM", vm, "metrics", user.db.create("VM_metrics", {}))


def give_tools(user: Client, vm: str = VM) -> None:
    told = {"other": {f"feature-{name}": "1" for name in FEATURES}, "PV_drivers_detected": True}
    guest = user.db.create("VM_guest_metrics", told)
    user.db.write("VM", vm, "guest_metrics", guest)


def free_memory(user: Client) -> int:
    size: int = user.db.get("host_metrics", user.db.get("host", HOST, "metrics"), "memory_free")
    return size


def state(user: Client) -> str:
    text: str = user.db.get("VM", VM, "power_state")
    return text


def add_sr(user: Client, size: int = 1 << 50) -> str:
    sr = user.db.create("SR", {"physical_size": size})
    user.db.create("PBD", {"SR": sr, "host": HOST, "currently_attached": True})
    return sr


async def test_start_and_hard_shutdown():
    async with client() as user:
        enable(user)
        before = free_memory(user)
        await user.call("VM.start", *START)
        vm = user.db.record("VM", VM)

        assert (vm["power_state"], vm["resident_on"]) == ("Running", HOST)
        assert vm["domid"] > 0
        assert {user.db.get("console", c, "protocol") for c in vm["consoles"]} == {"rfb", "vt100"}
        assert vm["current_operations"] == user.db.get("host", HOST, "current_operations") == {}
        assert "hard_shutdown" in vm["allowed_operations"]
        assert before - free_memory(user) == GIB + vm["memory_overhead"]

        await user.call("VM.hard_shutdown", VM)
        vm = user.db.record("VM", VM)
        assert (vm["power_state"], vm["resident_on"], vm["domid"]) == ("Halted", NULL, -1)
        assert vm["consoles"] == []
        assert free_memory(user) == before
        assert user.db.count("task") == 0


async def test_what_needs_the_guest_is_refused_without_tools():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)

        for name in ("clean_shutdown", "clean_reboot", "suspend"):
            assert await user.error(f"VM.{name}", VM) == ["VM_LACKS_FEATURE", VM]
        await user.call("VM.shutdown", VM)
        assert state(user) == "Halted"


async def test_a_guest_speaks_some_time_after_its_boot():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        assert "clean_shutdown" not in user.db.get("VM", VM, "allowed_operations")
        assert await user.error("VM.clean_shutdown", VM) == ["VM_LACKS_FEATURE", VM]

        await asyncio.sleep(15)
        guest = user.db.record("VM_guest_metrics", user.db.get("VM", VM, "guest_metrics"))
        assert guest["other"]["feature-suspend"] == "1"
        assert "clean_shutdown" in user.db.get("VM", VM, "allowed_operations")
        metrics = user.db.get("VM", VM, "metrics")
        assert user.db.get("VM_metrics", metrics, "memory_actual") == GIB


async def test_a_guest_that_was_shut_down_before_it_spoke_speaks_after_the_next_boot():
    async with client() as user:
        enable(user)
        give_tools(user)
        for _ in range(2):
            await user.call("VM.start", *START)
            await user.call("VM.hard_shutdown", VM)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)

        assert "suspend" in user.db.get("VM", VM, "allowed_operations")


async def test_a_guest_with_tools():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        assert await user.error("VM.suspend", VM) == ["VM_NO_SUSPEND_SR", VM]

        user.db.write("VM", VM, "suspend_SR", add_sr(user))
        taken = free_memory(user)
        await user.call("VM.suspend", VM)
        assert state(user) == "Suspended"
        image = user.db.get("VM", VM, "suspend_VDI")
        assert user.db.get("VDI", image, "type") == "suspend"
        assert free_memory(user) > taken
        await user.call("VM.resume", VM, True, False)
        assert state(user) == "Paused"
        assert not user.db.exists("VDI", image)
        assert free_memory(user) == taken
        await user.call("VM.unpause", VM)
        await asyncio.sleep(15)
        before = user.db.get("VM", VM, "domid")
        await user.call("VM.clean_reboot", VM)
        assert user.db.get("VM", VM, "domid") != before
        await asyncio.sleep(15)
        await user.call("VM.clean_shutdown", VM)
        assert state(user) == "Halted"


async def test_a_hard_shutdown_of_a_suspended_vm_drops_its_memory():
    async with client() as user:
        enable(user)
        give_tools(user)
        user.db.write("pool", POOL, "default_SR", add_sr(user))
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        await user.call("VM.suspend", VM)
        await user.call("VM.hard_shutdown", VM)

        assert (state(user), user.db.get("VM", VM, "suspend_VDI")) == ("Halted", NULL)
        assert user.db.count("VDI") == 0


async def test_start_paused_and_on_a_host_that_is_not_there_or_disabled():
    async with client() as user:
        assert await user.error("VM.start_on", VM, HOST, False, False) == ["HOST_NOT_LIVE"]
        enable(user)
        user.db.write("host", HOST, "enabled", value=False)
        error = ["HOST_DISABLED", HOST]
        assert await user.error("VM.start_on", VM, HOST, False, False) == error
        assert await user.error("VM.start", *START) == ["NO_HOSTS_AVAILABLE"]
        user.db.write("host", HOST, "enabled", value=True)
        await user.call("VM.start_on", VM, HOST, True, False)

        assert state(user) == "Paused"
        assert "unpause" in user.db.get("VM", VM, "allowed_operations")


async def test_memory_is_what_a_host_has():
    async with client() as user:
        enable(user, free=GIB)
        await user.call("VM.start", *START)
        overhead = user.db.get("VM", VM, "memory_overhead")
        assert user.db.get("VM", VM, "memory_target") == GIB - overhead
        assert free_memory(user) == 0

        needed = (1 << 29) + user.db.get("VM", VM, "memory_overhead")
        error = ["HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), "0"]
        assert await user.error("VM.start_on", OTHER, HOST, False, False) == error
        assert await user.error("VM.start", OTHER, False, False) == error
        assert user.db.get("VM", OTHER, "current_operations") == {}


async def test_two_starts_at_once_do_not_share_the_same_memory():
    async with client() as user:
        enable(user, free=GIB)
        tasks = [await user.call("Async.VM.start", vm, False, False) for vm in (VM, OTHER)]
        await asyncio.sleep(10)

        outcomes = [user.db.get("task", task, "status") for task in tasks]
        assert sorted(outcomes) == ["failure", "success"]
        assert free_memory(user) >= 0


async def test_storage_out_of_reach():
    async with client() as user:
        enable(user)
        sr = user.db.create("SR", {})
        vdi = user.db.create("VDI", {"SR": sr, "managed": True})
        user.db.create("VBD", {"VM": VM, "VDI": vdi, "type": "Disk", "userdevice": "0"})

        error = ["VM_REQUIRES_SR", VM, sr]
        assert await user.error("VM.start_on", VM, HOST, False, False) == error
        assert await user.error("VM.assert_can_boot_here", VM, HOST) == error
        assert await user.call("VM.get_possible_hosts", VM) == []


async def test_a_second_operation_waits_for_the_first():
    async with client() as user:
        enable(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(0.1)
        busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "start", task]
        assert await user.error("VM.assert_operation_valid", VM, "snapshot") == busy

        await user.call("VM.snapshot", VM, "copy", [])
        assert user.db.get("task", task, "status") == "success"
        assert user.db.count("VM") == 4


async def test_an_operation_ends_when_its_task_is_gone():
    async with client() as user:
        enable(user)
        before = free_memory(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(0.1)
        user.db.destroy("task", task)  # as a restart of xapi does
        await asyncio.sleep(10)
        vm = user.db.record("VM", VM)

        assert vm["current_operations"] == {}
        assert user.db.get("host", HOST, "current_operations") == {}
        assert (vm["power_state"], vm["scheduled_to_be_resident_on"]) == ("Halted", NULL)
        assert free_memory(user) == before


@pytest.mark.parametrize("after", [0.05, 0.2, 1.0, 1.6, 1.62, 1.64, 1.66, 1.7, 1.75, 1.8])
async def test_a_start_cancelled_at_any_time_leaves_order(after: float):
    async with client() as user:
        enable(user)
        give_tools(user)
        before = free_memory(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(after)
        if user.db.get("task", task, "status") == "pending":
            await user.call("task.cancel", task)
        await asyncio.sleep(20)
        vm = user.db.record("VM", VM)

        alive = vm["power_state"] == "Running"
        assert vm["current_operations"] == {}
        assert (vm["resident_on"] == HOST) == alive == (vm["domid"] > 0) == bool(vm["consoles"])
        used = vm["memory_target"] + vm["memory_overhead"] if alive else 0
        assert before - free_memory(user) == used


async def test_a_migration_can_be_cancelled():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        task = await user.call("Async.VM.pool_migrate", VM, HOST, {})
        await asyncio.sleep(0.1)
        await user.call("task.cancel", task)
        await asyncio.sleep(10)
        record = user.db.record("task", task)

        assert (record["status"], record["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
        assert (state(user), user.db.get("VM", VM, "current_operations")) == ("Running", {})


async def test_a_migration_by_force_needs_no_word_of_the_guest():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)
        arguments = ("VM.pool_migrate", VM, HOST)
        assert await user.error(*arguments, {"force": "false"}) == ["VM_LACKS_FEATURE", VM]
        await user.call(*arguments, {"force": "true"})
        assert state(user) == "Running"


async def test_a_hard_shutdown_ends_a_clean_one():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        clean = await user.call("Async.VM.clean_shutdown", VM)
        await asyncio.sleep(0.1)
        await user.call("VM.hard_shutdown", VM)

        assert state(user) == "Halted"
        assert user.db.get("task", clean, "status") == "cancelled"


async def test_a_hard_reboot_ends_a_clean_shutdown_and_the_vm_runs():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        domid = user.db.get("VM", VM, "domid")
        await user.call("Async.VM.clean_shutdown", VM)
        await asyncio.sleep(0.1)
        await user.call("VM.hard_reboot", VM)

        assert state(user) == "Running"
        assert user.db.get("VM", VM, "domid") > domid


async def test_a_host_does_not_give_the_number_of_a_domain_twice():
    async with client() as user:
        enable(user)
        seen = []
        for _ in range(3):
            await user.call("VM.start", *START)
            seen.append(user.db.get("VM", VM, "domid"))
            await user.call("VM.hard_shutdown", VM)
        assert seen == sorted(set(seen))


async def test_a_reset_is_for_vms_whose_host_is_lost():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)
        domid = str(user.db.get("VM", VM, "domid"))
        assert await user.error("VM.power_state_reset", VM) == ["DOMAIN_EXISTS", VM, domid]
        error = ["CANNOT_RESET_CONTROL_DOMAIN", DOM0]
        assert await user.error("VM.power_state_reset", DOM0) == error

        user.db.write("host_metrics", user.db.get("host", HOST, "metrics"), "live", value=False)
        await user.call("VM.power_state_reset", VM)
        assert (state(user), user.db.get("VM", VM, "consoles")) == ("Halted", [])


@pytest.mark.parametrize("after", [0.1, 1.0, 1.6, 1.65])
async def test_a_reset_takes_a_vm_out_of_the_hands_of_an_operation(after: float):
    async with client() as user:
        enable(user)
        before = free_memory(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(after)
        if state(user) == "Running":
            metrics = user.db.get("host", HOST, "metrics")
            user.db.write("host_metrics", metrics, "live", value=False)
        await user.call("VM.power_state_reset", VM)
        await asyncio.sleep(20)

        assert user.db.get("task", task, "error_info") == ["VM_HALTED", VM]
        assert (state(user), user.db.get("VM", VM, "resident_on")) == ("Halted", NULL)
        assert free_memory(user) == before

"""Power operations, run to their end against the lifecycle."""

import asyncio

import pytest

from tests.unit.simulator.worlds import HOST, VM, Client, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

START = (VM, False, False)


def enable(user: Client) -> None:
    """Let VMs start on the only host."""
    metrics = user.db.create("host_metrics", {"live": True, "memory_free": 1 << 36})
    user.db.write("host", HOST, "metrics", metrics)
    user.db.write("host", HOST, "enabled", value=True)


def give_tools(user: Client) -> None:
    guest = user.db.create("VM_guest_metrics", {"PV_drivers_version": {"major": "9"}})
    user.db.write("VM", VM, "guest_metrics", guest)


def state(user: Client) -> str:
    text: str = user.db.get("VM", VM, "power_state")
    return text


async def test_start_and_hard_shutdown():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)
        vm = user.db.record("VM", VM)

        assert (vm["power_state"], vm["resident_on"]) == ("Running", HOST)
        assert vm["domid"] > 0
        assert len(vm["consoles"]) == 1
        assert vm["current_operations"] == user.db.get("host", HOST, "current_operations") == {}
        assert "hard_shutdown" in vm["allowed_operations"]

        await user.call("VM.hard_shutdown", VM)
        vm = user.db.record("VM", VM)
        assert (vm["power_state"], vm["resident_on"], vm["domid"]) == ("Halted", NULL, -1)
        assert vm["consoles"] == []
        assert user.db.count("task") == 0


async def test_what_needs_the_guest_is_refused_without_tools():
    async with client() as user:
        enable(user)
        await user.call("VM.start", *START)

        for name in ("clean_shutdown", "clean_reboot", "suspend"):
            assert await user.error(f"VM.{name}", VM) == ["VM_LACKS_FEATURE", VM]
        await user.call("VM.shutdown", VM)
        assert state(user) == "Halted"


async def test_a_guest_with_tools():
    async with client() as user:
        enable(user)
        give_tools(user)
        sr = user.db.create("SR", {})
        await user.call("VM.start", *START)
        assert await user.error("VM.suspend", VM) == ["VM_NO_SUSPEND_SR", VM]

        user.db.write("VM", VM, "suspend_SR", sr)
        await user.call("VM.suspend", VM)
        assert state(user) == "Suspended"
        await user.call("VM.resume", VM, True, False)
        assert state(user) == "Paused"
        await user.call("VM.unpause", VM)
        before = user.db.get("VM", VM, "domid")
        await user.call("VM.clean_reboot", VM)
        assert user.db.get("VM", VM, "domid") != before
        await user.call("VM.clean_shutdown", VM)
        assert state(user) == "Halted"


async def test_start_paused_and_on_a_host_that_is_disabled():
    async with client() as user:
        error = ["HOST_DISABLED", HOST]
        assert await user.error("VM.start_on", VM, HOST, False, False) == error
        enable(user)
        await user.call("VM.start_on", VM, HOST, True, False)

        assert state(user) == "Paused"
        assert "unpause" in user.db.get("VM", VM, "allowed_operations")


async def test_a_second_operation_has_to_wait_for_the_first():
    async with client() as user:
        enable(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(0.1)
        busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "start", task]

        assert await user.error("VM.clone", VM, "copy") == busy
        await asyncio.sleep(10)
        assert user.db.get("task", task, "status") == "success"


async def test_an_operation_ends_when_its_task_is_gone():
    async with client() as user:
        enable(user)
        task = await user.call("Async.VM.start", *START)
        await asyncio.sleep(0.1)
        user.db.destroy("task", task)  # as a restart of xapi does
        await asyncio.sleep(10)
        vm = user.db.record("VM", VM)

        assert vm["current_operations"] == {}
        assert user.db.get("host", HOST, "current_operations") == {}
        assert (vm["power_state"], vm["scheduled_to_be_resident_on"]) == ("Halted", NULL)


async def test_a_migration_can_be_cancelled():
    async with client() as user:
        enable(user)
        give_tools(user)
        await user.call("VM.start", *START)
        task = await user.call("Async.VM.pool_migrate", VM, HOST, {})
        await asyncio.sleep(0.1)
        await user.call("task.cancel", task)
        await asyncio.sleep(10)
        record = user.db.record("task", task)

        assert (record["status"], record["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
        assert (state(user), user.db.get("VM", VM, "current_operations")) == ("Running", {})


async def test_a_snapshot():
    async with client() as user:
        ref = await user.call("VM.snapshot", VM, "before the change")
        record = user.db.record("VM", ref)

        assert (record["snapshot_of"], record["is_a_snapshot"]) == (VM, True)
        assert user.db.get("VM", VM, "snapshots") == [ref]
        assert record["allowed_operations"] == await user.call("VM.get_allowed_operations", ref)


async def test_a_template_becomes_a_vm():
    async with client() as user:
        user.db.write("VM", VM, "is_a_template", value=True)
        copy = await user.call("VM.clone", VM, "from template")
        await user.call("VM.provision", copy)

        assert not user.db.get("VM", copy, "is_a_template")
        assert "start" in user.db.get("VM", copy, "allowed_operations")

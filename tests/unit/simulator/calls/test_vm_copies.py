"""VMs made from VMs: what they take over, what takes its time, and what a cancellation leaves."""

import asyncio

import pytest

from tests.unit.simulator.test_power import START, add_sr, enable, give_tools, state
from tests.unit.simulator.worlds import VM, Client, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

GIB = 1 << 30


def add_disk(user: Client, sr: str, size: int = GIB) -> str:
    vdi = user.db.create("VDI", {"SR": sr, "virtual_size": size, "managed": True})
    disk = {"VM": VM, "VDI": vdi, "type": "Disk", "userdevice": "0", "mode": "RW"}
    user.db.create("VBD", {**disk, "metrics": user.db.create("VBD_metrics", {})})
    return vdi


def disks_of(user: Client, vm: str) -> list[str]:
    return [user.db.get("VBD", vbd, "VDI") for vbd in user.db.get("VM", vm, "VBDs")]


async def test_a_full_copy_goes_where_it_is_told_and_tells_of_its_progress():
    async with client() as user:
        target = add_sr(user)
        add_disk(user, add_sr(user), 20 * GIB)
        seen: list[float] = []
        task = await user.call("Async.VM.copy", VM, "copy", target)
        while user.db.get("task", task, "status") == "pending":
            seen.append(user.db.get("task", task, "progress"))
            await asyncio.sleep(5)

        assert len(set(seen)) > 5
        assert seen == sorted(seen)
        copy = user.db.get("task", task, "result").removeprefix("<value>").removesuffix("</value>")
        (disk,) = disks_of(user, copy)
        assert user.db.get("VDI", disk, "SR") == target
        assert user.db.get("SR", target, "virtual_allocation") == 20 * GIB
        assert user.db.get("VM", copy, "allowed_operations")


async def test_a_copy_that_is_cancelled_leaves_nothing():
    async with client() as user:
        sr = add_sr(user)
        disk = add_disk(user, sr, 20 * GIB)
        before = {cls: user.db.refs(cls) for cls in ("VM", "VDI", "VBD", "VM_metrics")}
        task = await user.call("Async.VM.copy", VM, "copy", NULL)
        await asyncio.sleep(10)
        assert user.db.count("VDI") == 2
        await user.call("task.cancel", task)
        await asyncio.sleep(1)

        assert user.db.get("task", task, "status") == "cancelled"
        assert {cls: user.db.refs(cls) for cls in before} == before
        assert user.db.get("VDI", disk, "current_operations") == {}
        assert user.db.get("SR", sr, "virtual_allocation") == 0


async def test_a_repository_that_is_full():
    async with client() as user:
        add_disk(user, add_sr(user, size=100))
        before = {cls: user.db.refs(cls) for cls in ("VM", "VDI", "VBD", "VM_metrics")}
        error = await user.error("VM.clone", VM, "clone")
        assert error[0] == "SR_BACKEND_FAILURE_44"
        assert {cls: user.db.refs(cls) for cls in before} == before


async def test_a_copy_does_not_go_to_an_iso_library():
    async with client() as user:
        library = user.db.create("SR", {"content_type": "iso"})
        error = await user.error("VM.copy", VM, "copy", library)
        assert error[0] == "OPERATION_NOT_ALLOWED"


async def test_disks_can_be_left_out_of_a_snapshot():
    async with client() as user:
        disk = add_disk(user, add_sr(user))
        whole = await user.call("VM.snapshot", VM, "whole", [])
        without = await user.call("VM.snapshot", VM, "without", [disk])

        (copy,) = disks_of(user, whole)
        assert user.db.get("VDI", copy, "snapshot_of") == disk
        assert disks_of(user, without) == []
        assert user.db.get("VM", VM, "parent") == without
        assert user.db.get("VM", without, "parent") == whole


async def test_a_checkpoint_keeps_the_memory_and_a_revert_brings_it_back():
    async with client() as user:
        enable(user)
        give_tools(user)
        sr = add_sr(user)
        add_disk(user, sr)
        user.db.write("VM", VM, "suspend_SR", sr)
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        checkpoint = await user.call("VM.checkpoint", VM, "with memory")
        record = user.db.record("VM", checkpoint)
        assert state(user) == "Running"
        assert (record["power_state"], record["is_a_snapshot"]) == ("Suspended", True)
        assert record["snapshot_info"]["power-state-at-snapshot"] == "Running"
        assert user.db.get("VDI", record["suspend_VDI"], "type") == "suspend"
        assert user.db.get("VM", VM, "suspend_VDI") == NULL

        await user.call("VM.revert", checkpoint)
        assert state(user) == "Suspended"
        assert user.db.get("VM", VM, "suspend_VDI") not in {NULL, record["suspend_VDI"]}
        await user.call("VM.resume", VM, False, False)
        assert state(user) == "Running"


async def test_a_checkpoint_that_is_cancelled_lets_the_vm_run_on():
    async with client() as user:
        enable(user)
        give_tools(user)
        user.db.write("VM", VM, "suspend_SR", add_sr(user))
        await user.call("VM.start", *START)
        await asyncio.sleep(15)
        task = await user.call("Async.VM.checkpoint", VM, "never")
        await asyncio.sleep(5)
        await user.call("task.cancel", task)
        await asyncio.sleep(5)

        assert (state(user), user.db.get("VM", VM, "snapshots")) == ("Running", [])
        assert (user.db.count("VDI"), user.db.get("VM", VM, "suspend_VDI")) == (0, NULL)


async def test_the_revert_of_a_vm_that_is_gone_brings_it_back():
    async with client() as user:
        add_disk(user, add_sr(user))
        user.db.write("VM", VM, "order", 7)
        snapshot = await user.call("VM.snapshot", VM, "before", [])
        await user.call("VM.destroy", VM)
        await user.call("VM.revert", snapshot)

        vm = user.db.get("VM", snapshot, "snapshot_of")
        record = user.db.record("VM", vm)
        assert (record["name_label"], record["order"]) == ("one", 7)
        assert (record["is_a_template"], record["is_a_snapshot"]) == (False, False)
        assert len(disks_of(user, vm)) == 1
        assert record["snapshots"] == [snapshot]


async def test_a_template_names_its_storage_or_leaves_it_to_the_pool():
    async with client() as user:
        disks = (
            '<provision><disk device="0" size="1073741824" sr="nowhere" type="user"/></provision>'
        )
        user.db.write("VM", VM, "is_a_template", value=True)
        user.db.write("VM", VM, "other_config", {"disks": disks})
        assert await user.error("VM.provision", VM) == ["UUID_INVALID", "sr", "nowhere"]
        assert user.db.get("VM", VM, "is_a_template")

        sr = add_sr(user)
        user.db.write("pool", user.db.refs("pool")[0], "default_SR", sr)
        left_open = disks.replace("nowhere", "")
        user.db.write("VM", VM, "other_config", {"disks": left_open})
        await user.call("VM.provision", VM)
        (disk,) = disks_of(user, VM)
        assert (user.db.get("VDI", disk, "SR"), user.db.get("VDI", disk, "type")) == (sr, "user")
        assert await user.error("VM.provision", VM) == ["PROVISION_ONLY_ALLOWED_ON_TEMPLATE"]

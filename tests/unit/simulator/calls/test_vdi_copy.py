"""Copies of disks, and moves to another repository."""

import asyncio

import pytest

from tests.unit.simulator.calls.support import GIB, add_sr, add_vbd, add_vdi, allocation, untrue
from tests.unit.simulator.worlds import DOM0, VM, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime


async def test_a_copy_goes_through_the_control_domain_and_tells_of_its_progress():
    async with client() as user:
        source, target = add_sr(user), add_sr(user, "lvm")
        vdi = add_vdi(user, source, name_label="data", virtual_size=10 * GIB)
        task = await user.call("Async.VDI.copy", vdi, target)
        seen = set()
        while user.db.get("task", task, "status") == "pending":
            seen.add(user.db.get("task", task, "progress"))
            if len(seen) == 3:
                assert list(user.db.get("VDI", vdi, "current_operations").values()) == ["copy"]
                assert len(user.db.get("VM", DOM0, "VBDs")) == 2
                assert await user.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
            await asyncio.sleep(0.05)

        assert len(seen) > 5
        (copy,) = user.db.get("SR", target, "VDIs")
        assert f"<value>{copy}</value>" == user.db.get("task", task, "result")
        assert user.db.get("VDI", copy, "name_label") == "data"
        assert allocation(user, target) == 10 * GIB
        assert user.db.get("VM", DOM0, "VBDs") == []
        assert user.db.get("VDI", vdi, "current_operations") == {}
        assert untrue(user.db) == []


async def test_a_cancelled_copy_leaves_nothing():
    async with client() as user:
        sr = add_sr(user)
        vdi = add_vdi(user, sr, virtual_size=50 * GIB)
        task = await user.call("Async.VDI.copy", vdi, sr)
        await asyncio.sleep(1.5)
        assert len(user.db.get("SR", sr, "VDIs")) == 2
        await user.call("task.cancel", task)
        await asyncio.sleep(600)

        assert user.db.get("task", task, "status") == "cancelled"
        assert user.db.get("SR", sr, "VDIs") == [vdi]
        assert allocation(user, sr) == 50 * GIB
        assert user.db.get("VM", DOM0, "VBDs") == []
        assert untrue(user.db) == []


async def test_copies_into_disks():
    async with client() as user:
        sr = add_sr(user)
        vdi, small = add_vdi(user, sr, virtual_size=2 * GIB), add_vdi(user, sr)
        fixed = add_vdi(user, sr, virtual_size=2 * GIB, read_only=True)
        fit = add_vdi(user, sr, virtual_size=2 * GIB)
        arguments = (vdi, NULL, NULL)
        too_small = ["VDI_TOO_SMALL", small, str(2 * GIB)]
        assert await user.error("VDI.copy", *arguments, small) == too_small
        assert await user.error("VDI.copy", *arguments, fixed) == ["VDI_READONLY", fixed]
        assert await user.call("VDI.copy", *arguments, fit) == fit
        vbd = add_vbd(user, vdi)
        user.db.write("VBD", vbd, "currently_attached", value=True)
        assert await user.error("VDI.copy", vdi, sr) == ["VDI_IN_USE", vdi, "copy"]
        user.db.write("VBD", vbd, "mode", "RO")
        await user.call("VDI.copy", vdi, sr)


async def test_a_disk_moves_under_its_vm():
    async with client() as user:
        source, target = add_sr(user), add_sr(user, "lvm")
        vdi = add_vdi(user, source, name_label="data")
        alone = add_vdi(user, source)
        vbd = add_vbd(user, vdi)
        needs = ["VDI_NEEDS_VM_FOR_MIGRATE", alone]
        assert await user.error("VDI.pool_migrate", alone, target, {}) == needs
        away = add_sr(user, plugged=False)
        assert await user.error("VDI.pool_migrate", vdi, away, {}) == ["SR_HAS_NO_PBDS", away]
        moved = await user.call("VDI.pool_migrate", vdi, target, {})

        assert user.db.get("VBD", vbd, "VDI") == moved
        assert not user.db.exists("VDI", vdi)
        assert (allocation(user, source), allocation(user, target)) == (GIB, GIB)
        assert user.db.get("VM", VM, "current_operations") == {}
        assert untrue(user.db) == []

"""Disks: how they come, change and go, and what that leaves on their repository."""

import asyncio

import pytest

from tests.unit.simulator.calls.support import (
    GIB,
    Journal,
    add_sm,
    add_sr,
    add_vbd,
    add_vdi,
    allocation,
    run,
    untrue,
)
from tests.unit.simulator.worlds import VM, client
from xoproxy.simulator.wiretypes import NULL, Json

pytestmark = pytest.mark.looptime


def disk(sr: str, **members) -> dict:
    return {
        "SR": sr,
        "virtual_size": GIB,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        **members,
    }


# -- create, resize, destroy ---------------------------------------------------------------


async def test_a_new_disk_in_the_order_of_its_writes():
    async with client() as user:
        sr = add_sr(user)
        journal = Journal(user.db)
        members = {"name_label": "data", "tags": ["t"], "other_config": {"k": "v"}}
        vdi = await user.call("VDI.create", disk(sr, virtual_size=GIB - 1, **members))
        record = user.db.record("VDI", vdi)

        assert journal.lines == [
            *("mod SR.current_operations", "mod SR.allowed_operations"),
            *("add VDI", "mod SR.VDIs"),
            *("mod VDI.other_config", "mod VDI.tags", "mod VDI.allowed_operations"),
            *("mod SR.virtual_allocation", "mod SR.physical_utilisation"),
            *("mod SR.current_operations", "mod SR.allowed_operations"),
        ]
        assert record["virtual_size"] == GIB  # whole blocks
        assert allocation(user, sr) == GIB
        assert 0 < record["physical_utilisation"] < 1 << 20  # a file system: its map only
        assert (record["managed"], record["location"]) == (True, record["uuid"])
        assert untrue(user.db) == []


async def test_volume_groups_hold_disks_in_full_and_get_full():
    async with client() as user:
        sr = add_sr(user, "lvm")
        vdi = await user.call("VDI.create", disk(sr))
        taken = user.db.get("VDI", vdi, "physical_utilisation")
        assert GIB < taken < GIB + (8 << 20)
        assert user.db.get("SR", sr, "physical_utilisation") == taken
        user.db.write("SR", sr, "physical_size", 2 * GIB)
        full = ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
        assert await user.error("VDI.create", disk(sr)) == full
        assert await user.error("VDI.resize", vdi, 3 * GIB) == full


async def test_disks_that_are_refused():
    async with client() as user:
        sr = add_sr(user, plugged=False)
        assert await user.error("VDI.create", disk(sr)) == ["SR_HAS_NO_PBDS", sr]
        assert await user.error("VDI.create", disk("bad")) == ["HANDLE_INVALID", "SR", "bad"]
        kind = ["VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata"]
        assert await user.error("VDI.create", disk(sr, type="cbt_metadata")) == kind
        plugged = add_sr(user)
        for size in (0, 1 << 50):
            error = await user.error("VDI.create", disk(plugged, virtual_size=size))
            assert error[0] == "SR_BACKEND_FAILURE_79"
        add_sm(user, "iso", ())
        isos = add_sr(user, "iso", content="iso")
        assert await user.error("VDI.create", disk(isos)) == ["SR_OPERATION_NOT_SUPPORTED", isos]
        assert user.db.get("SR", plugged, "current_operations") == {}


async def test_a_second_operation_on_a_repository_waits():
    async with client() as user:
        sr = add_sr(user)
        tasks = [await user.call("Async.VDI.create", disk(sr)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert list(user.db.get("SR", sr, "current_operations").values()) == ["vdi_create"]
        assert user.db.get("SR", sr, "allowed_operations") == []
        await asyncio.sleep(120)
        assert {user.db.get("task", task, "status") for task in tasks} == {"success"}
        assert allocation(user, sr) == 3 * GIB


async def test_a_disk_goes_with_what_holds_it():
    async with client() as user:
        sr = add_sr(user)
        vdi = await user.call("VDI.create", disk(sr))
        vbd = add_vbd(user, vdi)
        drive = add_vbd(user, vdi, type="CD", mode="RO", userdevice="3")
        user.db.write("VBD", vbd, "currently_attached", value=True)
        assert await user.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
        user.db.write("VBD", vbd, "currently_attached", value=False)
        journal = Journal(user.db)
        await user.call("VDI.destroy", vdi)

        order = [line for line in journal.lines if line.startswith("del")]
        assert order == ["del VDI", "del VBD"]
        assert journal.lines.index("mod VDI.current_operations") < journal.lines.index("del VDI")
        assert not user.db.exists("VBD", vbd)
        assert user.db.get("VBD", drive, "empty")
        assert allocation(user, sr) == 0
        assert untrue(user.db) == []


async def test_what_cannot_be_destroyed():
    async with client() as user:
        devices = add_sr(user, "udev", content="disk")
        physical = add_vdi(user, devices)
        assert await user.error("VDI.destroy", physical) == ["VDI_IS_A_PHYSICAL_DEVICE", physical]
        sr = add_sr(user)
        vdi = add_vdi(user, sr, managed=False)
        assert await user.error("VDI.destroy", vdi) == ["VDI_NOT_MANAGED", vdi]
        statistics = add_vdi(user, sr, type="rrd")
        assert await user.error("VDI.destroy", statistics) == ["VDI_HAS_RRDS", statistics]
        user.db.write("SR", sr, "is_tools_sr", value=True)
        refused = ["SR_OPERATION_NOT_SUPPORTED", sr]
        assert await user.error("VDI.destroy", add_vdi(user, sr)) == refused


async def test_resizing():
    async with client() as user:
        sr = add_sr(user)
        vdi = await user.call("VDI.create", disk(sr))
        journal = Journal(user.db)
        await user.call("VDI.resize", vdi, 3 * GIB - 5)
        assert user.db.get("VDI", vdi, "virtual_size") == allocation(user, sr) == 3 * GIB
        assert [line for line in journal.lines if "operations" not in line] == [
            *("mod VDI.virtual_size", "mod VDI.physical_utilisation"),
            *("mod SR.virtual_allocation", "mod SR.physical_utilisation"),
        ]
        smaller = await user.error("VDI.resize", vdi, GIB)
        assert smaller[0] == "SR_BACKEND_FAILURE_79"
        vbd = add_vbd(user, vdi)
        user.db.write("VBD", vbd, "currently_attached", value=True)
        assert await user.error("VDI.resize", vdi, 4 * GIB) == ["VDI_IN_USE", vdi, "resize"]
        for pbd in user.db.get("SR", sr, "PBDs"):
            user.db.write("PBD", pbd, "currently_attached", value=False)
        assert await user.error("VDI.resize", vdi, 4 * GIB) == ["SR_HAS_NO_PBDS", sr]


async def test_a_busy_disk_keeps_others_waiting_until_it_is_free():
    async with client() as user:
        vdi = add_vdi(user, add_sr(user))
        user.db.write("VDI", vdi, "current_operations", {"other": "snapshot"})
        task = await user.call("Async.VDI.update", vdi)
        await asyncio.sleep(30)
        assert user.db.get("task", task, "status") == "pending"
        user.db.write("VDI", vdi, "current_operations", {})
        await asyncio.sleep(30)
        assert user.db.get("task", task, "status") == "success"


# -- snapshots and clones ------------------------------------------------------------------


async def test_a_snapshot_of_a_disk_in_use():
    async with client() as user:
        sr = add_sr(user)
        vdi = add_vdi(user, sr, name_label="data", other_config={"k": "v"}, cbt_enabled=True)
        vbd = add_vbd(user, vdi)
        run(user)
        await user.call("VBD.plug", vbd)
        journal = Journal(user.db)
        taken = await user.call("VDI.snapshot", vdi)
        record = user.db.record("VDI", taken)

        start = journal.lines.index("add VDI")
        assert set(journal.lines[start + 1 : start + 3]) == {"mod VDI.snapshots", "mod SR.VDIs"}
        assert (record["is_a_snapshot"], record["snapshot_of"]) == (True, vdi)
        assert record["snapshot_time"] != "19700101T00:00:00Z"
        assert user.db.get("VDI", vdi, "snapshots") == [taken]
        assert (record["name_label"], record["other_config"]) == ("data", {"k": "v"})
        assert allocation(user, sr) == 2 * GIB
        assert untrue(user.db) == []
        await user.call("VDI.destroy", taken)
        assert user.db.get("VDI", vdi, "snapshots") == []


async def test_what_cannot_be_snapshotted():
    async with client() as user:
        sr = add_sr(user)
        shared = add_vdi(user, sr, sharable=True)
        assert await user.error("VDI.snapshot", shared) == ["VDI_IS_SHARABLE", shared]
        fresh = add_vdi(user, sr, on_boot="reset")
        mode = ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
        assert await user.error("VDI.snapshot", fresh) == mode
        copied = add_vdi(user, sr)
        user.db.write("VDI", copied, "current_operations", {"t": "copy"})
        assert (await user.error("VDI.snapshot", copied))[0] == "OPERATION_NOT_ALLOWED"


async def test_a_clone_is_no_snapshot():
    async with client() as user:
        sr = add_sr(user)
        vdi = add_vdi(user, sr, name_label="data")
        copy = user.db.record("VDI", await user.call("VDI.clone", vdi))
        assert (copy["is_a_snapshot"], copy["snapshot_of"]) == (False, NULL)
        assert copy["name_label"] == "data"


# -- settings ------------------------------------------------------------------------------


async def test_settings_need_what_they_are_kept_on():
    async with client() as user:
        sr = add_sr(user, plugged=False)
        vdi = add_vdi(user, sr)
        for field in ("name_label", "name_description"):
            assert await user.error(f"VDI.set_{field}", vdi, "x") == ["SR_HAS_NO_PBDS", sr]
        vdi = add_vdi(user, add_sr(user))
        await user.call("VDI.set_name_label", vdi, "x")
        assert user.db.get("VDI", vdi, "name_label") == "x"
        await user.call("VDI.set_sharable", vdi, True)
        assert "snapshot" not in user.db.get("VDI", vdi, "allowed_operations")
        await user.call("VDI.set_read_only", vdi, True)
        assert user.db.get("VDI", vdi, "read_only")


async def test_what_a_start_does_to_a_disk():
    async with client() as user:
        vdi = add_vdi(user, add_sr(user))
        add_vbd(user, vdi)
        await user.call("VDI.set_on_boot", vdi, "reset")
        assert user.db.get("VDI", vdi, "on_boot") == "reset"
        assert "snapshot" not in user.db.get("VM", VM, "allowed_operations")
        await user.call("VDI.set_allow_caching", vdi, True)
        assert untrue(user.db) == []
        run(user)
        running = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        for name, value in (("on_boot", "persist"), ("allow_caching", False)):
            assert await user.error(f"VDI.set_{name}", vdi, value) == running


async def test_changed_blocks():
    async with client() as user:
        sr = add_sr(user)
        vdi = add_vdi(user, sr)
        snapshot = await user.call("VDI.snapshot", vdi)
        assert (await user.error("VDI.enable_cbt", snapshot))[0] == "OPERATION_NOT_ALLOWED"
        untracked = ["VDI_NO_CBT_METADATA", snapshot]
        assert await user.error("VDI.data_destroy", snapshot) == untracked
        await user.call("VDI.enable_cbt", vdi)
        assert user.db.get("VDI", vdi, "cbt_enabled")
        assert await user.error("VDI.set_on_boot", vdi, "reset") == ["VDI_CBT_ENABLED", vdi]
        assert (await user.error("VDI.data_destroy", vdi))[0] == "OPERATION_NOT_ALLOWED"

        tracked = await user.call("VDI.snapshot", vdi)
        vbd = add_vbd(user, tracked)
        in_use = ["VDI_IN_USE", tracked, "data_destroy"]
        assert await user.error("VDI.data_destroy", tracked) == in_use
        assert user.db.get("VDI", tracked, "type") == "user"
        await user.call("VBD.destroy", vbd)
        await user.call("VDI.data_destroy", tracked)
        assert user.db.get("VDI", tracked, "type") == "cbt_metadata"
        kind = ["VDI_INCOMPATIBLE_TYPE", tracked, "cbt_metadata"]
        assert await user.error("VDI.clone", tracked) == kind
        await user.call("VDI.disable_cbt", vdi)
        assert not user.db.get("VDI", vdi, "cbt_enabled")
        assert untrue(user.db) == []


# -- what the storage holds ----------------------------------------------------------------


async def test_a_forgotten_disk_is_found_again():
    async with client() as user:
        sr = add_sr(user)
        vdi = await user.call("VDI.create", disk(sr, name_label="data"))
        uuid = user.db.get("VDI", vdi, "uuid")
        await user.call("VDI.forget", vdi)
        assert (user.db.get("SR", sr, "VDIs"), allocation(user, sr)) == ([], 0)
        await user.call("SR.scan", sr)
        (found,) = user.db.get("SR", sr, "VDIs")
        record = user.db.record("VDI", found)
        assert (record["uuid"], record["name_label"]) == (uuid, "data")
        assert allocation(user, sr) == GIB


async def test_introducing_a_disk():
    async with client() as user:
        add_sm(user, "udev", ("VDI_INTRODUCE",))
        sr = add_sr(user, "udev", content="disk")
        uuid = "11111111-2222-4333-8444-555555555555"
        tail: tuple[Json, ...] = ("user", False, False, {}, "/dev/sdb", {}, {}, True, GIB, GIB)
        arguments = (uuid, "stick", "", sr, *tail)
        vdi = await user.call("VDI.introduce", *arguments)
        assert user.db.get("VDI", vdi, "location") == "/dev/sdb"
        assert allocation(user, sr) == GIB
        again = ["LOCATION_NOT_UNIQUE", sr, "/dev/sdb"]
        assert await user.error("VDI.introduce", *arguments) == again
        bad = await user.error("VDI.introduce", "x", "", "", sr, *tail[:4], "/dev/sdc", {})
        assert bad == ["UUID_INVALID", "VDI", "x"]
        nfs = add_sr(user)
        refused = ["SR_OPERATION_NOT_SUPPORTED", nfs]
        assert await user.error("VDI.introduce", uuid, "", "", nfs, *tail) == refused


async def test_reverting_a_disk_where_the_driver_can():
    async with client() as user:
        plain = add_sr(user)
        vdi = add_vdi(user, plain)
        assert await user.error("VDI.revert", vdi) == ["REVERT_ONLY_ALLOWED_ON_SNAPSHOT"]
        snapshot = await user.call("VDI.snapshot", vdi)
        cannot = ["SR_OPERATION_NOT_SUPPORTED", plain]
        assert await user.error("VDI.revert", snapshot) == cannot
        add_sm(user, "new", ("VDI_REVERT", "VDI_SNAPSHOT"))
        sr = add_sr(user, "new")
        vdi = add_vdi(user, sr)
        snapshot = await user.call("VDI.snapshot", vdi)
        await user.call("VDI.revert", snapshot)
        vbd = add_vbd(user, snapshot)
        user.db.write("VBD", vbd, "currently_attached", value=True)
        in_use = ["VDI_IN_USE", snapshot, "revert_from"]
        assert await user.error("VDI.revert", snapshot) == in_use

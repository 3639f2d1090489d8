"""Drives of VMs: what comes and goes with them, what is plugged, what is refused."""

import asyncio

import pytest

from tests.unit.simulator.calls.support import (
    Journal,
    add_sr,
    add_vbd,
    add_vdi,
    run,
    settle,
    untrue,
)
from tests.unit.simulator.worlds import DOM0, OTHER, VM, Client, client
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

CD = {
    "VM": VM,
    "VDI": NULL,
    "userdevice": "3",
    "bootable": False,
    "mode": "RO",
    "type": "CD",
    "empty": True,
    "other_config": {},
    "qos_algorithm_type": "",
    "qos_algorithm_params": {},
}
DISK = {**CD, "type": "Disk", "mode": "RW", "empty": False}


def iso(user: Client) -> str:
    return add_vdi(user, add_sr(user, "iso", content="iso"), read_only=True)


async def test_a_drive_comes_with_metrics_and_goes_with_them():
    async with client() as user:
        journal = Journal(user.db)
        vbd = await user.call("VBD.create", CD)
        assert journal.lines[:3] == ["add VBD_metrics", "add VBD", "mod VM.VBDs"]
        assert set(user.db.get("VBD", vbd, "allowed_operations")) == {"attach", "insert"}
        assert user.db.get("VBD", vbd, "device") == ""

        del journal.lines[:]
        await user.call("VBD.destroy", vbd)
        assert journal.lines[:3] == ["del VBD_metrics", "del VBD", "mod VM.VBDs"]


async def test_media_go_in_and_out():
    async with client() as user:
        disk, vbd = iso(user), await user.call("VBD.create", CD)
        assert await user.error("VBD.eject", vbd) == ["VBD_IS_EMPTY", vbd]
        journal = Journal(user.db)
        await user.call("VBD.insert", vbd, disk)

        assert [line for line in journal.lines if "_operations" not in line] == [
            "mod VBD.VDI",
            "mod VDI.VBDs",
            "mod VBD.empty",
        ]
        assert await user.error("VBD.insert", vbd, disk) == ["VBD_NOT_EMPTY", vbd]
        await user.call("VBD.eject", vbd)
        assert (user.db.get("VBD", vbd, "empty"), user.db.get("VBD", vbd, "VDI")) == (True, NULL)
        assert user.db.get("VDI", disk, "VBDs") == []
        assert untrue(user.db) == []


async def test_what_cannot_be_inserted():
    async with client() as user:
        drive, disk = await user.call("VBD.create", CD), add_vdi(user, add_sr(user))
        assert await user.error("VBD.insert", drive, disk) == ["VDI_IS_NOT_ISO", disk, "user"]
        assert await user.error("VBD.insert", drive, "bad") == ["HANDLE_INVALID", "VDI", "bad"]
        unmanaged = iso(user)
        user.db.write("VDI", unmanaged, "managed", value=False)
        assert await user.error("VBD.insert", drive, unmanaged) == ["VDI_NOT_MANAGED", unmanaged]
        hard = add_vbd(user, disk)
        for call in (("VBD.insert", hard, disk), ("VBD.eject", hard)):
            assert await user.error(*call) == ["VBD_NOT_REMOVABLE_MEDIA", hard]
        user.db.write("VM", VM, "power_state", "Suspended")
        suspended = ["VM_BAD_POWER_STATE", VM, "halted, running", "suspended"]
        assert await user.error("VBD.insert", drive, iso(user)) == suspended
        assert user.db.get("VBD", drive, "current_operations") == {}


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"type": "Disk", "mode": "RW"}, ["VBD_NOT_REMOVABLE_MEDIA", "in constructor"]),
        ({"mode": "RW"}, ["VBD_CDS_MUST_BE_READONLY"]),
        ({"userdevice": "nonsense"}, ["INVALID_DEVICE", "nonsense"]),
        ({"userdevice": "255"}, ["INVALID_DEVICE", "255"]),
        ({"type": "Floppy", "userdevice": "3", "empty": False}, ["INVALID_DEVICE", "3"]),
        ({"VM": "OpaqueRef:none"}, ["HANDLE_INVALID", "VM", "OpaqueRef:none"]),
        ({"empty": False, "VDI": "bad"}, ["HANDLE_INVALID", "VDI", "bad"]),
    ],
)
async def test_drives_that_are_refused(members: dict, error: list[str]):
    async with client() as user:
        if members.get("type") == "Floppy":
            members = {**members, "VDI": add_vdi(user, add_sr(user))}
        assert await user.error("VBD.create", {**CD, **members}) == error


async def test_disks_that_are_refused():
    async with client() as user:
        sr = add_sr(user)
        statefile = add_vdi(user, sr, type="ha_statefile")
        fixed = add_vdi(user, sr, read_only=True)
        cases = [
            ({"VDI": statefile}, ["VDI_INCOMPATIBLE_TYPE", statefile, "ha_statefile"]),
            ({"VDI": fixed}, ["VDI_READONLY", fixed]),
            ({"VDI": fixed, "type": "CD", "mode": "RO"}, ["VDI_IS_NOT_ISO", fixed, "user"]),
        ]
        for members, error in cases:
            assert await user.error("VBD.create", {**DISK, **members}) == error


@pytest.mark.parametrize("place", ["1", "xvdb", "hdb", "sdb"])
async def test_a_place_has_several_names(place: str):
    async with client() as user:
        await user.call("VBD.create", {**CD, "userdevice": "xvdb"})
        taken = ["DEVICE_ALREADY_EXISTS", place]
        assert await user.error("VBD.create", {**CD, "userdevice": place}) == taken
        assert (await user.call("VM.get_allowed_VBD_devices", VM))[:3] == ["0", "2", "3"]
        chosen = await user.call("VBD.create", {**CD, "userdevice": "autodetect"})
        assert user.db.get("VBD", chosen, "userdevice") == "0"


async def test_nothing_is_added_to_a_vm_that_moves():
    async with client() as user:
        user.db.write("VM", VM, "current_operations", {"task": "pool_migrate"})
        busy = ["OTHER_OPERATION_IN_PROGRESS", "VM", VM, "pool_migrate", "task"]
        assert await user.error("VBD.create", CD) == busy


async def test_plugging_and_unplugging():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        vbd = add_vbd(user, disk, userdevice="1")
        halted = ["VM_BAD_POWER_STATE", VM, "running", "halted"]
        assert await user.error("VBD.plug", vbd) == halted
        run(user)
        assert await user.error("VBD.unplug", vbd) == ["DEVICE_ALREADY_DETACHED", vbd]
        journal = Journal(user.db)
        await user.call("VBD.plug", vbd)

        assert journal.lines == [
            "mod VBD.current_operations",
            "mod VBD.allowed_operations",
            "mod VDI.allowed_operations",
            "mod VBD.currently_attached",
            "mod VBD.device",
            "mod VBD.current_operations",
            "mod VBD.allowed_operations",
            "mod VDI.allowed_operations",
        ]
        assert user.db.get("VBD", vbd, "device") == "xvdb"
        assert await user.error("VBD.plug", vbd) == ["DEVICE_ALREADY_ATTACHED", vbd]
        attached = await user.error("VBD.destroy", vbd)
        assert attached[0] == "OPERATION_NOT_ALLOWED"
        assert await user.error("VDI.destroy", disk) == ["VDI_IN_USE", disk, "destroy"]
        assert untrue(user.db) == []
        await user.call("VBD.unplug", vbd)
        assert "destroy" in user.db.get("VDI", disk, "allowed_operations")
        assert untrue(user.db) == []


async def test_what_hinders_plugging_in_the_order_of_xapi():
    async with client() as user:
        sr = add_sr(user)
        disk = add_vdi(user, sr)
        vbd = add_vbd(user, disk, unpluggable=False)
        run(user, drivers=False)
        user.db.write("VDI", disk, "current_operations", {"t2": "snapshot"})
        user.db.write("VM", VM, "current_operations", {"t1": "suspend"})

        def refusal(name: str):
            return user.error(f"VBD.{name}", vbd)

        assert await refusal("unplug") == ["VBD_NOT_UNPLUGGABLE", vbd]
        assert (await refusal("plug"))[0] == "OPERATION_NOT_ALLOWED"
        user.db.write("VM", VM, "current_operations", {})
        assert await refusal("plug") == ["VM_MISSING_PV_DRIVERS", VM]
        guest = user.db.get("VM", VM, "guest_metrics")
        user.db.write("VM_guest_metrics", guest, "can_use_hotplug_vbd", "no")
        assert (await refusal("plug"))[0] == "OPERATION_NOT_ALLOWED"
        user.db.write("VM_guest_metrics", guest, "can_use_hotplug_vbd", "yes")
        user.db.write("VDI", disk, "managed", value=False)
        assert await refusal("plug") == ["VDI_NOT_MANAGED", vbd]


async def test_drives_of_hvm_guests_are_not_plugged():
    async with client() as user:
        vbd = await user.call("VBD.create", CD)
        run(user)
        assert (await user.error("VBD.plug", vbd))[0] == "OPERATION_NOT_ALLOWED"
        user.db.write("VM", VM, "domain_type", "pv")
        await user.call("VBD.plug", vbd)
        assert user.db.get("VBD", vbd, "currently_attached")


async def test_who_may_share_a_disk():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        mine, other = add_vbd(user, disk), add_vbd(user, disk, VM=OTHER)
        reader = add_vbd(user, disk, VM=OTHER, mode="RO", userdevice="1")
        run(user)
        run(user, OTHER)
        await user.call("VBD.plug", mine)
        assert "plug" in user.db.get("VBD", other, "allowed_operations")  # as XAPI has it
        for vbd in (other, reader):
            assert await user.error("VBD.plug", vbd) == ["VDI_IN_USE", disk]
            assert await user.error("VBD.assert_attachable", vbd) == ["VDI_IN_USE", disk]
        user.db.write("VM", VM, "power_state", "Suspended")
        await user.call("VBD.plug", other)
        await user.call("VBD.unplug", other)
        user.db.write("VDI", disk, "read_only", value=True)
        assert await user.error("VBD.plug", other) == ["VDI_READONLY", disk]
        await user.call("VBD.plug", reader)


async def test_the_control_domain_shares_everything():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        mine, its = add_vbd(user, disk), add_vbd(user, disk, VM=DOM0)
        user.db.write("VM", DOM0, "domain_type", "pv")
        run(user)
        await user.call("VBD.plug", mine)
        await user.call("VBD.plug", its)
        assert user.db.get("VBD", its, "currently_attached")


async def test_a_second_plug_waits_for_the_first_and_then_is_too_late():
    async with client() as user:
        vbd = add_vbd(user, add_vdi(user, add_sr(user)))
        run(user)
        first = await user.call("Async.VBD.plug", vbd)
        await asyncio.sleep(0.01)
        assert user.db.get("VBD", vbd, "current_operations") == {first: "plug"}
        assert await user.error("VBD.plug", vbd) == ["DEVICE_ALREADY_ATTACHED", vbd]
        assert user.db.get("task", first, "status") == "success"


async def test_a_drive_that_goes_while_it_is_unplugged_leaves_its_disk_free():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        free = user.db.get("VDI", disk, "allowed_operations")
        vbd = add_vbd(user, disk)
        run(user)
        await user.call("VBD.plug", vbd)
        unplug = await user.call("Async.VBD.unplug", vbd)
        await asyncio.sleep(0.015)
        assert user.db.get("VBD", vbd, "current_operations") == {unplug: "unplug"}
        assert user.db.get("VDI", disk, "allowed_operations") == []
        await user.call("VBD.destroy", vbd)

        assert user.db.get("VDI", disk, "allowed_operations") == free
        await asyncio.sleep(1)
        assert user.db.get("task", unplug, "status") != "pending"
        assert untrue(user.db) == []


async def test_a_suspended_vm_that_goes_leaves_its_disks_free():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        free = user.db.get("VDI", disk, "allowed_operations")
        user.db.write("VM", VM, "power_state", "Suspended")
        await user.call("VBD.create", {**DISK, "VDI": disk, "currently_attached": True})
        assert "destroy" not in user.db.get("VDI", disk, "allowed_operations")
        settle(user, "VM", VM)
        await user.call("VM.destroy", VM)

        assert user.db.get("VDI", disk, "VBDs") == []
        assert user.db.get("VDI", disk, "allowed_operations") == free
        assert untrue(user.db) == []


async def test_settings_that_change_what_is_allowed():
    async with client() as user:
        vbd = add_vbd(user, add_vdi(user, add_sr(user)))
        await user.call("VBD.set_mode", vbd, "RO")
        run(user)
        running = ["VM_BAD_POWER_STATE", VM, "halted", "running"]
        assert await user.error("VBD.set_mode", vbd, "RW") == running
        await user.call("VBD.plug", vbd)
        assert "unplug" in user.db.get("VBD", vbd, "allowed_operations")
        await user.call("VBD.set_unpluggable", vbd, False)
        assert "unplug" not in user.db.get("VBD", vbd, "allowed_operations")
        await user.call("VBD.set_unpluggable", vbd, True)
        await user.call("VBD.unplug_force", vbd)
        await user.call("VBD.set_type", vbd, "CD")
        assert "eject" in user.db.get("VBD", vbd, "allowed_operations")


async def test_marks_of_an_attached_disk_keep_others_out():
    async with client() as user:
        disk = add_vdi(user, add_sr(user))
        vbd = add_vbd(user, disk)
        user.db.write("VBD", vbd, "current_operations", {"t": "attach"})
        settle(user, "VDI", disk)
        assert user.db.get("VDI", disk, "allowed_operations") == []


@pytest.mark.parametrize(("state", "attached"), [("Suspended", True), ("Halted", False)])
async def test_only_a_suspended_vm_gets_attached_drives(state: str, *, attached: bool):
    async with client() as user:
        user.db.write("VM", VM, "power_state", state)
        vbd = await user.call("VBD.create", {**CD, "currently_attached": True})
        assert user.db.get("VBD", vbd, "currently_attached") is attached

"""Repositories and how hosts reach them."""

import re

import pytest

from tests.unit.simulator.calls.support import (
    GIB,
    Journal,
    add_nic,
    add_sm,
    add_sr,
    add_vbd,
    add_vdi,
    run,
    untrue,
)
from tests.unit.simulator.worlds import HOST, VM, Client, client
from xoproxy.simulator.wiretypes import NULL, Json

pytestmark = pytest.mark.looptime

NFS: tuple[Json, ...] = ("NFS VMs", "text", "nfs", "user", True, {})


def pbd_of(user: Client, sr: str) -> str:
    (pbd,) = user.db.get("SR", sr, "PBDs")
    return str(pbd)


NAS = {"server": "nas", "serverpath": "/vms"}


def tags(xml: str, name: str) -> list[str]:
    return re.findall(f"<{name}>([^<]*)</{name}>", xml)


async def introduced(user: Client) -> str:
    sr: str = await user.call("SR.introduce", "", "", "", "nfs", "user", True, {})
    return sr


# -- making and unmaking -------------------------------------------------------------------


async def test_new_storage_is_plugged_into_every_host():
    async with client() as user:
        add_sm(user)
        other = user.db.create("host", {"uuid": "other-host"})
        journal = Journal(user.db)
        sr = await user.call("SR.create", HOST, NAS, 0, *NFS)
        record = user.db.record("SR", sr)

        pbds = [user.db.record("PBD", pbd) for pbd in record["PBDs"]]
        assert {pbd["host"] for pbd in pbds} == {HOST, other}
        assert all(pbd["currently_attached"] for pbd in pbds)
        assert all(pbd["device_config"] == NAS for pbd in pbds)
        added = [line for line in journal.lines if line.startswith("add")]
        assert added == ["add SR", "add PBD", "add PBD"]
        assert record["physical_size"] > 0
        assert (record["type"], record["shared"], record["virtual_allocation"]) == ("nfs", True, 0)
        assert untrue(user.db) == []


async def test_local_storage_is_on_its_host_alone():
    async with client() as user:
        add_sm(user, "ext")
        user.db.create("host", {"uuid": "other-host"})
        arguments: tuple[Json, ...] = (
            HOST,
            {"device": "/dev/sdb"},
            5 * GIB,
            "",
            "",
            "EXT",
            "user",
            False,
            {},
        )
        sr = await user.call("SR.create", *arguments)
        assert user.db.get("PBD", pbd_of(user, sr), "host") == HOST
        assert user.db.get("SR", sr, "physical_size") == 5 * GIB


async def test_storage_that_cannot_be_made():
    async with client() as user:
        for kind in ("ext", "lvmoiscsi"):
            add_sm(user, kind)
        tail: tuple[Json, ...] = ("user", False, {})
        unknown = await user.error("SR.create", HOST, {}, 0, "", "", "zfs", *tail)
        assert unknown == ["SR_UNKNOWN_DRIVER", "zfs"]
        bad = await user.error("SR.create", "bad", {}, 0, "", "", "ext", *tail)
        assert bad == ["HANDLE_INVALID", "host", "bad"]
        for kind, code in (
            ("ext", "SR_BACKEND_FAILURE_90"),
            ("lvmoiscsi", "SR_BACKEND_FAILURE_95"),
        ):
            assert (await user.error("SR.create", HOST, {}, 0, "", "", kind, *tail))[0] == code
        assert user.db.count("SR") == 0
        assert await user.error("SR.make", HOST, {}, 0, *NFS[:4]) == ["MESSAGE_DEPRECATED"]


async def test_forgotten_storage_comes_back_with_its_disks():
    async with client() as user:
        sr = add_sr(user)
        vdi, pbd = add_vdi(user, sr, name_label="data"), pbd_of(user, sr)
        vbd = add_vbd(user, vdi)
        uuid = user.db.get("SR", sr, "uuid")
        assert await user.error("SR.forget", sr) == ["SR_HAS_PBD", sr]
        await user.call("PBD.unplug", pbd)
        journal = Journal(user.db)
        await user.call("SR.forget", sr)
        gone = [line for line in journal.lines if line.startswith("del")]
        assert gone == ["del PBD", "del VDI", "del VBD", "del SR"]
        assert not user.db.exists("VBD", vbd)
        assert uuid in await user.call("SR.probe", HOST, NAS, "nfs", {})

        sr = await user.call("SR.introduce", uuid, "back", "", "nfs", "user", True, {})
        assert uuid not in await user.call("SR.probe", HOST, NAS, "nfs", {})
        record = {"host": HOST, "SR": sr, "device_config": {}, "other_config": {}}
        await user.call("PBD.plug", await user.call("PBD.create", record))
        await user.call("SR.scan", sr)
        (found,) = user.db.get("SR", sr, "VDIs")
        assert user.db.get("VDI", found, "name_label") == "data"
        assert user.db.get("SR", sr, "virtual_allocation") == GIB
        assert untrue(user.db) == []


async def test_destroying_storage():
    async with client() as user:
        sr = add_sr(user)
        pbd, vdi = pbd_of(user, sr), add_vdi(user, sr)
        assert await user.error("SR.destroy", sr) == ["SR_HAS_PBD", sr]
        await user.call("PBD.unplug", pbd)
        assert await user.error("SR.destroy", sr) == ["SR_NOT_EMPTY"]
        user.db.destroy("VDI", vdi)
        user.db.write("SR", sr, "other_config", {"indestructible": "true"})
        assert await user.error("SR.destroy", sr) == ["SR_INDESTRUCTIBLE", sr]
        user.db.write("SR", sr, "other_config", {})
        await user.call("SR.destroy", sr)
        assert user.db.count("SR") == user.db.count("PBD") == 0
        bare = await introduced(user)
        assert await user.error("SR.destroy", bare) == ["SR_HAS_NO_PBDS", bare]


async def test_introducing_twice():
    async with client() as user:
        sr = await user.call("SR.introduce", "", *NFS)
        record = user.db.record("SR", sr)
        assert (record["type"], record["shared"], record["physical_size"]) == ("nfs", True, -1)
        again = await user.error("SR.introduce", record["uuid"], *NFS)
        assert again == ["SR_UUID_EXISTS", record["uuid"]]


# -- scans ---------------------------------------------------------------------------------


async def test_a_scan_shows_while_it_lasts():
    async with client() as user:
        sr = add_sr(user)
        journal = Journal(user.db)
        await user.call("SR.scan", sr)
        assert journal.lines == ["mod SR.current_operations", "mod SR.allowed_operations"] * 2


async def test_a_scan_finds_what_came_and_misses_what_went():
    async with client() as user:
        sr = add_sr(user, "iso", content="iso")
        old = add_vdi(user, sr)
        uuid, location = user.db.get("SR", sr, "uuid"), user.db.get("VDI", old, "location")
        volume = {"location": "new.iso", "name_label": "new.iso", "virtual_size": 5 << 20}
        user.world.hardware.put_volume(uuid, volume)
        user.world.hardware.lose_volume(uuid, location)
        await user.call("SR.scan", sr)

        (found,) = user.db.get("SR", sr, "VDIs")
        assert user.db.get("VDI", found, "name_label") == "new.iso"
        assert user.db.get("SR", sr, "virtual_allocation") == 5 << 20
        assert untrue(user.db) == []


async def test_storage_that_no_host_reaches():
    async with client() as user:
        sr = add_sr(user, plugged=False)
        for name in ("scan", "update"):
            assert await user.error(f"SR.{name}", sr) == ["SR_HAS_NO_PBDS", sr]


# -- PBDs ----------------------------------------------------------------------------------


async def test_a_pbd_from_its_creation_to_its_end():
    async with client() as user:
        add_sm(user)
        sr = await introduced(user)
        record = {"host": HOST, "SR": sr, "device_config": {}, "other_config": {}}
        pbd = await user.call("PBD.create", record)
        assert await user.error("PBD.create", record) == ["PBD_EXISTS", sr, HOST, pbd]
        journal = Journal(user.db)
        await user.call("PBD.plug", pbd)

        assert journal.lines == [
            *("mod SR.current_operations", "mod SR.allowed_operations"),
            *("mod PBD.currently_attached", "mod SR.physical_size"),
            *("mod SR.physical_utilisation", "mod SR.current_operations"),
            "mod SR.allowed_operations",
        ]
        attached = ["OPERATION_NOT_ALLOWED", "PBD is currently attached"]
        assert await user.error("PBD.destroy", pbd) == attached
        await user.call("PBD.plug", pbd)  # again is nothing
        await user.call("PBD.unplug", pbd)
        await user.call("PBD.unplug", pbd)
        assert untrue(user.db) == []
        await user.call("PBD.destroy", pbd)
        assert user.db.get("SR", sr, "PBDs") == []


async def test_pbds_that_are_refused():
    async with client() as user:
        sr = await introduced(user)
        record = {"host": HOST, "SR": sr, "device_config": {}, "other_config": {}}
        secret = {**record, "device_config": {"SRmaster": "true"}}
        assert (await user.error("PBD.create", secret))[0] == "VALUE_NOT_SUPPORTED"
        bad = await user.error("PBD.create", {**record, "host": "bad"})
        assert bad == ["HANDLE_INVALID", "host", "bad"]
        pbd = await user.call("PBD.create", record)
        assert await user.error("PBD.plug", pbd) == ["SR_UNKNOWN_DRIVER", "nfs"]
        assert (await user.error("PBD.set_device_config", pbd, {"SRmaster": ""}))[1] == "SRmaster"


async def test_local_storage_cannot_be_on_two_hosts():
    async with client() as user:
        sr = add_sr(user)
        other = user.db.create("host", {"uuid": "other-host"})
        record = {"host": other, "SR": sr, "device_config": {}, "other_config": {}}
        pbd = await user.call("PBD.create", record)
        assert await user.error("PBD.plug", pbd) == ["SR_NOT_SHARABLE", sr, HOST]
        several = ["SR_HAS_MULTIPLE_PBDS", *user.db.get("SR", sr, "PBDs")]
        assert await user.error("SR.set_shared", sr, False) == several
        await user.call("SR.set_shared", sr, True)
        await user.call("PBD.plug", pbd)


async def test_storage_in_use_stays():
    async with client() as user:
        sr = add_sr(user)
        vdi, pbd = add_vdi(user, sr), pbd_of(user, sr)
        vbd = add_vbd(user, vdi)
        run(user)
        await user.call("VBD.plug", vbd)
        assert await user.error("PBD.unplug", pbd) == ["VDI_IN_USE", vdi]
        user.db.write("VM", VM, "resident_on", NULL)
        await user.call("PBD.unplug", pbd)
        assert untrue(user.db) == []


async def test_settings_and_types():
    async with client() as user:
        sr = add_sr(user)
        await user.call("SR.set_name_label", sr, "x")
        await user.call("SR.set_physical_size", sr, 7)
        assert (user.db.get("SR", sr, "name_label"), user.db.get("SR", sr, "physical_size")) == (
            "x",
            7,
        )
        assert await user.call("SR.get_supported_types") == ["nfs"]


async def test_a_database_that_went_back_knows_what_a_scan_would_find():
    async with client() as user:
        sr = add_sr(user)
        vdi = add_vdi(user, sr)
        record = user.db.record("VDI", vdi)
        user.world.hardware.put_volume(user.db.get("SR", sr, "uuid"), record)
        await user.call("SR.scan", sr)
        assert user.db.get("SR", sr, "VDIs") == [vdi]


async def test_where_the_database_can_be_kept_too():
    async with client() as user:
        sr = add_sr(user)
        call = "SR.assert_supports_database_replication"
        assert await user.error(call, sr) == ["SR_OPERATION_NOT_SUPPORTED", sr]
        add_sm(user, "lvmohba", ("SR_METADATA",))
        sr = add_sr(user, "lvmohba")
        await user.call(call, sr)
        user.db.create("host", {"uuid": "other-host"})
        assert await user.error(call, sr) == ["SR_HAS_NO_PBDS", sr]


async def test_a_driver_tells_what_a_missing_key_could_be():
    async with client() as user:
        sr = add_sr(user, "lvmoiscsi")
        target = {"target": "10.0.0.20", "targetIQN": "iqn.2026-01.test:x", "SCSIid": "3600"}
        user.db.write("PBD", pbd_of(user, sr), "device_config", target)
        asked = {"target": "10.0.0.20"}
        code, _, _, found = await user.error("SR.probe", HOST, asked, "lvmoiscsi", {})
        (iqn,) = tags(found, "TargetIQN")
        assert (code, iqn) == ("SR_BACKEND_FAILURE_96", target["targetIQN"])
        asked["targetIQN"] = iqn
        code, _, _, found = await user.error("SR.probe", HOST, asked, "lvmoiscsi", {})
        (lun,) = tags(found, "SCSIid")
        assert (code, lun) == ("SR_BACKEND_FAILURE_107", "3600")
        asked["SCSIid"] = lun
        assert "<SRlist>" in await user.call("SR.probe", HOST, asked, "lvmoiscsi", {})
        elsewhere = {"target": "10.0.0.99"}
        found = (await user.error("SR.probe", HOST, elsewhere, "lvmoiscsi", {}))[3]
        assert tags(found, "TGT") == []


async def test_a_server_tells_its_exports():
    async with client() as user:
        user.db.write("PBD", pbd_of(user, add_sr(user)), "device_config", NAS)
        code, _, _, found = await user.error("SR.probe", HOST, {"server": "nas"}, "nfs", {})
        paths = tags(found, "Path")
        assert (code, paths) == ("SR_BACKEND_FAILURE_101", ["/vms"])
        assert (await user.error("SR.probe", HOST, {}, "nfs", {}))[0] == "SR_BACKEND_FAILURE_100"
        assert await user.error("SR.probe", HOST, NAS, "zfs", {}) == ["SR_UNKNOWN_DRIVER", "zfs"]


async def test_what_a_host_that_is_away_should_do():
    async with client() as user:
        sr = add_sr(user)
        pbd, vbd = pbd_of(user, sr), add_vbd(user, add_vdi(user, sr))
        run(user)
        user.db.write("host", HOST, "metrics", user.db.create("host_metrics", {"live": False}))
        away = ["HOST_OFFLINE", HOST]
        assert await user.error("PBD.unplug", pbd) == away
        assert await user.error("SR.create", HOST, NAS, 0, *NFS) == away
        assert await user.error("SR.probe", HOST, NAS, "nfs", {}) == away
        assert await user.error("VBD.plug", vbd) == away
        assert await user.error("PIF.scan", HOST) == away
        assert await user.error("PIF.unplug", add_nic(user)) == away
        assert user.db.get("VBD", vbd, "current_operations") == {}

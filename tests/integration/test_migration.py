"""VMs that move between two simulated pools, and between storages of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.integration.sim import TIMEOUT, Client, outcome, until
from tests.integration.test_host_calls import finished
from tests.integration.watched import watched
from xoproxy.model import XapiClass
from xoproxy.simulator.database import Database
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool

NULL = "OpaqueRef:NULL"


@dataclass
class Side:
    """A pool and a client of it."""

    pool: SimulatedPool
    client: Client

    @property
    def db(self) -> Database:
        return self.pool.database

    def member(self) -> Host:
        return list(self.pool.hosts)[1]

    def records(self, cls: str) -> dict[str, Any]:
        return {ref: self.db.record(cls, ref) for ref in self.db.refs(cls)}

    def shared_sr(self) -> str:
        hosts = self.db.count("host")
        return next(
            ref
            for ref, sr in self.records("SR").items()
            if len(sr["PBDs"]) == hosts and sr["content_type"] != "iso"
        )

    def network(self, host: Host) -> str:
        """Return the management network."""
        pifs = (self.db.record("PIF", pif) for pif in self.db.get("host", host.ref, "PIFs"))
        return next(pif["network"] for pif in pifs if pif["management"])

    async def receive(self, host: Host) -> dict[str, str]:
        called = self.client.on("host.migrate_receive", host.ref, self.network(host), {})
        return dict(await called)

    def vm(self, state: str) -> str:
        """Choose a VM with a disk and a NIC; one that runs can be moved."""
        for ref, vm in self.records("VM").items():
            plain = not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])
            if plain and vm["power_state"] == state and self.disks(ref) and vm["VIFs"]:
                if state == "Running":
                    told = self.db.create("VM_guest_metrics", {"other": {"feature-suspend": "1"}})
                    self.db.write("VM", ref, "guest_metrics", told)
                return ref
        raise AssertionError(f"there is no VM that is {state}")

    def disks(self, vm: str) -> list[str]:
        vbds = (self.db.record("VBD", vbd) for vbd in self.db.get("VM", vm, "VBDs"))
        return [vbd["VDI"] for vbd in vbds if vbd["type"] == "Disk"]

    def family_disks(self, vm: str) -> list[str]:
        vms = [vm, *self.db.get("VM", vm, "snapshots")]
        return [disk for member in vms for disk in self.disks(member)]


@asynccontextmanager
async def two_pools(*, speed: float = 500, tls: bool = False) -> AsyncIterator[tuple[Side, Side]]:
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        SimulatedPool(generate(2, 14, 1), speed=speed, tls=tls) as here,
        SimulatedPool(generate(3, 6, 2), speed=speed, tls=tls) as there,
        aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as http,
    ):
        sides = Side(here, Client(http, here.url)), Side(there, Client(http, there.url))
        for side in sides:
            await side.client.login()
        yield sides


def maps(here: Side, vm: str, there: Side) -> tuple[dict[str, str], dict[str, str]]:
    sr, network = there.shared_sr(), there.network(there.member())
    vdis = dict.fromkeys(here.family_disks(vm), sr)
    return vdis, dict.fromkeys(here.db.get("VM", vm, "VIFs"), network)


def messages(side: Side, uuid: str) -> dict[str, Any]:
    found = side.records("message").values()
    return {message["name"]: message for message in found if message["obj_uuid"] == uuid}


async def test_a_destination_says_where_it_can_be_reached() -> None:
    async with two_pools() as (_, there):
        host = there.member()
        told = await there.client.on("host.migrate_receive", host.ref, there.network(host), {})
        url = there.pool.hosts.url(host)
        assert set(told) == {"SM", "host", "xenops", "session_id", "master"}
        assert told["host"] == host.ref
        assert told["xenops"] == f"{url}/services/xenops?session_id={told['session_id']}"
        assert told["master"] == f"{there.pool.url}/"
        assert await there.client.call("pool.get_all", told["session_id"])
        network = there.db.create("network", {"bridge": "xapi99"})
        refused = await outcome(there.client.on("host.migrate_receive", host.ref, network, {}))
        assert refused == ("HOST_CANNOT_ATTACH_NETWORK", host.ref, network)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("state", ["Running", "Halted"])
async def test_a_vm_moves_to_another_pool(state: str, tls: bool) -> None:  # noqa: FBT001
    async with two_pools(tls=tls) as (here, there):
        vm = here.vm(state)
        notes = {"notes": "x" * 400_000}  # more than a call may have
        here.db.write("VM", vm, "other_config", {**here.db.get("VM", vm, "other_config"), **notes})
        before = here.db.record("VM", vm)
        own = [("VBD", r) for r in before["VBDs"]] + [("VIF", r) for r in before["VIFs"]]
        disks = [here.db.record("VDI", disk) for disk in here.disks(vm)]
        macs = {here.db.get("VIF", vif, "MAC") for vif in before["VIFs"]}
        here.db.message_create("OLD_NEWS", 3, "VM", before["uuid"], "of old")
        destination = await there.receive(there.member())
        tokens = [(await side.client.events())["token"] for side in (here, there)]
        vdi_map, vif_map = maps(here, vm, there)
        asked: tuple[Any, ...] = (vm, destination, True, vdi_map, vif_map, {})
        await here.client.on("VM.assert_can_migrate", *asked)
        moved = await here.client.on("VM.migrate_send", *asked)

        assert not here.db.exists("VM", vm)
        assert not [ref for cls, ref in own if here.db.exists(cls, ref)]
        assert not [disk for disk in vdi_map if here.db.exists("VDI", disk)]
        after = there.db.record("VM", moved)
        assert (after["uuid"], after["power_state"]) == (before["uuid"], state)
        assert after["name_label"] == before["name_label"]
        assert after["resident_on"] == (there.member().ref if state == "Running" else NULL)
        assert (len(after["consoles"]) > 0) == (state == "Running")
        assert after["current_operations"] == {}
        assert after["allowed_operations"]
        arrived = [there.db.record("VDI", disk) for disk in there.disks(moved)]
        sizes = [disk["virtual_size"] for disk in arrived]
        assert sizes == [disk["virtual_size"] for disk in disks]
        assert {disk["SR"] for disk in arrived} == set(vdi_map.values())
        assert {there.db.get("VIF", vif, "MAC") for vif in after["VIFs"]} == macs
        assert len(after["snapshots"]) == len(before["snapshots"])
        assert "OLD_NEWS" not in messages(here, before["uuid"])
        assert messages(there, before["uuid"])["OLD_NEWS"]["body"] == "of old"

        gone = {
            e["ref"]
            for e in (await here.client.events(tokens[0]))["events"]
            if e["class"] == "vm" and e["operation"] == "del"
        }
        come = {
            e["ref"]: e["snapshot"]["uuid"]
            for e in (await there.client.events(tokens[1]))["events"]
            if e["class"] == "vm" and e["operation"] == "add"
        }
        assert vm in gone
        assert come[moved] == before["uuid"]


async def test_a_copy_leaves_the_original_and_is_another_one() -> None:
    async with two_pools() as (here, there):
        vm = here.vm("Halted")
        destination = await there.receive(there.member())
        asked: tuple[Any, ...] = (vm, destination, True, *maps(here, vm, there), {"copy": "true"})
        moved = await here.client.on("VM.migrate_send", *asked)
        assert here.db.get("VM", vm, "current_operations") == {}
        assert there.db.get("VM", moved, "uuid") != here.db.get("VM", vm, "uuid")
        running = here.vm("Running")
        asked = (running, destination, True, *maps(here, running, there), {"copy": "true"})
        refused = await outcome(here.client.on("VM.migrate_send", *asked))
        assert refused == ("VM_BAD_POWER_STATE", running, "halted", "running")


async def test_progress_shows_and_cancelling_leaves_nothing_behind() -> None:
    async with two_pools(speed=20) as (here, there):
        vm = here.vm("Running")
        vdis = set(there.db.refs("VDI"))
        asked: tuple[Any, ...] = (
            vm,
            await there.receive(there.member()),
            True,
            *maps(here, vm, there),
            {},
        )
        task = await here.client.on("Async.VM.migrate_send", *asked)
        await until(lambda: bool(here.db.get("task", task, "allowed_operations")))
        assert here.db.get("VM", vm, "current_operations") == {task: "migrate_send"}
        disk = here.disks(vm)[0]
        assert list(here.db.get("VDI", disk, "current_operations").values()) == ["mirror"]
        assert set(there.db.refs("VDI")) > vdis
        await until(lambda: here.db.get("task", task, "progress") > 0, 20)
        await here.client.on("task.cancel", task)
        ended = await finished(here.client, task)
        assert (ended["status"], ended["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
        assert set(there.db.refs("VDI")) == vdis
        assert here.db.get("VM", vm, "current_operations") == {}
        assert here.db.get("VDI", disk, "current_operations") == {}


async def test_what_a_migration_is_refused_with() -> None:
    async with two_pools() as (here, there):
        vm = here.vm("Running")
        host = there.member()
        destination = await there.receive(host)
        vdi_map, vif_map = maps(here, vm, there)
        vdi, vif = next(iter(vdi_map)), next(iter(vif_map))

        async def refused(dest=destination, vdis=vdi_map, vifs=vif_map) -> Any:
            asked: tuple[Any, ...] = (vm, dest, True, vdis, vifs, {})
            one = await outcome(here.client.on("VM.assert_can_migrate", *asked))
            other = await outcome(here.client.on("VM.migrate_send", *asked))
            assert one == other
            return one

        assert await refused(vdis={}) == ("VDI_NOT_IN_MAP", vdi)
        assert await refused(vifs={}) == ("VIF_NOT_IN_MAP", vif)
        assert await refused(dest={"host": host.ref}) == ("INTERNAL_ERROR", "Not_found")
        wrong = dict.fromkeys(vdi_map, "OpaqueRef:no")
        assert await refused(vdis=wrong) == ("HANDLE_INVALID", "SR", "OpaqueRef:no")
        wrong = dict.fromkeys(vif_map, "OpaqueRef:no")
        assert await refused(vifs=wrong) == ("HANDLE_INVALID", "network", "OpaqueRef:no")
        nobody = {**destination, "xenops": "http://127.0.0.1:1/", "SM": "http://127.0.0.1:1/"}
        assert await refused(dest=nobody) == ("VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED",)
        local = next(
            sr
            for pbd in there.db.get("host", there.pool.hosts.coordinator.ref, "PBDs")
            if len(there.db.get("SR", sr := there.db.get("PBD", pbd, "SR"), "PBDs")) == 1
        )
        unseen = dict.fromkeys(vdi_map, local)
        assert await refused(vdis=unseen) == ("HOST_CANNOT_SEE_SR", host.ref, local)
        await there.client.on("host.disable", host.ref)
        assert await refused() == ("HOST_DISABLED", host.ref)
        await there.client.on("host.enable", host.ref)
        there.db.create("VM", {"uuid": here.db.get("VM", vm, "uuid")}, "OpaqueRef:twin")
        assert await refused() == ("DUPLICATE_VM", "OpaqueRef:twin")
        assert here.db.get("VM", vm, "current_operations") == {}


async def test_without_a_session_nothing_is_received() -> None:
    async with two_pools() as (_, there), aiohttp.ClientSession() as http:
        url = f"{there.pool.hosts.url(there.member())}/services/xenops"
        async with http.put(url, data=b"{}") as reply:
            assert reply.status == 401


@pytest.mark.parametrize("state", ["Running", "Halted"])
async def test_storage_moves_within_a_pool_and_the_vm_keeps_its_reference(state: str) -> None:
    async with two_pools() as (_, side):
        vm = side.vm(state)
        disks = side.disks(vm)
        goal = next(h for h in side.pool.hosts if h.ref != side.db.get("VM", vm, "resident_on"))
        srs = {side.db.get("VDI", disk, "SR") for disk in disks}
        target = next(
            sr
            for pbd in side.db.get("host", goal.ref, "PBDs")
            if (sr := side.db.get("PBD", pbd, "SR")) not in srs
            and side.db.get("SR", sr, "content_type") != "iso"
        )
        vbds = side.db.get("VM", vm, "VBDs")
        uuid = side.db.get("VM", vm, "uuid")
        destination = await side.receive(goal)
        vdi_map = dict.fromkeys(side.family_disks(vm), target)
        moved = await side.client.on("VM.migrate_send", vm, destination, True, vdi_map, {}, {})
        assert moved == vm
        assert side.db.get("VM", vm, "uuid") == uuid
        assert side.db.get("VM", vm, "VBDs") == vbds
        assert {side.db.get("VDI", disk, "SR") for disk in side.disks(vm)} == {target}
        assert not [disk for disk in vdi_map if side.db.exists("VDI", disk)]
        expected = goal.ref if state == "Running" else NULL
        assert side.db.get("VM", vm, "resident_on") == expected


async def test_a_watching_proxy_sees_the_vm_come() -> None:
    async with watched(generate(2, 8, 3), speed=500) as world, two_pools() as (here, _):
        async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
            there = Side(world.simulator, Client(http, world.simulator.url))
            await there.client.login()
            vm = here.vm("Halted")
            uuid = here.db.get("VM", vm, "uuid")
            asked: tuple[Any, ...] = (
                vm,
                await there.receive(there.member()),
                True,
                *maps(here, vm, there),
                {},
            )
            moved = await here.client.on("VM.migrate_send", *asked)
        await world.until_equal()
        entries = {str(e.ref): e for e in world.store.entries(XapiClass("VM"))}
        assert uuid.encode() in entries[moved].raw


async def test_snapshots_go_with_their_vm_and_know_it() -> None:
    async with two_pools() as (here, there):
        vm = here.vm("Halted")
        taken = await here.client.on("VM.snapshot", vm, "before", [])
        leaf = here.disks(vm)
        destination = await there.receive(there.member())
        sr, network = there.shared_sr(), there.network(there.member())
        nics = here.db.get("VM", vm, "VIFs")
        # Disks of snapshots need not be in the map, nor their NICs: they follow the VM's.
        asked: tuple[Any, ...] = (vm, destination, True, dict.fromkeys(leaf, sr))
        moved = await here.client.on("VM.migrate_send", *asked, dict.fromkeys(nics, network), {})
        assert not here.db.exists("VM", taken)
        (snapshot,) = [
            ref
            for ref in there.db.get("VM", moved, "snapshots")
            if there.db.get("VM", ref, "name_label") == "before"
        ]
        record = there.db.record("VM", snapshot)
        assert (record["is_a_snapshot"], record["snapshot_of"]) == (True, moved)
        origins = {there.db.get("VDI", disk, "snapshot_of") for disk in there.disks(snapshot)}
        assert origins == set(there.disks(moved))
        assert "revert" in record["allowed_operations"]
        await there.client.on("VM.revert", snapshot)


async def test_a_suspended_vm_moves_with_its_memory_and_resumes_there() -> None:
    async with two_pools() as (here, there):
        vm = here.vm("Running")
        await here.client.on("VM.suspend", vm)
        image = here.db.get("VM", vm, "suspend_VDI")
        asked: tuple[Any, ...] = (vm, await there.receive(there.member()), True)
        moved = await here.client.on("VM.migrate_send", *asked, *maps(here, vm, there), {})
        assert not here.db.exists("VDI", image)
        record = there.db.record("VM", moved)
        assert record["power_state"] == "Suspended"
        assert there.db.get("VDI", record["suspend_VDI"], "type") == "suspend"
        await there.client.on("VM.resume", moved, False, False)
        assert await there.client.on("VM.get_power_state", moved) == "Running"


async def test_a_pool_that_restarts_meanwhile_keeps_its_vm() -> None:
    async with two_pools(speed=20) as (here, there):
        vm = here.vm("Running")
        vdis = set(there.db.refs("VDI"))
        asked: tuple[Any, ...] = (vm, await there.receive(there.member()), True)
        await here.client.on("Async.VM.migrate_send", *asked, *maps(here, vm, there), {})
        await until(lambda: set(there.db.refs("VDI")) > vdis)
        await here.pool.toolstack.restart(0.0)
        await until(lambda: set(there.db.refs("VDI")) == vdis)
        assert here.db.get("VM", vm, "current_operations") == {}
        assert here.db.get("VM", vm, "power_state") == "Running"
        assert "migrate_send" in here.db.get("VM", vm, "allowed_operations")

"""Clients of XAPI that nobody here wrote: they connect, watch, call, and lose their pool.

npm's xen-api over JSON-RPC and over XML-RPC, PyPI's XenAPI over XML-RPC, on several releases. At
the end of each test the client holds what the database does, all classes with events, field for
field.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from tests.foreign.clients import (
    CallError,
    node_client,
    python_client,
)
from tests.foreign.held import ForeignClient, assert_agrees
from tests.integration.changes import RandomChanges
from xoproxy.simulator.churn import Churn
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

Connect = Callable[[str], AbstractAsyncContextManager[ForeignClient]]
# The release of the pool decides what xen-api speaks: JSON-RPC 2.0, 1.0, or (after having tried)
# XML-RPC. XenAPI knows XML-RPC only.
CLIENTS: dict[str, tuple[Connect, str | None]] = {
    "xen-api": (node_client, None),
    "xen-api on 6.1": (functools.partial(node_client, xml=True), "6.1"),
    "XenAPI": (python_client, None),
}
WATCHERS: dict[str, tuple[Connect, str | None]] = {
    **CLIENTS,
    "xen-api on 7.1": (node_client, "7.1"),
    "xen-api on 8.2": (node_client, "8.2"),
    "XenAPI on 6.0": (python_client, "6.0"),
    "xen-api on 5.6": (functools.partial(node_client, xml=True), "5.6"),  # event.next, no from
}
CHANGES = 1000


@dataclass
class Scene:
    pool: SimulatedPool
    connect: Connect
    client: ForeignClient

    async def agrees(self) -> None:
        await assert_agrees(self.client, self.pool.database)

    async def fault(self, **asked: object) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.pool.url}/_sim/fault", json=asked) as reply,
        ):
            assert reply.status == 200, await reply.text()


@asynccontextmanager
async def opened(
    connect: Connect, release: str | None, *, tls: bool = False
) -> AsyncIterator[Scene]:
    async with (
        SimulatedPool(generate(2, 12), speed=50, release=release, tls=tls) as pool,
        connect(pool.url) as client,
    ):
        yield Scene(pool, connect, client)


@pytest.fixture(params=CLIENTS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with opened(*CLIENTS[request.param]) as made:
        yield made


@pytest.mark.parametrize("name", WATCHERS)
async def test_they_hold_the_whole_pool(name: str):
    async with opened(*WATCHERS[name]) as scene:
        await scene.agrees()
        changes = RandomChanges(scene.pool.database, seed=3)
        for _ in range(100):
            changes.step()
        await scene.agrees()


async def test_they_see_a_thousand_changes(scene: Scene):
    changes = RandomChanges(scene.pool.database, seed=1)
    churn = Churn(scene.pool.database, seed=2, lifecycle=True)
    for number in range(CHANGES):
        changes.step()
        churn.step(CHANGES - number)
        if number % 20 == 0:
            await asyncio.sleep(0.01)
    churn.finish()
    await scene.agrees()


def _a_vm(scene: Scene, power_state: str) -> str:
    """Return a plain VM in a power state, one that could be suspended when it runs."""
    database = scene.pool.database
    return next(
        ref
        for ref in database.refs("VM")
        if (vm := database.record("VM", ref))["power_state"] == power_state
        and not vm["is_a_template"]
        and not vm["is_control_domain"]
        and (power_state == "Halted" or "suspend" in vm["allowed_operations"])
    )


async def _until(scene: Scene, condition: Callable[[], bool]) -> bool:
    """Wait for the database to be so."""
    changed = asyncio.Event()
    scene.pool.database.changed.append(changed.set)
    async with asyncio.timeout(20):
        while not condition():
            changed.clear()
            await changed.wait()
    scene.pool.database.changed.remove(changed.set)
    return True


def _allows(scene: Scene, vm: str, operation: str) -> bool:
    return operation in scene.pool.database.get("VM", vm, "allowed_operations")


async def _tasks_are_gone(scene: Scene) -> bool:
    """Say whether no task is left, once the client has had time to destroy its last one."""
    return await _until(scene, lambda: scene.pool.database.count("task") == 0)


async def test_they_lead_a_machine_through_its_life(scene: Scene):
    client, database = scene.client, scene.pool.database

    def power(vm: str) -> str:
        state: str = database.get("VM", vm, "power_state")
        return state

    vm = await client.call_async("VM.clone", _a_vm(scene, "Halted"), "theirs")
    assert database.get("VM", vm, "name_label") == "theirs"
    await client.call_async("VM.start", vm, False, False)
    assert power(vm) == "Running"
    await scene.agrees()

    snapshot = await client.call_async("VM.snapshot", vm, "before")
    assert database.get("VM", snapshot, "snapshot_of") == vm
    await client.call("VM.pause", vm)
    assert power(vm) == "Paused"
    await client.call("VM.unpause", vm)
    await client.call_async("VM.hard_reboot", vm)
    await client.call_async("VM.hard_shutdown", vm)
    assert power(vm) == "Halted"

    await client.call_async("VM.destroy", snapshot)
    await client.call_async("VM.destroy", vm)
    assert not database.exists("VM", vm)
    await scene.agrees()
    assert await _tasks_are_gone(scene)


async def test_they_suspend_resume_and_shut_down_a_guest(scene: Scene):
    client, database = scene.client, scene.pool.database
    vm = _a_vm(scene, "Running")
    for method, state in (
        ("VM.suspend", "Suspended"),
        ("VM.resume", "Running"),
        ("VM.clean_reboot", "Running"),
        ("VM.clean_shutdown", "Halted"),
    ):
        arguments = [False, False] if method == "VM.resume" else []
        operation = method.removeprefix("VM.")  # allowed once the guest's tools have started
        await _until(scene, functools.partial(_allows, scene, vm, operation))
        assert await client.call_async(method, vm, *arguments) == ""
        assert database.get("VM", vm, "power_state") == state
    await scene.agrees()


async def test_they_create_a_machine_from_a_record(scene: Scene):
    record = await scene.client.call("VM.get_record", _a_vm(scene, "Halted"))
    record |= {"name_label": "<made> & \N{SNOWMAN}", "VCPUs_max": 3, "VCPUs_at_startup": 2}
    vm = await scene.client.call("VM.create", record)

    made = scene.pool.database.record("VM", vm)
    assert (made["name_label"], made["VCPUs_max"]) == ("<made> & \N{SNOWMAN}", 3)
    await scene.agrees()


async def test_they_are_told_why_a_call_fails(scene: Scene):
    running = _a_vm(scene, "Running")
    power_state = ("VM_BAD_POWER_STATE", [running, "halted", "running"])
    for call in (scene.client.call, scene.client.call_async):
        with pytest.raises(CallError) as caught:
            await call("VM.start", running, False, False)
        assert (caught.value.code, caught.value.params) == power_state
    with pytest.raises(CallError) as caught:
        await scene.client.call("VM.get_record", "OpaqueRef:none")
    assert (caught.value.code, caught.value.params) == ("HANDLE_INVALID", ["VM", "OpaqueRef:none"])
    with pytest.raises(CallError) as caught:
        await scene.client.call("VM.nonsense", running)
    assert (caught.value.code, caught.value.params) == (
        "MESSAGE_METHOD_UNKNOWN",
        ["VM.nonsense"],
    )
    assert await _tasks_are_gone(scene)


async def test_they_go_on_when_their_sessions_have_ended(scene: Scene):
    await scene.fault(kind="expire_sessions")
    scene.pool.database.write("VM", _a_vm(scene, "Halted"), "name_label", "after")
    await scene.agrees()
    await scene.client.call("VM.set_name_label", _a_vm(scene, "Halted"), "and they call")
    await scene.agrees()


async def test_they_come_back_after_a_restart(scene: Scene):
    await scene.fault(kind="restart", seconds=0.3)
    scene.pool.database.write("VM", _a_vm(scene, "Halted"), "name_label", "while away")
    await scene.agrees()
    await scene.client.call_async("VM.start", _a_vm(scene, "Halted"), False, False)
    await scene.agrees()


async def test_they_follow_the_pool_to_another_host(scene: Scene):
    """The coordinator moves, back and forth; at the old address a member answers."""
    database = scene.pool.database
    (pool,) = database.refs("pool")
    first = database.get("pool", pool, "master")
    (second,) = set(database.refs("host")) - {first}
    vm = _a_vm(scene, "Halted")
    for master, method, arguments in (
        (second, "VM.start", [False, False]),
        (first, "VM.hard_shutdown", []),
    ):
        await scene.fault(kind="promote", host=master)
        database.write("VM", vm, "name_label", f"led by {master}")
        await scene.agrees()
        assert (await scene.client.state())["pool"][pool]["master"] == master
        await scene.client.call_async(method, vm, *arguments)
        await scene.agrees()


async def test_they_survive_the_death_of_the_coordinator(scene: Scene):
    """Neither client looks for others by itself: both go on when the dead host is back."""
    database = scene.pool.database
    (pool,) = database.refs("pool")
    first = database.get("pool", pool, "master")
    await scene.fault(kind="failover", takeover_s=0.2, seconds=0.6)
    await _until(scene, lambda: database.get("pool", pool, "master") != first)
    vm = _a_vm(scene, "Halted")
    database.write("VM", vm, "name_label", "led by another")
    await scene.agrees()
    await scene.client.call("VM.set_name_description", vm, "and told so")
    assert database.get("VM", vm, "name_description") == "and told so"
    await scene.agrees()


async def test_they_find_the_coordinator_from_a_member(scene: Scene):
    """A client that is given a member's address is told whom to ask."""
    pool = scene.pool
    member = next(host for host in pool.hosts if host is not pool.hosts.coordinator)
    async with scene.connect(pool.hosts.url(member)) as other:
        assert sorted(await other.call("VM.get_all")) == sorted(pool.database.refs("VM"))


async def _a_mobile_vm(scene: Scene) -> tuple[str, str, str]:
    """Return a running VM, its host, and another host that it can run on."""
    database = scene.pool.database
    for vm in database.refs("VM"):
        if _allows(scene, vm, "pool_migrate"):
            there = database.get("VM", vm, "resident_on")
            others = set(await scene.client.call("VM.get_possible_hosts", vm)) - {there}
            if others:
                return vm, there, others.pop()
    raise AssertionError("no VM can be moved")


async def test_they_make_the_calls_of_xen_orchestra(scene: Scene):
    """What its server calls when somebody works with it, beyond lifecycles."""
    client, database = scene.client, scene.pool.database
    halted = _a_vm(scene, "Halted")
    running, there, elsewhere = await _a_mobile_vm(scene)
    (pool,) = database.refs("pool")
    gib = 1 << 30

    await client.call("VM.set_memory_limits", halted, gib, 4 * gib, 2 * gib, 4 * gib)
    await client.call("VM.set_VCPUs_at_startup", halted, 1)
    await client.call("VM.set_VCPUs_number_live", running, "1")
    await client.call("VM.add_tags", halted, "tagged")
    await client.call("pool.remove_from_other_config", pool, "xo:clientInfo:x")
    await client.call("pool.add_to_other_config", pool, "xo:clientInfo:x", '{"lastConnected":1}')
    assert database.get("VM", halted, "memory_dynamic_min") == 2 * gib
    assert "tagged" in database.get("VM", halted, "tags")

    await client.call_async("VM.pool_migrate", running, elsewhere, {"force": "false"})
    assert database.get("VM", running, "resident_on") == elsewhere
    sr = database.get("pool", pool, "default_SR")
    await client.call_async("SR.scan", sr)
    await client.call("SR.set_name_label", sr, "renamed")
    await client.call("host.set_name_description", there, "described")
    await client.call("pool.set_name_description", pool, "described")
    await client.call("host.disable", there)
    assert not database.get("host", there, "enabled")
    await client.call("host.enable", there)
    assert await client.call("host.get_servertime", there)
    await scene.agrees()

    task = await client.call("task.create", "Xapi#getResource /rrd_updates", "")
    await client.call("task.destroy", task)  # pending: it is marked, and goes when it ends
    scene.pool.tasks.succeed(task, "")
    assert not database.exists("task", task)

    copy = await client.call_async("VM.clone", halted, "to be deleted")
    await client.call("VM.set_is_a_template", copy, False)
    disks = []
    for vbd in (await client.call("VM.get_record", copy))["VBDs"]:
        record = await client.call("VBD.get_record", vbd)
        if record["type"] == "Disk":
            disks.append(record["VDI"])
            assert await client.call("VBD.get_VM", vbd) == copy
    await client.call_async("VM.destroy", copy)
    for disk in disks:
        await client.call("VDI.set_name_label", disk, "orphan")
        assert await client.call("VDI.get_VBDs", disk) == []
        await client.call_async("VDI.destroy", disk)
        assert not database.exists("VDI", disk)
    assert disks
    await scene.agrees()
    assert await _tasks_are_gone(scene)


async def test_they_cancel_what_takes_long(scene: Scene):
    client, database = scene.client, scene.pool.database
    (pool,) = database.refs("pool")
    sr = database.get("pool", pool, "default_SR")
    vdi = next(
        ref
        for vbd in database.get("VM", _a_vm(scene, "Halted"), "VBDs")
        if database.exists("VDI", ref := database.get("VBD", vbd, "VDI"))
        and database.get("VBD", vbd, "type") == "Disk"
    )
    disks = database.count("VDI")
    task = await client.call("Async.VDI.copy", vdi, sr)
    await _until(scene, lambda: database.get("task", task, "allowed_operations") == ["cancel"])
    await client.call("task.cancel", task)
    await _until(scene, lambda: database.get("task", task, "status") == "cancelled")

    await scene.agrees()
    seen = (await client.state())["task"][task]
    assert seen["error_info"] == ["TASK_CANCELLED", task]
    assert database.count("VDI") == disks
    await client.call("task.destroy", task)
    assert await _tasks_are_gone(scene)


@pytest.mark.parametrize("name", CLIENTS)
async def test_they_connect_over_tls(name: str):
    """Each host has a certificate of its own, which they are told not to verify."""
    async with opened(*CLIENTS[name], tls=True) as scene:
        assert scene.pool.url.startswith("https://")
        vm = _a_vm(scene, "Halted")
        await scene.client.call("VM.set_name_label", vm, "over TLS")
        await scene.agrees()


async def test_xen_api_connects_in_its_order():
    """It asks for what it then watches; a class that cannot be listed would be missing."""
    async with opened(node_client, None) as scene:
        asked = list(scene.pool.dispatcher.calls)
        model = scene.pool.database.model
        listed = {
            f"{cls.name}.get_all_records"
            for cls in model.classes.values()
            if "get_all_records" in cls.messages and not cls.messages["get_all_records"].removed
        }

        assert asked[:4] == [
            "session.login_with_password",
            "pool.get_all_records",
            "system.listMethods",
            "event.inject",
        ]
        assert set(asked[4:]) | {"pool.get_all_records"} >= listed
        scene.pool.database.write("VM", _a_vm(scene, "Halted"), "name_label", "seen by an event")
        await scene.agrees()
        assert scene.pool.dispatcher.calls["event.from"] >= 1
        # Its count of tasks is the pool's: else it would list them again after each reply.
        assert scene.pool.dispatcher.calls["task.get_all_records"] == 1

"""Operations on hosts: what they are refused with, write, and what becomes of the addresses."""

import asyncio
import socket
from typing import Any

from tests.integration.sim import Client, outcome, simulated, until, until_answered
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool


def guests(pool: SimulatedPool, host: Host) -> set[str]:
    db = pool.database
    vms = db.get("host", host.ref, "resident_VMs")
    return {vm for vm in vms if not db.get("VM", vm, "is_control_domain")}


def busy_member(pool: SimulatedPool) -> Host:
    """Choose a member on which VMs run."""
    return max(list(pool.hosts)[1:], key=lambda host: len(guests(pool, host)))


def answers(pool: SimulatedPool, host: Host) -> bool:
    try:
        socket.create_connection((host.address, pool.address[1]), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


async def finished(client: Client, task: str, within_s: float = 8.0) -> dict[str, Any]:
    async with asyncio.timeout(within_s):
        while True:
            record = await client.on("task.get_record", task)
            if record["status"] != "pending":
                return dict(record)
            await asyncio.sleep(0.02)


async def empty(client: Client, pool: SimulatedPool, host: Host) -> None:
    await client.on("host.disable", host.ref)
    for vm in guests(pool, host):
        await client.on("VM.hard_shutdown", vm)


def make_mobile(pool: SimulatedPool, host: Host) -> None:
    """Let all VMs of a host be such that they could be migrated."""
    db = pool.database
    for vm in guests(pool, host):
        db.write("VM", vm, "power_state", "Running")
        told = db.create("VM_guest_metrics", {"other": {"feature-suspend": "1"}})
        db.write("VM", vm, "guest_metrics", told)
        for vbd in db.get("VM", vm, "VBDs"):
            if db.get("VBD", vbd, "type") == "CD":
                db.write("VBD", vbd, "VDI", "OpaqueRef:NULL")


# -- enable, disable -----------------------------------------------------------------------


async def test_a_disabled_host_may_go_down_and_takes_no_vms() -> None:
    async with simulated(hosts=3) as (pool, client, _):
        host = list(pool.hosts)[1]
        before = set(await client.on("host.get_allowed_operations", host.ref))
        assert {"evacuate", "vm_start", "provision"} <= before
        assert not {"reboot", "shutdown", "power_on"} & before
        for name in ("reboot", "shutdown"):
            assert await outcome(client.on(f"host.{name}", host.ref)) == ("HOST_NOT_DISABLED",)
        await client.on("host.disable", host.ref)
        assert await client.on("host.get_enabled", host.ref) is False
        after = set(await client.on("host.get_allowed_operations", host.ref))
        assert {"reboot", "shutdown", "evacuate"} <= after
        await client.on("host.enable", host.ref)
        assert set(await client.on("host.get_allowed_operations", host.ref)) == before


async def test_hosts_that_do_not_exist_are_invalid_handles() -> None:
    async with simulated() as (_, client, _):
        for name in ("enable", "disable", "reboot", "shutdown", "power_on", "destroy", "evacuate"):
            refused = await outcome(client.on(f"host.{name}", "OpaqueRef:no"))
            assert refused == ("HANDLE_INVALID", "host", "OpaqueRef:no"), name


# -- reboot, shutdown, power on ------------------------------------------------------------


async def test_a_host_in_use_does_not_go_down() -> None:
    async with simulated(hosts=3) as (pool, client, _):
        host = busy_member(pool)
        await client.on("host.disable", host.ref)
        code, ref, kind, vm = await outcome(client.on("host.reboot", host.ref))
        assert (code, ref, kind) == ("HOST_IN_USE", host.ref, "vm")
        assert vm in guests(pool, host)
        assert await client.on("host.get_current_operations", host.ref) == {}


async def test_a_reboot_is_seen_in_rows_and_at_the_address() -> None:
    async with simulated(hosts=3, speed=40) as (pool, client, _):
        host = busy_member(pool)
        await empty(client, pool, host)
        token = (await client.events())["token"]
        before = await client.on("host.get_record", host.ref)
        task = await client.on("Async.host.reboot", host.ref)
        await until(lambda: bool(pool.database.get("host", host.ref, "current_operations")))
        assert pool.database.get("host", host.ref, "current_operations") == {task: "reboot"}
        assert (await finished(client, task))["status"] == "success"
        metrics = before["metrics"]
        assert await client.on("host_metrics.get_live", metrics) is False
        await until(lambda: not answers(pool, host))
        assert await outcome(client.on("host.get_servertime", host.ref)) == (
            "HOST_OFFLINE",
            host.ref,
        )
        await until(lambda: answers(pool, host))
        await until(lambda: pool.database.get("host", host.ref, "enabled"))
        assert await client.on("host_metrics.get_live", metrics) is True
        after = await client.on("host.get_record", host.ref)
        assert float(after["other_config"]["boot_time"]) > float(
            before["other_config"]["boot_time"]
        )
        touched = {(e["class"], e["ref"]) for e in (await client.events(token))["events"]}
        assert {("pbd", pbd) for pbd in before["PBDs"]} <= touched
        assert all([await client.on("PBD.get_currently_attached", p) for p in before["PBDs"]])
        assert all([await client.on("PIF.get_currently_attached", p) for p in before["PIFs"]])


async def test_a_host_stays_disabled_when_it_is_asked_to() -> None:
    async with simulated(hosts=2, speed=60) as (pool, client, _):
        host = list(pool.hosts)[1]
        await empty(client, pool, host)
        await client.on("host.disable", host.ref, False)
        await client.on("host.reboot", host.ref)
        await until(lambda: not answers(pool, host))
        await until(lambda: answers(pool, host))
        dom0 = pool.database.get("host", host.ref, "PBDs")
        await until(lambda: all(pool.database.get("PBD", p, "currently_attached") for p in dom0))
        await asyncio.sleep(0.1)
        assert await client.on("host.get_enabled", host.ref) is False


async def test_a_host_is_shut_down_and_powered_on() -> None:
    async with simulated(hosts=2, speed=60) as (pool, client, _):
        host = list(pool.hosts)[1]
        refused = await outcome(client.on("host.power_on", host.ref))
        assert refused == ("HOST_IS_LIVE", host.ref)
        await empty(client, pool, host)
        await client.on("host.shutdown", host.ref)
        await until(lambda: not answers(pool, host))
        assert await outcome(client.on("host.power_on", host.ref)) == (
            "HOST_POWER_ON_MODE_DISABLED",
        )
        await client.on("host.set_power_on_mode", host.ref, "wake-on-lan", {})
        assert "power_on" in await client.on("host.get_allowed_operations", host.ref)
        await client.on("host.power_on", host.ref)
        await until(lambda: answers(pool, host))
        await until(lambda: pool.database.get("host", host.ref, "enabled"))


async def test_the_coordinator_reboots_and_takes_all_sessions() -> None:
    async with simulated(hosts=2, speed=60) as (pool, client, _):
        host = pool.hosts.coordinator
        await empty(client, pool, host)
        await client.on("host.reboot", host.ref)
        await until(lambda: not answers(pool, host))
        old = client.session
        await until_answered(client)
        assert client.session != old
        assert len(pool.sessions) == 1
        await until(lambda: pool.database.get("host", host.ref, "enabled"))


async def test_an_agent_restarts_alone_or_with_all_sessions() -> None:
    async with simulated(hosts=2, speed=20) as (pool, client, _):
        first, second = pool.hosts
        await client.on("host.restart_agent", second.ref)
        await until(lambda: not answers(pool, second))
        assert await client.on("pool.get_all")
        await until(lambda: answers(pool, second))
        await client.on("host.restart_agent", first.ref)
        await until(lambda: not answers(pool, first))
        await until_answered(client)


# -- evacuation ----------------------------------------------------------------------------


async def test_an_evacuation_moves_all_vms_in_tasks_below_its_own() -> None:
    async with simulated(hosts=3, vms=20, speed=20) as (pool, client, _):
        host = busy_member(pool)
        make_mobile(pool, host)
        vms = guests(pool, host)
        assert await client.on("host.get_vms_which_prevent_evacuation", host.ref) == {}
        await client.on("host.disable", host.ref)
        task = await client.on("Async.host.evacuate", host.ref)
        await until(lambda: bool(pool.database.get("task", task, "subtasks")))
        below = pool.database.get("task", task, "subtasks")
        labels = {pool.database.get("task", t, "name_label") for t in below}
        assert labels == {"Async.VM.pool_migrate"}
        assert pool.database.get("host", host.ref, "current_operations") == {task: "evacuate"}
        allowed = await client.on("host.get_allowed_operations", host.ref)
        assert not {"vm_migrate", "vm_resume", "provision"} & set(allowed)
        ended = await finished(client, task)
        assert (ended["status"], ended["progress"], ended["subtasks"]) == ("success", 1.0, [])
        assert guests(pool, host) == set()
        for vm in vms:
            assert await client.on("VM.get_power_state", vm) == "Running"
            assert await client.on("VM.get_resident_on", vm) not in (host.ref, "OpaqueRef:NULL")


async def test_an_evacuation_can_be_cancelled() -> None:
    async with simulated(hosts=3, vms=20, speed=2) as (pool, client, _):
        host = busy_member(pool)
        make_mobile(pool, host)
        vms = guests(pool, host)
        task = await client.on("Async.host.evacuate", host.ref)
        await until(lambda: bool(pool.database.get("task", task, "subtasks")))
        await until(
            lambda: all(
                "cancel" in pool.database.get("task", t, "allowed_operations")
                for t in pool.database.get("task", task, "subtasks")
            )
        )
        await client.on("task.cancel", task)
        ended = await finished(client, task)
        assert (ended["status"], ended["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
        assert guests(pool, host) == vms
        assert await client.on("host.get_current_operations", host.ref) == {}


async def test_what_prevents_an_evacuation_is_told_for_each_vm() -> None:
    async with simulated(hosts=3, vms=20) as (pool, client, _):
        host = busy_member(pool)
        make_mobile(pool, host)
        (vm, *_) = sorted(guests(pool, host))
        pool.database.write(
            "VM_guest_metrics", pool.database.get("VM", vm, "guest_metrics"), "other", {}
        )
        prevented = await client.on("host.get_vms_which_prevent_evacuation", host.ref)
        assert prevented == {vm: ["VM_LACKS_FEATURE", vm]}
        refused = await outcome(client.on("host.assert_can_evacuate", host.ref))
        assert refused == ("CANNOT_EVACUATE_HOST", f"VM_LACKS_FEATURE,{vm}")
        refused = await outcome(client.on("host.evacuate", host.ref))
        assert refused == ("VM_LACKS_FEATURE", vm)
        for other in pool.hosts:
            await client.on("host.disable", other.ref)
        prevented = await client.on("host.get_vms_which_prevent_evacuation", host.ref)
        assert set(map(tuple, prevented.values())) == {("NO_HOSTS_AVAILABLE",)}


# -- the end of a host ---------------------------------------------------------------------


async def test_only_dead_hosts_are_destroyed_and_nothing_of_them_is_left() -> None:
    async with simulated(hosts=3, speed=60) as (pool, client, sim):
        host = busy_member(pool)
        refused = await outcome(client.on("host.destroy", host.ref))
        assert refused == ("HOST_IS_LIVE", host.ref)
        record = await client.on("host.get_record", host.ref)
        await sim.fault("host_down", host=host.ref)
        refused = await outcome(client.on("host.destroy", host.ref))
        assert refused == ("HOST_HAS_RESIDENT_VMS", host.ref)
        await client.on("host.declare_dead", host.ref)
        assert guests(pool, host) == set()
        await client.on("host.destroy", host.ref)
        for cls, field in (("PBD", "PBDs"), ("PIF", "PIFs"), ("host_cpu", "host_CPUs")):
            assert record[field]
            assert not [ref for ref in record[field] if pool.database.exists(cls, ref)]
        assert not pool.database.exists("host", host.ref)
        assert not pool.database.exists("VM", record["control_domain"])
        assert not pool.database.exists("host_metrics", record["metrics"])
        await sim.fault("none")  # it does not come back
        assert not answers(pool, host)


# -- certificates and settings -------------------------------------------------------------


async def test_a_host_tells_its_certificate_and_makes_another() -> None:
    async with simulated() as (pool, client, _):
        host = list(pool.hosts)[1]
        before = await client.on("host.get_server_certificate", host.ref)
        assert before.startswith("-----BEGIN CERTIFICATE-----")
        await client.on("host.reset_server_certificate", host.ref)
        after = await client.on("host.get_server_certificate", host.ref)
        assert after != before
        await client.on("host.refresh_server_certificate", host.ref)
        assert await client.on("host.get_server_certificate", host.ref) == after


async def test_settings_with_two_homes_are_written_in_both() -> None:
    async with simulated() as (pool, client, _):
        host = pool.database.refs("host")[0]
        await client.on("host.set_iscsi_iqn", host, "iqn.2026-01.com.example:x")
        record = await client.on("host.get_record", host)
        assert record["iscsi_iqn"] == record["other_config"]["iscsi_iqn"]
        refused = await outcome(client.on("host.set_hostname_live", host, "no name"))
        assert refused[0] == "HOST_NAME_INVALID"
        await client.on("host.set_hostname_live", host, "other-name")
        assert await client.on("host.get_hostname", host) == "other-name"
        assert await client.on("host.disable_display", host) == "disable_on_reboot"
        assert await client.on("host.enable_display", host) == "enabled"


# -- what is under way when a host dies ----------------------------------------------------


async def test_operations_on_a_dying_host_fail_and_leave_nothing_half_done() -> None:
    async with simulated(hosts=3, vms=20, speed=1) as (pool, client, sim):
        host = busy_member(pool)
        make_mobile(pool, host)
        db = pool.database
        leaving = next(iter(guests(pool, host)))
        going = pool.hosts.coordinator.ref
        halted = next(
            vm
            for vm in await client.on("VM.get_all")
            if "start" in db.get("VM", vm, "allowed_operations")
        )
        tasks = [
            await client.on("Async.VM.pool_migrate", leaving, going, {}),
            await client.on("Async.VM.start_on", halted, host.ref, False, False),
        ]
        await until(lambda: len(db.get("host", host.ref, "current_operations")) > 0)
        await until(lambda: bool(db.get("VM", leaving, "current_operations")))
        await sim.fault("host_down", host=host.ref)
        for task in tasks:
            ended = await finished(client, task)
            assert (ended["status"], ended["error_info"]) == (
                "failure",
                ["HOST_OFFLINE", host.ref],
            )
        assert db.get("VM", halted, "power_state") == "Halted"
        for vm in (leaving, halted):
            assert db.get("VM", vm, "current_operations") == {}
        assert db.get("host", host.ref, "current_operations") == {}

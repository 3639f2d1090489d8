"""Hosts at random: what they advertise is what works, and every failure is one of XAPI's."""

import random

import pytest

from tests.integration.sim import until
from xoproxy.simulator.estate import generate
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.rules import allowed

OPERATIONS = ("evacuate", "reboot", "shutdown", "power_on")
SWITCHES = ("enable", "disable", "disable")
STEPS = 120
REFUSALS = {
    *("HOST_NOT_DISABLED", "HOST_IS_LIVE", "HOST_POWER_ON_MODE_DISABLED"),
    "OTHER_OPERATION_IN_PROGRESS",
}

# What no rule foresees: capacity, features and storage of the VMs there, and hosts that are gone.
CIRCUMSTANCES = {
    *("HOST_IN_USE", "HOST_OFFLINE", "NO_HOSTS_AVAILABLE", "HOST_NOT_ENOUGH_FREE_MEMORY"),
    *("VM_LACKS_FEATURE", "VM_REQUIRES_SR", "VM_REQUIRES_NETWORK", "VM_BAD_POWER_STATE"),
    *("VM_IS_IMMOBILE", "VM_HAS_PCI_ATTACHED", "HOST_DISABLED", "HOST_NOT_LIVE"),
}


async def outcome(pool: SimulatedPool, method: str, *params: object) -> str:
    """Return how a call ends: empty for success, else the code."""
    session = pool.sessions.open("root", "")
    try:
        await pool.dispatcher.run(method, [session, *params])
    except XapiError as error:
        return error.code
    finally:
        pool.sessions.logout(session)
    return ""


def settled(pool: SimulatedPool) -> bool:
    """Whether every host is up or down, and nothing is under way."""
    db = pool.database
    for host in pool.hosts:
        metrics = db.get("host_metrics", db.get("host", host.ref, "metrics"), "live")
        if metrics != host.alive or db.get("host", host.ref, "current_operations"):
            return False
        pbds = db.get("host", host.ref, "PBDs")
        if host.alive and not all(db.get("PBD", pbd, "currently_attached") for pbd in pbds):
            return False  # it is booting
    return pool.toolstack.up.is_set()


def assert_true(pool: SimulatedPool) -> None:
    db = pool.database
    for cls in ("host", "pool"):
        for ref in db.refs(cls):
            assert db.get(cls, ref, "allowed_operations") == allowed(db, cls, ref)


def assert_honest(name: str, code: str, *, offered: bool) -> None:
    told = (name, code, offered)
    if name in SWITCHES:
        assert code in {"", "HOST_OFFLINE"}, told
    elif offered:
        assert code in {"", *CIRCUMSTANCES}, told
    else:
        assert code in REFUSALS, told


async def rest(pool: SimulatedPool, host: Host, name: str) -> None:
    """Wait until what was asked for has happened."""
    if name in {"reboot", "shutdown"}:
        await until(lambda: not host.alive)
    if name in {"reboot", "power_on"}:
        await until(lambda: host.alive)
    await until(lambda: settled(pool))


async def clear(pool: SimulatedPool, host: Host) -> None:
    """Switch off all VMs of a host."""
    for vm in pool.database.get("host", host.ref, "resident_VMs"):
        if not pool.database.get("VM", vm, "is_control_domain"):
            await outcome(pool, "VM.hard_shutdown", vm)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_hosts_do_what_they_say(seed: int) -> None:
    rng = random.Random(seed)
    async with SimulatedPool(generate(4, 12, seed), speed=2000) as pool:
        db = pool.database
        _, *members = pool.hosts
        for host in members[::2]:
            await outcome(pool, "host.set_power_on_mode", host.ref, "wake-on-lan", {})
        succeeded = set()
        for _ in range(STEPS):
            host, name = rng.choice(members), rng.choice(OPERATIONS + SWITCHES)
            offered = name in db.get("host", host.ref, "allowed_operations")
            code = await outcome(pool, f"host.{name}", host.ref)
            assert_honest(name, code, offered=offered)
            assert code in {"", *db.model.errors}
            if not code:
                succeeded.add(name)
                await rest(pool, host, name)
            assert_true(pool)
            if rng.random() < 0.2:
                await clear(pool, host)
        assert {"enable", "disable", "reboot", "shutdown"} <= succeeded

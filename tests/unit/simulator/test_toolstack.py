"""Restarts, deaths and boots of hosts, without a network."""

import asyncio
import random

import pytest

from xoproxy.simulator.estate import generate
from xoproxy.simulator.lifecycle.removal import Removal
from xoproxy.simulator.lifecycle.writes import Writes
from xoproxy.simulator.pool import SimulatedPool


@pytest.fixture
def pool() -> SimulatedPool:
    return SimulatedPool(generate(3, 6, 1), speed=1000)


def live(pool: SimulatedPool, ref: str) -> bool:
    metrics = pool.database.get("host", ref, "metrics")
    return bool(pool.database.get("host_metrics", metrics, "live"))


async def test_without_a_coordinator_nobody_leads(pool: SimulatedPool) -> None:
    first, second, _ = pool.hosts
    await pool.sessions.login("root", "x", "")
    pool.toolstack.die(first)
    assert (len(pool.sessions), pool.toolstack.up.is_set()) == (0, False)
    pool.toolstack.die(second)
    async with asyncio.TaskGroup() as group:
        group.create_task(pool.toolstack.boot(second))
        await asyncio.sleep(0.02)
        assert not second.alive, "a member waits for its coordinator"
        await pool.toolstack.boot(first)
    assert first.alive
    assert second.alive
    assert live(pool, second.ref)


async def test_a_host_boots_once_however_often_it_is_asked(pool: SimulatedPool) -> None:
    _, host, _ = pool.hosts
    pool.toolstack.die(host)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(pool.toolstack.boot(host))
    assert pool.database.get("host", host.ref, "enabled")
    before = pool.database.generation
    await pool.toolstack.boot(host)
    assert pool.database.generation == before


async def test_a_host_that_leaves_while_it_boots_is_gone(pool: SimulatedPool) -> None:
    _, host, _ = pool.hosts
    pool.toolstack.die(host)
    async with asyncio.TaskGroup() as group:
        group.create_task(pool.toolstack.boot(host))
        await asyncio.sleep(0)
        removal = Removal(Writes(pool.database, random.Random(1)))
        removal.reset_vms(host.ref)
        removal.remove(host.ref)
        pool.hosts.remove(host.ref)
    assert not pool.database.exists("host", host.ref)
    await pool.toolstack.boot(host)
    assert pool.hosts.get(host.ref) is None


async def test_nobody_leads_who_has_left(pool: SimulatedPool) -> None:
    coordinator = pool.hosts.coordinator
    await pool.toolstack.restart(0.0, master="OpaqueRef:gone")
    assert pool.hosts.coordinator is coordinator
    (row,) = pool.database.refs("pool")
    assert pool.database.get("pool", row, "master") == coordinator.ref


async def test_restarts_run_one_after_the_other(pool: SimulatedPool) -> None:
    _, second, third = pool.hosts
    async with asyncio.TaskGroup() as group:
        group.create_task(pool.toolstack.restart(0.02, master=second.ref))
        await asyncio.sleep(0)
        assert pool.toolstack.restarting
        group.create_task(pool.toolstack.restart(0.0, master=third.ref))
    assert pool.hosts.coordinator is third
    assert pool.toolstack.up.is_set()
    assert not pool.toolstack.restarting

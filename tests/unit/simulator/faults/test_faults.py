"""Faults without a network: which calls fail, who leads. The rest: tests/integration."""

import asyncio
from typing import cast

import pytest

from xoproxy.simulator.estate import generate
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.faults import FaultRefusedError, Faults
from xoproxy.simulator.faults.kinds import ExpireSessions, Fail, Member, Nothing
from xoproxy.simulator.http import Connection, Interference
from xoproxy.simulator.pool import SimulatedPool

ANYBODY = Connection(*cast("tuple[asyncio.StreamReader, asyncio.StreamWriter]", (None, None)))


@pytest.fixture
def pool() -> SimulatedPool:
    return SimulatedPool(generate(1, 2))


def interference(pool: SimulatedPool) -> Interference:
    server = pool.hosts.coordinator.server
    assert server is not None
    return server.faults


@pytest.fixture
def faults(pool: SimulatedPool) -> Faults:
    return pool.control.faults


async def failures(pool: SimulatedPool, *methods: str) -> list[str | None]:
    found: list[str | None] = []
    for method in methods:
        try:
            await interference(pool).before_call(ANYBODY, method)
            found.append(None)
        except XapiError as error:
            found.append(" ".join(error.description))
    return found


async def test_the_next_calls_of_a_method_fail(faults: Faults, pool: SimulatedPool) -> None:
    await faults.begin(Fail("X", ["a"], "VM.start", 2))
    asked = ("VM.start", "VM.stop", "VM.start", "VM.start")
    assert await failures(pool, *asked) == ["X a", None, "X a", None]


async def test_failures_of_any_method_and_of_one_add_up(
    faults: Faults, pool: SimulatedPool
) -> None:
    await faults.begin(Fail("ONE", [], "VM.start", 1))
    await faults.begin(Fail("ANY", [], None, 2))
    asked = ("VM.stop", "VM.start", "VM.start", "VM.start")
    assert await failures(pool, *asked) == ["ANY", "ONE", "ANY", None]


async def test_none_ends_them(faults: Faults, pool: SimulatedPool) -> None:
    await faults.begin(Fail("ANY", [], None, 2))
    await faults.begin(Nothing())
    assert await failures(pool, "VM.start") == [None]
    assert pool.dispatcher.calls["VM.start"] == 0  # counted where it runs


async def test_sessions_end(faults: Faults, pool: SimulatedPool) -> None:
    await pool.sessions.login("root", "x", "test")
    await faults.begin(ExpireSessions())
    assert len(pool.sessions) == 0
    assert pool.database.count("session") == 0


@pytest.mark.parametrize("address", ["0.0.0.0", "::1", "192.0.2.1", "pool.example"])  # noqa: S104
async def test_only_loopback_has_several_addresses(address: str) -> None:
    pool = SimulatedPool(generate(3, 2), listen=(address, 1))
    with pytest.raises(FaultRefusedError, match="no other host"):
        await pool.control.faults.begin(Member())


async def test_a_pool_of_one_host_has_nobody_else_to_lead(faults: Faults) -> None:
    with pytest.raises(FaultRefusedError, match="no other host"):
        await faults.begin(Member())

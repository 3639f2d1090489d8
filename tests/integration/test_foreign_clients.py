"""Clients of XAPI that nobody here wrote: they connect, watch, call, and lose their pool.

npm's xen-api over JSON-RPC and over XML-RPC, PyPI's XenAPI over XML-RPC. At the end of each test
the client holds what the database does, all classes with events, field for field.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiohttp
import pytest

from tests.foreign.clients import (
    ForeignClient,
    assert_agrees,
    node_client,
    python_client,
)
from tests.integration.changes import RandomChanges
from xoproxy.simulator.churn import Churn
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[ForeignClient]]] = {
    "xen-api": node_client,
    "XenAPI": python_client,
}
CHANGES = 1000


@dataclass
class Scene:
    pool: SimulatedPool
    client: ForeignClient

    async def agrees(self) -> None:
        await assert_agrees(self.client, self.pool.database)

    async def fault(self, **asked: object) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.pool.url}/_sim/fault", json=asked) as reply,
        ):
            assert reply.status == 200, await reply.text()


@pytest.fixture(params=CLIENTS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with (
        SimulatedPool(generate(2, 12), speed=50) as pool,
        CLIENTS[request.param](pool.url) as client,
    ):
        yield Scene(pool, client)


async def test_they_hold_the_whole_pool(scene: Scene):
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

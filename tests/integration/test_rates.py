"""A subscription with a rate: fewer patches, the same documents."""

import asyncio

import pytest

from tests.integration.changes import RandomChanges
from tests.integration.support import JSON, MSGPACK, connected, logged_in, proxy_on
from tests.integration.test_convergence import assert_equal
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

BATCHES = 100


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_a_slow_rate_gives_few_patches_and_the_same_content(protocol):
    async with (
        SimulatedPool(generate(1, 10, 4), speed=20) as pool,
        proxy_on(pool.url) as proxy,
        connected(proxy.url, protocol) as plain,
        connected(proxy.url, protocol) as paced,
        logged_in(pool.url) as xapi,
    ):
        views = [*await plain.subscribe(), *await paced.subscribe(rate=1)]
        changes = RandomChanges(pool.database, seed=7)
        for _ in range(BATCHES):
            for _ in range(5):
                changes.step()
            await asyncio.sleep(0.02)
        await assert_equal(views, xapi)

        # Twenty batches a second against one beat, however slow the machine.
        assert views[1].patches < views[0].patches / 2
        await paced.send({"type": "ping", "id": 7})
        assert (await paced.answer(7))["type"] == "pong"

"""A client of all classes holds exactly what the pool lists: any pool, encoding and history."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.changes import RandomChanges
from tests.integration.support import JSON, MSGPACK, connected, logged_in, proxy_on, same
from tests.shared import shared_files, shared_path
from xoproxy.simulator.dumps import load_estate
from xoproxy.simulator.pool import SimulatedPool

DUMPS = "recorded/xenadmin"
TASK = {"task"}  # our own calls make tasks come and go; compared by the tests of calls


def differing(view, listed):
    return [cls for cls, records in listed.items() if not same(view.records(cls), records)]


async def assert_equal(views, xapi):
    """Wait until the views hold what the pool lists, class by class, types included."""
    classes = sorted(set(views[0].document) - TASK)
    listed = {cls: await xapi.records(cls) for cls in classes}
    for view in views:
        for _ in range(100):
            if not differing(view, listed):
                break
            await asyncio.sleep(0.05)
        assert differing(view, listed) == []
    return sum(map(len, listed.values()))


@pytest.mark.parametrize("dump", shared_files(DUMPS, "*.*"), ids=lambda path: path.name)
async def test_every_dump_is_held_exactly_before_and_after_random_changes(dump: Path):
    loaded = load_estate(shared_path(f"{DUMPS}/{dump.name}"))
    async with (
        SimulatedPool(loaded.estate, stamps=loaded.stamps, generation=loaded.generation) as pool,
        proxy_on(pool.url) as proxy,
        connected(proxy.url, JSON) as json_client,
        connected(proxy.url, MSGPACK) as msgpack_client,
        logged_in(pool.url) as xapi,
    ):
        views = [*await json_client.subscribe(), *await msgpack_client.subscribe()]
        listable = {
            name.removesuffix(".get_all_records")
            for name in await xapi.call("system.listMethods")
            if name.endswith(".get_all_records")
        }
        assert set(views[0].document) == listable - {"role", "secret", "session", "user"}
        assert await assert_equal(views, xapi) > 100
        changes = RandomChanges(pool.database, seed=len(dump.name))
        for number in range(2000):
            changes.step()
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        await assert_equal(views, xapi)
        assert all(view.patches > 1 for view in views)
        assert all(view.resets == [] for view in views)

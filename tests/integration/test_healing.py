"""Whatever breaks between proxy and pool heals by itself, and no client is reset."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from tests.integration.changes import RandomChanges
from tests.integration.support import JSON, MSGPACK, connected, logged_in, proxy_on
from tests.integration.test_convergence import assert_equal
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool


@asynccontextmanager
async def everything(vms=20):
    """A pool, a proxy on it, a client of each encoding, and one that follows the link."""
    async with (
        SimulatedPool(generate(2, vms, 1), listen=("127.0.0.1", 0), speed=20) as pool,
        proxy_on(pool.url) as proxy,
        connected(proxy.url, JSON) as first,
        connected(proxy.url, MSGPACK) as second,
    ):
        views = [*await first.subscribe(), *await second.subscribe()]
        (link,) = await first.subscribe(id_=2, pools=["proxy"], classes=["pool_link"])
        yield pool, proxy, first, views, link


def state(link):
    (record,) = link.document["pool_link"].values()
    return record["state"]


def since(link):
    (record,) = link.document["pool_link"].values()
    return record["since"]


async def fault(pool, **what):
    async with (
        ClientSession() as session,
        session.post(f"{pool.url}/_sim/fault", json=what) as reply,
    ):
        assert reply.status == 200, await reply.text()


async def assert_healed(pool, views):
    async with logged_in(pool.url) as xapi:
        await assert_equal(views, xapi)
    assert all(view.resets == [] for view in views)


@pytest.mark.parametrize(
    "what",
    [
        {"kind": "drop"},
        {"kind": "half_open"},
        {"kind": "black_hole", "seconds": 4},
        {"kind": "restart", "seconds": 1},
        {"kind": "expire_sessions"},
        {"kind": "member", "seconds": 2},
        {
            "kind": "fail",
            "method": "event.from",
            "code": "INTERNAL_ERROR",
            "params": ["x"],
            "count": 3,
        },
        {"kind": "delay", "ms": 300},
    ],
    ids=lambda what: what["kind"],
)
async def test_faults_heal_without_a_reset(what):
    async with everything() as (pool, _, client, views, link):
        await fault(pool, **what)
        changes = RandomChanges(pool.database, seed=7)
        for _ in range(60):
            changes.step()
            await asyncio.sleep(0.02)
        await asyncio.sleep(what.get("seconds", 0))
        await fault(pool, kind="none")
        for _ in range(60):
            changes.step()
        await client.until(lambda: state(link) == "live", timeout_s=30)
        await assert_healed(pool, views)


async def test_a_dead_link_is_stale_and_says_since_when():
    async with everything() as (pool, _, client, views, link):
        before = since(link)
        await asyncio.sleep(1.1)  # `since` has whole seconds
        await fault(pool, kind="black_hole", seconds=30)
        await client.until(lambda: state(link) == "stale", timeout_s=10)
        assert since(link) > before
        assert all(view.document["VM"] for view in views)
        await fault(pool, kind="none")
        await client.until(lambda: state(link) == "live", timeout_s=10)
        await assert_healed(pool, views)


async def test_a_pool_that_stops_and_comes_back_on_the_same_address():
    async with everything() as (pool, _, client, views, link):
        await fault(pool, kind="restart", seconds=3)
        await client.until(lambda: state(link) == "stale", timeout_s=10)
        await client.until(lambda: state(link) == "live", timeout_s=15)
        await assert_healed(pool, views)


async def test_lost_tombstones_leave_no_ghost():
    async with everything() as (pool, _, client, views, link):
        made = [pool.database.create("VM", {"name_label": f"many-{n}"}) for n in range(1500)]
        await client.until(lambda: len(views[0].document["VM"]) >= 1500)
        await fault(pool, kind="black_hole", seconds=60)
        await client.until(lambda: state(link) == "stale", timeout_s=10)
        for ref in made:
            pool.database.destroy("VM", ref)
        await fault(pool, kind="none")
        await client.until(lambda: state(link) == "live", timeout_s=20)
        await assert_healed(pool, views)


async def test_removals_too_many_for_one_poll_leave_no_ghost():
    """The link is up all the time, so nothing but XAPI's own counts can tell."""
    async with everything() as (pool, _, client, views, _link):
        made = [pool.database.create("VM", {"name_label": f"many-{n}"}) for n in range(1500)]
        await client.until(lambda: len(views[0].document["VM"]) >= 1500)
        for ref in made:  # in one go: no poll can see them in between
            pool.database.destroy("VM", ref)
        await assert_healed(pool, views)


async def test_an_older_database_leaves_no_ghost_and_loses_nothing():
    async with everything() as (pool, _, client, views, link):
        changes = RandomChanges(pool.database, seed=3)
        for _ in range(300):
            changes.step()
        made = [pool.database.create("VM", {"name_label": f"lost-{n}"}) for n in range(50)]
        await client.until(lambda: set(made) <= set(views[0].records("VM")))
        await fault(pool, kind="older_database", changes=200, seconds=0.5)
        await client.until(lambda: state(link) == "stale", timeout_s=10)
        await client.until(lambda: state(link) == "live", timeout_s=20)
        assert not set(made) & set(pool.database.refs("VM"))
        await assert_healed(pool, views)
        pool.database.write("VM", pool.database.refs("VM")[0], "name_label", "after")
        await assert_healed(pool, views)


async def test_a_token_from_the_future_is_noticed():
    """The database goes back without a restart of ours being noticed: same session, silence."""
    async with everything() as (pool, _, client, views, _link):
        snapshot = pool.database.snapshot()
        for number in range(40):
            pool.database.create("VM", {"name_label": f"future-{number}"})
        await client.until(
            lambda: (
                sum(r["name_label"].startswith("future") for r in views[0].records("VM").values())
                == 40
            )
        )
        pool.database.restore(snapshot)
        await fault(pool, kind="expire_sessions")
        await assert_healed(pool, views)

"""`xoproxy.client` against a running proxy, over real sockets."""

import asyncio
from typing import Any

import pytest

from tests.integration.support import PASSWORD, logged_in, proxy_on, same
from xoproxy.client import connect
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

ADMIN: dict[str, Any] = {"username": "admin", "password": PASSWORD}


@pytest.fixture
async def pool():
    async with SimulatedPool(generate(2, 12, 1)) as simulated:
        yield simulated


@pytest.fixture
async def proxy(pool):
    async with proxy_on(pool.url) as running:
        yield running


def within(seconds=20):
    return asyncio.timeout(seconds)


async def rename_a_vm(pool, name):
    async with logged_in(pool.url) as xapi:
        ref = next(iter(await xapi.records("VM")))
        await xapi.call("VM.set_name_label", xapi.ref, ref, name)
    return ref


class TestView:
    @pytest.mark.parametrize("encoding", ["json", "msgpack"])
    async def test_holds_what_the_pool_has(self, pool, proxy, encoding):
        async with within(), connect(proxy.url, **ADMIN, encoding=encoding) as c:
            view = await c.subscribe("*")
            assert c.connection
            assert c.connection.deflate
            ref = await rename_a_vm(pool, "renamed")
            found = await view.until(lambda v: v[ref]["name_label"] == "renamed" and v[ref])
            assert found.cls == "VM"
            async with logged_in(pool.url) as xapi:
                for cls in ("VM", "host", "SR", "VIF", "pool"):
                    held = {obj.ref: obj.record for obj in view.objects(cls)}
                    assert same(held, await xapi.records(cls)), cls
            assert len(view) == len(list(view)) > 100
            (of_pool,) = view.pools.values()
            assert of_pool.pool == found.pool in c.pools
            assert view.positions == {of_pool.pool: of_pool.position}
            assert not view.stale

"""Clients that were away for too long say what they hold, and get what differs."""

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from tests.integration.relay import relayed
from tests.integration.restarts import Restarts, simulated
from tests.integration.support import (
    JSON,
    MSGPACK,
    PASSWORD,
    connected,
    logged_in,
    proxy_on,
    same,
)
from tests.integration.test_convergence import assert_equal
from xoproxy import client as library
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

SHORT = {"XOPROXY_LIMITS__JOURNAL_BYTES_PER_POOL": "6000"}
BUCKETS = 1024


async def back(stack, serving, protocol, view):
    """Come back with what a view held; return the client and its view, compared."""
    client = await stack.enter_async_context(connected(serving.url, protocol))
    (again,) = await client.resume([view], compare=True, classes=["*"])
    assert again.info["mode"] == "compare"
    await client.say_digests(again, BUCKETS)
    await client.until(lambda: again.complete and again.token)
    assert again.resets == []
    return client, again


@pytest.mark.slow
async def test_away_for_longer_than_history_reaches_and_over_a_restart(tmp_path):
    restarts = Restarts(tmp_path, **SHORT)
    async with simulated(vms=60) as pool:
        async with restarts.serving() as serving:
            await pool.add_to(serving)
            views, snapshot_bytes = {}, 0
            for protocol in (JSON, MSGPACK):
                async with connected(serving.url, protocol) as client:
                    (views[protocol],) = await client.subscribe()
                    snapshot_bytes = client.received_bytes

            await pool.churn(rate=30, seconds=2, seed=1)
            async with logged_in(pool.url, pool.password) as xapi, AsyncExitStack() as clients:
                for protocol, view in views.items():
                    client, views[protocol] = await back(clients, serving, protocol, view)
                    assert client.received_bytes < snapshot_bytes / 2
                await assert_equal([*views.values()], xapi)
                await pool.churn(rate=20, seconds=1, seed=2)
                await assert_equal([*views.values()], xapi)
            await serving.end(signal.SIGKILL)

        async with restarts.serving() as serving:
            await serving.settled()
            await pool.churn(rate=30, seconds=2, seed=3)
            async with logged_in(pool.url, pool.password) as xapi, AsyncExitStack() as clients:
                swapped = {JSON: views[MSGPACK], MSGPACK: views[JSON]}
                again = [(await back(clients, serving, p, v))[1] for p, v in swapped.items()]
                await assert_equal(again, xapi)


async def metrics(url):
    async with ClientSession() as http, http.get(f"{url}/metrics") as reply:
        return (await reply.text()).splitlines()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_our_own_client_library_is_compared(encoding):
    async with (
        SimulatedPool(generate(2, 12, 1)) as pool,
        proxy_on(pool.url, journal_bytes_per_pool=1500) as proxy,
        relayed(proxy.url) as relay,
        asyncio.timeout(30),
        library.connect(
            relay.url, username="admin", password=PASSWORD, encoding=encoding
        ) as connection,
        logged_in(pool.url) as xapi,
    ):
        view = await connection.subscribe("*")
        await view.until(lambda v: v.is_current)
        whole = connection.received_bytes
        relay.refusing = True
        relay.cut()
        await view.until(lambda v: not v.is_current)
        for ref in await xapi.records("VM"):
            await xapi.call("VM.set_name_label", xapi.ref, ref, "renamed")
        relay.refusing = False
        await view.until(lambda v: v.is_current and v[ref]["name_label"] == "renamed")
        assert 'xoproxy_resumes_total{outcome="compared"} 1.0' in await metrics(proxy.url)
        assert connection.received_bytes - whole < whole / 2
        assert (connection.reconnects, connection.faults) == (1, 0)
        held = {obj.ref: obj.record for obj in view.objects("VM")}
        assert same(held, await xapi.records("VM"))

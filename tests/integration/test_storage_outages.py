"""A proxy whose PostgreSQL goes away, comes back, or is another proxy's by then."""

import asyncio

import aiohttp
import asyncpg
import pytest

from tests import postgresql
from tests.integration.test_serve import environment, serving
from xoproxy.storage.postgresql import _OWNING

__all__ = ["environment"]  # the fixture

pytestmark = pytest.mark.slow

CLAIMS = f"""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {_OWNING & 0xFFFF_FFFF}
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608 - a number of ours


async def until_ready(served, status):
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{served.url}/readyz") as reply:
                if reply.status == status:
                    return await reply.text()
            await asyncio.sleep(0.2)


def admin(served):
    return {"Authorization": aiohttp.encode_basic_auth("admin", served.printed_password)}


async def add_user(served, name):
    body = {"name": name, "password": "a password that is good"}
    async with (
        aiohttp.ClientSession(headers=admin(served)) as http,
        http.post(f"{served.url}/api/v1/users", json=body) as reply,
    ):
        return reply.status, await reply.text()


async def until_added(served, name):
    async with asyncio.timeout(60):
        while (await add_user(served, name))[0] != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def users(served):
    async with (
        aiohttp.ClientSession(headers=admin(served)) as http,
        http.get(f"{served.url}/api/v1/users") as reply,
    ):
        return {user["name"] for user in await reply.json()}


async def test_a_server_that_stops_and_starts_again_needs_nobody(environment):
    with postgresql.running() as server:
        environment["XOPROXY_STORAGE__URL"] = server.new_database()
        async with serving(environment) as served:
            assert (await add_user(served, "before"))[0] == 201
            server.stop()
            assert "storage does not answer" in await until_ready(served, 503)
            status, text = await add_user(served, "meanwhile")
            assert status >= 500
            assert postgresql.PASSWORD not in text
            assert await users(served) == {"admin", "before"}  # what is in force was stored
            server.start()
            await until_ready(served, 200)
            await until_added(served, "after")
            assert await served.stop() == 0
            assert postgresql.PASSWORD not in (await served.process.stderr.read()).decode()
        async with serving(environment) as again:
            assert again.printed_password is None


async def test_a_proxy_that_lost_its_database_to_another_one_ends(environment, new_database):
    url = environment["XOPROXY_STORAGE__URL"] = new_database()
    async with serving(environment) as served, asyncio.TaskGroup() as tasks:
        assert (await add_user(served, "before"))[0] == 201
        other, watch = await asyncpg.connect(url), await asyncpg.connect(url)
        (mine,) = await watch.fetch(CLAIMS)
        taking = tasks.create_task(other.execute("SELECT pg_advisory_lock($1)", _OWNING))
        async with asyncio.timeout(20):
            while len(await watch.fetch(CLAIMS)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await watch.execute("SELECT pg_terminate_backend($1)", mine["pid"])
        await taking
        status, text = await add_user(served, "late")
        assert status >= 500, text
        _, log = await served.process.communicate()
        assert served.process.returncode == 2
        assert "another proxy uses this database" in log.decode().splitlines()[-1]
        names = await watch.fetch("SELECT name FROM accounts ORDER BY name")
        assert [row["name"] for row in names] == ["admin", "before"]
        await other.close()
        await watch.close()

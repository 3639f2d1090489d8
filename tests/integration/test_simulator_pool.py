"""A simulated pool as its clients meet it: XenAPI's own client, restarts, an older database."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import XenAPI

from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.wiretypes import Json

VM, HOST = "OpaqueRef:vm", "OpaqueRef:h"
ESTATE: dict[str, dict[str, dict[str, Json]]] = {
    "pool": {"OpaqueRef:p": {"master": HOST}},
    "host": {HOST: {"hostname": "h"}},
    "VM": {VM: {"name_label": "one", "resident_on": HOST, "VCPUs_max": 2}},
}


class Caller:
    """A JSON-RPC client."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.session = ""

    async def login(self) -> None:
        self.session = (await self.ask("session.login_with_password", "root", "x"))["result"]

    async def ask(self, method: str, *params: Json) -> dict[str, Json]:
        body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        async with self._http.post(f"{self._url}/jsonrpc", json=body) as response:
            reply: dict[str, Json] = await response.json()
            return reply

    async def call(self, method: str, *params: Json) -> Json:
        return (await self.ask(method, self.session, *params))["result"]


@pytest.fixture
async def pool() -> AsyncIterator[SimulatedPool]:
    async with SimulatedPool(ESTATE, speed=100) as made:
        yield made


@pytest.fixture
async def user(pool: SimulatedPool) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, pool.url)
        await caller.login()
        yield caller


async def test_the_python_client_of_xenserver_works(pool: SimulatedPool):
    def work() -> tuple[Json, ...]:
        session = XenAPI.Session(pool.url)
        session.xenapi.login_with_password("root", "x", "1.0", "test")
        try:
            session.xenapi.VM.set_name_label(VM, "<new> & €")
            record = session.xenapi.VM.get_record(VM)
            batch = getattr(session.xenapi.event, "from")(["vm"], "", 1.0)
            with pytest.raises(XenAPI.Failure) as caught:
                session.xenapi.VM.get_record("OpaqueRef:bad")
            return record, batch, caught.value.details
        finally:
            session.xenapi.session.logout()
            session("close")()

    record, batch, error = await asyncio.to_thread(work)
    assert (record["name_label"], record["VCPUs_max"]) == ("<new> & €", "2")
    assert batch["events"][0]["snapshot"] == record
    assert batch["valid_ref_counts"]["vm"] == 1
    assert error == ["HANDLE_INVALID", "VM", "OpaqueRef:bad"]


async def test_a_pool_ends_with_everything_that_waits_on_it():
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        async with SimulatedPool(ESTATE, speed=100) as pool:
            user = Caller(http, pool.url)
            await user.login()
            token = (await user.call("event.from", ["vm"], "", 0.0))["token"]
            waiting = group.create_task(_lost(user, token))
            await asyncio.sleep(0.1)
            assert pool.events.waiting == 1
        assert await waiting
        assert pool.hosts.connections() == []


async def _lost(user: Caller, token: str) -> bool:
    try:
        await user.call("event.from", ["vm"], token, 30.0)
    except aiohttp.ClientError:
        return True
    return False


async def test_tls():
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        SimulatedPool(ESTATE, tls=True) as pool,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        user = Caller(http, pool.url)
        await user.login()

        assert pool.url.startswith("https://")
        assert await user.call("VM.get_all") == [VM]


async def test_an_error_in_the_body_comes_through_as_it_is():
    with pytest.raises(ValueError, match="mine"):
        async with SimulatedPool(ESTATE):
            raise ValueError("mine")


async def test_a_restart_ends_sessions_and_shows_everything_as_new(
    pool: SimulatedPool, user: Caller
):
    batch = await user.call("event.from", ["vm", "host"], "", 0.0)
    old = user.session
    async with asyncio.TaskGroup() as group:
        lost = group.create_task(_lost(user, batch["token"]))
        await asyncio.sleep(0.1)
        down = group.create_task(pool.toolstack.restart(0.3))
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientError):
            await user.ask("system.listMethods")
        await down
        assert await lost

    assert (await user.ask("VM.get_all", old))["error"]["message"] == "SESSION_INVALID"
    await user.login()
    after = await user.call("event.from", ["vm", "host"], batch["token"], 1.0)
    assert {(e["operation"], e["ref"]) for e in after["events"]} == {("add", VM), ("add", HOST)}


async def test_a_restart_on_an_older_database_takes_changes_back(pool: SimulatedPool, user: Caller):
    batch = await user.call("event.from", ["vm"], "", 0.0)
    await user.call("VM.set_name_label", VM, "kept")
    await user.call("VM.set_name_label", VM, "lost")
    await user.call("VM.set_tags", VM, ["lost"])
    await pool.toolstack.restart(0.0, lost_changes=2)
    await user.login()

    record = await user.call("VM.get_record", VM)
    assert (record["name_label"], record["tags"]) == ("kept", [])
    after = await user.call("event.from", ["vm"], batch["token"], 1.0)
    assert [e["operation"] for e in after["events"]] == ["add"]

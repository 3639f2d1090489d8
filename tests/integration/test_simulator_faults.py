"""Faults, churn and statistics of a simulated pool, over real sockets."""

import asyncio
import socket

import aiohttp
import pytest

from tests.integration.sim import TIMEOUT, Client, Sim, outcome, simulated, until_answered

# -- connections ---------------------------------------------------------------------------


async def test_drop_resets_what_is_open_and_what_waits() -> None:
    async with simulated() as (_, client, sim), asyncio.TaskGroup() as group:
        token = (await client.events())["token"]
        waiting = group.create_task(outcome(client.events(token, 30)))
        await asyncio.sleep(0.1)
        assert (await sim.stats())["event_waits"] == 1
        await sim.fault("drop")
        assert await waiting in (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
        assert (await sim.stats())["event_waits"] == 0
        assert await client.on("pool.get_all")  # the session lives


async def test_drop_sends_a_reset_not_an_orderly_end() -> None:
    async with simulated() as (pool, _, sim):
        reader, writer = await asyncio.open_connection(*pool.address)
        writer.write(b"POST /jsonrpc HTTP/1.1\r\n")
        await asyncio.sleep(0.05)
        await sim.fault("drop")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_drop_can_last() -> None:
    async with simulated() as (_, client, sim):
        await sim.fault("drop", seconds=0.4)
        assert await outcome(client.on("pool.get_all")) in (
            aiohttp.ClientOSError,
            aiohttp.ServerDisconnectedError,
        )
        await sim.stats()
        await asyncio.sleep(0.5)
        assert await client.on("pool.get_all")


async def test_a_black_hole_answers_nothing_until_it_ends() -> None:
    async with simulated() as (_, client, sim), asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        token = (await client.events())["token"]
        waiting = group.create_task(client.events(token, 30))
        await asyncio.sleep(0.1)
        await sim.fault("black_hole", seconds=0.6)
        start = loop.time()
        await sim.churn(rate=100, seconds=0.2)
        await client.on("pool.get_all")
        assert loop.time() - start > 0.5
        assert (await waiting)["events"]
        assert (await sim.stats())["sessions"] == 1


async def test_none_ends_a_black_hole_without_end() -> None:
    async with simulated() as (_, client, sim), asyncio.TaskGroup() as group:
        await sim.fault("black_hole")
        waiting = group.create_task(client.on("pool.get_all"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await sim.fault("none")
        assert await waiting


async def test_half_open_connections_are_dead_and_new_ones_work() -> None:
    async with simulated() as (pool, client, sim), asyncio.TaskGroup() as group:
        token = (await client.events())["token"]
        waiting = group.create_task(outcome(client.events(token, 0.1)))
        await asyncio.sleep(0.05)
        await sim.fault("half_open")
        async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
            other = Client(http, pool.url)
            await other.login()
            await asyncio.sleep(0.5)
            assert not waiting.done()
            await sim.fault("none")
        assert await waiting in (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


async def test_delay_slows_every_answer() -> None:
    async with simulated() as (_, client, sim):
        loop = asyncio.get_running_loop()
        await sim.fault("delay", ms=200, seconds=0.5)
        start = loop.time()
        await client.on("pool.get_all")
        assert 0.2 <= loop.time() - start < 0.5
        await asyncio.sleep(0.5)
        start = loop.time()
        await client.on("pool.get_all")
        assert loop.time() - start < 0.15


# -- restarts ------------------------------------------------------------------------------


async def test_a_restart_is_away_and_then_knows_nobody() -> None:
    async with simulated() as (pool, client, sim):
        token = (await client.events())["token"]
        vms = pool.database.count("VM")
        await sim.fault("restart", seconds=0.4)
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.call("system.listMethods")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(pool.address, timeout=1).close()
        await asyncio.sleep(0.5)
        old = client.session
        assert await outcome(client.on("pool.get_all")) == ("SESSION_INVALID", old)
        await client.login()
        events = (await client.events(token))["events"]
        again = [event for event in events if event["class"] == "vm"]
        assert {event["operation"] for event in again} == {"add"}  # as after every load
        assert len(again) == vms
        assert (await sim.stats())["sessions"] == 1


async def test_a_second_restart_has_to_wait() -> None:
    async with simulated() as (_, client, sim):
        await sim.fault("restart", seconds=0.4)
        status, answer = await sim.post("fault", {"kind": "restart"})  # on the open connection
        assert (status, answer) == (409, {"error": "a restart is under way"})
        await asyncio.sleep(0.5)
        await until_answered(client)
        await sim.fault("restart", seconds=0)
        await until_answered(client)


async def test_changes_and_operations_rest_while_it_is_down() -> None:
    async with simulated() as (pool, client, sim):
        await sim.churn(rate=300, lifecycle=True)
        await asyncio.sleep(0.5)
        await sim.fault("restart", seconds=0.4)
        await asyncio.sleep(0.1)
        before = pool.database.generation
        await asyncio.sleep(0.2)
        assert pool.database.generation == before
        await until_answered(client)
        assert not [
            vm
            for vm in pool.database.refs("VM")
            for task in pool.database.get("VM", vm, "current_operations")
            if not pool.database.exists("task", task)
        ]
        before = pool.database.generation
        await asyncio.sleep(0.5)
        assert pool.database.generation - before > 100


async def test_an_older_database_has_lost_the_newest_changes() -> None:
    async with simulated() as (pool, client, sim):
        vms = pool.database.refs("VM")
        for number in range(30):
            await client.on("VM.set_name_label", vms[number % 5], f"name {number}")
        before = {vm: await client.on("VM.get_name_label", vm) for vm in vms}
        generation = pool.database.generation
        for number in range(200):
            await client.on("VM.set_name_label", vms[number % 7], f"lost {number}")
        future = (await client.on("event.from", ["VM"], "", 0.0))["token"]
        lost = pool.database.generation - generation
        await sim.fault("older_database", changes=lost, seconds=0.1)
        await asyncio.sleep(0.3)
        await until_answered(client)
        assert before == {vm: await client.on("VM.get_name_label", vm) for vm in vms}
        assert generation < pool.database.generation < generation + 20
        # The token is one from the future now: no error and no events, though things change.
        await client.on("VM.set_name_label", vms[0], "new")
        answer = await client.on("event.from", ["VM"], future, 0.2)
        assert answer["events"] == []
        assert answer["token"] == future


async def test_sessions_can_be_ended() -> None:
    async with simulated() as (_, client, sim), asyncio.TaskGroup() as group:
        token = (await client.events())["token"]
        waiting = group.create_task(outcome(client.events(token, 30)))
        await asyncio.sleep(0.1)
        await sim.fault("expire_sessions")
        assert await waiting == ("SESSION_INVALID", client.session)
        assert (await sim.stats())["sessions"] == 0
        await client.login()


# -- the coordinator moves -----------------------------------------------------------------


async def test_a_member_names_who_leads_meanwhile() -> None:
    async with simulated() as (pool, client, sim):
        port = pool.address[1]
        (record,) = (await client.on("pool.get_all_records")).values()
        first = record["master"]
        await sim.fault("member", seconds=0.8)
        expected = ("HOST_IS_SLAVE", "127.0.0.2")
        assert await outcome(client.login()) == expected
        assert await outcome(client.on("pool.get_all")) == ("SESSION_INVALID", client.session)
        async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
            other = Client(http, f"http://127.0.0.2:{port}")
            await other.login()
            client.session = other.session
            assert await outcome(client.on("pool.get_all")) == expected
            (record,) = (await other.on("pool.get_all_records")).values()
            assert record["master"] != first
            assert await other.on("host.get_address", record["master"]) == "127.0.0.2"
            assert (await sim.stats())["sessions"] == 1
            await asyncio.sleep(1)
            assert await outcome(other.login()) == ("HOST_IS_SLAVE", "127.0.0.1")
        await client.login()
        (record,) = (await client.on("pool.get_all_records")).values()
        assert record["master"] == first
        await sim.fault("member")
        assert await outcome(client.login()) == expected
        await sim.fault("none")
        await client.login()


async def test_both_addresses_go_down_in_a_restart() -> None:
    async with simulated() as (pool, client, sim):
        await sim.fault("member")
        await sim.fault("restart", seconds=0.3)
        await asyncio.sleep(0.1)
        for address in ("127.0.0.1", "127.0.0.2"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, pool.address[1]), timeout=1).close()
        await asyncio.sleep(0.4)
        assert await outcome(client.login()) == ("HOST_IS_SLAVE", "127.0.0.2")
        async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
            await Client(http, f"http://127.0.0.2:{pool.address[1]}").login()


# -- calls ---------------------------------------------------------------------------------


async def test_calls_fail_as_often_as_asked() -> None:
    async with simulated() as (_, client, sim):
        failure = {"code": "TOO_MANY_PENDING_TASKS", "params": []}
        await sim.fault("fail", method="pool.get_all", count=2, **failure)
        assert await client.on("host.get_all")
        for _ in range(2):
            assert await outcome(client.on("pool.get_all")) == ("TOO_MANY_PENDING_TASKS",)
        assert await client.on("pool.get_all")
        await sim.fault("fail", code="INTERNAL_ERROR", params=["boom"])
        assert await outcome(client.on("host.get_all")) == ("INTERNAL_ERROR", "boom")
        assert await client.on("host.get_all")
        await sim.fault("fail", code="INTERNAL_ERROR", count=100)
        await sim.fault("none")
        assert await client.on("host.get_all")
        assert (await sim.stats())["calls"]["pool.get_all"] == 3


# -- the control surface -------------------------------------------------------------------


async def test_statistics_count_sessions_waits_calls_and_objects() -> None:
    async with simulated() as (pool, client, sim), asyncio.TaskGroup() as group:
        token = (await client.events())["token"]
        waiting = group.create_task(client.events(token, 0.5))
        await asyncio.sleep(0.1)
        stats = await sim.stats()
        assert stats["sessions"] == 1
        assert stats["event_waits"] == 1
        assert stats["calls"] == {"session.login_with_password": 1, "event.from": 2}
        assert stats["generation"] == pool.database.generation
        assert stats["objects"]["VM"] == pool.database.count("VM") > 10
        assert stats["objects"]["host"] == 2
        await waiting


@pytest.mark.parametrize("kind", ["black_hole", "delay", "half_open", "drop"])
async def test_the_control_surface_answers_at_once_whatever_the_fault(kind: str) -> None:
    async with simulated() as (_, _, sim):
        await sim.stats()  # its connection is open when the fault begins
        extra = {"ms": 5000} if kind == "delay" else {}
        await sim.fault(kind, **extra)
        async with asyncio.timeout(0.5):
            await sim.stats()
            async with aiohttp.ClientSession() as fresh:
                await Sim(fresh, sim._url).stats()
            await sim.fault("none")


async def test_what_is_wrong_with_a_request_is_said() -> None:
    async with simulated() as (_, client, sim):
        status, answer = await sim.post("fault", {"kind": "earthquake"})
        assert status == 400
        assert "'earthquake' - at `$.kind`; the kinds are black_hole," in answer["error"]
        assert (await sim.post("fault", b"{"))[0] == 400
        assert (await sim.post("churn", {}))[0] == 400
        assert await client.on("pool.get_all")


async def test_unknown_paths_and_wrong_methods_are_refused() -> None:
    async with simulated() as (pool, _, sim):
        assert (await sim.post("nothing", {}))[0] == 404
        assert (await sim.post("stats", {}))[0] == 405
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{pool.url}/_sim/fault") as reply,
        ):
            assert reply.status == 405


# -- churn ---------------------------------------------------------------------------------


async def test_churn_makes_as_many_changes_as_asked_and_ends() -> None:
    async with simulated() as (_, _, sim):
        before = (await sim.stats())["generation"]
        await sim.churn(rate=400, seconds=1, seed=5)
        async with asyncio.timeout(20):
            while (await sim.stats())["generation"] < before + 400:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        after = (await sim.stats())["generation"]
        assert after - before <= 403
        await asyncio.sleep(0.2)
        assert (await sim.stats())["generation"] == after


async def test_churn_can_be_replaced_and_stopped() -> None:
    async with simulated() as (pool, _, sim):
        await sim.churn(rate=200)
        await asyncio.sleep(0.3)
        await sim.churn(rate=50, lifecycle=True)
        await asyncio.sleep(0.3)
        await sim.churn(rate=0)
        before = (await sim.stats())["generation"]
        await asyncio.sleep(0.2)
        assert (await sim.stats())["generation"] == before
        assert pool.database.count("task") == 0  # nothing is left half done


async def test_churn_survives_faults() -> None:
    async with simulated() as (pool, _, sim):
        await sim.churn(rate=200)
        for fault in ("drop", "black_hole", "expire_sessions", "member", "none"):
            before = pool.database.generation
            await sim.fault(fault)
            await asyncio.sleep(0.2)
            assert pool.database.generation - before > 20

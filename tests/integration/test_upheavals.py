"""What befalls a simulated pool and its hosts, as clients on real sockets see it."""

import asyncio
import hashlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.integration.sim import (
    TIMEOUT,
    Client,
    Sim,
    outcome,
    simulated,
    until,
    until_answered,
)
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool


@asynccontextmanager
async def client_of(pool: SimulatedPool, host: Host) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
        yield Client(http, pool.hosts.url(host))


def answers(pool: SimulatedPool, host: Host) -> bool:
    try:
        socket.create_connection((host.address, pool.address[1]), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def live(pool: SimulatedPool, host: Host) -> bool:
    metrics = pool.database.get("host", host.ref, "metrics")
    return bool(pool.database.get("host_metrics", metrics, "live"))


# -- hosts and their addresses -------------------------------------------------------------


async def test_each_host_answers_on_its_own_address() -> None:
    async with simulated(hosts=4) as (pool, client, _):
        first, *others = pool.hosts
        port = pool.address[1]
        told = {h["address"] for h in (await client.on("host.get_all_records")).values()}
        assert told == {f"127.0.0.{n}" for n in (1, 2, 3, 4)}
        for host in others:
            async with client_of(pool, host) as member:
                assert member.url == f"http://{host.address}:{port}"
                assert await outcome(member.login()) == ("HOST_IS_SLAVE", first.address)
                assert "VM.start" in await member.call("system.listMethods")


async def test_consoles_are_where_their_vm_runs() -> None:
    async with simulated(hosts=3) as (pool, client, _):
        hosts = await client.on("host.get_all_records")
        vms = await client.on("VM.get_all_records")
        consoles = (await client.on("console.get_all_records")).values()
        assert consoles
        for console in consoles:
            address = hosts[vms[console["VM"]]["resident_on"]]["address"]
            origin = f"http://{address}:{pool.address[1]}"
            assert console["location"] == f"{origin}/console?uuid={console['uuid']}"


async def test_a_local_session_is_for_local_calls_only() -> None:
    async with simulated(hosts=2) as (pool, client, _):
        _, other = pool.hosts
        async with client_of(pool, other) as member:
            login = "session.slave_local_login_with_password"
            session = await member.call(login, "root", "x")
            assert await member.call("host.list_methods", session)
            for anybody in (member, client):
                refused = await outcome(anybody.call("VM.get_all", session))
                assert refused == ("SESSION_INVALID", session)
            await member.call("session.local_logout", session)
            refused = await outcome(member.call("host.list_methods", session))
            assert refused == ("SESSION_INVALID", session)


async def test_two_pools_live_beside_each_other() -> None:
    async with simulated(hosts=3) as (one, _, _), simulated(hosts=3) as (other, client, _):
        assert one.address[1] != other.address[1]
        assert [host.address for host in one.hosts] == [host.address for host in other.hosts]
        assert await client.on("pool.get_all") == other.database.refs("pool")


# -- certificates --------------------------------------------------------------------------


async def shown_by(host: Host, port: int) -> str:
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host.address, port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def test_certificates_are_renewed_and_rows_say_so() -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        SimulatedPool(generate(2, 2), tls=True) as pool,
        aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as http,
    ):
        client, sim = Client(http, pool.url), Sim(http, pool.url)
        await client.login()
        first, second = pool.hosts
        port = pool.address[1]

        async def in_rows(host: Host) -> str:
            rows = (await client.on("Certificate.get_all_records")).values()
            shown = [r for r in rows if r["host"] == host.ref and r["type"] == "host"]
            assert len(shown) == 1
            return str(shown[0]["fingerprint_sha256"]).replace(":", "").lower()

        before = {host: await shown_by(host, port) for host in (first, second)}
        assert before == {host: await in_rows(host) for host in (first, second)}
        await sim.fault("certificate", host=second.address)
        after = await shown_by(second, port)
        assert after == await in_rows(second) != before[second]
        assert await shown_by(first, port) == before[first]
        await sim.fault("certificate")
        assert await shown_by(first, port) == await in_rows(first) != before[first]
        assert await client.on("pool.get_all")  # the open connection goes on


async def test_without_tls_there_is_no_certificate_to_change() -> None:
    async with simulated() as (_, _, sim):
        status, answer = await sim.post("fault", {"kind": "certificate"})
        assert (status, answer["error"]) == (
            409,
            "the pool speaks plain HTTP: nobody meets a certificate",
        )


# -- the coordinator moves -----------------------------------------------------------------


async def test_a_failover_takes_sessions_and_the_old_coordinator_comes_back_as_a_member() -> None:
    async with simulated(hosts=3) as (pool, client, sim):
        old = pool.hosts.coordinator
        token = (await client.events())["token"]
        await sim.fault("failover", takeover_s=0.1, seconds=0.6, seed=4)
        assert not answers(pool, old)
        await until(lambda: pool.hosts.coordinator is not old and pool.toolstack.up.is_set())
        new = pool.hosts.coordinator
        assert not live(pool, old)
        async with client_of(pool, new) as other:
            refused = await outcome(other.call("pool.get_all", client.session))
            assert refused == ("SESSION_INVALID", client.session)
            await other.login()
            (record,) = (await other.on("pool.get_all_records")).values()
            assert record["master"] == new.ref
            events = (await other.events(token))["events"]
            again = {e["ref"] for e in events if e["operation"] == "add"}
            assert set(pool.database.refs("VM")) <= again
            await until(lambda: answers(pool, old))
            assert await outcome(client.login()) == ("HOST_IS_SLAVE", new.address)
            await until(lambda: live(pool, old))
        third = next(host for host in pool.hosts if host not in (old, new))
        async with client_of(pool, third) as member:
            assert await outcome(member.login()) == ("HOST_IS_SLAVE", new.address)


async def test_the_same_seed_promotes_the_same_host() -> None:
    chosen = []
    for _ in range(2):
        async with simulated(hosts=5) as (pool, _, sim):
            for seed in (7, 8, 9):
                await sim.fault("promote", seed=seed)
                chosen.append(pool.hosts.coordinator.address)
    assert chosen[:3] == chosen[3:]
    assert len(set(chosen)) > 1


async def test_a_host_is_promoted_by_name() -> None:
    async with simulated(hosts=3) as (pool, client, sim):
        last = list(pool.hosts)[2]
        name = pool.database.get("host", last.ref, "name_label")
        await sim.fault("promote", host=name)
        assert pool.hosts.coordinator is last
        assert await outcome(client.login()) == ("HOST_IS_SLAVE", last.address)
        status, answer = await sim.post("fault", {"kind": "promote", "host": name})
        assert (status, answer["error"].startswith(f"{name} leads already")) == (409, True)
        status, answer = await sim.post("fault", {"kind": "promote", "host": "nobody"})
        assert (status, answer["error"].startswith("there is no host 'nobody'; ")) == (400, True)


# -- hosts die and boot --------------------------------------------------------------------


async def test_a_host_that_dies_takes_its_vms_with_it() -> None:
    async with simulated(hosts=3, speed=50) as (pool, client, sim):
        host = next(
            host
            for host in list(pool.hosts)[1:]
            if len(pool.database.get("host", host.ref, "resident_VMs")) > 1
        )
        dom0 = pool.database.get("host", host.ref, "control_domain")
        guests = set(pool.database.get("host", host.ref, "resident_VMs")) - {dom0}
        await sim.fault("host_down", host=host.ref, seconds=0.4)
        assert not answers(pool, host)
        assert not live(pool, host)
        states = {await client.on("VM.get_power_state", vm) for vm in guests}
        assert states <= {"Running", "Paused"}, "nobody tells of them while it is away"
        await until(lambda: answers(pool, host) and live(pool, host))
        await until(lambda: pool.database.get("host", host.ref, "enabled"))
        assert {await client.on("VM.get_power_state", vm) for vm in guests} == {"Halted"}
        record = await client.on("host.get_record", host.ref)
        assert record["resident_VMs"] == [dom0]
        for pbd in record["PBDs"]:
            assert await client.on("PBD.get_currently_attached", pbd)
        assert await client.on("pool.get_all"), "the session lives on: the coordinator does"


async def test_without_coordinator_members_name_the_dead_one_until_it_is_back() -> None:
    async with simulated(hosts=2, speed=50) as (pool, client, sim):
        first, second = pool.hosts
        await sim.fault("host_down", host=first.ref)
        assert not answers(pool, first)
        async with client_of(pool, second) as member, aiohttp.ClientSession() as http:
            assert await outcome(member.login()) == ("HOST_IS_SLAVE", first.address)
            there = Sim(http, pool.hosts.url(second))
            asked = {"kind": "host_down", "host": first.address}
            assert await there.post("fault", asked) == (409, {"error": "the host is dead already"})
            await there.fault("none")
        await until_answered(client)


# -- time and load -------------------------------------------------------------------------


async def test_clocks_go_wrong_together() -> None:
    async with simulated() as (pool, client, sim):
        await sim.fault("clock_skew", seconds=-86_400)
        host = pool.database.refs("host")[0]
        yesterday = time.strftime("%Y%m%dT", time.gmtime(time.time() - 86_400))
        assert (await client.on("host.get_servertime", host)).startswith(yesterday)
        task = await client.on("task.create", "mine", "")
        assert (await client.on("task.get_created", task)).startswith(yesterday)
        await sim.fault("none")
        assert not (await client.on("host.get_servertime", host)).startswith(yesterday)


async def test_a_storm_has_as_many_changes_as_asked_and_is_repeatable() -> None:
    seen = []
    for _ in range(2):
        async with simulated() as (pool, client, sim):
            token = (await client.on("event.from", ["VM", "VDI", "host"], "", 0.0))["token"]
            before = pool.database.generation
            await sim.fault("storm", changes=500, seed=3)
            await asyncio.sleep(0.3)
            assert pool.database.generation - before >= 500
            assert pool.database.generation - before <= 510
            events = (await client.on("event.from", ["VM", "VDI", "host"], token, 1.0))["events"]
            assert len(events) > 10
            seen.append(sorted((e["class"], e["ref"]) for e in events if e["operation"] == "mod"))
    assert seen[0] == seen[1]


# -- scripts -------------------------------------------------------------------------------


async def script(http: aiohttp.ClientSession, url: str) -> dict:
    async with http.get(f"{url}/_sim/faults") as reply:
        return await reply.json()


async def test_a_script_lets_faults_begin_by_its_timetable() -> None:
    async with simulated(hosts=3) as (pool, _, sim), aiohttp.ClientSession() as http:
        _, second, third = pool.hosts
        plan = [
            {"after": 0.2, "kind": "promote", "host": third.address},
            {"kind": "promote", "host": second.address},
            {"after": 0.1, "kind": "promote", "host": "nobody"},
            {"after": 0.3, "kind": "expire_sessions"},
        ]
        assert await sim.post("faults", plan) == (200, {"ok": True})
        await until(lambda: pool.hosts.coordinator is second)
        await until(lambda: pool.hosts.coordinator is third)
        await asyncio.sleep(0.3)
        told = await script(http, pool.url)
        assert told["ended"]
        assert [(step["after"], step["kind"]) for step in told["steps"]] == [
            (0.0, "promote"),
            (0.1, "promote"),
            (0.2, "promote"),
            (0.3, "expire_sessions"),
        ]
        assert ["error" in step for step in told["steps"]] == [False, True, False, False]


async def test_asking_for_no_faults_ends_a_script() -> None:
    async with simulated() as (_, client, sim):
        await sim.post("faults", [{"after": 0.3, "kind": "expire_sessions"}])
        await sim.fault("none")
        await asyncio.sleep(0.4)
        assert await client.on("pool.get_all")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([{"after": 1}], "step 0: "),
        ([{"kind": "drop"}, {"kind": "flood"}], "step 1: Invalid value 'flood'"),
        ([{"kind": "drop", "after": -1}], "step 0: Expected `float` >= 0.0"),
        ([{"kind": "drop", "ms": 1}], "step 0: Object contains unknown field `ms`"),
        ([], "length >= 1"),
        ({"kind": "drop"}, "Expected `array`"),
    ],
)
async def test_what_is_wrong_with_a_script_is_said(plan: object, message: str) -> None:
    async with simulated() as (_, _, sim):
        status, answer = await sim.post("faults", plan)
        assert status == 400
        assert message in answer["error"]

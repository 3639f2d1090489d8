"""Pools from before JSON-RPC, and from before event.from: held as truly as any other.

boston (XenServer 6.0) has event.from, but speaks XML-RPC only; cowley (5.6 FP1) has neither.
"""

import asyncio
import itertools
import os
import random
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.changes import RandomChanges
from tests.integration.scenarios import ANY_HOST, MIX, SCENARIOS
from tests.integration.support import JSON, MSGPACK, connected, proxy_on, same
from tests.integration.watched import FAST, POOL, Witness, config, watched
from tests.shared import shared_files, shared_path
from xoproxy.cache.store import Store
from xoproxy.errors import XapiFailure
from xoproxy.model import Ref, XapiClass
from xoproxy.pool import jsonrpc
from xoproxy.pool.link import LinkState
from xoproxy.pool.supervisor import Supervisor
from xoproxy.simulator import legacy_events
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dumps import load_estate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

VM = XapiClass("VM")
MESSAGE = XapiClass("message")
XML, LEGACY = "boston", "cowley"
RELEASES = pytest.mark.parametrize("release", [XML, LEGACY, "rio"])


@pytest.fixture(autouse=True)
def quick_heart(monkeypatch):
    """Let silence be noticed in seconds; XAPI's own heartbeat comes every half minute."""
    monkeypatch.setattr(legacy_events, "HEARTBEAT_S", 1.0)
    monkeypatch.setattr(jsonrpc, "SILENCE_S", 2.0)


async def call(world, method: str, **params: object):
    return msgspec.json.decode(await world.supervisor.call(POOL, method, params))


# --- the first load, and what changes -------------------------------------------------------------


@RELEASES
async def test_after_any_changes_we_hold_what_the_pool_has(release):
    async with watched(generate(2, 40, 2), release=release) as world:
        assert world.differences() == []
        assert len(world.store) > 300
        await world.churn(rate=300, seconds=1.5, seed=3, lifecycle=True)
        await asyncio.sleep(1.7)
        await world.churn(rate=0)

        await world.until_equal()
        kinds = world.witness.kinds()
        assert kinds["change"] > 50
        assert kinds["add"]
        assert kinds["remove"]
        assert world.witness.loads == 1
        assert world.counts.full_lists == 1
        assert world.stats["sessions"] == 1
        assert bool(world.calls("event.next")) is (release != XML)


@pytest.mark.parametrize("release", [XML, LEGACY])
async def test_messages_come_with_the_first_load_and_as_they_are_made(release):
    async with watched(generate(1, 5, 8), replace(FAST, messages_kept=5), release=release) as world:
        database = world.simulator.database
        uuid = database.record("VM", database.refs("VM")[0])["uuid"]
        made = [
            database.message_create(
                f"NAME_{n}", 3, "VM", uuid, "body", timestamp=f"20301231T23:59:{n:02}Z"
            )
            for n in range(8)
        ]
        await world.until(lambda: set(made[3:]) == {e.ref for e in world.store.entries(MESSAGE)})


async def test_old_messages_are_there_without_any_new_one():
    async with watched(generate(1, 5, 8), release=LEGACY) as world:
        count = len(world.simulator.database.refs("message"))
        assert count
        await world.until(lambda: world.store.by_class.count(MESSAGE) == count)


@RELEASES
async def test_commands_take_effect_and_their_results_have_types(release):
    async with watched(generate(1, 30, 3), speed=20, release=release) as world:
        database = world.simulator.database
        vm = next(
            ref
            for ref in database.refs("VM")
            if database.record("VM", ref)["power_state"] == "Halted"
            and not database.record("VM", ref)["is_a_template"]
        )
        memory = await call(world, "VM.get_memory_static_max", self=vm)
        assert memory == database.record("VM", vm)["memory_static_max"]
        assert isinstance(memory, int)
        await call(world, "VM.set_name_label", self=vm, value="from a client")
        await world.until(lambda: _record(world, vm)["name_label"] == "from a client")
        await call(world, "VM.start", vm=vm, start_paused=False, force=False)
        await world.until(lambda: _record(world, vm)["power_state"] == "Running")
        with pytest.raises(XapiFailure) as caught:
            await call(world, "VM.start", vm=vm, start_paused=False, force=False)
        assert caught.value.code == "VM_BAD_POWER_STATE"
        await world.until_equal()


def _record(world, ref: str) -> dict:
    entry = world.store.get(Ref(ref))
    return msgspec.json.decode(entry.raw)


DUMPS = [
    pytest.param(path, release, id=f"{path.name}-{release}")
    for path, release in zip(
        shared_files("recorded/xenadmin", "*.*"), itertools.cycle([XML, LEGACY]), strict=False
    )
]


@pytest.mark.parametrize(("dump", "release"), DUMPS)
async def test_every_dump_is_held_exactly_before_and_after_random_changes(dump, release):
    path = shared_path(f"recorded/xenadmin/{dump.name}")
    estate = load_estate(path, DataModel.load(release)).estate
    async with watched(estate, release=release) as world:
        assert len(world.store) > 50
        assert world.differences() == []
        changes = RandomChanges(world.simulator.database, seed=len(dump.name))
        for number in range(600):
            changes.step()
            if number % 50 == 0:
                await asyncio.sleep(0.01)

        await world.until_equal()
        assert world.witness.loads == 1
        assert sum(world.witness.kinds().values()) > 50


@pytest.mark.parametrize("release", [XML, LEGACY])
async def test_clients_of_the_whole_proxy_see_the_same_as_of_any_pool(release):
    async with (
        SimulatedPool(generate(2, 20, 5), release=release) as pool,
        proxy_on(pool.url) as proxy,
        connected(proxy.url, JSON) as json_client,
        connected(proxy.url, MSGPACK) as msgpack_client,
    ):
        (first,) = await json_client.subscribe()
        (second,) = await msgpack_client.subscribe()
        changes = RandomChanges(pool.database, seed=5)
        for number in range(400):
            changes.step()
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        await until(lambda: not _unlike(first, pool) and not _unlike(second, pool))
        assert min(first.patches, second.patches) > 1
        assert first.resets == second.resets == []


def _unlike(view, pool) -> list[str]:
    """Name the classes in which a replica is not what the pool holds."""
    database = pool.database
    found = []
    for cls in (set(view.document) - {"message"}) & database.tables.keys():
        shown = database.model.classes[cls].record
        theirs = {ref: shown(database.record(cls, ref)) for ref in database.refs(cls)}
        if not same(view.records(cls), theirs):
            found.append(cls)
    return found


# --- faults ---------------------------------------------------------------------------------------


@RELEASES
async def test_lost_removals_leave_no_ghosts(release):
    patient = replace(FAST, request_timeout_s=30.0)
    async with watched(generate(1, 600, 4), patient, live=False, release=release) as world:
        await world.until_live(30)
        await world.fault("black_hole")
        world.destroy_vms(560)  # more than XAPI remembers
        world.rename_vms(3, "survivor")
        batches = len(world.witness.batches)
        await asyncio.sleep(0.5)
        await world.fault("none")

        await world.until_equal(20)
        assert world.witness.kinds(batches)["remove"] >= 560
        assert world.witness.loads == 1


@pytest.mark.parametrize("release", [XML, LEGACY])
async def test_a_restart_is_healed_without_a_reset(release):
    async with watched(generate(2, 30, 7), release=release) as world:
        await world.churn(rate=100, seed=1, lifecycle=True)
        await world.fault("restart", seconds=0.5)
        await world.until(lambda: world.state is LinkState.STALE)
        await world.until_live()
        await asyncio.sleep(0.5)
        await world.churn(rate=0)

        await world.until_equal()
        assert world.witness.loads == 1
        assert world.stats["sessions"] == 1


@pytest.mark.parametrize("code", ["EVENTS_LOST", "SESSION_NOT_REGISTERED"])
async def test_a_lost_registration_lists_the_pool_as_a_difference(code):
    async with watched(generate(1, 10, 11), release=LEGACY) as world:
        await world.until(lambda: world.calls("event.next") > 0)
        await world.fault("fail", method="event.next", code=code)
        world.destroy_vms(2)
        world.rename_vms(5, "new")

        await world.until(lambda: world.counts.full_lists == 2)
        await world.until_equal()
        await world.until_live()
        assert world.calls("event.register") == 2
        assert world.calls("session.login_with_password") == 2  # the first without originator
        assert world.witness.loads == 1
        assert world.witness.kinds()["remove"] >= 2


async def test_what_does_not_fit_xapis_queue_is_listed(monkeypatch):
    monkeypatch.setattr(legacy_events, "QUEUE_BYTES", 20_000)
    async with watched(generate(1, 40, 12), release=LEGACY) as world:
        await world.until(lambda: world.calls("event.next") > 0)
        for n in range(20):
            world.rename_vms(20, f"name {n}")
        world.destroy_vms(10)

        await world.until(lambda: world.counts.full_lists == 2)
        await world.until_equal()
        assert world.witness.loads == 1


async def test_an_answer_that_got_lost_costs_nothing_but_a_list():
    async with watched(generate(1, 20, 13), release=LEGACY) as world:
        await world.until(lambda: world.calls("event.next") > 0)
        await world.fault("truncated", seconds=0.5)
        world.destroy_vms(5)  # told in the answer that is cut off, and never again
        world.rename_vms(5, "told once")

        await world.until(lambda: world.counts.full_lists >= 2)
        await world.until_equal()
        assert world.witness.loads == 1


async def test_who_waits_for_us_in_vain_gets_none_of_the_events_to_come():
    """XAPI gives a session's events to whoever asked first, even if nobody is there any more."""
    async with watched(generate(1, 6, 1), release=LEGACY) as world:
        (before,) = world.simulator.database.refs("session")
        await world.until(lambda: world.calls("event.next") > 0)
        await world.fault("half_open")  # the wait is never answered, and nobody tells XAPI
        await world.until(lambda: world.state is LinkState.STALE)
        await world.until_live()
        (after,) = world.simulator.database.refs("session")
        assert after != before
        for number in range(5):
            world.rename_vms(3, f"name {number}")
            await world.until_equal()


@RELEASES
async def test_a_process_that_is_killed_is_replaced(release):
    async with watched(generate(1, 10, 14), release=release) as world:
        await world.until(lambda: world.calls("event.next") + world.calls("event.from") > 1)
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        world.destroy_vms(2)
        world.rename_vms(5, "afterwards")

        await world.until(lambda: LinkState.STALE in world.witness.states)
        await world.until_live()
        await world.until_equal()
        assert world.witness.loads == 1


def _children() -> list[int]:
    me = os.getpid()
    return [
        int(pid)
        for task in Path(f"/proc/{me}/task").iterdir()
        for pid in (task / "children").read_text().split()
        if b"xmlrpc_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


KINDS = sorted(SCENARIOS.keys() - {MIX, "certificate"})  # without TLS
SEED = os.environ.get("XOPROXY_CHAOS_SEED") or str(random.randrange(10**6))


def _drawn(rng: random.Random, world) -> dict[str, Any]:
    fault = SCENARIOS[rng.choice(KINDS)].draw(rng)
    if "seconds" in fault and fault["kind"] != "clock_skew":
        fault["seconds"] = round(min(fault["seconds"], rng.uniform(0.1, 1.2)), 2)
    if fault.get("host") == ANY_HOST:
        hosts = world.simulator.database.refs("host")
        fault["host"] = world.simulator.database.get("host", rng.choice(sorted(hosts)), "uuid")
    return fault


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("release", [XML, LEGACY])
async def test_any_sequence_of_faults_ends_with_what_the_pool_has(release, number):
    print(f"seed {SEED}")  # noqa: T201 - shown when it fails
    rng = random.Random(f"{SEED} {release} {number}")
    settings = replace(FAST, connect_timeout_s=2.0, request_timeout_s=4.0)
    async with watched(generate(3, 6, number), settings, release=release, speed=5) as world:
        for _ in range(3):
            await world.churn(rate=20, seed=rng.randrange(10**6), lifecycle=True)
            for _ in range(rng.randint(1, 4)):
                fault = _drawn(rng, world)
                print(fault)  # noqa: T201
                status, answer = await world.simulator.control.answer(
                    "POST", "/_sim/fault", msgspec.json.encode(fault)
                )
                assert status in {200, 409}, (fault, answer)
                await asyncio.sleep(rng.uniform(0, 1.2))
            await world.fault("none")
            await world.churn(rate=0)

            await world.until_live(30)
            await world.until_equal(30)
        assert world.witness.loads == 1
        assert set(world.witness.states) <= {"connecting", "live", "stale"}


# --- which protocol -------------------------------------------------------------------------------


async def test_a_pool_with_json_rpc_costs_no_process():
    async with watched(generate(1, 3, 1), release="6.2") as world:  # where it came first
        await world.until_equal()
        assert _children() == []


async def until(condition, within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


@asynccontextmanager
async def supervised(simulator):
    async with asyncio.TaskGroup() as group:
        witness = Witness()
        supervisor = Supervisor(group, witness, FAST, lambda pool: Store(pool, "e"))
        supervisor.add(config(simulator))
        try:
            yield supervisor, witness
        finally:
            await supervisor.close()


async def test_after_an_update_the_pool_is_followed_over_json_rpc():
    estate = generate(1, 10, 21)
    before = AsyncExitStack()
    old = await before.enter_async_context(SimulatedPool(estate, release=XML))
    async with supervised(old) as (supervisor, witness):
        await until(lambda: LinkState.LIVE in witness.states)
        assert _children()
        assert "domain_type" not in _a_vm(supervisor.store(POOL))
        await before.aclose()
        async with SimulatedPool(estate, listen=old.address) as new:
            await until(lambda: LinkState.STALE in witness.states)
            await until(lambda: witness.states[-1] == LinkState.LIVE)
            store = supervisor.store(POOL)
            assert store.by_class.count(VM) == new.database.count("VM")
            assert "domain_type" in _a_vm(store)
            assert witness.loads == 1


def _a_vm(store) -> dict:
    return msgspec.json.decode(next(iter(store.entries(VM))).raw)


@RELEASES
async def test_the_certificate_is_looked_at_before_the_password_goes(release):
    async with watched(generate(1, 3, 1), tls=True, live=False, release=release) as world:
        await world.until(lambda: world.error_code == "CERTIFICATE")
        assert world.stats["calls"] == {}
    async with watched(generate(1, 3, 1), tls=True, trusted=True, release=release) as world:
        await world.until_equal()


async def test_a_wrong_password_is_told_as_over_json_rpc():
    async with watched(
        generate(1, 3, 1), live=False, speed=20, password="no", release=LEGACY
    ) as world:
        await world.until(lambda: world.error_code == "AUTH_FAILED")


@pytest.mark.parametrize("release", [XML, LEGACY])
async def test_a_look_at_an_old_pool_finds_it_good(release):
    async with watched(generate(2, 3, 1), release=release) as world:
        report = await world.supervisor.check(config(world.simulator))

        steps = {step.name: step for step in report.steps}
        assert [s.name for s in report.steps if s.outcome not in {"ok", "warning"}] == []
        assert steps["clock"].message == "The clocks agree."
        assert ("no event.from" in steps["version"].message) is (release != XML)
        assert report.pool_uuid == world.status.uuid
        await world.until(lambda: world.stats["sessions"] == 1)

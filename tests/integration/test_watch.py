"""The watch against a simulated pool over real sockets: what we hold is what the pool has."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from tests.integration.support import same
from tests.integration.watched import FAST, watched
from xoproxy.model import XapiClass
from xoproxy.pool.link import LinkState
from xoproxy.simulator.estate import generate

VM = XapiClass("VM")
MESSAGE = XapiClass("message")


async def test_the_first_load_is_the_pools_get_all_records_of_every_class():
    async with watched(generate(2, 30, 1)) as world:
        session = await world.rpc("session.login_with_password", "root", "x")
        await world.until(lambda: world.store.by_class.count(MESSAGE) > 0)

        assert world.witness.loads == 1
        assert len(world.store.classes) > 50
        for cls in world.store.classes:
            theirs = await world.rpc(f"{cls}.get_all_records", session)
            ours = {e.ref: msgspec.json.decode(e.raw) for e in world.store.entries(cls)}
            assert same(theirs, ours), cls


async def test_secrets_and_sessions_are_never_held():
    async with watched(generate(1, 3, 1)) as world:
        assert not {"secret", "session", "user", "event"} & {c.lower() for c in world.store.classes}
        world.simulator.database.create("secret", {"value": "hunter2"})
        world.rename_vms(1, "sign")
        await world.until(lambda: any(b"sign" in e.raw for e in world.store.entries(VM)))
        assert not any(b"hunter2" in raw for raw in world.witness.replica.values())


async def test_after_any_changes_we_hold_what_the_pool_has():
    async with watched(generate(2, 40, 2)) as world:
        await world.churn(rate=400, seconds=2, seed=3, lifecycle=True)
        await asyncio.sleep(2.2)
        await world.churn(rate=0)

        await world.until_equal()
        kinds = world.witness.kinds()
        assert kinds["change"] > 100
        assert kinds["add"]
        assert kinds["remove"]
        assert world.witness.loads == 1
        assert world.counts.full_lists == 1
        assert world.calls("session.login_with_password") == 1


async def test_lost_removals_leave_no_ghosts():
    async with watched(generate(1, 1600, 4)) as world:
        await world.fault("black_hole")
        world.destroy_vms(1500)
        world.rename_vms(3, "survivor")
        batches = len(world.witness.batches)
        await world.fault("none")

        left = world.simulator.database.count("VM")
        assert await world.until(lambda: world.store.by_class.count(VM) == left) < 3
        await world.until_equal()
        kinds = world.witness.kinds(batches)
        assert kinds["remove"] >= 1500
        assert not kinds["add"] - world.store.by_class.count(MESSAGE)
        await world.until(lambda: world.counts.relists >= 1)  # counted a moment later
        assert world.witness.loads == 1
        assert world.state is LinkState.LIVE


async def test_an_older_database_is_told_as_a_difference():
    async with watched(generate(1, 30, 5)) as world:
        world.rename_vms(10, "to be forgotten")
        await world.until_equal()
        batches = len(world.witness.batches)

        await world.fault("older_database", changes=8, seconds=0.2)
        await world.until(lambda: world.state is not LinkState.LIVE)
        await world.until_live()
        await world.until_equal()

        assert world.witness.loads == 1
        forgotten = sum(b"to be forgotten" in e.raw for e in world.store.entries(VM))
        assert forgotten == 2
        assert world.witness.kinds(batches)["change"] >= 8
        assert not world.witness.kinds(batches)["remove"]
        world.rename_vms(4, "afterwards")
        await world.until_equal()


async def test_a_token_from_the_future_is_found_out_by_a_probe():
    settings = replace(FAST, probe_after_s=0.3, probe_timeout_s=0.3)
    async with watched(generate(1, 10, 6), settings) as world:
        world.rename_vms(10, "to be forgotten")
        await world.until_equal()

        world.simulator.database.rewind(8)  # without any sign: sessions and connections stay
        assert world.differences()
        await world.until_equal()

        assert world.counts.silent_tokens == 1
        assert world.counts.probes >= 1
        assert world.calls("session.login_with_password") == 1
        world.rename_vms(4, "afterwards")
        await world.until_equal()


async def test_a_quiet_pool_shows_signs_of_life_without_any_change():
    settings = replace(FAST, event_timeout_s=0.2, probe_after_s=0.5)
    async with watched(generate(1, 3, 6), settings) as world:
        batches = len(world.witness.batches)
        await world.until(lambda: world.counts.probes >= 3)

        assert world.counts.silent_tokens == 0
        assert world.counts.full_lists == 1
        assert len(world.witness.batches) - batches <= 1  # the messages, perhaps
        assert world.witness.states == ["connecting", "live"]


async def test_a_restart_is_healed_without_a_reset():
    async with watched(generate(2, 30, 7)) as world:
        since_s = world.status.link.since_s
        await world.churn(rate=200, seed=1, lifecycle=True)
        await world.fault("restart", seconds=0.5)
        await world.until(lambda: world.state is LinkState.STALE)
        status = world.status
        assert status.objects == len(world.store) > 100, "stale data stays"
        assert status.link.since_s >= since_s
        assert world.error_code in {"UNREACHABLE", "SESSION_INVALID"}
        await world.until_live()
        await asyncio.sleep(0.5)
        await world.churn(rate=0)

        await world.until_equal()
        assert world.witness.loads == 1
        assert world.witness.states == ["connecting", "live", "stale", "live"]
        assert world.stats["sessions"] == 1


async def test_messages_come_and_go_and_only_the_newest_are_kept():
    settings = replace(FAST, messages_kept=5, message_relist_s=0.3)
    async with watched(generate(1, 5, 8), settings) as world:
        database = world.simulator.database
        session = await world.rpc("session.login_with_password", "root", "x")
        uuid = database.record("VM", database.refs("VM")[0])["uuid"]
        made = [
            database.message_create(
                f"NAME_{n}", 3, "VM", uuid, "body", timestamp=f"20301231T23:59:{n:02}Z"
            )
            for n in range(8)
        ]
        await world.until(lambda: set(made[3:]) == {e.ref for e in world.store.entries(MESSAGE)})

        await world.rpc("message.destroy", session, made[-1])
        await world.until(lambda: made[-1] not in {e.ref for e in world.store.entries(MESSAGE)})
        await world.until(lambda: world.store.by_class.count(MESSAGE) == 5)  # listed again


async def test_without_messages_they_are_not_asked_for():
    async with watched(generate(1, 3, 8), replace(FAST, messages_kept=0)) as world:
        world.rename_vms(1, "x")
        await world.until_equal()

        assert not world.calls("message.get_all_records")
        assert "message" not in world.store.classes


async def test_a_scan_that_comes_and_goes_is_no_news():
    async with watched(generate(1, 10, 9), replace(FAST, messages_kept=0)) as world:
        database = world.simulator.database
        (sr, *_) = database.refs("SR")
        allowed = database.record("SR", sr)["allowed_operations"]
        events = world.counts.events

        async def write(**fields):
            for name, value in fields.items():
                database.write("SR", sr, name, value)
            before = world.counts.events
            await world.until(lambda: world.counts.events > before)

        await write(current_operations={"OpaqueRef:t1": "scan"}, allowed_operations=[])
        await write(current_operations={}, allowed_operations=allowed)
        assert world.counts.events > events
        assert not world.witness.batches
        await write(current_operations={"OpaqueRef:t2": "destroy"})
        assert len(world.witness.batches) == 1
        await write(current_operations={})
        await world.until_equal()


async def test_a_class_that_cannot_be_listed_does_not_break_the_link():
    async with watched(generate(1, 560, 10)) as world:
        await world.fault("fail", method="VM.get_all_records", code="INTERNAL_ERROR")
        world.destroy_vms(550)  # more than XAPI remembers

        await world.until_equal()
        assert world.calls("VM.get_all_records") == 2
        await world.until(lambda: world.counts.relists == 1)
        assert world.witness.states == ["connecting", "live"]


@pytest.mark.parametrize("code", ["EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE"])
async def test_a_lost_position_lists_the_pool_again(code):
    async with watched(generate(1, 10, 11)) as world:
        await world.fault("fail", method="event.from", code=code)
        world.rename_vms(5, "new")

        await world.until(lambda: world.counts.full_lists == 2)
        await world.until_equal()
        assert world.calls("session.login_with_password") == 1
        assert world.witness.loads == 1

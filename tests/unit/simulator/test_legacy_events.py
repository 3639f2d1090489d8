"""event.register and event.next."""

import asyncio

import pytest

from tests.unit.simulator.worlds import VM, Client, client
from xoproxy.simulator import legacy_events
from xoproxy.simulator.legacy_events import EventList

pytestmark = pytest.mark.looptime


async def next_events(user: Client) -> list[tuple[str, str, str]]:
    events: EventList = await user.call("event.next")
    return [(e.operation, e.model.table, e.row.ref) for e in events.events]


async def test_each_write_is_an_event_with_the_record_of_that_moment():
    async with client() as user:
        await user.call("event.register", ["network", "VM"])
        net = user.db.create("network", {"name_label": "n"})
        user.db.write("VM", VM, "name_label", "a")
        user.db.write("VM", VM, "name_label", "b")
        user.db.destroy("network", net)
        events: EventList = await user.call("event.next")

        assert [(e.operation, e.row.ref) for e in events.events] == [
            ("add", net),
            ("mod", VM),
            ("mod", VM),
            ("del", net),
        ]
        names = [e.row.fields["name_label"] for e in events.events]
        assert names == ["n", "a", "b", "n"]
        ids = [e.id for e in events.events]
        assert ids == sorted(set(ids))


async def test_a_relation_shows_on_both_sides():
    async with client() as user:
        await user.call("event.register", ["*"])
        vbd = user.db.create("VBD", {"VM": VM})

        assert await next_events(user) == [("add", "vbd", vbd), ("mod", "vm", VM)]


async def test_next_waits_and_gathers():
    async with client() as user:
        await user.call("event.register", ["vm"])

        async def change() -> None:
            await asyncio.sleep(5)
            user.db.write("VM", VM, "name_label", "a")

        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            assert await next_events(user) == [("mod", "vm", VM)]
            assert asyncio.get_running_loop().time() == pytest.approx(5.05)


async def test_in_silence_the_pool_beats():
    async with client() as user:
        await user.call("event.register", ["pool"])

        assert [e[:2] for e in await next_events(user)] == [("mod", "pool")]


async def test_next_without_register():
    async with client() as user:
        code, trackid = await user.error("event.next")

        assert code == "SESSION_NOT_REGISTERED"
        assert trackid.startswith("trackid=")
        assert user.session not in trackid


async def test_next_blocks_when_everything_was_unregistered():
    async with client() as user:
        await user.call("event.register", ["vm"])
        await user.call("event.unregister", ["VM"])
        user.db.write("VM", VM, "name_label", "a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await user.call("event.next")


async def test_who_falls_behind_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(legacy_events, "QUEUE_BYTES", 20_000)
    async with client() as user:
        await user.call("event.register", ["vm"])
        for i in range(20):
            user.db.write("VM", VM, "name_label", str(i))

        assert await user.error("event.next") == ["EVENTS_LOST"]
        user.db.write("VM", VM, "name_label", "after")
        assert await next_events(user) == [("mod", "vm", VM)]


async def test_only_what_somebody_asked_for_is_numbered():
    async with client() as user:
        user.db.write("VM", VM, "name_label", "a")
        await user.call("event.register", ["vm"])
        user.db.create("network", {})
        assert await user.call("event.get_current_id") == 0

        user.db.write("VM", VM, "name_label", "b")
        assert await user.call("event.get_current_id") == 1


async def test_unregister_registers_who_was_not():
    async with client() as user:
        await user.call("event.unregister", ["vm"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await user.call("event.next")

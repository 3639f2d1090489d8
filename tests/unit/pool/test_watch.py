"""The watch's decisions, against a scripted pool and a clock that stands still."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.unit.pool.fakes import Clock, ExhaustedError, ScriptedClient, gone, mod, told
from xoproxy.cache.store import Store
from xoproxy.errors import PoolUnreachable, XapiFailure
from xoproxy.model import PoolId, XapiClass
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.watch import Watch

VM = XapiClass("VM")
METHODS = ["VM.get_all_records", "pool.get_all_records", "message.get_all_records"]
POOL_ROW = mod("pool", "p", uuid="u")


class Diary:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def loaded(self, store) -> None:
        self.entries.append(f"loaded {len(store)}")

    def committed(self, _store, batch) -> None:
        self.entries.append(f"{len(batch.changes)} changes to {batch.xapi_token}")

    def caught_up(self) -> None:
        self.entries.append("caught up")


class World:
    def __init__(
        self,
        events: list[Any],
        script: dict[str, list[Any]] | None = None,
        settings: LinkSettings | None = None,
    ) -> None:
        listing: dict[str, list[Any]] = {"system.listMethods": [METHODS] * 10}
        self.client = ScriptedClient({**listing, **(script or {}), "events": events})
        self.store = Store(PoolId("p1"), "e")
        self.clock = Clock()
        self.diary = Diary()
        settings = settings or LinkSettings(messages_kept=0, audit_s=0)
        self.watch = Watch(self.client, self.store, self.diary, settings, clock=self.clock)

    async def run(
        self, ending: type[BaseException] | tuple[type[BaseException], ...] = ExhaustedError
    ) -> None:
        with pytest.raises(ending):
            await self.watch.run()

    @property
    def polls(self) -> list[tuple[str, float]]:
        return [(seen[1], seen[2]) for seen in self.client.seen if seen[0] == "events"]

    def after(self, seconds: float, reply):
        """Return a step of the script that takes time."""

        def step():
            self.clock.now_s += seconds
            if isinstance(reply, Exception):
                raise reply
            return reply

        return step


async def test_it_lists_once_and_goes_on_from_the_token():
    world = World(
        [told("1,0", POOL_ROW, mod("vm", "a")), told("2,0", mod("vm", "a", n=1)), told("2,0")]
    )
    await world.run()

    assert world.polls == [("", 30), ("1,0", 30), ("2,0", 30), ("2,0", 30)]
    assert world.diary.entries == [
        "loaded 2",
        "caught up",
        "1 changes to 2,0",
        "caught up",
        "caught up",
    ]
    assert world.store.classes == {"VM", "pool"}


async def test_events_of_classes_that_it_does_not_follow_are_dropped():
    world = World([told("1,0", POOL_ROW, mod("secret", "s", value="x"), mod("vm_metrics", "m"))])
    await world.run()

    assert len(world.store) == 1


async def test_the_first_load_is_without_messages_and_the_next_poll_with():
    subscribed = []

    def reply(token: str):
        def step():
            subscribed.append(set(world.client.classes))
            return told(token, POOL_ROW)

        return step

    world = World([reply("1,0"), reply("1,9")], settings=LinkSettings())
    await world.run()

    assert subscribed == [{"VM", "pool"}, {"VM", "pool", "message"}]


@pytest.mark.looptime
async def test_a_pool_that_does_not_wait_is_not_asked_without_end():
    world = World([told("1,0", POOL_ROW), *[told("1,0")] * 100])
    world.watch._clock = asyncio.get_running_loop().time
    began_s = asyncio.get_running_loop().time()
    await world.run()

    assert asyncio.get_running_loop().time() - began_s > 80
    assert world.diary.entries.count("caught up") == 101


async def test_a_break_keeps_session_and_token_and_catches_up_at_once():
    broken = PoolUnreachable("The connection to the pool broke.")
    world = World([told("1,0", POOL_ROW), broken, told("1,0"), told("1,0")])
    await world.run(PoolUnreachable)
    await world.run()

    assert world.polls == [("", 30), ("1,0", 30), ("1,0", 0), ("1,0", 30), ("1,0", 30)]


async def test_a_break_before_the_classes_are_known_loads_nothing():
    broken = PoolUnreachable("The connection to the pool broke.")
    world = World([told("1,0", POOL_ROW)], {"system.listMethods": [broken, METHODS]})
    await world.run(PoolUnreachable)
    assert not world.store.loaded
    await world.run()

    assert len(world.store) == 1


async def test_a_pool_that_lists_no_methods_is_taken_for_the_newest():
    failure = XapiFailure("MESSAGE_METHOD_UNKNOWN")
    world = World([told("1,0", POOL_ROW)], {"system.listMethods": [failure]})
    await world.run()

    assert {"VM", "host", "task"} < world.store.classes


async def test_a_pool_that_fails_to_list_its_methods_is_asked_again():
    failure = XapiFailure("INTERNAL_ERROR")
    world = World([told("1,0", POOL_ROW)], {"system.listMethods": [failure, METHODS]})
    await world.run(XapiFailure)
    await world.run()

    assert world.store.classes == {"VM", "pool"}


@pytest.mark.parametrize(
    "failure", [PoolUnreachable("The connection to the pool broke."), XapiFailure("HOST_OFFLINE")]
)
async def test_messages_that_could_not_be_listed_after_a_login_are_listed_soon(failure):
    """A message that went meanwhile is in no count: only listing tells."""
    lists = [failure, {"m": {"timestamp": "20260101T00:00:00Z"}}]
    world = World([], {"message.records": lists}, LinkSettings(audit_s=0, relist_max_s=60))
    both = [mod("message", ref, timestamp="20260101T00:00:00Z") for ref in ("m", "gone")]
    world.client.script["events"] = [told("1,0", POOL_ROW), told("1,9", *both)]
    await world.run()
    world.watch.distrust()
    world.client.script["events"] = [
        told("2,0", POOL_ROW),
        world.after(61, told("2,9")),
        told("2,9"),
    ]
    await world.run((PoolUnreachable, ExhaustedError))
    await world.run((PoolUnreachable, ExhaustedError))

    assert {e.ref for e in world.store.entries(XapiClass("message"))} == {"m"}


async def test_after_a_new_login_all_is_listed_as_a_difference():
    gone_session = XapiFailure("SESSION_INVALID", ("x",))
    world = World(
        [
            told("1,0", POOL_ROW, mod("vm", "a"), mod("vm", "b")),
            gone_session,
            told("7,0", POOL_ROW, mod("vm", "b"), mod("vm", "c")),
            told("8,0"),
        ]
    )
    await world.run(XapiFailure)
    world.watch.distrust()
    await world.run()

    assert [token for token, _ in world.polls] == ["", "1,0", "", "7,0", "8,0"]
    assert world.diary.entries == [
        "loaded 3",
        "caught up",
        "2 changes to 7,0",
        "caught up",
        "caught up",
    ]


async def test_every_class_is_audited_in_its_turn_and_only_faults_count():
    world = World([], settings=LinkSettings(messages_kept=0, audit_s=100))
    world.client.script["pool.records"] = [{"p": {"uuid": "u"}}]
    world.client.script["VM.records"] = [
        {"a": {"n": 1}, "b": {"n": 2}},  # b: a change on its way; a: nobody told us
    ]
    world.client.script["events"] = [
        told("1,0", POOL_ROW, mod("vm", "a", n=0), mod("vm", "b", n=0)),
        told("1,0"),
        world.after(50, told("1,0")),  # VM's turn
        told("2,0", mod("vm", "b", n=2)),
        world.after(50, told("2,0")),  # the pool's
        told("2,0"),
    ]
    await world.run()

    assert [seen for seen in world.client.seen if seen[0] == "records"] == [
        ("records", "VM"),
        ("records", "pool"),
    ]
    assert (world.watch.counts.audits, world.watch.counts.repairs) == (2, 1)
    assert {e.ref: e.raw for e in world.store.entries(VM)} == {"a": b'{"n":1}', "b": b'{"n":2}'}


async def test_another_failure_of_xapi_keeps_the_position():
    world = World([told("1,0", POOL_ROW), XapiFailure("INTERNAL_ERROR"), told("1,0")])
    await world.run(XapiFailure)
    await world.run()

    assert world.polls[-2:] == [("1,0", 0), ("1,0", 30)]


async def test_a_class_whose_count_disagrees_twice_is_listed_between_two_polls():
    first = told("1,0", POOL_ROW, mod("vm", "a"), mod("vm", "b"), vm=2, pool=1)
    world = World(
        [first, told("2,0", vm=1, pool=1), told("2,0", vm=1, pool=1), told("2,0", vm=1, pool=1)],
        {"VM.records": [{"b": {}}]},
    )
    await world.run()

    assert world.polls == [("", 30), ("1,0", 30), ("2,0", 0), ("2,0", 30), ("2,0", 30)]
    order = [seen[0] for seen in world.client.seen]
    assert order[-3:] == ["records", "events", "events"]
    assert [e.ref for e in world.store.entries(VM)] == ["b"]
    assert world.store.xapi_token == "2,0"
    assert world.watch.counts.mismatches == 2


async def test_a_removal_of_what_was_never_held_is_nothing():
    world = World([told("1,0", POOL_ROW), told("2,0", gone("vm", "x"), gone("pool", "y"))])
    await world.run()

    assert world.diary.entries == ["loaded 1", "caught up", "caught up"]


async def test_silence_is_probed_and_disbelieved():
    world = World([])
    world.client.script["events"] = [
        told("9,0", POOL_ROW),
        world.after(130, told("9,0")),
        told("9,0"),  # the probe shows nowhere
        told("3,0", POOL_ROW),
    ]
    await world.run()

    assert ("event.inject", "pool", "p") in world.client.seen
    assert world.polls == [("", 30), ("9,0", 30), ("9,0", 5), ("", 30), ("3,0", 30)]
    assert world.watch.counts.silent_tokens == 1


async def test_an_account_that_may_not_probe_goes_without():
    denied = XapiFailure("RBAC_PERMISSION_DENIED")
    world = World([], {"event.inject": [denied]})
    world.client.script["events"] = [
        told("9,0", POOL_ROW),
        world.after(130, told("9,0")),
        world.after(130, told("9,0")),
        told("9,0"),
    ]
    await world.run()

    assert world.client.count("event.inject") == 1
    assert world.watch.counts.silent_tokens == 0


async def test_a_probe_that_fails_once_is_tried_again():
    world = World([], {"event.inject": [XapiFailure("INTERNAL_ERROR"), None]})
    world.client.script["events"] = [
        told("9,0", POOL_ROW),
        world.after(130, told("9,0")),
        told("9,0"),
        told("9,0"),  # the second probe shows nowhere
        told("3,0", POOL_ROW),
    ]
    await world.run()

    assert world.client.count("event.inject") == 2
    assert world.watch.counts.silent_tokens == 1


async def test_many_old_messages_are_cut_down_before_they_are_taken():
    messages = [
        mod("message", f"m{n}", timestamp=f"20260101T00:{n // 60:02}:{n % 60:02}Z")
        for n in range(3000)
    ]
    world = World(
        [told("1,0", POOL_ROW), told("1,9", *messages)], settings=LinkSettings(messages_kept=10)
    )
    await world.run()

    kept = {e.ref for e in world.store.entries(XapiClass("message"))}
    assert kept == {f"m{n}" for n in range(2990, 3000)}
    assert world.diary.entries[2] == "10 changes to 1,9"


async def test_a_broken_record_is_mended_on_its_way():
    bad = mod("vm", "a")
    bad.record = msgspec.Raw(b'{"name_label":"\xff","n":1e999}')
    world = World([told("1,0", POOL_ROW, bad), told("2,0", bad)])
    await world.run()

    (entry,) = world.store.entries(VM)
    assert msgspec.json.decode(entry.raw) == {"name_label": "\ufffd", "n": None}
    assert world.diary.entries == ["loaded 2", "caught up", "caught up"], "no new change"


@pytest.mark.looptime
async def test_a_pool_that_changes_all_the_time_is_asked_fifty_times_a_second_at_most():
    world = World(
        [told("1,0", POOL_ROW), *(told(f"{n},0", mod("vm", "a", n=n)) for n in range(2, 52))]
    )
    world.watch = Watch(
        world.client,
        world.store,
        world.diary,
        LinkSettings(messages_kept=0, audit_s=0),
        clock=asyncio.get_running_loop().time,
    )
    await world.run()

    assert world.watch.counts.polls == 50
    assert asyncio.get_running_loop().time() == pytest.approx(1.0)

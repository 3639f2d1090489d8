"""Commands and their tasks, against a scripted pool."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from tests.unit.pool.fakes import ScriptedClient
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, PoolUnreachable, RequestRefused, XapiFailure
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass
from xoproxy.pool.calls import Calls
from xoproxy.pool.client import LinkSettings

TASK = XapiClass("task")
START = {"vm": "v", "start_paused": False, "force": False}


class World:
    def __init__(
        self, script: dict[str, list[Any]] | None = None, settings: LinkSettings | None = None
    ) -> None:
        self.client = ScriptedClient(script or {})
        self.store = Store(PoolId("p1"), "e")
        self.live = True
        settings = settings or LinkSettings()
        self.calls = Calls(self.client, self.store, settings, lambda: self.live)
        self.commit()

    def commit(self, *events) -> None:
        prepared = self.store.prepare(events)
        while prepared.step():
            pass
        self.calls.committed(self.store.commit(prepared, 0))

    def task(self, ref: str, **fields) -> None:
        record = {"status": "pending", "result": "", "error_info": [], **fields}
        self.commit(Upsert(TASK, Ref(ref), msgspec.json.encode(record)))

    async def start(self, timeout_s=None):
        return msgspec.json.decode(await self.calls.call("VM.start", START, timeout_s))

    @contextlib.asynccontextmanager
    async def starting(self):
        """Start a VM beside the body; give a list that will hold the outcome."""
        outcome: list = []

        async def command() -> None:
            try:
                outcome.append(await self.start())
            except (RequestRefused, XapiFailure) as error:
                outcome.append(error)

        async with asyncio.TaskGroup() as group:
            group.create_task(command())
            await settle()
            yield outcome
            await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_task_is_followed_through_its_events_and_destroyed():
    world = World({"Async.VM.start": ["t"]})
    async with world.starting() as outcome:
        world.task("t", progress=0.1)
        await settle()
        assert not outcome
        world.task("t", status="success", result="<value>OpaqueRef:x</value>")

    assert outcome == ["OpaqueRef:x"]
    assert world.client.seen == [("Async.VM.start", "v", False, False), ("task.destroy", "t")]


async def test_a_task_may_end_before_its_reference_is_known():
    world = World({"Async.VM.start": ["t"]})
    world.task("t", status="success")

    assert await world.start() == ""


@pytest.mark.parametrize(
    ("fields", "code", "params"),
    [
        ({"status": "failure", "error_info": ["VM_BAD", "a", "b"]}, "VM_BAD", ("a", "b")),
        ({"status": "cancelled", "error_info": []}, "TASK_CANCELLED", ("t",)),
        ({"status": "cancelled", "error_info": ["TASK_CANCELLED", "t"]}, "TASK_CANCELLED", ("t",)),
    ],
)
async def test_a_task_that_fails_is_xapis_failure(fields, code, params):
    world = World({"Async.VM.start": ["t"]})
    world.task("t", **fields)

    with pytest.raises(XapiFailure) as caught:
        await world.start()

    assert (caught.value.code, caught.value.params) == (code, params)
    assert world.client.count("task.destroy") == 1


async def test_a_task_that_vanishes_has_an_unknown_outcome():
    world = World({"Async.VM.start": ["t"]})
    async with world.starting() as outcome:
        world.task("t")
        world.commit(Removal(Ref("t")))

    assert outcome[0].code is ErrorCode.POOL_UNAVAILABLE
    assert "unknown" in outcome[0].message


async def test_a_task_that_no_event_tells_of_has_an_unknown_outcome():
    """The pool restarted before its first event: nothing will ever change about it."""
    world = World({"Async.VM.start": ["t"]})
    async with world.starting() as outcome:
        world.calls.caught_up()  # by a poll that may have begun before the call
        await settle()
        assert not outcome
        world.calls.caught_up()
    (error,) = outcome
    assert error.code is ErrorCode.POOL_UNAVAILABLE
    assert "unknown" in error.message


async def test_a_task_that_runs_for_long_is_waited_for():
    world = World({"Async.VM.start": ["t"]})
    async with world.starting() as outcome:
        world.calls.caught_up()
        world.task("t")
        for _ in range(5):
            world.calls.caught_up()
        await settle()
        assert not outcome
        world.task("t", status="success", result="<value></value>")
    assert outcome == [""]


async def test_disconnecting_ends_the_waiting():
    world = World({"Async.VM.start": ["t"]})
    async with world.starting() as outcome:
        world.calls.close()

    assert outcome[0].code is ErrorCode.POOL_UNAVAILABLE


async def test_a_command_that_is_cancelled_cleans_up():
    world = World({"Async.VM.start": ["t"]})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.start())
        await settle()
        task.cancel()
    assert task.cancelled()
    assert world.client.seen[-1] == ("task.destroy", "t")
    world.task("t", status="success")  # nobody waits any more


async def test_a_timeout_leaves_the_task_running_but_marked():
    world = World({"Async.VM.start": ["t"]})

    with pytest.raises(RequestRefused) as caught:
        await world.start(timeout_s=0.01)

    assert caught.value.code is ErrorCode.TIMEOUT
    assert world.client.seen[-1] == ("task.destroy", "t")


async def test_a_call_without_asynchronous_form_on_an_older_pool_runs_directly():
    world = World({"Async.VM.start": [XapiFailure("Fault")], "VM.start": [""]})

    assert await world.start() == ""
    assert not world.client.count("task.destroy")


async def test_a_session_that_has_just_ended_is_the_pools_trouble():
    world = World({"Async.VM.start": [XapiFailure("HOST_IS_SLAVE", ("192.0.2.1",))]})

    with pytest.raises(RequestRefused) as caught:
        await world.start()

    assert caught.value.code is ErrorCode.POOL_UNAVAILABLE
    assert "192.0.2.1" not in caught.value.message


async def test_a_pool_that_is_not_live_takes_no_commands():
    world = World()
    world.live = False

    with pytest.raises(RequestRefused) as caught:
        await world.start()

    assert caught.value.code is ErrorCode.POOL_UNAVAILABLE
    assert not world.client.seen


async def test_a_broken_connection_leaves_the_outcome_open():
    world = World({"Async.VM.start": [PoolUnreachable("The connection to the pool broke.")]})

    with pytest.raises(RequestRefused, match="whether it ran the call is unknown"):
        await world.start()


async def test_tasks_are_bounded():
    world = World({"Async.VM.start": ["t", "u"]}, LinkSettings(tasks=1))
    async with world.starting():
        with pytest.raises(RequestRefused) as caught:
            await world.start()
        assert caught.value.code is ErrorCode.BUSY
        world.task("t", status="success")


async def test_a_task_that_is_known_only_after_the_disconnect_is_not_waited_for():
    world = World({"Async.VM.start": ["t"]})
    world.calls.close()
    with pytest.raises(RequestRefused, match="being disconnected; whether it ran") as caught:
        async with asyncio.timeout(5):
            await world.start()
    assert caught.value.code is ErrorCode.POOL_UNAVAILABLE
    assert [name for name, *_ in world.client.seen] == ["Async.VM.start"]  # nothing after it


@pytest.mark.parametrize(
    ("method", "params"), [("VM.start", START), ("VM.get_record", {"self": "v"})]
)
async def test_what_may_not_be_sent_when_its_turn_has_come_is_not(method, params):
    world = World({"Async.VM.start": ["t"]}, LinkSettings(calls=2))

    def permitted():
        raise RequestRefused(ErrorCode.FORBIDDEN, "not any more")

    for _ in range(3):  # nor does it keep its turn
        with pytest.raises(RequestRefused, match="not any more"):
            await world.calls.call(method, params, permitted=permitted)
    assert not world.client.seen

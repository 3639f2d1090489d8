import asyncio
from contextlib import suppress
from unittest.mock import sentinel

import pytest

from xoproxy.app.memory import MemoryGuard, available_bytes, resident_bytes
from xoproxy.cache.journal import Journal, JournalBudget
from xoproxy.model import Batch, Change, Key, PoolId, Ref, XapiClass
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.connection import ConnectionLimits, ConnectionServices
from xoproxy.ws.endpoint import Endpoint
from xoproxy.ws.frames import SharedFraming

USUAL = 64 << 20


def endpoint() -> Endpoint:
    framing = SharedFraming()
    hub = Hub(framing, TokenSigner(b"k" * 32), wake=lambda: None)
    return Endpoint(
        ConnectionServices(hub, sentinel.nobody, sentinel.nobody, framing, ConnectionLimits())
    )


def filled(budget: JournalBudget, batches: int) -> Journal:
    journal = Journal(budget)
    for seq in range(batches):
        change = Change(seq + 1, Key("a"), Ref("r"), XapiClass("VM"), b"x" * 2000, b"y" * 2000)
        journal.append(Batch(PoolId("p"), "e", seq, seq + 1, "", (change,), 0.0, 2))
    return journal


@pytest.fixture
def budget() -> JournalBudget:
    return JournalBudget(USUAL, USUAL)


async def test_nobody_new_from_85_percent_until_under_80(budget):
    door = endpoint()
    weights = iter([84, 85, 94, 80, 79, 84])
    guard = MemoryGuard(100, door, budget, lambda: next(weights))
    turned_away = []
    for _ in range(6):
        await guard.look()
        turned_away.append(door.retry_after_s is not None)
    assert turned_away == [False, True, True, True, False, False]


async def test_history_is_given_up_at_95_percent_and_grows_again_when_there_is_room(budget):
    journal = filled(budget, 2000)
    before = journal.used_bytes
    weight = [95]
    guard = MemoryGuard(100, endpoint(), budget, lambda: weight[0])
    await guard.look()

    assert before * 0.4 < journal.used_bytes <= before / 2
    assert journal.reaches(2000)
    assert not journal.reaches(0)
    after = journal.used_bytes
    await guard.look()
    assert journal.used_bytes == after  # what was freed has yet to show
    assert budget.total_bytes < USUAL
    weight[0] = 50
    await guard.look()
    assert budget.total_bytes == USUAL


async def test_history_goes_in_slices(budget):
    filled(budget, 4000)
    guard = MemoryGuard(100, endpoint(), budget, lambda: 99)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        await guard.look()
        counting.cancel()
    assert turns > 20


async def test_what_cannot_be_weighed_is_left_alone(budget):
    door = endpoint()
    guard = MemoryGuard(1, door, budget, lambda: None)
    await guard.look()
    assert door.retry_after_s is None


@pytest.mark.looptime
async def test_free_memory_goes_back_to_the_system_each_minute(budget):
    given_back = []
    guard = MemoryGuard(100, endpoint(), budget, lambda: 1, lambda: given_back.append(True))
    with suppress(TimeoutError):
        async with asyncio.timeout(190):
            await guard.run()
    assert len(given_back) == 3


def test_the_process_and_the_machine_are_weighed():
    resident = resident_bytes()
    assert resident is not None
    assert 1 << 20 < resident < available_bytes()

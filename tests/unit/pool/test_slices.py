import asyncio

import pytest

from xoproxy.pool.slices import Turns


async def test_what_is_great_is_done_one_after_the_other_and_what_is_small_passes_by():
    turns, said = Turns(), []

    async def work(name: str, *, great: bool) -> None:
        async with turns.of(great=great):
            for step in range(2):
                said.append(f"{name}{step}")
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(work(name, great=True))
        group.create_task(work("s", great=False))

    assert said.index("s1") < said.index("b0")
    assert [text for text in said if text[0] != "s"] == ["a0", "a1", "b0", "b1"]


async def test_a_failure_gives_the_turn_away():
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(1), turns.of(great=True):
                _ = 1 / 0

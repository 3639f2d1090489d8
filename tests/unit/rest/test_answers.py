"""Answers as JSON: what is written, and that long lists give others their turn."""

import asyncio
import json

import pytest

from xoproxy.rest.answers import writer
from xoproxy.rest.names import Named


def named(number: int) -> Named:
    return Named(id=str(number), name=f"name, {number},")


async def test_one_model_is_one_object():
    assert json.loads(await writer(Named)(named(7))) == {"id": "7", "name": "name, 7,"}


@pytest.mark.parametrize("count", [0, 1, 24, 25, 26, 100])
async def test_a_list_is_written_whole_and_in_order(count):
    written = json.loads(await writer(list[Named])(map(named, range(count))))
    assert written == [named(number).model_dump() for number in range(count)]


async def test_others_have_their_turn_while_a_long_list_is_written():
    made: list[int] = []
    seen: list[int] = []

    def items():
        for number in range(200):
            made.append(number)
            yield named(number)

    async def watch():
        while len(made) < 200:
            seen.append(len(made))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(writer(list[Named])(items()))
        group.create_task(watch())
    assert len(seen) >= 7

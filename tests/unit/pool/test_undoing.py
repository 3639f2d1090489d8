import asyncio

import pytest

from xoproxy.pool.undoing import undone_if_cancelled


class Door:
    def __init__(self, takes_s: float = 1.0, error: Exception | None = None) -> None:
        self.opened, self.closed = 0, 0
        self._takes_s = takes_s
        self._error = error

    async def open(self) -> int:
        await asyncio.sleep(self._takes_s)
        if self._error:
            raise self._error
        self.opened += 1
        return self.opened

    async def close(self, _number: int) -> None:
        await asyncio.sleep(0)
        self.closed += 1


async def after(seconds: float, door: Door, within_s: float = 5.0) -> None:
    """Cancel somebody who opens a door."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(undone_if_cancelled(door.open, door.close, within_s))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


@pytest.mark.looptime
async def test_what_is_not_cancelled_is_not_undone():
    door = Door()
    assert await undone_if_cancelled(door.open, door.close, 5) == 1
    assert door.closed == 0


@pytest.mark.looptime
async def test_what_is_cancelled_is_undone_when_it_is_done():
    door = Door()
    await after(0.5, door)
    assert (door.opened, door.closed) == (1, 1)
    assert asyncio.get_running_loop().time() < 2


@pytest.mark.looptime
async def test_nobody_waits_for_ever():
    door = Door(takes_s=3600)
    await after(0.5, door)
    assert (door.opened, door.closed) == (0, 0)
    assert asyncio.get_running_loop().time() < 10


@pytest.mark.looptime
async def test_a_failure_comes_as_it_is_and_is_not_undone():
    door = Door(error=ValueError("stuck"))
    with pytest.raises(ValueError, match="stuck"):
        await undone_if_cancelled(door.open, door.close, 5)
    await after(0.5, door)
    assert door.closed == 0

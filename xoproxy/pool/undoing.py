"""For requests that leave something behind: when we are cancelled meanwhile, it is taken back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def undone_if_cancelled(
    work: Callable[[], Awaitable[T]], undo: Callable[[T], Awaitable[None]], within_s: float
) -> T:
    """Do something and return its result.

    Args:
        work: what to do; its failures are raised.
        undo: takes a result back that nobody is there to use.
        within_s: how long a cancellation waits for the result.
    """
    outcome: list[T] = []
    failure: list[Exception] = []

    async def run() -> None:
        try:
            outcome.append(await work())
        except Exception as error:  # noqa: BLE001 - handed on; a group would wrap it
            failure.append(error)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=within_s)
            if outcome:
                await undo(outcome[0])
            raise
    if failure:
        raise failure[0]
    return outcome[0]

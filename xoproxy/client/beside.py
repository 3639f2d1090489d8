"""A task beside a body of code."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def beside(coroutine: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    """Run a coroutine beside the body, and cancel it at the body's end.

    What the body raises comes out as it is, not in a group: whoever uses a library expects
    `except` to work. Should the coroutine fail, which is a fault of ours, the body is cancelled and
    the failure comes out in a group, as from any `TaskGroup`.
    """
    tasks = asyncio.TaskGroup()
    await tasks.__aenter__()
    task = tasks.create_task(coroutine, name=name)
    try:
        yield
    finally:
        task.cancel()
        await tasks.__aexit__(None, None, None)

"""Runs clients' commands on one pool.

A command never writes the cache: its effect comes back as an event. Long ones run as XAPI tasks,
and a task is followed through its own events in the store, not polled; it is destroyed afterwards,
for XAPI keeps only two hundred.

At most a few requests are on their way at once (one slot less than the pool allows, so that the
watch never waits behind clients), a bounded number wait, and the rest are refused with BUSY. A task
holds no slot while it runs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, PoolError, PoolUnreachable, RequestRefused, XapiFailure
from xoproxy.model import Batch, Ref
from xoproxy.pool import replies, task_result
from xoproxy.pool.client import SESSION_LOST, LinkSettings, XapiClient
from xoproxy.pool.methods import Call, resolve

_UNKNOWN_OUTCOME = "; whether it ran the call is unknown"
_DISCONNECTED = "The pool is being disconnected" + _UNKNOWN_OUTCOME
_FORGOTTEN = "The pool forgot the task" + _UNKNOWN_OUTCOME
_POLLS = 2


class _Task(msgspec.Struct):
    """What is read of a task's record; `status` is the last field that XAPI writes."""

    status: str = ""
    result: str = ""
    error_info: list[str] = []


_read_task = msgspec.json.Decoder(_Task).decode
_RUNNING = frozenset({"pending", "cancelling"})


class Calls:
    """The commands under way on one pool.

    Args:
        client: the pool.
        store: its objects, for the tasks.
        settings: bounds and time-outs.
        available: whether the link is live.
    """

    def __init__(
        self,
        client: XapiClient,
        store: Store,
        settings: LinkSettings,
        available: Callable[[], bool],
    ) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._available = available
        self._slots = asyncio.Semaphore(max(1, settings.calls - 1))
        self._waiting = 0
        self._closed = False
        self._tasks: dict[Ref, asyncio.Future[_Task]] = {}
        self._unseen: Counter[Ref] = Counter()
        """How often the pool has told its news without one of the tasks."""

    async def call(
        self,
        method: str,
        params: Mapping[str, object],
        timeout_s: float | None = None,
        permitted: Callable[[], None] = lambda: None,
    ) -> msgspec.Raw:
        """Run one command and return the JSON of its result.

        Args:
            method: XAPI's wire name, without "Async.".
            params: by XAPI's names of the parameters, the session left out.
            timeout_s: for all of it; the task, if there is one, then goes on in the pool.
            permitted: raises if it may not be sent; asked after it has waited for its turn.

        Raises:
            RequestRefused: it cannot be run, or its outcome is not known.
            XapiFailure: XAPI's answer.
        """
        call = resolve(method, params)
        if not self._available():
            raise RequestRefused(ErrorCode.POOL_UNAVAILABLE, "The pool is not connected.")
        try:
            async with asyncio.timeout(timeout_s or self._settings.call_timeout_s):
                return await self._run(call, permitted)
        except TimeoutError as error:
            raise RequestRefused(
                ErrorCode.TIMEOUT, f"{method} takes too long; it may still end well"
            ) from error
        except PoolUnreachable as error:
            message = error.message.removesuffix(".") + _UNKNOWN_OUTCOME
            raise RequestRefused(ErrorCode.POOL_UNAVAILABLE, message) from error
        except XapiFailure as failure:
            if failure.code in SESSION_LOST:  # the watch will find out, too
                raise RequestRefused(
                    ErrorCode.POOL_UNAVAILABLE, "The pool's session has just ended; try again."
                ) from failure
            raise

    def committed(self, batch: Batch) -> None:
        """Look for the end of tasks in what has just been committed."""
        if self._tasks:
            for change in batch.changes:
                if change.ref in self._tasks:
                    self._look(change.ref)

    def caught_up(self) -> None:
        """Give up tasks that the pool does not know: no event will ever tell how they ended.

        A restart makes it forget them. The poll that ends first after a task was begun may have
        looked before that; the next one tells of the task if it is still there.
        """
        for ref, outcome in self._tasks.items():
            if self._store.get(ref) is None:
                self._unseen[ref] += 1
                if self._unseen[ref] >= _POLLS:
                    _refuse(outcome, _FORGOTTEN)

    def close(self) -> None:
        """End all waits, those to come too: the pool is being disconnected."""
        self._closed = True
        for outcome in self._tasks.values():
            _refuse(outcome, _DISCONNECTED)

    async def _run(self, call: Call, permitted: Callable[[], None]) -> msgspec.Raw:
        if not call.as_task:
            async with self._slot():
                permitted()
                return await self._client.call(call.method, call.params)
        if len(self._tasks) >= self._settings.tasks:
            raise RequestRefused(ErrorCode.BUSY, "Too many tasks are running for clients.")
        async with self._slot():
            permitted()
            try:
                reply = await self._client.call(f"Async.{call.method}", call.params)
            except XapiFailure as failure:
                if failure.code != "Fault":  # what an older XAPI says where it has no Async form
                    raise
                return await self._client.call(call.method, call.params)
        return await self._follow(Ref(str(replies.json_value(reply))))

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._slots.locked() and self._waiting >= self._settings.calls_waiting:
            raise RequestRefused(ErrorCode.BUSY, "Too many calls are waiting for this pool.")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _follow(self, ref: Ref) -> msgspec.Raw:
        outcome: asyncio.Future[_Task] = asyncio.get_running_loop().create_future()
        if self._closed:  # no news will come of it
            raise RequestRefused(ErrorCode.POOL_UNAVAILABLE, _DISCONNECTED)
        self._tasks[ref] = outcome
        try:
            if self._store.get(ref) is not None:  # its events may have come before our answer
                self._look(ref)
            task = await outcome
        finally:
            # A pool that was restored may give a task of before to another call.
            if self._tasks.get(ref) is outcome:
                del self._tasks[ref]
            del self._unseen[ref]
            await self._destroy(ref)
        match task:
            case _Task(status="success"):
                return task_result.encoded(task.result)
            case _Task(error_info=[code, *params]):
                raise XapiFailure(code, tuple(params))
            case _:
                raise XapiFailure("TASK_CANCELLED", (ref,))

    def _look(self, ref: Ref) -> None:
        outcome = self._tasks[ref]
        entry = self._store.get(ref)
        if entry is None:
            _refuse(outcome, _FORGOTTEN)
            return
        task = _read_task(entry.raw)
        if task.status not in _RUNNING and not outcome.done():
            outcome.set_result(task)

    async def _destroy(self, ref: Ref) -> None:
        """Clean up after us; a task that still runs is only marked and goes when it ends."""
        if self._closed:
            return  # XAPI collects finished tasks after an hour
        try:
            async with asyncio.timeout(self._settings.logout_timeout_s):
                await self._client.call("task.destroy", (ref,))
        except (PoolError, TimeoutError):
            pass  # XAPI collects finished tasks after an hour


def _refuse(outcome: "asyncio.Future[_Task]", message: str) -> None:
    if not outcome.done():
        outcome.set_exception(RequestRefused(ErrorCode.POOL_UNAVAILABLE, message))

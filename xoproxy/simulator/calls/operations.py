"""How an operation runs: allowed, entered on its object, step by step, taken off again.

    with operation_on(call, "VDI", vdi, "resize"):
        await drive(call, steps)

While it runs, `current_operations` of the object names the call's task, and
`allowed_operations` is what the state then allows. It is over when its task is cancelled, or gone
because xapi restarted.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from xoproxy.simulator.bell import Bell
from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.database import Write
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Steps, Takes
from xoproxy.simulator.rules import RULES, allow, check
from xoproxy.simulator.wiretypes import Json

STEP_S: Final = 0.01  # of a real pool's time that one step of an operation takes
BACKOFF_S: Final = (1.0, 20.0)
PATIENCE_S: Final = 7200.0


async def wait_until_allowed(call: Call, cls: str, ref: str, operation: str) -> None:
    """Raise what an operation is refused with; but while another one runs, wait as XAPI does.

    XAPI tries again after 1 to 20 s, or when the other one has ended, for up to two hours
    (helpers.ml, retry_until_timeout and Early_wakeup).
    """
    await _wait(call, [(cls, ref, operation)])


async def _wait(call: Call, targets: Sequence[tuple[str, str, str]]) -> None:
    def attempt() -> None:
        for target in targets:
            check(call.db, *target)

    await wait_while_busy(call, attempt)


async def wait_while_busy(call: Call, attempt: Callable[[], None]) -> None:
    """Wait until a check passes; raise what it raises, unless another operation is in its way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S / call.world.speed
    while True:
        try:
            attempt()
        except XapiError as error:
            if error.code != "OTHER_OPERATION_IN_PROGRESS" or loop.time() >= deadline:
                raise
            busy = error.params[0], error.params[1]
        else:
            return
        await change_of(call, busy, loop.time() + random.uniform(*BACKOFF_S) / call.world.speed)
        if not call.db.exists("task", call.task):
            raise XapiError("TASK_CANCELLED", call.task)


async def change_of(call: Call, target: tuple[str, str], deadline: float | None = None) -> None:
    """Wait until an object changes: (class, reference); or until a time of the loop's clock."""
    bell = Bell()

    def observe(write: Write) -> None:
        if (write.cls, write.row.ref) == target:
            bell.ring()

    call.db.observers.append(observe)
    try:
        await bell.wait(deadline)
    finally:
        call.db.observers.remove(observe)


@contextlib.asynccontextmanager
async def operations_on(call: Call, *targets: tuple[str, str, str]) -> AsyncIterator[None]:
    """Wait until all of some (class, reference, operation) are allowed, then show them.

    They are taken off again in the opposite order.
    """
    await _wait(call, targets)
    with contextlib.ExitStack() as stack:
        for target in targets:
            stack.enter_context(marked(call, *target))
        yield


@contextlib.contextmanager
def operation_on(call: Call, cls: str, ref: str, operation: str) -> Iterator[None]:
    """Check an operation, then show it on its object while the body runs."""
    check(call.db, cls, ref, operation)
    with marked(call, cls, ref, operation):
        yield


@contextlib.contextmanager
def marked(call: Call, cls: str, ref: str, operation: str) -> Iterator[None]:
    """Show an operation on an object, without a check, while the body runs."""
    _mark(call, cls, ref, operation)
    try:
        yield
    finally:
        if call.db.exists(cls, ref):
            _mark(call, cls, ref, None)


def _mark(call: Call, cls: str, ref: str, operation: str | None) -> None:
    current = call.db.get(cls, ref, "current_operations")
    left = {task: name for task, name in current.items() if task != call.task}
    entered = {} if operation is None else {call.task: operation}
    call.db.write(cls, ref, "current_operations", {**left, **entered})
    if cls in RULES:
        allow(call.db, cls, ref)


async def drive(call: Call, steps: Steps, *, cancellable: bool = False) -> Json:
    """Make the steps, each as long as it takes; returns what the generator returns.

    Raises:
        XapiError: TASK_CANCELLED when the task was cancelled, or is gone; HOST_OFFLINE when the
            host that does it died.
    """
    asked = asyncio.Event()
    if cancellable:
        call.world.tasks.cancellable(call.task, asked.set)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        await pause(call, step, asked)
        if asked.is_set():
            raise XapiError("TASK_CANCELLED", call.task)
        call.world.tasks.require_going(call.task)


async def pause(call: Call, step: object, ended: asyncio.Event) -> None:
    """Let the time of a step pass, unless something ends it."""
    seconds = STEP_S
    if isinstance(step, Takes):
        seconds += step.seconds
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds / call.world.speed):
            await ended.wait()

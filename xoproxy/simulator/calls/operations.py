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
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Steps
from xoproxy.simulator.rules import RULES, allow, check

STEP_S: Final = 0.05  # of a real pool's time that one step of an operation takes
BACKOFF_S: Final = (1.0, 20.0)
PATIENCE_S: Final = 7200.0


async def wait_until_allowed(call: Call, cls: str, ref: str, operation: str) -> None:
    """Raise what an operation is refused with; but while another one runs, wait as XAPI does.

    XAPI tries again after 1 to 20 s, for up to two hours (helpers.ml, retry_until_timeout).
    """
    await _wait(call, [(cls, ref, operation)])


async def _wait(call: Call, targets: Sequence[tuple[str, str, str]]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S / call.world.speed
    while True:
        try:
            for target in targets:
                check(call.db, *target)
        except XapiError as error:
            if error.code != "OTHER_OPERATION_IN_PROGRESS" or loop.time() >= deadline:
                raise
        else:
            return
        await asyncio.sleep(random.uniform(*BACKOFF_S) / call.world.speed)


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


async def drive(call: Call, steps: Steps, *, cancellable: bool = False) -> None:
    """Make the steps, with a pause after each.

    Raises:
        XapiError: TASK_CANCELLED when the task was cancelled, or is gone.
    """
    asked = False

    def cancel() -> None:
        nonlocal asked
        asked = True

    if cancellable:
        call.world.tasks.cancellable(call.task, cancel)
    for _ in steps:
        await asyncio.sleep(STEP_S / call.world.speed)
        if asked or not call.db.exists("task", call.task):
            raise XapiError("TASK_CANCELLED", call.task)

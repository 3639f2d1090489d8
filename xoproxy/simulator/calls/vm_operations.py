"""How operations on VMs run: waited for, driven, and put right when they fail.

    await perform(call, vm, "pause", lambda life, job: life.power.pause(job, vm))

What each writes, and in which order, is the lifecycle's; here is when, and how long.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any, Final

from xoproxy.simulator.calls.operations import change_of, drive, pause, wait_until_allowed
from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.database import RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import (
    Copies,
    Ends,
    Guests,
    Installs,
    Job,
    Power,
    Reverts,
    Steps,
    Writes,
)
from xoproxy.simulator.wiretypes import Json

CANCEL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Life:
    """The lifecycle's tools on one database."""

    power: Power
    copies: Copies
    ends: Ends
    installs: Installs
    reverts: Reverts
    guests: Guests


Make = Callable[[Life, Job], Steps]


def life_of(call: Call) -> Life:
    writes = Writes(call.db, random.Random())
    power = Power(writes)
    return Life(
        power=power,
        copies=Copies(writes),
        ends=Ends(writes),
        installs=Installs(writes),
        reverts=Reverts(writes, power),
        guests=Guests(writes),
    )


async def perform(
    call: Call, vm: str, operation: str, make: Make, *, cancellable: bool = True
) -> Json:
    """Run an operation on a VM as soon as the VM allows it; returns what its generator returns."""
    await wait_until_allowed(call, "VM", vm, operation)
    return await perform_now(call, vm, make, cancellable=cancellable)


async def perform_now(call: Call, vm: str, make: Make, *, cancellable: bool = True) -> Json:
    """Run an operation that is allowed, without another look."""
    life, job = life_of(call), Job(call.task)
    try:
        result = await drive(call, _while_ours(call, job, make(life, job)), cancellable=cancellable)
    except (XapiError, RowMissingError):
        life.power.settle(job)
        _let_come_up(call, life, vm)
        raise
    _let_come_up(call, life, vm)
    return result


def _while_ours(call: Call, job: Job, steps: Steps) -> Generator[Any, None, Any]:
    """Make the steps as long as nobody takes a VM out of our hands, as a reset does."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield step
        for cls, ref in job.held:
            if cls == "VM" and job.task not in call.db.get(cls, ref, "current_operations"):
                raise XapiError("VM_HALTED", ref)


def _let_come_up(call: Call, life: Life, vm: str) -> None:
    """Let the guest go on with its boot, if there is anything that it has not told yet."""
    if life.guests.is_coming_up(vm):
        job = _run_by_itself(call, life.guests.come_up(vm))
        call.world.group.create_task(job, name=f"simulator-guest-{vm}")


async def _run_by_itself(call: Call, steps: Steps) -> None:
    never = asyncio.Event()
    for step in steps:
        await pause(call, step, never)


async def cancel_others(call: Call, vm: str, operations: Collection[str]) -> None:
    """Cancel what is under way on a VM, where it can be, and wait until it has given up."""

    def running() -> list[str]:
        current = call.db.get("VM", vm, "current_operations")
        return [task for task, name in current.items() if name in operations and task != call.task]

    for task in running():
        with contextlib.suppress(XapiError):
            call.world.tasks.cancel(task)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_S / call.world.speed):
            while running():
                await change_of(call, ("VM", vm))

"""Class `VM_appliance`: VMs that start and stop together, in their order (xapi_vm_appliance.ml)."""

import asyncio
from itertools import groupby
from typing import Final

from xoproxy.simulator.calls.operations import operations_on
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.calls.subtasks import run_subtask
from xoproxy.simulator.failures import XapiError

NO_FORCE: Final = False
_DOWN: Final = ("clean_shutdown", "hard_shutdown", "shutdown")


@operation("VM_appliance.start")
async def start(call: Call, appliance: str, paused: bool) -> None:  # noqa: FBT001
    async def bring_up(vm: str) -> None:
        state = call.db.get("VM", vm, "power_state")
        if state == "Halted":
            await run_subtask(call, "VM.start", vm, paused, NO_FORCE)
        elif state == "Suspended":
            await run_subtask(call, "VM.resume", vm, paused, NO_FORCE)
        elif state == "Paused" and not paused:
            await run_subtask(call, "VM.unpause", vm)

    await _in_order(call, appliance, "start", bring_up, reverse=False)


def _shutting_down(name: str) -> Handler:
    async def run(call: Call, appliance: str) -> None:
        async def bring_down(vm: str) -> None:
            if call.db.get("VM", vm, "power_state") != "Halted":
                await run_subtask(call, f"VM.{name}", vm)

        await _in_order(call, appliance, name, bring_down, reverse=True)

    return run


for _name in _DOWN:
    operation(f"VM_appliance.{_name}")(_shutting_down(_name))


async def _in_order(call: Call, appliance: str, name: str, step: Handler, *, reverse: bool) -> None:
    """Take each VM of an appliance a step further: those with the same `order` at once."""

    def order(vm: str) -> int:
        number: int = call.db.get("VM", vm, "order")
        return number

    failed: list[XapiError] = []

    async def attempt(vm: str) -> None:
        try:
            await step(vm)
        except XapiError as error:
            failed.append(error)

    async with operations_on(call, ("VM_appliance", appliance, name)):
        vms = sorted(call.db.get("VM_appliance", appliance, "VMs"), key=order, reverse=reverse)
        for _, level in groupby(vms, order):
            async with asyncio.TaskGroup() as group:
                for vm in list(level):
                    group.create_task(attempt(vm), name=f"simulator-appliance-{vm}")
    if failed:
        raise XapiError("OPERATION_PARTIALLY_FAILED", f"VM_appliance.{name}")

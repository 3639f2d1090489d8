"""Class `host`: moving all VMs away from one (xapi_host.ml, compute_evacuation_plan_no_wlb)."""

import asyncio
import contextlib
from typing import Final

from xoproxy.simulator.calls.host import machine
from xoproxy.simulator.calls.operations import operations_on
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.subtasks import run_subtask
from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import RULES, placement

BATCH: Final = 10  # VMs that are moved at the same time, unless the caller knows better


def plan(db: Database, host: str) -> dict[str, str | XapiError]:
    """Tell for each VM on a host where it can go, or why it cannot go anywhere.

    The largest ones are placed first, each where most memory is left.
    """
    vms = [vm for vm in db.get("host", host, "resident_VMs") if not _is_control_domain(db, vm)]
    targets = [other for other in db.refs("host") if other != host and _takes_vms(db, other)]
    left = {target: placement.free_memory(db, target) for target in targets}
    needs = {vm: placement.needed_by(db.record("VM", vm)) for vm in vms}
    found: dict[str, str | XapiError] = {}
    for vm in sorted(vms, key=lambda vm: needs[vm], reverse=True):
        goal = _goal(db, vm, needs[vm], left)
        if isinstance(goal, str):
            left[goal] -= needs[vm]
        found[vm] = goal
    return found


def _is_control_domain(db: Database, vm: str) -> bool:
    return bool(db.get("VM", vm, "is_control_domain"))


def _takes_vms(db: Database, host: str) -> bool:
    return bool(db.get("host", host, "enabled")) and placement.is_live(db, host)


def _goal(db: Database, vm: str, needed: int, left: dict[str, int]) -> str | XapiError:
    if not left:
        return XapiError("NO_HOSTS_AVAILABLE")
    refused = RULES["VM"].refusal(db, vm, "pool_migrate")
    if refused is not None and refused.code != "OTHER_OPERATION_IN_PROGRESS":
        return refused
    unfit = {target: placement.unfit(db, vm, target) for target in left}
    fit = [t for t, why in unfit.items() if why is None and left[t] >= needed]
    if fit:
        return max(fit, key=lambda target: left[target])
    first = next((why for why in unfit.values() if why is not None), None)
    return first or XapiError("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(max(left.values())))


@operation("host.get_vms_which_prevent_evacuation")
def get_vms_which_prevent_evacuation(call: Call, host: str) -> dict[str, list[str]]:
    plans = plan(call.db, host).items()
    return {vm: goal.description for vm, goal in plans if isinstance(goal, XapiError)}


@operation("host.assert_can_evacuate")
def assert_can_evacuate(call: Call, host: str) -> None:
    errors = get_vms_which_prevent_evacuation(call, host).values()
    if errors:
        raise XapiError("CANNOT_EVACUATE_HOST", "|".join(",".join(error) for error in errors))


@operation("host.evacuate")
async def evacuate(call: Call, host: str, network: str, batch_size: int) -> None:
    """Migrate all VMs of a host, some at a time, each in a task below ours."""
    machine(call, host)
    async with operations_on(call, ("host", host, "evacuate")):
        goals = plan(call.db, host)
        for goal in goals.values():
            if isinstance(goal, XapiError):
                raise goal
        if call.db.exists("network", network):
            _require_network(call, network, {str(goal) for goal in goals.values()})
        await _Evacuation(call, {vm: str(goal) for vm, goal in goals.items()}).run(
            batch_size if batch_size > 0 else BATCH
        )


def _require_network(call: Call, network: str, hosts: set[str]) -> None:
    """Check that memory can go over a network: all hosts need an address on it."""
    pifs = [call.db.row("PIF", pif).fields for pif in call.db.get("network", network, "PIFs")]
    for host in sorted(hosts):
        here = [pif for pif in pifs if pif["host"] == host]
        if not here:
            raise XapiError("HOST_CANNOT_ATTACH_NETWORK", host, network)
        if not any(pif["IP"] for pif in here):
            raise XapiError("INTERFACE_HAS_NO_IP", network)


class _Evacuation:
    """The migrations of one evacuation; cancelling its task cancels those under way."""

    def __init__(self, call: Call, goals: dict[str, str]) -> None:
        self._call = call
        self._goals = goals
        self._done = 0
        self._failure: XapiError | None = None

    async def run(self, batch_size: int) -> None:
        tasks = self._call.world.tasks
        tasks.cancellable(self._call.task, self._cancel)
        moves = list(self._goals.items())
        for begin in range(0, len(moves), batch_size):
            async with asyncio.TaskGroup() as group:
                for vm, host in moves[begin : begin + batch_size]:
                    group.create_task(self._move(vm, host), name=f"simulator-evacuate-{vm}")
            if self._failure is not None:
                raise self._failure

    def _cancel(self) -> None:
        self._failure = XapiError("TASK_CANCELLED", self._call.task)
        for task in self._call.db.get("task", self._call.task, "subtasks"):
            with contextlib.suppress(XapiError):  # some cannot be cancelled any more
                self._call.world.tasks.cancel(task)

    async def _move(self, vm: str, host: str) -> None:
        try:
            await run_subtask(self._call, "VM.pool_migrate", vm, host, {"live": "true"})
        except XapiError as failure:
            # A VM that has gone down by itself need not be moved.
            if failure.code != "VM_BAD_POWER_STATE":
                self._failure = self._failure or failure
        self._done += 1
        db, task = self._call.db, self._call.task
        if db.exists("task", task):
            db.write("task", task, "progress", self._done / len(self._goals))

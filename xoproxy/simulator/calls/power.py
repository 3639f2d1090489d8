"""Class `VM`: power operations. They are checked as XAPI does, then run step by step.

What each writes, and in which order, is the lifecycle's; here is who may, where, and how long.
"""

import asyncio
import random
from typing import Final

from xoproxy.simulator.calls import vm_checks
from xoproxy.simulator.calls.host import hosts_that_run
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.database import RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Copies, Job, Power, Steps, Writes
from xoproxy.simulator.wiretypes import Json

STEP_S: Final = 0.05


class _Run:
    """One operation under way: the lifecycle's tools, and the task that all of it names."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.writes = Writes(call.db, random.Random())
        self.power = Power(self.writes)
        self.job = Job(task=call.task)
        self._cancelled = False

    def allow_cancel(self) -> None:
        def cancel() -> None:
            self._cancelled = True

        self.call.world.tasks.cancellable(self.call.task, cancel)

    def _require_go(self) -> None:
        if self._cancelled or not self.call.db.exists("task", self.call.task):
            raise XapiError("TASK_CANCELLED", self.call.task)

    async def drive(self, vm: str, name: str, steps: Steps) -> None:
        """Make the steps, with a pause after each, inside the operation's brackets.

        It ends early when its task is cancelled, or gone because xapi restarted.
        """
        with vm_checks.running(self.call, vm, name):
            try:
                for _ in steps:
                    await asyncio.sleep(STEP_S / self.call.world.speed)
                    self._require_go()
            except (XapiError, RowMissingError):
                self.power.settle(Job(held=[*self.job.held, ("VM", vm)]))
                raise
            finally:
                self.writes.release(self.job)


def _with_most_memory(call: Call) -> str:
    """Choose the host on which to start."""

    def free(host: str) -> int:
        size: int = call.db.get("host_metrics", call.db.get("host", host, "metrics"), "memory_free")
        return size

    hosts = hosts_that_run(call)
    if not hosts:
        raise XapiError("NO_HOSTS_AVAILABLE")
    return max(hosts, key=free)


def _require_enabled(call: Call, host: str) -> None:
    if not call.db.get("host", host, "enabled"):
        raise XapiError("HOST_DISABLED", host)


def _require_tools(call: Call, vm: str, name: str) -> None:
    """Refuse what needs the guest's help when nobody there would hear."""
    record = vm_checks.check(call, vm, name)
    if name not in vm_checks.allowed_now(call, record):
        raise XapiError("VM_LACKS_FEATURE", vm)


@operation("VM.start")
async def start(call: Call, vm: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    vm_checks.check(call, vm, "start")
    await _start(call, vm, "start", _with_most_memory(call), paused=paused)


@operation("VM.start_on")
async def start_on(call: Call, vm: str, host: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    vm_checks.check(call, vm, "start_on")
    _require_enabled(call, host)
    await _start(call, vm, "start_on", host, paused=paused)


async def _start(call: Call, vm: str, name: str, host: str, *, paused: bool) -> None:
    run = _Run(call)
    await run.drive(vm, name, run.power.start(run.job, vm, host))
    if paused:
        call.db.write("VM", vm, "power_state", "Paused")
        vm_checks.allow(call, vm)


@operation("VM.resume")
async def resume(call: Call, vm: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    vm_checks.check(call, vm, "resume")
    await _resume(call, vm, "resume", _with_most_memory(call), paused=paused)


@operation("VM.resume_on")
async def resume_on(call: Call, vm: str, host: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    vm_checks.check(call, vm, "resume_on")
    _require_enabled(call, host)
    await _resume(call, vm, "resume_on", host, paused=paused)


async def _resume(call: Call, vm: str, name: str, host: str, *, paused: bool) -> None:
    run = _Run(call)
    await run.drive(vm, name, run.power.resume(run.job, vm, host))
    if paused:
        call.db.write("VM", vm, "power_state", "Paused")
        vm_checks.allow(call, vm)


@operation("VM.clean_shutdown")
async def clean_shutdown(call: Call, vm: str) -> None:
    _require_tools(call, vm, "clean_shutdown")
    run = _Run(call)
    await run.drive(vm, "clean_shutdown", run.power.shutdown(vm))


@operation("VM.hard_shutdown")
async def hard_shutdown(call: Call, vm: str) -> None:
    run = _Run(call)
    await run.drive(vm, "hard_shutdown", run.power.shutdown(vm))


@operation("VM.shutdown")
async def shutdown(call: Call, vm: str) -> None:
    """Ask the guest where it can hear, else switch it off."""
    record = vm_checks.check(call, vm, "hard_shutdown")
    clean = "clean_shutdown" in vm_checks.allowed_now(call, record)
    await (clean_shutdown if clean else hard_shutdown)(call, vm)


@operation("VM.suspend")
async def suspend(call: Call, vm: str) -> None:
    _require_tools(call, vm, "suspend")
    run = _Run(call)
    await run.drive(vm, "suspend", run.power.suspend(run.job, vm, _suspend_sr(call, vm)))


def _suspend_sr(call: Call, vm: str) -> str:
    """Find where the memory goes: the VM's choice, its host's, the pool's."""
    record = call.db.record("VM", vm)
    choices = [record["suspend_SR"]]
    if call.db.exists("host", record["resident_on"]):
        choices.append(call.db.get("host", record["resident_on"], "suspend_image_sr"))
    for pool in call.db.refs("pool"):
        choices += [call.db.get("pool", pool, f) for f in ("suspend_image_SR", "default_SR")]
    for sr in choices:
        if call.db.exists("SR", sr):
            return str(sr)
    raise XapiError("VM_NO_SUSPEND_SR", vm)


@operation("VM.pool_migrate")
async def pool_migrate(call: Call, vm: str, host: str, _options: dict[str, str]) -> None:
    vm_checks.check(call, vm, "pool_migrate")
    _require_enabled(call, host)
    run = _Run(call)
    run.allow_cancel()
    await run.drive(vm, "pool_migrate", run.power.migrate(run.job, vm, host))


@operation("VM.snapshot")
async def snapshot(call: Call, vm: str, name: str, _ignored: list[str]) -> str:
    run = _Run(call)
    await run.drive(vm, "snapshot", Copies(run.writes).snapshot(vm, name))
    newest: str = call.db.get("VM", vm, "snapshots")[0]
    return newest


@operation("VM.provision")
def provision(call: Call, vm: str) -> None:
    """Make a VM of a copied template."""
    with vm_checks.running(call, vm, "provision"):
        call.db.write("VM", vm, "is_a_template", value=False)


def _plain(name: str) -> Handler:
    """Make an operation that changes one field or little more."""

    async def run(call: Call, vm: str) -> None:
        if name == "clean_reboot":
            _require_tools(call, vm, name)
        one = _Run(call)
        steps = {
            "pause": lambda: one.power.pause(vm),
            "unpause": lambda: one.power.unpause(vm),
            "clean_reboot": lambda: one.power.reboot(one.job, vm),
            "hard_reboot": lambda: one.power.reboot(one.job, vm),
        }
        await one.drive(vm, name, steps[name]())

    return run


for _name in ("pause", "unpause", "clean_reboot", "hard_reboot"):
    operation(f"VM.{_name}")(_plain(_name))


def _refusing(name: str) -> Handler:
    """Make an operation that knows when it is refused, and no more yet."""

    def run(call: Call, vm: str, *_arguments: Json) -> None:
        vm_checks.check(call, vm, name)
        raise XapiError("NOT_IMPLEMENTED", f"VM.{name}")

    return run


for _name in ("checkpoint", "copy", "send_sysrq", "send_trigger"):
    operation(f"VM.{_name}")(_refusing(_name))

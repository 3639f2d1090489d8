"""Class `VM`: power operations and migrations inside the pool."""

from typing import Final

from xoproxy.simulator.calls.operations import wait_until_allowed, wait_while_busy
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.calls.vm_operations import cancel_others, life_of, perform, perform_now
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import vm as vm_rules
from xoproxy.simulator.rules.placement import is_live, reaches

# What a forced shutdown or reboot ends first (message_forwarding.ml).
_ENDED_BY_REBOOT: Final = {
    "clean_shutdown",
    "clean_reboot",
    "pool_migrate",
    "call_plugin",
    "suspend",
}
_ENDED_BY_SHUTDOWN: Final = _ENDED_BY_REBOOT | {"hard_reboot", "shutdown"}


@operation("VM.start")
async def start(call: Call, vm: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    await perform(call, vm, "start", lambda life, job: life.power.start(job, vm, paused=paused))


@operation("VM.start_on")
async def start_on(call: Call, vm: str, host: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    if "evacuate" in call.db.get("host", host, "current_operations").values():
        raise XapiError("HOST_EVACUATE_IN_PROGRESS", host)
    await perform(
        call, vm, "start_on", lambda life, job: life.power.start(job, vm, host, paused=paused)
    )


@operation("VM.resume")
async def resume(call: Call, vm: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    await perform(call, vm, "resume", lambda life, job: life.power.resume(job, vm, paused=paused))


@operation("VM.resume_on")
async def resume_on(call: Call, vm: str, host: str, paused: bool, _force: bool) -> None:  # noqa: FBT001
    call.db.row("host", host)
    await perform(
        call, vm, "resume_on", lambda life, job: life.power.resume(job, vm, host, paused=paused)
    )


@operation("VM.pause")
async def pause(call: Call, vm: str) -> None:
    await perform(call, vm, "pause", lambda life, job: life.power.pause(job, vm))


@operation("VM.unpause")
async def unpause(call: Call, vm: str) -> None:
    await perform(call, vm, "unpause", lambda life, job: life.power.unpause(job, vm))


def _shutting_down(name: str) -> Handler:
    async def run(call: Call, vm: str) -> None:
        await perform(call, vm, name, lambda life, job: life.power.shutdown(job, vm, name))

    return run


@operation("VM.hard_shutdown")
async def hard_shutdown(call: Call, vm: str) -> None:
    """Switch a VM off; what was under way ends before, and may have done it already."""
    name = "hard_shutdown"
    await wait_until_allowed(call, "VM", vm, name)
    await cancel_others(call, vm, _ENDED_BY_SHUTDOWN)
    if call.db.get("VM", vm, "power_state") != "Halted":
        await perform(call, vm, name, lambda life, job: life.power.shutdown(job, vm, name))


@operation("VM.clean_reboot")
async def clean_reboot(call: Call, vm: str) -> None:
    name = "clean_reboot"
    await perform(call, vm, name, lambda life, job: life.power.reboot(job, vm, name))


@operation("VM.hard_reboot")
async def hard_reboot(call: Call, vm: str) -> None:
    """Reboot a VM by force; one that is halted by what was under way is started (xapi_vm.ml)."""
    name = "hard_reboot"
    await wait_until_allowed(call, "VM", vm, name)
    await cancel_others(call, vm, _ENDED_BY_REBOOT)
    if call.db.get("VM", vm, "power_state") == "Halted":
        await perform(call, vm, "start", lambda life, job: life.power.start(job, vm))
    else:
        await perform(call, vm, name, lambda life, job: life.power.reboot(job, vm, name))


for _name in ("clean_shutdown", "shutdown"):
    operation(f"VM.{_name}")(_shutting_down(_name))


@operation("VM.suspend")
async def suspend(call: Call, vm: str) -> None:
    await perform(
        call,
        vm,
        "suspend",
        lambda life, job: life.power.suspend(job, vm, lambda: suspend_sr(call, vm)),
    )


def suspend_sr(call: Call, vm: str) -> str:
    """Find where the memory goes: the VM's choice, its host's, the pool's."""
    record = call.db.record("VM", vm)
    host = record["resident_on"]
    choices = [record["suspend_SR"]]
    if call.db.exists("host", host):
        choices.append(call.db.get("host", host, "suspend_image_sr"))
    for pool in call.db.refs("pool"):
        choices += [call.db.get("pool", pool, f) for f in ("suspend_image_SR", "default_SR")]
    for sr in choices:
        if call.db.exists("SR", sr) and reaches(call.db, host, [sr]):
            return str(sr)
    raise XapiError("VM_NO_SUSPEND_SR", vm)


@operation("VM.pool_migrate")
async def pool_migrate(call: Call, vm: str, host: str, options: dict[str, str]) -> None:
    """Move a VM within the pool; "force" trusts a guest that has not said that it can."""
    call.db.row("host", host)
    strict = options.get("force") != "true"

    def attempt() -> None:
        refused = vm_rules.refusal(call.db, vm, "pool_migrate", strict=strict)
        if refused is not None:
            raise refused

    await wait_while_busy(call, attempt)
    await perform_now(call, vm, lambda life, job: life.power.migrate(job, vm, host))


@operation("VM.restart_device_models")
async def restart_device_models(call: Call, vm: str) -> None:
    """Move a VM to where it is: it gets new device models by that (xapi_vm.ml)."""
    await perform(
        call,
        vm,
        "pool_migrate",
        lambda life, job: life.power.migrate(job, vm, call.db.get("VM", vm, "resident_on")),
    )
    for name in ("pending_guidances", "pending_guidances_recommended", "pending_guidances_full"):
        left = [g for g in call.db.get("VM", vm, name) if g != "restart_device_model"]
        call.db.write("VM", vm, name, left)


@operation("VM.power_state_reset")
def power_state_reset(call: Call, vm: str) -> None:
    """Declare a VM halted whose host is lost; xapi does not believe it of one that lives."""
    record = call.db.record("VM", vm)
    if record["is_control_domain"]:
        raise XapiError("CANNOT_RESET_CONTROL_DOMAIN", vm)
    host = record["resident_on"]
    alive = record["power_state"] in {"Running", "Paused"} and call.db.exists("host", host)
    if alive and is_live(call.db, host):
        raise XapiError("DOMAIN_EXISTS", vm, str(record["domid"]))
    life_of(call).power.reset(vm)

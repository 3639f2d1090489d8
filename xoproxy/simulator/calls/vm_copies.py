"""Class `VM`: clones, copies, snapshots, templates; and the end of a VM."""

from xoproxy.simulator.calls.operations import wait_until_allowed
from xoproxy.simulator.calls.power import suspend_sr
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vm_operations import life_of, perform, perform_now
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json


@operation("VM.clone")
async def clone(call: Call, vm: str, new_name: str) -> Json:
    return await perform(call, vm, "clone", lambda life, job: life.copies.clone(job, vm, new_name))


@operation("VM.copy")
async def copy(call: Call, vm: str, new_name: str, sr: str) -> Json:
    """Copy a VM in full; an SR that does not exist means each disk's own (xapi_vm.ml, copy)."""
    call.db.row("VM", vm)
    if call.db.exists("SR", sr) and call.db.get("SR", sr, "content_type") == "iso":
        raise XapiError("OPERATION_NOT_ALLOWED", "Cannot copy a VM's disks to an ISO SR")
    return await perform(
        call, vm, "copy", lambda life, job: life.copies.copy(job, vm, new_name, sr)
    )


@operation("VM.snapshot")
async def snapshot(call: Call, vm: str, new_name: str, ignored: list[str]) -> Json:
    return await perform(
        call,
        vm,
        "snapshot",
        lambda life, job: life.copies.snapshot(job, vm, new_name, frozenset(ignored)),
    )


@operation("VM.checkpoint")
async def checkpoint(call: Call, vm: str, new_name: str) -> Json:
    return await perform(
        call,
        vm,
        "checkpoint",
        lambda life, job: life.copies.checkpoint(
            job, vm, new_name, life.power, lambda: suspend_sr(call, vm)
        ),
    )


@operation("VM.revert")
async def revert(call: Call, snapshot: str) -> None:
    """Take a VM back to a snapshot; one that is gone comes back (message_forwarding.ml)."""
    await wait_until_allowed(call, "VM", snapshot, "revert")
    vm = call.db.get("VM", snapshot, "snapshot_of")
    if not call.db.exists("VM", vm):
        vm = life_of(call).reverts.raise_again(snapshot)
    await wait_until_allowed(call, "VM", vm, "reverting")
    await perform_now(
        call, vm, lambda life, job: life.reverts.revert(job, snapshot, vm), cancellable=False
    )


@operation("VM.provision")
async def provision(call: Call, vm: str) -> None:
    await perform(call, vm, "provision", lambda life, job: life.installs.provision(job, vm))


@operation("VM.destroy")
async def destroy(call: Call, vm: str) -> None:
    await perform(
        call, vm, "destroy", lambda life, job: life.ends.destroy(job, vm), cancellable=False
    )

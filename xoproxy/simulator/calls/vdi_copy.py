"""Class `VDI`: copies, and moves to another repository. The data take their time."""

import contextlib
from collections.abc import AsyncIterator

from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.reach import hosts_of, require_plugged
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vdi import make_disk, require_managed
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.rules import allow
from xoproxy.simulator.wiretypes import Json


@operation("VDI.copy")
async def copy(call: Call, vdi: str, sr: str, base_vdi: str, into_vdi: str) -> str:
    """Copy a disk in full: into another one, or into a new one in a repository."""
    del base_vdi  # only spares work
    async with operations_on(call, ("VDI", vdi, "copy")), contextlib.AsyncExitStack() as stack:
        require_managed(call, vdi)
        if call.db.exists("VDI", into_vdi):
            target = into_vdi
        else:
            target = await stack.enter_async_context(_new_disk(call, vdi, sr))
        _require_room(call, vdi, target)
        await _copy_data(call, vdi, target)
        taken = call.db.get("VDI", vdi, "physical_utilisation")
        _count(call, target, taken)
    return target


def _require_room(call: Call, vdi: str, target: str) -> None:
    size = call.db.get("VDI", vdi, "virtual_size")
    if call.db.get("VDI", target, "read_only"):
        raise XapiError("VDI_READONLY", target)
    if call.db.get("VDI", target, "virtual_size") < size:
        raise XapiError("VDI_TOO_SMALL", target, str(size))


@contextlib.asynccontextmanager
async def _new_disk(call: Call, vdi: str, sr: str) -> AsyncIterator[str]:
    """Make the disk that becomes a copy; it goes again if that fails."""
    source = call.db.record("VDI", vdi)
    sizes = {"virtual_size": source["virtual_size"], "tags": source["tags"]}
    async with operations_on(call, ("SR", sr, "vdi_create")):
        made = await make_disk(call, sr, {**disks.given(source), **sizes})
    try:
        yield made
    except BaseException:
        if call.db.exists("VDI", made):
            disks.remove_disk(call.db, made)
        raise


async def _copy_data(call: Call, vdi: str, target: str) -> None:
    """Let a control domain that reaches both read the one and write the other."""
    vbds = []
    for domain in _domain_for(call, vdi, target):
        for disk, mode in ((vdi, "RO"), (target, "RW")):
            vbds.append(disks.attach_to_domain(call.db, domain, disk, mode))
    size = call.db.get("VDI", vdi, "virtual_size")
    try:
        await drive(call, disks.transfer(call.db, call.task, size), cancellable=True)
    finally:
        for vbd in vbds:
            if call.db.exists("VBD", vbd):
                disks.detach_from_domain(call.db, vbd)


def _domain_for(call: Call, *vdis: str) -> list[str]:
    """Choose the control domain that copies; a list of one, or none."""
    reach = [hosts_of(call, call.db.get("VDI", vdi, "SR")) for vdi in vdis]
    both = [host for host in reach[0] if all(host in hosts for hosts in reach)]
    for host in (*both, *reach[0]):
        domain = call.db.get("host", host, "control_domain")
        if call.db.exists("VM", domain):
            return [domain]
    return []


def _count(call: Call, vdi: str, taken: int) -> None:
    """Let a thin copy take up what its source does."""
    before = call.db.get("VDI", vdi, "physical_utilisation")
    if taken > before:
        call.db.write("VDI", vdi, "physical_utilisation", taken)
        disks.allocate(call.db, call.db.get("VDI", vdi, "SR"), 0, taken - before)


@operation("VDI.pool_migrate")
async def pool_migrate(call: Call, vdi: str, sr: str, _options: dict[str, str]) -> str:
    """Move the disk of a VM to another repository, whatever the VM does meanwhile."""
    vbds = call.db.get("VDI", vdi, "VBDs")
    if not vbds:
        raise XapiError("VDI_NEEDS_VM_FOR_MIGRATE", vdi)
    vm = call.db.get("VBD", vbds[0], "VM")
    async with operations_on(call, ("VM", vm, "migrate_send"), ("VDI", vdi, "mirror")):
        require_managed(call, vdi)
        _require_reach(call, vm, sr)
        async with _new_disk(call, vdi, sr) as target:
            size = call.db.get("VDI", vdi, "virtual_size")
            await drive(call, disks.transfer(call.db, call.task, size), cancellable=True)
            _swap(call, vdi, target)
    return target


def _require_reach(call: Call, vm: str, sr: str) -> None:
    require_plugged(call, sr)
    host = call.db.get("VM", vm, "resident_on")
    if call.db.exists("host", host) and host not in hosts_of(call, sr):
        raise XapiError("VM_REQUIRES_SR", vm, sr)


def _swap(call: Call, vdi: str, target: str) -> None:
    """Put a moved disk in the place of its source, which then goes."""
    source: dict[str, Json] = call.db.record("VDI", vdi)
    call.db.write("VDI", target, "read_only", source["read_only"])
    _count(call, target, source["physical_utilisation"])
    for vbd in source["VBDs"]:
        call.db.write("VBD", vbd, "VDI", target)
        allow(call.db, "VBD", vbd)
    disks.remove_disk(call.db, vdi)

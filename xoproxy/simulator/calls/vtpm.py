"""Class `VTPM`: trusted platform modules of VMs, of which a VM has one at most."""

from xoproxy.simulator.calls.operations import operation_on, operations_on
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.rules import allow


@operation("VTPM.create")
async def create(call: Call, vm: str, is_unique: bool) -> str:  # noqa: FBT001
    async with operations_on(call, ("VM", vm, "create_vtpm")):
        vtpm = call.db.create("VTPM", {"VM": vm, "is_unique": is_unique})
        allow(call.db, "VTPM", vtpm)
    return vtpm


@operation("VTPM.destroy")
def destroy(call: Call, vtpm: str) -> None:
    vm = call.db.get("VTPM", vtpm, "VM")
    with operation_on(call, "VTPM", vtpm, "destroy"):
        call.db.destroy("VTPM", vtpm)
    if call.db.exists("VM", vm):
        allow(call.db, "VM", vm)

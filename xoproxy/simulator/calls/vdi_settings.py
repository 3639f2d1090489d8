"""Class `VDI`: what can be set about a disk."""

from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.reach import require_plugged
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.rules import allow


def _on_storage(field: str) -> Handler:
    """Make a setter of what the storage keeps too, and so needs a host that reaches it."""

    def run(call: Call, vdi: str, value: str) -> None:
        require_plugged(call, call.db.get("VDI", vdi, "SR"))
        call.db.write("VDI", vdi, field, value)

    return run


for _field in ("name_label", "name_description"):
    operation(f"VDI.set_{_field}")(_on_storage(_field))


@operation("VDI.set_sharable")
def set_sharable(call: Call, vdi: str, value: bool) -> None:  # noqa: FBT001
    call.db.write("VDI", vdi, "sharable", value)
    allow(call.db, "VDI", vdi)


@operation("VDI.set_on_boot")
async def set_on_boot(call: Call, vdi: str, value: str) -> None:
    """Choose what a start of its VM does to a disk; that depends on the disk and shows on VMs."""
    sr = call.db.get("VDI", vdi, "SR")
    _require_halted(call, vdi)
    async with operations_on(call, ("SR", sr, "vdi_set_on_boot"), ("VDI", vdi, "set_on_boot")):
        require_plugged(call, sr)
        await drive(call, disks.working())
        call.db.write("VDI", vdi, "on_boot", value)
    _allow_owners(call, vdi)


@operation("VDI.set_allow_caching")
def set_allow_caching(call: Call, vdi: str, value: bool) -> None:  # noqa: FBT001
    _require_halted(call, vdi)
    call.db.write("VDI", vdi, "allow_caching", value)
    _allow_owners(call, vdi)


def _require_halted(call: Call, vdi: str) -> None:
    for vbd in call.db.get("VDI", vdi, "VBDs"):
        vm = call.db.get("VBD", vbd, "VM")
        state = call.db.get("VM", vm, "power_state")
        if state != "Halted":
            raise XapiError("VM_BAD_POWER_STATE", vm, "halted", state.lower())


def _allow_owners(call: Call, vdi: str) -> None:
    for vbd in call.db.get("VDI", vdi, "VBDs"):
        allow(call.db, "VM", call.db.get("VBD", vbd, "VM"))


def _switch(name: str, *, enabled: bool) -> Handler:
    """Make the calls that have changed blocks tracked, or no longer."""

    async def run(call: Call, vdi: str) -> None:
        sr = call.db.get("VDI", vdi, "SR")
        async with operations_on(call, ("SR", sr, f"vdi_{name}"), ("VDI", vdi, name)):
            require_plugged(call, sr)
            await drive(call, disks.working())
            call.db.write("VDI", vdi, "cbt_enabled", enabled)

    return run


operation("VDI.enable_cbt")(_switch("enable_cbt", enabled=True))
operation("VDI.disable_cbt")(_switch("disable_cbt", enabled=False))

"""Class `VM`: new ones, questions about them, and requests to their guests."""

import uuid as uuids

from xoproxy.simulator.calls.operations import operation_on, wait_until_allowed
from xoproxy.simulator.calls.registry import Call, Handler, RecordResult, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import allow, check, placement
from xoproxy.simulator.wiretypes import NULL, Json


@operation("VM.create")
def create(call: Call, record: dict[str, Json]) -> str:
    """Add a VM, halted and without devices."""
    other_config = dict(record["other_config"])
    other_config.setdefault("mac_seed", str(uuids.uuid4()))
    domain_type = record["domain_type"]
    if domain_type == "unspecified":
        domain_type = "hvm" if record["HVM_boot_policy"] else "pv"
    made = {
        **record,
        "other_config": other_config,
        "domain_type": domain_type,
        "domid": -1,
        "power_state": "Halted",
        "suspend_VDI": NULL,
        "blocked_operations": {},
        "last_booted_record": "",
        "metrics": call.db.create("VM_metrics", {"VCPUs_utilisation": {"0": 0.0}}),
    }
    vm = call.db.create("VM", made)
    allow(call.db, "VM", vm)
    refresh_overhead(call, vm)
    return vm


def refresh_overhead(call: Call, vm: str) -> None:
    size = placement.overhead_of(call.db.record("VM", vm))
    call.db.write("VM", vm, "memory_overhead", size)


@operation("VM.get_possible_hosts")
def get_possible_hosts(call: Call, vm: str) -> list[str]:
    call.db.row("VM", vm)
    return placement.possible_hosts(call.db, vm)


@operation("VM.assert_can_boot_here")
def assert_can_boot_here(call: Call, vm: str, host: str) -> None:
    placement.require(call.db, vm, host)


@operation("VM.assert_agile")
def assert_agile(call: Call, vm: str) -> None:
    """Refuse a VM that could not run on every host: its disks must be on shared storage."""
    for sr in placement.storage_of(call.db, call.db.record("VM", vm)):
        if not call.db.get("SR", sr, "shared"):
            raise XapiError("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)


@operation("VM.assert_operation_valid")
def assert_operation_valid(call: Call, vm: str, name: str) -> None:
    check(call.db, "VM", vm, name)


@operation("VM.update_allowed_operations")
def update_allowed_operations(call: Call, vm: str) -> None:
    """Bring up to date what a VM advertises, and before it what its devices do."""
    record = call.db.record("VM", vm)
    for cls, field in (("VBD", "VBDs"), ("VIF", "VIFs")):
        for device in record[field]:
            allow(call.db, cls, device)
    allow(call.db, "VM", vm)


@operation("VM.compute_memory_overhead")
def compute_memory_overhead(call: Call, vm: str) -> int:
    return placement.overhead_of(call.db.record("VM", vm))


@operation("VM.maximise_memory")
def maximise_memory(call: Call, vm: str, total: int, _approximate: bool) -> int:  # noqa: FBT001
    """Tell with how much memory a VM would need this much with its overhead."""
    record = call.db.record("VM", vm)
    low, high = 0, total
    while low < high:
        size = (low + high + 1) // 2
        if size + placement.overhead_of({**record, "memory_static_max": size}) <= total:
            low = size
        else:
            high = size - 1
    return low


@operation("VM.get_boot_record")
def get_boot_record(call: Call, vm: str) -> RecordResult:
    """Return the record of a VM, which is what it was booted with."""
    check(call.db, "VM", vm, "get_boot_record")
    return RecordResult(call.db.model.classes["VM"], call.db.row("VM", vm))


@operation("VM.get_cooperative")
def get_cooperative(call: Call, vm: str) -> bool:
    """Return true: XAPI keeps this call for old clients only."""
    call.db.row("VM", vm)
    return True


@operation("VM.query_services")
def query_services(call: Call, vm: str) -> dict[str, str]:
    check(call.db, "VM", vm, "query_services")
    return {}


# -- requests to guests --------------------------------------------------------------------


def _to_guest(name: str) -> Handler:
    """Make a request that a guest gets and that leaves no trace in the database."""

    async def run(call: Call, vm: str, _what: str) -> None:
        await wait_until_allowed(call, "VM", vm, name)
        with operation_on(call, "VM", vm, name):
            pass

    return run


for _name in ("send_sysrq", "send_trigger"):
    operation(f"VM.{_name}")(_to_guest(_name))


@operation("VM.call_host_plugin")
def call_host_plugin(
    call: Call, vm: str, plugin: str, _function: str, _arguments: dict[str, str]
) -> str:
    """Call a plugin on the host of a VM; hosts here have none."""
    call.db.row("VM", vm)
    raise XapiError("XENAPI_MISSING_PLUGIN", plugin)


@operation("VM.call_plugin")
def call_plugin(call: Call, vm: str, plugin: str, function: str, _arguments: dict[str, str]) -> str:
    """Ask a guest's agent for something; there is one plugin, and guests here have none of it."""
    with operation_on(call, "VM", vm, "call_plugin"):
        if plugin != "guest-agent-operation":
            raise XapiError("XENAPI_MISSING_PLUGIN", plugin)
        text = f'The requested fn "{function}" could not be found in plugin "{plugin}".'
        raise XapiError("XENAPI_PLUGIN_FAILURE", "failed to find fn", text, text)

"""Why a VM cannot run on a host, and which host takes it (xapi_vm_helpers.ml, can_boot_here).

Memory is reckoned as XAPI does: what a host tells to be free, less what VMs need that are about to
arrive there. A VM starts if its dynamic minimum fits; how much of its range it gets then depends on
what is there.
"""

import math
from collections.abc import Iterable
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import NULL, Json, shown_float

MIB: Final = 1 << 20
_LIMITS: Final = ("static_min", "dynamic_min", "dynamic_max", "static_max")
_ALIVE: Final = {"Running", "Paused"}

_Record = dict[str, Json]
Announced = dict[str, tuple[str, int]]


def overhead_of(record: _Record) -> int:
    """Estimate what a VM needs besides its memory: page tables, device models."""
    vcpus: int = record["VCPUs_max"]
    shadow: float = record["memory_static_max"] / MIB / 128 * record["HVM_shadow_multiplier"]
    return (3 + vcpus + (int(shadow) if math.isfinite(shadow) else 0)) * MIB


def footprint(record: _Record) -> int:
    """Return how much of its host's memory a VM has, or would have as it was."""
    size: int = record["memory_target"] or record["memory_dynamic_max"]
    return size + int(record["memory_overhead"])


def needed_by(record: _Record) -> int:
    """Return the least memory with which a VM can run: as it is, or as it would start."""
    if record["power_state"] != "Halted":
        return footprint(record)
    least: int = record["memory_dynamic_min"]
    return least + int(record["memory_overhead"])


def announced(db: Database) -> Announced:
    """List the VMs that are about to arrive somewhere: {VM: (host, memory)}."""
    return {
        row.ref: (row.fields["scheduled_to_be_resident_on"], needed_by(row.fields))
        for row in db.tables["VM"].rows.values()
        if row.fields["scheduled_to_be_resident_on"] != NULL
    }


def free_memory(
    db: Database, host: str, *, but: str = NULL, coming: Announced | None = None
) -> int:
    """Return what a host has left once those have arrived who are about to, all `but` one."""
    metrics = db.get("host", host, "metrics")
    free: int = db.get("host_metrics", metrics, "memory_free")
    coming = announced(db) if coming is None else coming
    return free - sum(size for vm, (goal, size) in coming.items() if goal == host and vm != but)


def possible_hosts(db: Database, vm: str) -> list[str]:
    coming = announced(db)
    return [host for host in db.refs("host") if unfit(db, vm, host, coming=coming) is None]


def choose(db: Database, vm: str) -> str:
    """Choose where a VM starts or resumes (choose_host_for_vm_no_wlb).

    That is its own favourite, else among the hosts with the fewest VMs of its group the one with
    the most free memory.

    Raises:
        XapiError: NO_HOSTS_AVAILABLE, or that memory is all that is missing, and how much.
    """
    coming = announced(db)
    why = {host: unfit(db, vm, host, coming=coming) for host in db.refs("host")}
    calm = {
        host: refused
        for host, refused in why.items()
        if "evacuate" not in db.get("host", host, "current_operations").values()
    }
    hosts = [host for host, refused in calm.items() if refused is None]
    if not hosts:
        full = [r for r in calm.values() if r and r.code == "HOST_NOT_ENOUGH_FREE_MEMORY"]
        raise max(full, key=lambda r: int(r.params[1])) if full else XapiError("NO_HOSTS_AVAILABLE")
    affinity: str = db.get("VM", vm, "affinity")
    if affinity in hosts:
        return affinity
    beside = _anti_affine(db, vm)
    return min(
        hosts,
        key=lambda host: (beside.count(host), -free_memory(db, host, but=vm, coming=coming)),
    )


def _anti_affine(db: Database, vm: str) -> list[str]:
    """List the hosts of the VMs from which a VM wants to be apart."""
    others = [
        db.row("VM", other).fields
        for group in db.get("VM", vm, "groups")
        if db.exists("VM_group", group) and db.get("VM_group", group, "placement") != "normal"
        for other in db.get("VM_group", group, "VMs")
        if other != vm
    ]
    announced_to = [o["scheduled_to_be_resident_on"] for o in others]
    running_on = [o["resident_on"] for o in others if o["power_state"] == "Running"]
    return [host for host in announced_to + running_on if host != NULL]


def require(db: Database, vm: str, host: str) -> None:
    """Raise why a VM cannot run on a host, if it cannot."""
    refused = unfit(db, vm, host)
    if refused is not None:
        raise refused


def is_live(db: Database, host: str) -> bool:
    metrics = db.get("host", host, "metrics")
    return db.exists("host_metrics", metrics) and bool(db.get("host_metrics", metrics, "live"))


def reaches(db: Database, host: str, srs: Iterable[str]) -> bool:
    """Tell whether all these SRs are attached to a host."""
    pbds = (db.row("PBD", pbd).fields for pbd in db.get("host", host, "PBDs"))
    return {pbd["SR"] for pbd in pbds if pbd["currently_attached"]}.issuperset(srs)


def is_attached(db: Database, sr: str) -> bool:
    """Tell whether an SR is attached to any host."""
    return any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs"))


def unfit(db: Database, vm: str, host: str, *, coming: Announced | None = None) -> XapiError | None:
    """Tell why a VM cannot run on a host; None when it can.

    Args:
        db: the pool's database.
        vm: the VM.
        host: where it would run.
        coming: who is about to arrive, if the caller has listed them already.
    """
    record = db.row("VM", vm).fields
    there = db.row("host", host).fields
    return (
        _invalid(record)
        or _unavailable(db, record, host, there)
        or _incompatible(vm, record, host, there)
        or _unreachable(db, vm, record, host)
        or _too_small(db, vm, record, host, there, coming)
    )


def _invalid(record: _Record) -> XapiError | None:
    """Check the VM alone."""
    maximum, at_startup = record["VCPUs_max"], record["VCPUs_at_startup"]
    if maximum < 1:
        return XapiError("INVALID_VALUE", "VCPUs_max", str(maximum))
    if at_startup < 1:
        return XapiError("INVALID_VALUE", "VCPUs-at-startup", str(at_startup))
    if at_startup > maximum:
        reason = "value greater than VCPUs-max"
        return XapiError("VALUE_NOT_SUPPORTED", "VCPUs-at-startup", str(at_startup), reason)
    limits = [record[f"memory_{limit}"] for limit in _LIMITS]
    if limits != sorted(limits):
        return XapiError("MEMORY_CONSTRAINT_VIOLATION")
    if record["HVM_shadow_multiplier"] < 1.0:
        shown = shown_float(record["HVM_shadow_multiplier"])
        return XapiError("INVALID_VALUE", "HVM_shadow_multiplier", shown)
    return None


def _unavailable(db: Database, record: _Record, host: str, there: _Record) -> XapiError | None:
    if not is_live(db, host):
        return XapiError("HOST_NOT_LIVE")
    if record["is_control_domain"]:
        if record["affinity"] not in {NULL, host}:
            text = "Cannot boot a control domain on a host different from its affinity"
            return XapiError("OPERATION_NOT_ALLOWED", text)
        return None
    stays = record["power_state"] == "Running" and record["resident_on"] == host
    return None if there["enabled"] or stays else XapiError("HOST_DISABLED", host)


def _incompatible(vm: str, record: _Record, host: str, there: _Record) -> XapiError | None:
    versions = there["virtual_hardware_platform_versions"] or [0]
    wanted = record["hardware_platform_version"]
    if wanted not in versions:
        known = "[" + "; ".join(map(str, versions)) + "]"
        code = "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION"
        return XapiError(code, host, known, vm, str(wanted))
    capabilities = there["capabilities"]
    hvm = not capabilities or any("hvm" in capability for capability in capabilities)
    if not hvm and record["domain_type"] in {"hvm", "pvh", "pv_in_pvh"}:
        return XapiError("VM_HVM_REQUIRED", vm)
    return None


def _unreachable(db: Database, vm: str, record: _Record, host: str) -> XapiError | None:
    """Check that the host reaches the VM's disks and networks."""
    for sr in storage_of(db, record):
        if not reaches(db, host, [sr]):
            return XapiError("VM_REQUIRES_SR", vm, sr)
    for vif in record["VIFs"]:
        network = db.get("VIF", vif, "network")
        if db.exists("network", network) and not _has_network(db, host, network, vm):
            return XapiError("VM_REQUIRES_NETWORK", vm, network)
    return None


def storage_of(db: Database, record: _Record) -> Iterable[str]:
    """List the SRs of what a VM has in its drives, and of its memory while it is suspended."""
    disks = [db.get("VBD", vbd, "VDI") for vbd in record["VBDs"]]
    if record["power_state"] == "Suspended":
        disks.append(record["suspend_VDI"])
    return [db.get("VDI", disk, "SR") for disk in disks if db.exists("VDI", disk)]


def _has_network(db: Database, host: str, network: str, vm: str) -> bool:
    """Whether a network reaches a host; one without a PIF lives where its VMs are."""
    pifs = db.get("network", network, "PIFs")
    if pifs:
        return any(db.get("PIF", pif, "host") == host for pif in pifs)
    vms = {
        db.get("VIF", vif, "VM")
        for vif in db.get("network", network, "VIFs")
        if db.get("VIF", vif, "currently_attached")
    }
    places = {
        db.get("VM", other, "resident_on")
        for other in vms
        if other != vm and db.exists("VM", other) and db.get("VM", other, "power_state") in _ALIVE
    }
    return places <= {host}


def _too_small(
    db: Database,
    vm: str,
    record: _Record,
    host: str,
    there: _Record,
    coming: Announced | None,
) -> XapiError | None:
    needed, available = needed_by(record), free_memory(db, host, but=vm, coming=coming)
    if needed > available:
        return XapiError("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(available))
    count = there["cpu_info"].get("cpu_count", "")
    unrestricted = record["platform"].get("vcpu-unrestricted", "").lower() in {"1", "true"}
    if count.isdecimal() and record["VCPUs_max"] > int(count) and not unrestricted:
        return XapiError("HOST_NOT_ENOUGH_PCPUS", str(record["VCPUs_max"]), count)
    return None

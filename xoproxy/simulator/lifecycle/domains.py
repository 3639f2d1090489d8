"""The domains behind VMs: what a VM has while it is alive, and how it comes to it and loses it.

A living VM has a host and a part of its memory, a domain number, consoles and attached devices.
Residence and memory change in one step, so that what is about to arrive and what has arrived are
never counted twice. `mend` is the rule that everything here obeys, as a function.
"""

from typing import Final
from weakref import WeakKeyDictionary

from xoproxy.simulator.database import Database
from xoproxy.simulator.lifecycle.devices import device_name
from xoproxy.simulator.lifecycle.guests import Guests
from xoproxy.simulator.lifecycle.volumes import Volumes
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Steps, Takes, Writes
from xoproxy.simulator.rules import RULES, allow, placement

ALIVE: Final = ("Running", "Paused")
BUILD_S: Final = 1.5
DOMIDS: Final = 32752  # Xen counts round

_DEVICES: Final = (("VBD", "VBDs"), ("VIF", "VIFs"), ("VUSB", "VUSBs"))

# By pool and host: the newest domain's number. Hosts do not give one twice.
_LAST: Final[WeakKeyDictionary[Database, dict[str, int]]] = WeakKeyDictionary()

# By pool and VM: the memory of domains that do not show it yet, whoever builds them.
_GIVEN: Final[WeakKeyDictionary[Database, dict[str, int]]] = WeakKeyDictionary()


class Domains:
    """Builds domains on hosts, and takes them down."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._guests = Guests(writes)
        self._last = _LAST.setdefault(writes.db, {})
        self._given = _GIVEN.setdefault(writes.db, {})

    # -- on the way up -----------------------------------------------------------------------

    def prepare(self, vm: str) -> Steps:
        """Settle what a start reads: the memory overhead, the kind of domain, BIOS strings."""
        record = self._db.record("VM", vm)
        if record["domain_type"] == "unspecified":
            kind = "hvm" if record["HVM_boot_policy"] else "pv"
            yield self._w.set("VM", vm, domain_type=kind)
        yield self._w.set("VM", vm, memory_overhead=placement.overhead_of(record))
        if not record["bios_strings"]:
            yield self._w.set("VM", vm, bios_strings=_GENERIC_BIOS)

    def reserve(self, job: Job, vm: str, host: str, operation: str) -> Steps:
        """Announce a VM to the host that it is going to.

        In one step with the choice of the host: others see at once that its memory is taken.
        """
        self._w.enter(job, "host", host, operation)
        yield self._w.set("VM", vm, scheduled_to_be_resident_on=host)

    def attach(self, vm: str) -> Steps:
        for cls, device in self._devices(vm):
            yield self._w.set(cls, device, currently_attached=True)

    def build(self, job: Job, vm: str, host: str, *, paused: bool) -> Steps:
        """Bring a domain to life on the host that the VM is announced to."""
        yield Takes(BUILD_S)
        yield self._w.progress(job, 0.5)
        yield self._arrive(vm, host)
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        kind = self._db.get("VM", vm, "domain_type")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, current_domain_type=kind)
        yield self._w.set("VM", vm, power_state="Paused")
        if not paused:
            yield self._w.set("VM", vm, power_state="Running")
        yield from self._guests.renew(vm)
        yield from self._new_domain(vm, host)
        yield self._w.set("VM", vm, memory_target=self._given.pop(vm))
        yield from self._tell(vm)

    def renew(self, vm: str) -> Steps:
        """Give a living VM a new domain where it is, as a reboot and a migration do."""
        yield from self._new_domain(vm, self._db.get("VM", vm, "resident_on"))
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, start_time=self._w.clock())

    def forget_guest(self, vm: str) -> Steps:
        """Forget what the guest told before it was booted anew."""
        yield from self._guests.renew(vm)

    def move(self, vm: str, host: str) -> Steps:
        """Move a living VM: both hosts' memory changes with its residence."""
        source = self._db.get("VM", vm, "resident_on")
        size = placement.footprint(self._db.record("VM", vm))
        if self._db.exists("host", source):
            self.use_memory(source, -size)
        self.use_memory(host, size)
        yield self._w.set("VM", vm, resident_on=host, scheduled_to_be_resident_on=NULL)

    # -- on the way down ---------------------------------------------------------------------

    def detach(self, vm: str) -> Steps:
        for cls, device in self._devices(vm):
            yield self._w.set(cls, device, currently_attached=False)

    def leave(self, vm: str) -> Steps:
        """Give up the host, its memory and the consoles; the power state says so already."""
        self._leave_host(vm)
        yield allow(self._db, "VM", vm)
        yield from self._remove_consoles(vm)

    def allow_devices(self, vm: str) -> Steps:
        """Bring up to date what devices and disks allow, after the VM has changed."""
        if not self._db.exists("VM", vm):
            return
        for cls, device in self._devices(vm):
            if cls in RULES:
                yield allow(self._db, cls, device)

    # -- at any time -------------------------------------------------------------------------

    def use_memory(self, host: str, size_bytes: int) -> int:
        """Take memory of a host, or give it back (negative)."""
        metrics = self._w.target("host", host, "metrics", "host_metrics")
        if metrics is None:
            return 0
        record = self._db.row("host_metrics", metrics).fields
        free = max(record["memory_free"] - size_bytes, 0)
        total = record["memory_total"]
        return self._w.set("host_metrics", metrics, memory_free=min(free, total) if total else free)

    def mend(self, vm: str) -> None:
        """Make a VM have what its power state says, wherever an operation on it ended."""
        record = self._db.record("VM", vm)
        state = record["power_state"]
        self._w.set("VM", vm, scheduled_to_be_resident_on=NULL)
        if state in ALIVE and self._db.exists("host", record["resident_on"]):
            self._complete(vm, record)
        elif state not in ALIVE:
            if self._db.exists("host", record["resident_on"]):
                self._leave_host(vm)
            _run(self._remove_consoles(vm))
            if state == "Halted":
                _run(self.detach(vm))
        if state != "Suspended":
            image = record["suspend_VDI"]
            self._w.set("VM", vm, suspend_VDI=NULL)
            Volumes(self._w).remove(image)
        allow(self._db, "VM", vm)
        _run(self.allow_devices(vm))

    # -- within ------------------------------------------------------------------------------

    def _devices(self, vm: str) -> list[tuple[str, str]]:
        return [(cls, device) for cls, name in _DEVICES for device in self._db.get("VM", vm, name)]

    def _arrive(self, vm: str, host: str) -> int:
        """Settle on the announced host with as much of the memory range as it has left."""
        record = self._db.row("VM", vm).fields
        overhead = record["memory_overhead"]
        if record["power_state"] == "Halted":
            left = placement.free_memory(self._db, host, but=vm) - overhead
            target = max(record["memory_dynamic_min"], min(record["memory_dynamic_max"], left))
        else:
            target = record["memory_target"] or record["memory_dynamic_max"]
        self._given[vm] = target
        self.use_memory(host, target + overhead)
        return self._w.set("VM", vm, resident_on=host, scheduled_to_be_resident_on=NULL)

    def _leave_host(self, vm: str) -> None:
        record = self._db.record("VM", vm)
        given = self._given.pop(vm, None)
        size = placement.footprint(record)
        if given is not None:
            size = given + record["memory_overhead"]
        if self._db.exists("host", record["resident_on"]):
            self.use_memory(record["resident_on"], -size)
        self._w.set("VM", vm, resident_on=NULL, scheduled_to_be_resident_on=NULL, domid=-1)

    def _new_domain(self, vm: str, host: str) -> Steps:
        residents = [vm, *self._db.get("host", host, "resident_VMs")]
        seen = [self._db.get("VM", other, "domid") for other in residents]
        self._last[host] = max(*seen, self._last.get(host, 0)) % DOMIDS + 1
        yield self._w.set("VM", vm, domid=self._last[host])
        yield from self._remove_consoles(vm)
        address = self._db.get("host", host, "address")
        for protocol in ("rfb", "vt100"):
            uuid = self._w.uuid()
            location = self._db.site.console(address, uuid)
            record: Record = {"uuid": uuid, "VM": vm, "protocol": protocol, "location": location}
            yield self._w.add("console", record)

    def _remove_consoles(self, vm: str) -> Steps:
        for console in self._db.get("VM", vm, "consoles"):
            yield self._w.remove("console", console)

    def _tell(self, vm: str) -> Steps:
        """Write what the hypervisor tells of a new domain."""
        record = self._db.record("VM", vm)
        platform = record["platform"]
        yield self._w.set("VM", vm, platform={**platform, "timeoffset": _offset(platform)})
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, hvm=record["domain_type"] == "hvm")
            yield self._w.set("VM_metrics", metrics, nomigrate=_is_true(platform, "nomigrate"))
            yield self._w.set("VM_metrics", metrics, nested_virt=_is_true(platform, "nested-virt"))
            yield self._w.set("VM_metrics", metrics, start_time=self._w.clock())
            yield self._w.set("VM_metrics", metrics, VCPUs_number=record["VCPUs_at_startup"])
        host = record["resident_on"]
        flags = self._db.get("host", host, "cpu_info") if self._db.exists("host", host) else {}
        if flags:
            known = {"vendor": flags.get("vendor", ""), "features": flags.get("features", "")}
            yield self._w.set("VM", vm, last_boot_CPU_flags=known)
        for vbd in record["VBDs"]:
            name = device_name(self._db.get("VBD", vbd, "userdevice"))
            yield self._w.set("VBD", vbd, device=name)

    def _complete(self, vm: str, record: Record) -> None:
        """Finish a boot that went far enough for the VM to be alive."""
        if record["domid"] < 0 or not record["consoles"]:
            _run(self._new_domain(vm, record["resident_on"]))
        if vm in self._given:
            self._w.set("VM", vm, memory_target=self._given.pop(vm))
            _run(self._tell(vm))


def _run(steps: Steps) -> None:
    for _ in steps:
        pass


def _offset(platform: dict[str, str]) -> str:
    return platform.get("timeoffset", "0")


def _is_true(platform: dict[str, str], key: str) -> bool:
    return platform.get(key, "").lower() in {"1", "true"}


_GENERIC_BIOS: Final = {
    "bios-vendor": "Xen",
    "bios-version": "",
    "system-manufacturer": "Xen",
    "system-product-name": "HVM domU",
    "system-version": "",
    "system-serial-number": "",
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}

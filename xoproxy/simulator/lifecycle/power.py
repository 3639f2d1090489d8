"""Power operations of virtual machines, each with its marks, writes and alert in XAPI's order.

(message_forwarding.ml and xapi_xenops.ml.) Whoever runs one has checked that the
VM allows it. An operation that ends early is put right by `settle`.
"""

from collections.abc import Callable

from xoproxy.simulator.lifecycle.domains import Domains
from xoproxy.simulator.lifecycle.volumes import Volumes
from xoproxy.simulator.lifecycle.writes import NULL, Job, Steps, Takes, Writes
from xoproxy.simulator.rules import allow, placement
from xoproxy.simulator.rules.devices import attach_refusal

GUEST_S = 4.0  # in which a guest shuts down or gets ready to be suspended
COPY_S = 3.0  # in which memory goes to a disk or to another host
_LAST_CHANCE_S = 1.0


class Power:
    """Brings VMs up and down, and moves them."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self.domains = Domains(writes)
        self.volumes = Volumes(writes)

    # -- up ----------------------------------------------------------------------------------

    def start(self, job: Job, vm: str, host: str | None = None, *, paused: bool = False) -> Steps:
        """Start a VM, without a host where there is most room."""
        operation = "start" if host is None else "start_on"
        yield self._w.hold(job, "VM", vm, operation)
        yield from self._mark_devices(job, vm, "VBDs", "VIFs")
        yield from self.domains.prepare(vm)
        there = self._place(vm, host)
        yield from self.domains.reserve(job, vm, there, "vm_start")
        if self._db.get("VM", vm, "ha_restart_priority") == "restart":
            yield self._w.set("VM", vm, ha_always_run=True)
        yield from self.domains.attach(vm)
        yield from self.domains.build(job, vm, there, paused=paused)
        yield Takes(self._db.get("VM", vm, "start_delay"))
        yield from self._release_all(job)
        yield from self.domains.allow_devices(vm)
        yield self._w.message("VM_STARTED", vm, f"started on host: {self._name(there)}")

    def resume(self, job: Job, vm: str, host: str | None = None, *, paused: bool = False) -> Steps:
        operation = "resume" if host is None else "resume_on"
        yield self._w.hold(job, "VM", vm, operation)
        yield from self._mark_devices(job, vm, "VBDs")
        there = self._place(vm, host)
        yield from self.domains.reserve(job, vm, there, "vm_resume")
        if self._db.get("VM", vm, "ha_restart_priority") == "restart":
            yield self._w.set("VM", vm, ha_always_run=True)
        yield Takes(COPY_S)
        yield from self.domains.attach(vm)
        yield from self.domains.build(job, vm, there, paused=paused)
        yield from self.drop_memory_image(vm)
        yield from self._release_all(job)
        yield from self.domains.allow_devices(vm)
        yield self._w.message("VM_RESUMED", vm, f"resumed on host: {self._name(there)}")

    def unpause(self, job: Job, vm: str) -> Steps:
        yield from self._set_power_state(job, vm, "unpause", "Running")
        yield self._w.message("VM_UNPAUSED", vm, "unpaused")
        yield from self.domains.allow_devices(vm)

    # -- down --------------------------------------------------------------------------------

    def shutdown(self, job: Job, vm: str, operation: str) -> Steps:
        """Shut a VM down: clean_shutdown, hard_shutdown, or shutdown (clean where it can be)."""
        yield self._w.hold(job, "VM", vm, operation)
        yield self._w.set("VM", vm, ha_always_run=False)
        if operation != "hard_shutdown" and self._db.get("VM", vm, "power_state") == "Running":
            yield self._w.progress(job, 0.1)
            yield Takes(GUEST_S)
        if self._db.get("VM", vm, "power_state") != "Halted":
            yield from self.halt(vm)
        yield Takes(self._db.get("VM", vm, "shutdown_delay"))
        yield from self._release_all(job)
        yield self._w.message(
            "VM_SHUTDOWN", vm, "shutdown forcibly" if operation == "hard_shutdown" else "shutdown"
        )
        yield from self.domains.allow_devices(vm)

    def halt(self, vm: str) -> Steps:
        """Bring a VM to Halted, without marks or alert; a suspended one loses its memory."""
        yield from self.drop_memory_image(vm)
        alive = self._db.exists("host", self._db.get("VM", vm, "resident_on"))
        yield self._w.set("VM", vm, power_state="Halted")
        yield from self.domains.detach(vm)
        yield self._w.set("VM", vm, requires_reboot=False)
        if alive:
            yield from self.domains.leave(vm)
        else:
            yield self._w.set("VM", vm, scheduled_to_be_resident_on=NULL, domid=-1)
            yield allow(self._db, "VM", vm)
        yield from self.domains.allow_devices(vm)

    def suspend(self, job: Job, vm: str, choose_sr: Callable[[], str]) -> Steps:
        """Suspend a VM; its memory goes to the SR that is chosen then."""
        yield self._w.hold(job, "VM", vm, "suspend")
        yield self._w.set("VM", vm, ha_always_run=False)
        yield from self.write_memory_image(job, vm, choose_sr())
        yield self._w.set("VM", vm, power_state="Suspended")
        job.made.clear()
        yield from self.domains.leave(vm)
        yield from self._release_all(job)
        yield self._w.message("VM_SUSPENDED", vm, "suspended")
        yield from self.domains.allow_devices(vm)

    def pause(self, job: Job, vm: str) -> Steps:
        yield from self._set_power_state(job, vm, "pause", "Paused")
        yield self._w.message("VM_PAUSED", vm, "paused")
        yield from self.domains.allow_devices(vm)

    # -- alive -------------------------------------------------------------------------------

    def reboot(self, job: Job, vm: str, operation: str) -> Steps:
        """Reboot a VM: clean_reboot or hard_reboot."""
        yield self._w.hold(job, "VM", vm, operation)
        yield from self._mark_devices(job, vm, "VBDs", "VIFs")
        if operation == "clean_reboot":
            yield Takes(GUEST_S)
        yield self._w.progress(job, 0.5)
        yield Takes(_LAST_CHANCE_S)
        yield from self.domains.renew(vm)
        yield from self.domains.forget_guest(vm)
        yield self._w.set("VM", vm, power_state="Running")
        yield self._w.set("VM", vm, requires_reboot=False)
        yield from self._release_all(job)
        how = "cleanly" if operation == "clean_reboot" else "forcibly"
        yield self._w.message("VM_REBOOTED", vm, f"rebooted {how}")
        yield from self.domains.allow_devices(vm)

    def migrate(self, job: Job, vm: str, host: str) -> Steps:
        """Move a living VM to another host of the pool."""
        source = self._db.get("VM", vm, "resident_on")
        left = self._name(source, quote="'")
        yield self._w.hold(job, "VM", vm, "pool_migrate")
        placement.require(self._db, vm, host)
        yield from self.domains.reserve(job, vm, host, "vm_migrate")
        for done in (0.1, 0.3, 0.5, 0.7, 0.9):
            yield Takes(COPY_S / 5)
            yield self._w.progress(job, done)
        yield from self.domains.move(vm, host)
        yield from self.domains.renew(vm)
        yield from self._release_all(job)
        there = self._name(host, quote="'")
        yield self._w.message("VM_MIGRATED", vm, f"migrated from host {left} to host {there}")
        yield from self.domains.allow_devices(vm)

    # -- memory on disks ---------------------------------------------------------------------

    def write_memory_image(self, job: Job, vm: str, sr: str) -> Steps:
        """Write a VM's memory to a new disk."""
        yield self._w.progress(job, 0.1)
        yield Takes(GUEST_S)
        label = "Suspend image"
        size = self._db.get("VM", vm, "memory_static_max")
        vdi = self.volumes.make(job, sr, label, size, type="suspend")
        yield
        yield self._w.set("VM", vm, suspend_VDI=vdi)
        yield self._w.set("VM", vm, last_booted_record=self._w.describe(vm))
        for done in (0.4, 0.7, 0.9):
            yield Takes(COPY_S / 3)
            yield self._w.progress(job, done)

    def drop_memory_image(self, vm: str) -> Steps:
        image = self._db.get("VM", vm, "suspend_VDI")
        yield self._w.set("VM", vm, suspend_VDI=NULL)
        yield self.volumes.remove(image)

    # -- when it goes wrong ------------------------------------------------------------------

    def settle(self, job: Job) -> None:
        """Put right what an operation left that failed or was cancelled."""
        vms = {ref: self._operation(ref, job) for cls, ref in job.held if cls == "VM"}
        for vm, operation in vms.items():
            if operation is not None:
                self._take_back(vm, operation)
        self._give_up(job)

    def _take_back(self, vm: str, operation: str) -> None:
        """Destroy a domain that was not to be, or let one go on that only stood still."""
        record = self._db.record("VM", vm)
        alive = record["power_state"] in {"Running", "Paused"}
        if operation in {"start", "start_on"} and alive:
            _run(self.halt(vm))
        has_image = self._db.exists("VDI", record["suspend_VDI"])
        if operation in {"resume", "resume_on"} and alive and has_image:
            self._w.set("VM", vm, power_state="Suspended")
        stands_still = record["power_state"] == "Suspended" and record["resident_on"] != NULL
        if operation == "checkpoint" and stands_still:
            self._w.set("VM", vm, power_state="Running")

    def _give_up(self, job: Job) -> None:
        """Take an operation's marks off, and make VMs have what their power states say."""
        vms = [ref for cls, ref in job.held if cls == "VM"]
        self._w.release_all(job)
        self.volumes.undo(job)
        for vm in vms:
            if self._db.exists("VM", vm):
                self.domains.mend(vm)

    def reset(self, vm: str) -> None:
        """Declare a VM halted, whatever it was."""
        self._w.set("VM", vm, current_operations={})
        _run(self.halt(vm))

    def recover(self) -> None:
        """End what was under way when XAPI stopped: its tasks are gone, what lives lives on."""
        for cls, table in self._db.tables.items():
            if cls == "task" or "current_operations" not in table.model.fields:
                continue
            for ref, row in list(table.rows.items()):
                for task in row.fields["current_operations"]:
                    self._give_up(Job(task, held=[(cls, ref)]))

    def _operation(self, vm: str, job: Job) -> str | None:
        if not self._db.exists("VM", vm):
            return None
        running: str | None = self._db.get("VM", vm, "current_operations").get(job.task)
        return running

    # -- within ------------------------------------------------------------------------------

    def _place(self, vm: str, host: str | None) -> str:
        if host is None:
            return placement.choose(self._db, vm)
        placement.require(self._db, vm, host)
        return host

    def _mark_devices(self, job: Job, vm: str, *names: str) -> Steps:
        """Mark all devices as being attached, so that nobody takes their disks meanwhile."""
        for name in names:
            cls = name.removesuffix("s")
            for device in self._db.get("VM", vm, name):
                refused = attach_refusal(self._db, device) if cls == "VBD" else None
                if refused is not None:
                    raise refused
                yield self._w.enter(job, cls, device, "attach")

    def _release_all(self, job: Job) -> Steps:
        """Take the marks off: the host's first, then the devices', the VM's last."""
        devices = [(cls, ref) for cls, ref in job.held if cls not in {"VM", "host"}]
        hosts = [(cls, ref) for cls, ref in job.held if cls == "host"]
        vms = [(cls, ref) for cls, ref in job.held if cls == "VM"]
        for cls, ref in hosts + devices + vms:
            yield self._w.release(job, cls, ref)

    def _set_power_state(self, job: Job, vm: str, operation: str, state: str) -> Steps:
        yield self._w.hold(job, "VM", vm, operation)
        yield self._w.set("VM", vm, power_state=state)
        yield self._w.release(job, "VM", vm)

    def _name(self, host: str, quote: str = "") -> str:
        """Name a host as alerts do; dumps have VMs on hosts that they lack."""
        if not self._db.exists("host", host):
            return host
        label, uuid = (self._db.get("host", host, name) for name in ("name_label", "uuid"))
        return f"{quote}{label}{quote} (uuid: {uuid})"


def _run(steps: Steps) -> None:
    for _ in steps:
        pass

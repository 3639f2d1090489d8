"""Power operations of virtual machines."""

from xoproxy.simulator import allowed
from xoproxy.simulator.lifecycle.writes import NULL, Job, Steps, Writes


class Power:
    """Brings VMs up and down, and moves them."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        vms = writes.db.refs("VM")
        self._domid = 1 + max((int(writes.db.get("VM", vm, "domid")) for vm in vms), default=0)

    def start(self, job: Job, vm: str, host: str) -> Steps:
        yield self._w.hold(job, "host", host, "vm_start")
        yield self._w.set("VM", vm, scheduled_to_be_resident_on=host)
        yield from self._attach(vm, attached=True)
        yield self._w.progress(job, 0.3)
        yield from self._boot(vm, host)
        yield self._w.message("VM_STARTED", vm, f"started on host: {self._name(host)}")

    def shutdown(self, vm: str) -> Steps:
        host = self._db.get("VM", vm, "resident_on")
        yield self._w.set("VM", vm, ha_always_run=False, power_state="Halted")
        yield from self._attach(vm, attached=False)
        yield self._w.set("VM", vm, requires_reboot=False)
        yield from self._go_down(vm, host)
        yield self._w.message("VM_SHUTDOWN", vm, "shutdown")

    def suspend(self, job: Job, vm: str, sr: str) -> Steps:
        host = self._db.get("VM", vm, "resident_on")
        size = self._db.get("VM", vm, "memory_static_max")
        vdi = self._w.add("VDI", self._w.disk_record(sr, "Suspend image", size, type="suspend"))
        yield 1
        yield self._w.set("VM", vm, suspend_VDI=vdi)
        yield self._w.progress(job, 0.6)
        yield self._w.set("VM", vm, power_state="Suspended")
        yield from self._go_down(vm, host)
        yield self._w.message("VM_SUSPENDED", vm, "suspended")

    def resume(self, job: Job, vm: str, host: str) -> Steps:
        yield self._w.hold(job, "host", host, "vm_resume")
        yield self._w.set("VM", vm, scheduled_to_be_resident_on=host)
        yield self._w.progress(job, 0.5)
        yield from self._boot(vm, host)
        image = self._w.target("VM", vm, "suspend_VDI", "VDI")
        yield self._w.set("VM", vm, suspend_VDI=NULL)
        if image is not None:
            self._db.destroy("VDI", image)
            yield 1
        yield self._w.message("VM_RESUMED", vm, f"resumed on host: {self._name(host)}")

    def reboot(self, job: Job, vm: str) -> Steps:
        host = self._db.get("VM", vm, "resident_on")
        yield self._w.progress(job, 0.4)
        yield from self._new_domain(vm, host)
        yield from self._renew_guest_metrics(vm)
        yield self._w.message("VM_REBOOTED", vm, "rebooted")

    def pause(self, vm: str) -> Steps:
        yield self._w.set("VM", vm, power_state="Paused")

    def unpause(self, vm: str) -> Steps:
        yield self._w.set("VM", vm, power_state="Running")

    def migrate(self, job: Job, vm: str, host: str) -> Steps:
        source = self._db.get("VM", vm, "resident_on")
        yield self._w.hold(job, "host", host, "vm_migrate")
        yield self._w.set("VM", vm, scheduled_to_be_resident_on=host)
        for done in (0.2, 0.5, 0.8):
            yield self._w.progress(job, done)
        yield self._arrive(vm, host)
        yield from self._new_domain(vm, host)
        memory = self._db.get("VM", vm, "memory_target")
        yield self.use_memory(source, -memory)
        yield self.use_memory(host, memory)
        yield self._w.message("VM_MIGRATED", vm, f"migrated to host: {self._name(host)}")

    def settle(self, job: Job) -> int:
        """Put right what an operation left that could not go on."""
        vms = [ref for cls, ref in job.held if cls == "VM"]
        writes = self._w.release(job)
        for vm in filter(lambda ref: self._db.exists("VM", ref), vms):
            if self._db.get("VM", vm, "power_state") in {"Halted", "Suspended"}:
                writes += self._leave_host(vm)
                writes += sum(self._remove_consoles(vm))
            if self._db.get("VM", vm, "power_state") == "Halted":
                writes += sum(self._attach(vm, attached=False))
            writes += self._w.set("VM", vm, scheduled_to_be_resident_on=NULL)
            writes += self._w.allow(vm)
        if self._db.exists("task", job.task):
            writes += self._w.set("task", job.task, finished=self._w.clock(), status="failure")
            self._db.destroy("task", job.task)
            writes += 1
        return writes

    def recover(self) -> None:
        """End what was under way when XAPI stopped: its tasks are gone, nothing will go on."""
        for cls, table in self._db.tables.items():
            if cls == "task" or "current_operations" not in table.model.fields:
                continue
            for ref, row in list(table.rows.items()):
                if row.fields["current_operations"]:
                    self._w.set(cls, ref, current_operations={})
                    self.settle(Job(held=[(cls, ref)]))

    def use_memory(self, host: str, size_bytes: int) -> int:
        """Take memory of a host, or give it back (negative)."""
        metrics = self._w.target("host", host, "metrics", "host_metrics")
        if metrics is None:
            return 0
        free = self._db.get("host_metrics", metrics, "memory_free") - size_bytes
        total = self._db.get("host_metrics", metrics, "memory_total")
        return self._w.set("host_metrics", metrics, memory_free=min(max(free, 0), total))

    def _name(self, host: str) -> str:
        label, uuid = (self._db.get("host", host, name) for name in ("name_label", "uuid"))
        return f"{label} (uuid: {uuid})"

    def _arrive(self, vm: str, host: str) -> int:
        return self._w.set("VM", vm, resident_on=host, scheduled_to_be_resident_on=NULL)

    def _leave_host(self, vm: str) -> int:
        return self._w.set("VM", vm, resident_on=NULL, scheduled_to_be_resident_on=NULL, domid=-1)

    def _boot(self, vm: str, host: str) -> Steps:
        """Bring up a domain: from the moment when it is built to its memory being counted."""
        yield self._arrive(vm, host)
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, current_domain_type="hvm")
        yield self._w.set("VM", vm, power_state="Running")
        yield from self._renew_guest_metrics(vm)
        yield from self._new_domain(vm, host)
        memory = self._db.get("VM", vm, "memory_dynamic_max")
        yield self._w.set("VM", vm, memory_target=memory)
        if metrics is not None:
            cores = self._db.get("VM", vm, "VCPUs_at_startup")
            yield self._w.set("VM_metrics", metrics, VCPUs_number=cores, memory_actual=memory)
        yield self.use_memory(host, memory)

    def _new_domain(self, vm: str, host: str) -> Steps:
        self._domid += 1
        yield self._w.set("VM", vm, domid=self._domid % 32752)
        yield from self._remove_consoles(vm)
        uuid = self._w.uuid()
        location = f"https://{self._db.get('host', host, 'address')}/console?uuid={uuid}"
        self._w.add("console", {"uuid": uuid, "VM": vm, "protocol": "rfb", "location": location})
        yield 1
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, start_time=self._w.clock())

    def _go_down(self, vm: str, host: str) -> Steps:
        yield self._leave_host(vm)
        yield from self._remove_consoles(vm)
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, VCPUs_number=0, memory_actual=0)
        if self._db.exists("host", host):
            yield self.use_memory(host, -self._db.get("VM", vm, "memory_target"))

    def _remove_consoles(self, vm: str) -> Steps:
        for console in self._db.get("VM", vm, "consoles"):
            if self._db.exists("console", console):
                self._db.destroy("console", console)
                yield 1

    def _renew_guest_metrics(self, vm: str) -> Steps:
        """Replace what the guest told in its last life; its agent, if any, tells it anew."""
        old = self._w.target("VM", vm, "guest_metrics", "VM_guest_metrics")
        told = self._db.record("VM_guest_metrics", old) if old else {}
        new = self._w.add("VM_guest_metrics", {"last_updated": self._w.clock(), "live": True})
        yield 1
        yield self._w.set("VM", vm, guest_metrics=new)
        if old is not None:
            self._db.destroy("VM_guest_metrics", old)
            yield 1
        for name in (
            "PV_drivers_version",
            "PV_drivers_detected",
            "os_version",
            "networks",
            "other",
        ):
            if name in told:
                yield self._w.set("VM_guest_metrics", new, **{name: told[name]})

    def _attach(self, vm: str, *, attached: bool) -> Steps:
        for cls, name in (("VBD", "VBDs"), ("VIF", "VIFs")):
            for device in self._db.get("VM", vm, name):
                cd = cls == "VBD" and self._db.get(cls, device, "type") == "CD"
                empty = cd and self._db.get(cls, device, "empty")
                operations = allowed.device_operations(attached=attached, cd=cd, empty=empty)
                yield self._w.set(cls, device, currently_attached=attached)
                yield self._w.set(cls, device, allowed_operations=operations)

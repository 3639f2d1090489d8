"""Back to a snapshot: its fields, and new disks made of its own (xapi_vm_snapshot.ml, revert)."""

from typing import Any, Final

from xoproxy.simulator import sexpr
from xoproxy.simulator.lifecycle.duplicates import Duplicates
from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Steps, Writes
from xoproxy.simulator.rules import allow

# What a VM keeps, whatever the snapshot says (do_not_copy), besides what follows from others.
_KEPT: Final = {
    *("uuid", "power_state", "parent", "current_operations", "allowed_operations"),
    *("guest_metrics", "metrics", "resident_on", "scheduled_to_be_resident_on", "domid"),
    *("protection_policy", "snapshot_schedule", "suspend_VDI", "memory_overhead"),
    *("tags", "affinity", "blobs", "groups", "memory_target", "ha_always_run"),
}
# What the snapshot's own record has changed, where it has not kept the VM's in its metadata.
_OF_SNAPSHOTS: Final = {
    *("name_label", "is_a_template", "is_default_template", "is_a_snapshot", "snapshot_of"),
    *("snapshot_time", "snapshot_info", "snapshot_metadata", "transportable_snapshot_id"),
    *("blocked_operations", "is_vmss_snapshot", "appliance", "suspend_SR", "version", "domarch"),
    *("order", "start_delay", "shutdown_delay"),
}


class Reverts:
    """Takes VMs back to what they were."""

    def __init__(self, writes: Writes, power: Power) -> None:
        self._w = writes
        self._db = writes.db
        self._power = power
        self._rows = Duplicates(writes)

    def revert(self, job: Job, snapshot: str, vm: str) -> Steps:
        """Revert a VM, which is halted first; a checkpoint's comes back suspended."""
        yield self._w.hold(job, "VM", snapshot, "revert")
        yield self._w.hold(job, "VM", vm, "reverting")
        if self._db.get("VM", vm, "power_state") != "Halted":
            yield from self._power.halt(vm)
        yield from self._take_fields_back(vm, snapshot)
        yield self._w.progress(job, 0.1)
        yield from self._replace_devices(job, vm, snapshot)
        yield from self._replace_guest_metrics(vm, snapshot)
        yield self._w.set("VM", vm, parent=snapshot)
        yield self._w.progress(job, 1.0)
        state = self._db.get("VM", snapshot, "power_state")
        yield self._w.set("VM", vm, power_state=state)
        if state == "Suspended":
            yield from self._power.domains.attach(vm)
        job.made.clear()
        yield self._w.release(job, "VM", vm)
        yield self._w.release(job, "VM", snapshot)
        label, uuid = (self._db.get("VM", snapshot, name) for name in ("name_label", "uuid"))
        yield self._w.message(
            "VM_SNAPSHOT_REVERTED", vm, f"reverted to snapshot: {label} (uuid {uuid})"
        )
        yield from self._power.domains.allow_devices(vm)

    def raise_again(self, snapshot: str) -> str:
        """Create the VM of a snapshot anew, which was destroyed; its snapshots come to it."""
        old = self._db.get("VM", snapshot, "snapshot_of")
        record = self._db.record("VM", snapshot)
        fresh: Record = {
            "uuid": self._w.uuid(),
            "is_a_template": False,
            "is_a_snapshot": False,
            "snapshot_of": NULL,
            "snapshot_time": "19700101T00:00:00Z",
            "snapshot_info": {},
            "snapshot_metadata": "",
            "power_state": "Halted",
            "suspend_VDI": NULL,
            "guest_metrics": NULL,
            "metrics": self._w.add("VM_metrics", {}),
            "parent": NULL,
            "current_operations": {},
        }
        vm = self._w.add("VM", {**record, **fresh})
        for ref in self._db.refs("VM"):
            if old != NULL and self._db.get("VM", ref, "snapshot_of") == old:
                self._w.set("VM", ref, snapshot_of=vm)
        self._w.set("VM", snapshot, snapshot_of=vm)
        allow(self._db, "VM", vm)
        return vm

    def _take_fields_back(self, vm: str, snapshot: str) -> Steps:
        for name, value in self._fields_of(snapshot).items():
            yield self._w.set("VM", vm, **{name: value})
        yield self._w.set("VM", vm, ha_always_run=False)
        fresh = self._rows.fresh_generation_id(self._db.record("VM", vm))
        yield self._w.set("VM", vm, generation_id=fresh)

    def _fields_of(self, snapshot: str) -> Record:
        """Return what the VM was."""
        model = self._db.model.classes["VM"]
        record = self._db.record("VM", snapshot)
        kept = _KEPT | model.derived
        try:
            told = sexpr.read_struct(record["snapshot_metadata"])
        except sexpr.SexprError:  # snapshots of old releases have none
            kept |= _OF_SNAPSHOTS
            told = record
        fields = {}
        for name, known in model.fields.items():
            if isinstance(told, dict) and name in told and name not in kept:
                fields[name] = known.type.accept(told[name])
        if not self._db.exists("VM_appliance", fields.get("appliance", NULL)):
            fields.pop("appliance", None)
        return fields

    def _replace_devices(self, job: Job, vm: str, snapshot: str) -> Steps:
        disks = dict(self._rows.drives(snapshot))
        origins = {self._db.get("VDI", vdi, "snapshot_of") for vdi in disks.values() if vdi != NULL}
        old = [vdi for _, vdi in self._rows.drives(vm) if vdi in origins]
        for vbd in self._db.get("VM", vm, "VBDs"):
            yield self._w.remove_device("VBD", vbd)
        for vdi in (self._db.get("VM", vm, "suspend_VDI"), *old):
            yield self._power.volumes.remove(vdi)
        yield self._w.progress(job, 0.2)
        clones = yield from self._rows.clone_disks(job, snapshot)
        yield self._w.progress(job, 0.5)
        yield from self._relink(disks, clones)
        image = self._db.get("VM", snapshot, "suspend_VDI")
        if self._db.exists("VDI", image):
            image = self._power.volumes.twin(job, image)
        yield self._w.progress(job, 0.6)
        for vbd, vdi in clones.items():
            yield self._copy_vbd(job, vbd, vm, vdi)
        yield self._w.progress(job, 0.7)
        yield self._w.set("VM", vm, suspend_VDI=image)
        for vif in self._db.get("VM", vm, "VIFs"):
            yield self._w.remove_device("VIF", vif)
        for vif in self._db.get("VM", snapshot, "VIFs"):
            yield self._rows.copy_device(job, "VIF", vif, VM=vm)
        yield self._w.progress(job, 0.9)

    def _copy_vbd(self, job: Job, vbd: str, vm: str, vdi: str) -> str:
        empty = vdi == NULL
        return self._rows.copy_device(job, "VBD", vbd, VM=vm, VDI=vdi, empty=empty)

    def _relink(self, old: dict[str, str], clones: dict[str, str]) -> Steps:
        """Make all snapshots of a disk that is gone snapshots of the one in its place."""
        for vbd, vdi in old.items():
            if vdi == NULL:
                continue
            origin = self._db.get("VDI", vdi, "snapshot_of")
            relatives = [vdi, *(r for r in self._snapshots_of(origin) if r != vdi)]
            for relative in relatives:
                yield self._w.set("VDI", relative, snapshot_of=clones[vbd])

    def _snapshots_of(self, origin: str) -> list[str]:
        rows = self._db.tables["VDI"].rows.values()
        return [r.ref for r in rows if origin != NULL and r.fields["snapshot_of"] == origin]

    def _replace_guest_metrics(self, vm: str, snapshot: str) -> Steps:
        told = self._w.target("VM", snapshot, "guest_metrics", "VM_guest_metrics")
        old = self._db.get("VM", vm, "guest_metrics")
        new: Any = NULL
        if told is not None:
            record = self._db.record("VM_guest_metrics", told)
            new = self._w.add("VM_guest_metrics", {**record, "uuid": self._w.uuid()})
            yield
        yield self._w.set("VM", vm, guest_metrics=new)
        yield self._w.remove("VM_guest_metrics", old)

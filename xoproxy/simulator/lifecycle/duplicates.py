"""The rows of a VM that is made from another one: disks first, then the VM, then its devices.

(xapi_vm_clone.ml.) All of it goes again if the operation fails. The new VM is busy
with the operation until `finish`.
"""

from collections.abc import Generator
from typing import Any, Final, TypeAlias

from xoproxy.simulator.lifecycle.devices import mac_of
from xoproxy.simulator.lifecycle.volumes import Volumes
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Steps, Takes, Writes
from xoproxy.simulator.rules import allow

CLONE_S: Final = 0.1  # of one disk, whatever its size
COPY_BYTES_S: Final = 500 << 20
COPY_PARTS: Final = 10

Disks: TypeAlias = dict[str, str]
"""What comes into which drive: {VBD of the old VM: disk for the new one}."""

# What a copy does not take over.
_OWN_FIELDS: Final[Record] = {
    "allowed_operations": [],
    "appliance": NULL,
    "blobs": {},
    "blocked_operations": {},
    "children": [],
    "consoles": [],
    "domarch": "",
    "domid": -1,
    "groups": [],
    "guest_metrics": NULL,
    "ha_always_run": False,
    "is_a_snapshot": False,
    "is_default_template": False,
    "is_vmss_snapshot": False,
    "metrics": NULL,
    "order": 0,
    "parent": NULL,
    "pending_guidances": [],
    "pending_guidances_full": [],
    "pending_guidances_recommended": [],
    "protection_policy": NULL,
    "requires_reboot": False,
    "resident_on": NULL,
    "scheduled_to_be_resident_on": NULL,
    "shutdown_delay": 0,
    "snapshot_info": {},
    "snapshot_metadata": "",
    "snapshot_of": NULL,
    "snapshot_schedule": NULL,
    "snapshot_time": "19700101T00:00:00Z",
    "start_delay": 0,
    "suspend_SR": NULL,
    "suspend_VDI": NULL,
    "transportable_snapshot_id": "",
    "version": 0,
}


class Duplicates:
    """Makes the rows of clones, copies and snapshots."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._volumes = Volumes(writes)

    # -- disks -------------------------------------------------------------------------------

    def drives(self, vm: str) -> list[tuple[str, str]]:
        """List VBDs with what has to be copied of them: NULL for a CD or nothing."""
        drives = []
        for vbd in self._db.get("VM", vm, "VBDs"):
            record = self._db.row("VBD", vbd).fields
            disk = record["type"] == "Disk" and self._db.exists("VDI", record["VDI"])
            drives.append((vbd, record["VDI"] if disk else NULL))
        return drives

    def _medium(self, vbd: str) -> str:
        """Return what stays in a drive that is no disk: CDs are shared by those who read them."""
        medium: str = self._db.get("VBD", vbd, "VDI")
        return medium if self._db.exists("VDI", medium) else NULL

    def clone_disks(self, job: Job, vm: str) -> Generator[Any, None, Disks]:
        disks = {}
        for vbd, vdi in self.drives(vm):
            if vdi == NULL:
                disks[vbd] = self._medium(vbd)
                continue
            yield Takes(CLONE_S)
            disks[vbd] = self._volumes.twin(job, vdi)
            yield
        return disks

    def copy_disks(self, job: Job, vm: str, sr: str) -> Generator[Any, None, Disks]:
        disks = {}
        drives = self.drives(vm)
        sizes = {vdi: self._db.get("VDI", vdi, "virtual_size") for _, vdi in drives if vdi != NULL}
        total, done = max(sum(sizes.values()), 1), 0
        for vbd, vdi in drives:
            if vdi == NULL:
                disks[vbd] = self._medium(vbd)
                continue
            disks[vbd] = self._volumes.copy(job, vdi, sr)
            yield self._w.hold(job, "VDI", vdi, "copy")
            part = sizes[vdi] / COPY_PARTS
            for number in range(1, COPY_PARTS + 1):
                yield Takes(part / COPY_BYTES_S)
                yield self._w.progress(job, (done + part * number) / total)
            done += sizes[vdi]
            yield self._w.release(job, "VDI", vdi)
        return disks

    def snapshot_disks(
        self, job: Job, vm: str, taken: str, ignored: frozenset[str]
    ) -> Generator[Any, None, Disks]:
        disks = {}
        for vbd, vdi in self.drives(vm):
            if vdi in ignored:
                continue
            if vdi == NULL:
                disks[vbd] = self._medium(vbd)
                continue
            yield Takes(CLONE_S)
            link: Record = {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": taken}
            disks[vbd] = self._volumes.twin(job, vdi, **link)
            yield
        return disks

    # -- rows --------------------------------------------------------------------------------

    def make(
        self,
        job: Job,
        vm: str,
        operation: str,
        label: str,
        disks: dict[str, str],
        **link: Any,  # noqa: ANN401
    ) -> Generator[Any, None, str]:
        """Make a VM with devices for these disks; it is busy with the job until the end."""
        record = self._db.record("VM", vm)
        snapshot = bool(link)
        metrics = self._copied_metrics(job, "VM_metrics", record["metrics"])
        yield
        guest = self._copied_metrics(job, "VM_guest_metrics", record["guest_metrics"])
        yield
        record = self._db.record("VM", vm)  # its parent may be another one by now
        made = {
            **record,
            **_OWN_FIELDS,
            **link,
            "uuid": self._w.uuid(),
            "name_label": label,
            "metrics": metrics,
            "guest_metrics": guest,
            "current_operations": {job.task: operation},
            "power_state": self._power_state(record, operation),
            "parent": record["parent"] if snapshot else NULL,
            "other_config": self._other_config(record, keeps_seed=snapshot),
            "generation_id": self.fresh_generation_id(record),
        }
        copy = self._w.make(job, "VM", made)
        job.held.append(("VM", copy))
        yield
        if snapshot:
            yield self._w.set("VM", vm, parent=copy)
        yield from self._give_devices(job, copy, disks, record, keeps_mac=snapshot)
        image = record["suspend_VDI"]
        if made["power_state"] == "Suspended" and self._db.exists("VDI", image):
            yield self._w.set("VM", copy, suspend_VDI=self._volumes.twin(job, image))
        return copy

    def _give_devices(
        self, job: Job, vm: str, disks: dict[str, str], source: Record, *, keeps_mac: bool
    ) -> Steps:
        seed = self._db.get("VM", vm, "other_config").get("mac_seed", "")
        for vbd, disk in disks.items():
            ref = self.copy_device(job, "VBD", vbd, VM=vm, VDI=disk, empty=disk == NULL)
            yield
            if disk != NULL and self._db.get("VBD", ref, "type") == "Disk":
                yield self._w.change("VBD", ref, "other_config", "owner", "")
        for vif in source["VIFs"]:
            mac = mac_of(self._db.get("VIF", vif, "device"), seed)
            change = {} if keeps_mac else {"MAC": mac, "MAC_autogenerated": True}
            yield self.copy_device(job, "VIF", vif, VM=vm, **change)

    def finish(self, job: Job, vm: str, copy: str) -> Steps:
        """Let the new VM, and then the old one, be used."""
        yield self._w.release(job, "VM", copy)
        for name, cls in (("VBDs", "VBD"), ("VIFs", "VIF")):
            for device in self._db.get("VM", copy, name):
                yield allow(self._db, cls, device)
        job.made.clear()
        yield self._w.release(job, "VM", vm)

    def copy_device(self, job: Job, cls: str, device: str, **changes: Any) -> str:  # noqa: ANN401
        """Give a VM (`changes["VM"]`) what another one has; attached if its memory knows it."""
        state = self._db.get("VM", changes["VM"], "power_state")
        record = self._db.record(cls, device)
        metrics = self._w.make(job, f"{cls}_metrics", {})
        fresh: Record = {
            "uuid": self._w.uuid(),
            "metrics": metrics,
            "current_operations": {},
            "allowed_operations": [],
            "currently_attached": state == "Suspended",
        }
        return self._w.make(job, cls, {**record, **fresh, **changes})

    def _copied_metrics(self, job: Job, cls: str, ref: str) -> str:
        if self._db.exists(cls, ref):
            return self._w.make(job, cls, {**self._db.record(cls, ref), "uuid": self._w.uuid()})
        return self._w.make(job, cls, {}) if cls == "VM_metrics" else NULL

    @staticmethod
    def _power_state(record: Record, operation: str) -> str:
        """Keep what is suspended so, but for plain snapshots, and clones of checkpoints."""
        halted = operation == "snapshot" or record["is_a_snapshot"]
        return "Suspended" if record["power_state"] == "Suspended" and not halted else "Halted"

    def _other_config(self, record: Record, *, keeps_seed: bool) -> Record:
        dropped = {"default_template", "xensource_internal"}
        config = {k: v for k, v in record["other_config"].items() if k not in dropped}
        if not keeps_seed:
            config["mac_seed"] = self._w.uuid()
        if record["is_a_template"]:
            config.setdefault("base_template_name", record["name_label"])
        return config

    def fresh_generation_id(self, record: Record) -> str:
        """Give a new id to all who have one: the guest learns from it that it is another one."""
        if not record["generation_id"]:
            return ""
        return f"{self._w.rng.getrandbits(62)}:{self._w.rng.getrandbits(62)}"

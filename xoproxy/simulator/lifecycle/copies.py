"""Virtual machines that come and go: clones, snapshots, destruction."""

from typing import Any

from xoproxy.simulator import sexpr
from xoproxy.simulator.lifecycle.writes import NULL, Record, Steps, Writes


class Copies:
    """Makes VMs from VMs, and removes them with their disks."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db

    def clone(self, vm: str, label: str) -> Steps:
        """Copy a halted VM with its disks and NICs."""
        record = self._db.record("VM", vm)
        metrics = self._w.add("VM_metrics", {"install_time": self._w.clock(), "hvm": True})
        yield 1
        link: Record = {"parent": NULL, "suspend_VDI": NULL, "guest_metrics": NULL}
        other = {"other_config": {**record["other_config"], "mac_seed": self._w.uuid()}}
        clone = self._copy_vm(record, name_label=label, metrics=metrics, **link, **other)
        yield 1
        for vbd in record["VBDs"]:
            disk = self._copied_disk(vbd, label)
            yield int(disk is not None)
            self._copy_device("VBD", vbd, VM=clone, VDI=disk or NULL, currently_attached=False)
            yield 1
        for vif in record["VIFs"]:
            mac = "ca:" + self._w.rng.randbytes(5).hex(":")
            self._copy_device("VIF", vif, VM=clone, MAC=mac, currently_attached=False)
            yield 1
        yield self._w.allow(clone)
        yield self._w.message("VM_CLONED", clone, f"cloned from {record['name_label']}")

    def snapshot(self, vm: str, label: str) -> Steps:
        """Take a snapshot of a VM and of its disks."""
        record = self._db.record("VM", vm)
        taken = self._w.clock()
        disks: dict[str, str] = {}
        for vbd in record["VBDs"]:
            link: Record = {"is_a_snapshot": True, "snapshot_time": taken}
            disk = self._copied_disk(vbd, None, link)
            if disk is not None:
                disks[vbd] = disk
                yield 1
        metrics = self._w.add("VM_metrics", {"hvm": True})
        yield 1
        info = {"power-state-at-snapshot": record["power_state"]}
        record = self._db.record("VM", vm)  # its parent may be another one by now
        snapshot = self._copy_vm(
            record,
            name_label=label,
            metrics=metrics,
            is_a_template=True,
            is_a_snapshot=True,
            snapshot_of=vm,
            snapshot_time=taken,
            snapshot_info={**info, "disk-snapshot-type": "crash_consistent"},
            snapshot_metadata=sexpr.write_struct(record),
            guest_metrics=NULL,
            suspend_VDI=NULL,
            tags=[],
        )
        yield 1
        yield self._w.set("VM", vm, parent=snapshot)
        for vbd, disk in disks.items():
            self._copy_device("VBD", vbd, VM=snapshot, VDI=disk, currently_attached=False)
            yield 1
        for vif in record["VIFs"]:
            self._copy_device("VIF", vif, VM=snapshot, currently_attached=False)
            yield 1
        yield self._w.allow(snapshot)
        yield self._w.message("VM_SNAPSHOTTED", vm, "snapshotted")

    def destroy(self, vm: str, *, with_disks: bool = True) -> Steps:
        """Destroy a VM that is not alive. XAPI keeps the disks; most clients remove them then."""
        record = self._db.record("VM", vm)
        disks = [self._db.get("VBD", vbd, "VDI") for vbd in record["VBDs"] if self._owns_disk(vbd)]
        for child in self._db.get("VM", vm, "children"):
            yield self._w.set("VM", child, parent=NULL)
        for cls, name in (("VBD", "VBDs"), ("VIF", "VIFs")):
            while devices := self._db.get("VM", vm, name):
                self._db.destroy(cls, devices[0])
                yield 1
        # One step: the VM would point at nothing in between. Somebody may have added devices.
        writes = 0
        for cls, name in (("VBD", "VBDs"), ("VIF", "VIFs")):
            for device in self._db.get("VM", vm, name):
                self._db.destroy(cls, device)
                writes += 1
        for cls, name in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
            if self._db.exists(cls, record[name]):
                self._db.destroy(cls, record[name])
                writes += 1
        self._db.destroy("VM", vm)
        yield writes + 1
        for disk in disks if with_disks else ():
            hanging = ("VBDs", "snapshots", "crash_dumps")
            if self._db.exists("VDI", disk) and not any(
                self._db.get("VDI", disk, name) for name in hanging
            ):
                self._db.destroy("VDI", disk)
                yield 1

    def _owns_disk(self, vbd: str) -> bool:
        disk = self._w.target("VBD", vbd, "VDI", "VDI")
        is_disk = disk is not None and self._db.get("VBD", vbd, "type") == "Disk"
        return is_disk and len(self._db.get("VDI", disk or NULL, "VBDs")) == 1

    def _copied_disk(self, vbd: str, label: str | None, link: Record | None = None) -> str | None:
        """Copy the disk of a VBD; None when there is none to copy."""
        if not self._owns_disk(vbd):
            return None
        disk = self._db.get("VBD", vbd, "VDI")
        record = self._db.record("VDI", disk)
        name = record["name_label"] if label is None else f"{label} {self._w.rng.randrange(10)}"
        extra = {**link, "snapshot_of": disk} if link else {}
        size = record["virtual_size"]
        return self._w.add("VDI", self._w.disk_record(record["SR"], name, size, **extra))

    def _copy_vm(self, record: Record, **changes: Any) -> str:  # noqa: ANN401
        life = {
            "uuid": self._w.uuid(),
            "power_state": "Halted",
            "resident_on": NULL,
            "affinity": NULL,
            "scheduled_to_be_resident_on": NULL,
            "domid": -1,
            "current_operations": {},
            "allowed_operations": [],
            "is_default_template": False,
            "appliance": NULL,
            "groups": [],
        }
        return self._w.add("VM", {**record, **life, **changes})

    def _copy_device(self, cls: str, device: str, **changes: Any) -> str:  # noqa: ANN401
        """Give a copied VM (`changes["VM"]`) what its source has."""
        self._db.row("VM", changes["VM"])  # raises when the copy was destroyed meanwhile
        record = self._db.record(cls, device)
        operations = ["attach"]
        if cls == "VBD" and record["type"] == "CD":
            changes |= {"VDI": NULL, "empty": True}
        fresh: Record = {"uuid": self._w.uuid(), "current_operations": {}, "metrics": NULL}
        return self._w.add(cls, {**record, **fresh, "allowed_operations": operations, **changes})

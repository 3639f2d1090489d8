"""The end of a VM: what goes with it, and what stays (xapi_vm_helpers.ml, destroy)."""

from typing import Final

from xoproxy.simulator.lifecycle.writes import NULL, Job, Steps, Writes
from xoproxy.simulator.rules import allow

# What is a VM's own: its field, and the class; in the order in which they go.
_BELONGINGS: Final = (
    ("VTPMs", "VTPM"),
    ("VBDs", "VBD"),
    ("VIFs", "VIF"),
    ("VGPUs", "VGPU"),
    ("VUSBs", "VUSB"),
    ("consoles", "console"),
)


class Ends:
    """Destroys VMs. Their disks stay: most clients remove them next."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db

    def destroy(self, job: Job, vm: str) -> Steps:
        yield self._w.hold(job, "VM", vm, "destroy")
        record = self._db.record("VM", vm)
        for child in record["children"]:
            yield self._w.set("VM", child, parent=record["parent"])
        for blob in record["blobs"].values():
            yield self._w.remove("blob", blob)
        if self._db.exists("VM_appliance", record["appliance"]):
            yield self._w.set("VM", vm, appliance=NULL)
            yield allow(self._db, "VM_appliance", record["appliance"])
        yield from self._remove_belongings(vm)
        # One step: the VM would point at nothing in between. Somebody may have added devices.
        for _ in self._remove_belongings(vm):
            pass
        self._w.remove("VM_metrics", record["metrics"])
        self._w.remove("VM_guest_metrics", record["guest_metrics"])
        self._db.destroy("VM", vm)
        job.held.remove(("VM", vm))
        yield

    def _remove_belongings(self, vm: str) -> Steps:
        for name, cls in _BELONGINGS:
            for device in self._db.get("VM", vm, name):
                self._w.remove_device(cls, device)
                yield

"""Virtual machines made from others: clones, full copies, snapshots, and with their memory.

(xapi_vm_clone.ml, xapi_vm_snapshot.ml.)
"""

from collections.abc import Callable, Generator
from typing import Any, Final

from xoproxy.simulator.lifecycle.duplicates import Duplicates
from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.writes import Job, Record, Takes, Writes

TURN_S: Final = 0.5  # between two looks whether it is one's turn


class Copies:
    """Makes VMs from VMs. Each operation returns the new one."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._rows = Duplicates(writes)

    def clone(self, job: Job, vm: str, label: str) -> Generator[Any, None, str]:
        """Copy a VM with its disks, which share their contents with the old ones.

        Without an alert: XAPI has one for it, but no longer sends it (recorded from 24.0.0).
        """
        yield self._w.hold(job, "VM", vm, "clone")
        disks = yield from self._rows.clone_disks(job, vm)
        clone = yield from self._rows.make(job, vm, "clone", label, disks)
        yield from self._rows.finish(job, vm, clone)
        return clone

    def copy(self, job: Job, vm: str, label: str, sr: str) -> Generator[Any, None, str]:
        """Copy a VM with its disks in full, to an SR or (NULL) each beside the old one."""
        yield self._w.hold(job, "VM", vm, "copy")
        disks = yield from self._rows.copy_disks(job, vm, sr)
        copy = yield from self._rows.make(job, vm, "copy", label, disks)
        yield from self._rows.finish(job, vm, copy)
        return copy

    def snapshot(
        self, job: Job, vm: str, label: str, ignored: frozenset[str] = frozenset()
    ) -> Generator[Any, None, str]:
        """Take a snapshot of a VM and of its disks, but for the `ignored` ones."""
        yield self._w.hold(job, "VM", vm, "snapshot")
        info = self._info(vm)
        snapshot = yield from self._snapshot_of(job, vm, "snapshot", label, info, ignored)
        yield from self._rows.finish(job, vm, snapshot)
        yield self._w.message("VM_SNAPSHOTTED", vm, f"snapshotted, snapshot name: {label}")
        return snapshot

    def checkpoint(
        self, job: Job, vm: str, label: str, power: Power, choose_sr: Callable[[], str]
    ) -> Generator[Any, None, str]:
        """Take a snapshot with the memory; a VM that runs keeps its host, but stands still.

        Args:
            job: the operation.
            vm: what it is taken of.
            label: of the checkpoint.
            power: suspends the VM.
            choose_sr: tells where the memory of a running VM goes.
        """
        yield self._w.hold(job, "VM", vm, "checkpoint")
        while not self._has_turn(job, vm):
            yield Takes(TURN_S)
        info = self._info(vm)
        runs = self._db.get("VM", vm, "power_state") == "Running"
        if runs:
            yield from power.write_memory_image(job, vm, choose_sr())
            yield self._w.set("VM", vm, power_state="Suspended")
        checkpoint = yield from self._snapshot_of(job, vm, "checkpoint", label, info)
        if runs:
            yield self._w.set("VM", vm, power_state="Running")
            yield from power.domains.renew(vm)
            yield from power.drop_memory_image(vm)
        yield from self._rows.finish(job, vm, checkpoint)
        yield self._w.message("VM_CHECKPOINTED", vm, f"checkpointed, snapshot name: {label}")
        return checkpoint

    def _snapshot_of(
        self,
        job: Job,
        vm: str,
        operation: str,
        label: str,
        info: Record,
        ignored: frozenset[str] = frozenset(),
    ) -> Generator[Any, None, str]:
        taken = self._w.clock()
        disks = yield from self._rows.snapshot_disks(job, vm, taken, ignored)
        link: Record = {
            "is_a_template": True,
            "is_a_snapshot": True,
            "snapshot_of": vm,
            "snapshot_time": taken,
            "snapshot_info": info,
            "snapshot_metadata": self._w.describe(vm),
        }
        return (yield from self._rows.make(job, vm, operation, label, disks, **link))

    def _has_turn(self, job: Job, vm: str) -> bool:
        """Tell whether no other checkpoint goes before: XAPI takes one after the other."""
        current = self._db.get("VM", vm, "current_operations")
        return bool(
            next(task for task, name in current.items() if name == "checkpoint") == job.task
        )

    def _info(self, vm: str) -> Record:
        state = self._db.get("VM", vm, "power_state")
        return {"power-state-at-snapshot": state, "disk-snapshot-type": "crash_consistent"}

"""Disks that operations on VMs make and remove, with the space that they take in repositories."""

from typing import Any

from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Writes
from xoproxy.simulator.rules import allow


class Volumes:
    """Makes disks that go again if an operation fails."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db

    def make(self, job: Job, sr: str, label: str, size: int, **extra: Any) -> str:  # noqa: ANN401
        """Create an empty disk.

        Raises:
            XapiError: the repository is full.
        """
        taken = disks.footprint(self._db, sr, size) if self._db.exists("SR", sr) else 0
        return self._add(job, sr, label, size, taken, extra)

    def twin(self, job: Job, vdi: str, **link: Any) -> str:  # noqa: ANN401
        """Create a disk with another one's contents, which takes up next to nothing."""
        record = self._db.record("VDI", vdi)
        return self._like(job, record, record["SR"], disks.BLOCK, link)

    def copy(self, job: Job, vdi: str, sr: str) -> str:
        """Create a disk for a full copy of another one, in an SR or (NULL) beside it."""
        record = self._db.record("VDI", vdi)
        target = sr if self._db.exists("SR", sr) else record["SR"]
        return self._like(job, record, target, record["physical_utilisation"], {})

    def remove(self, vdi: str) -> bool:
        """Destroy a disk and what holds it; tells whether it was there."""
        if not self._db.exists("VDI", vdi):
            return False
        disks.remove_disk(self._db, vdi)
        return True

    def undo(self, job: Job) -> None:
        """Destroy all that a job has made, the newest first."""
        while job.made:
            cls, ref = job.made.pop()
            if cls == "VDI":
                self.remove(ref)
            else:
                self._w.remove(cls, ref)

    def _like(self, job: Job, record: Record, sr: str, taken: int, link: Record) -> str:
        given = disks.given(record)
        label = given.pop("name_label")
        return self._add(job, sr, label, record["virtual_size"], taken, {**given, **link})

    def _add(self, job: Job, sr: str, label: str, size: int, taken: int, extra: Record) -> str:
        stored = self._db.exists("SR", sr)
        if stored:
            disks.require_space(self._db, sr, taken)
        uuid = self._w.uuid()
        record: Record = {
            "uuid": uuid,
            "location": uuid,
            "SR": sr,
            "name_label": label,
            "type": "user",
            "virtual_size": size,
            "physical_utilisation": taken,
            "managed": True,
            "parent": NULL,
            **extra,
        }
        vdi = self._w.make(job, "VDI", record)
        allow(self._db, "VDI", vdi)
        if stored:
            disks.allocate(self._db, sr, size, taken)
        return vdi

"""Single writes, and the task that every longer operation carries with it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from xoproxy.simulator import allowed
from xoproxy.simulator.database import Database

NULL = "OpaqueRef:NULL"

Record: TypeAlias = dict[str, Any]
Steps: TypeAlias = Iterator[int]
"""An operation under way: each step tells how many of its writes took effect."""


@dataclass(slots=True)
class Job:
    """An operation's task, and the objects whose `current_operations` name it."""

    task: str = NULL
    held: list[tuple[str, str]] = field(default_factory=list)


class Writes:
    """Writes to one database.

    Args:
        database: what is written to.
        rng: gives references, uuids and sizes.
        clock: the present, as XAPI writes it; without one the pool's.
    """

    def __init__(
        self, database: Database, rng: random.Random, clock: Callable[[], str] | None = None
    ) -> None:
        self.db = database
        self.rng = rng
        self.clock = clock or database.now

    # -- small ones, also for others ---------------------------------------------------------

    def uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def add(self, cls: str, record: Record) -> str:
        """Create a row with a uuid and a reference of our own chance."""
        return self.db.create(cls, {"uuid": self.uuid(), **record}, f"OpaqueRef:{self.uuid()}")

    def set(self, cls: str, ref: str, **values: Any) -> int:  # noqa: ANN401
        """Write fields; returns how many writes took effect."""
        return sum(self.db.write(cls, ref, name, value) for name, value in values.items())

    def change(self, cls: str, ref: str, name: str, key: str, value: str | None) -> int:
        """Set a key of a map field, or remove it (None)."""
        present = self.db.get(cls, ref, name)
        changed = {k: v for k, v in present.items() if k != key}
        if value is not None:
            changed[key] = value
        return self.set(cls, ref, **{name: changed})

    def target(self, cls: str, ref: str, name: str, of: str) -> str | None:
        """Return the object that a reference field leads to, None when it leads nowhere."""
        found: str = self.db.get(cls, ref, name)
        return found if self.db.exists(of, found) else None

    # -- jobs --------------------------------------------------------------------------------

    def task(self, job: Job, label: str) -> int:
        """Create the job's task."""
        record = {
            "name_label": label,
            "created": self.clock(),
            "status": "pending",
            "type": "<none/>",
            "resident_on": next(
                (self.db.get("pool", pool, "master") for pool in self.db.refs("pool")), NULL
            ),
        }
        job.task = self.add("task", record)
        return 1

    def progress(self, job: Job, done: float) -> int:
        return self.set("task", job.task, progress=round(done, 3))

    def finish(self, job: Job, result: str = "") -> Steps:
        """End a task well, field by field; then its owner destroys it."""
        yield self.set("task", job.task, allowed_operations=[], finished=self.clock())
        yield self.set("task", job.task, progress=1.0)
        yield self.set("task", job.task, result=result)
        yield self.set("task", job.task, status="success")
        self.db.destroy("task", job.task)
        yield 1

    def hold(self, job: Job, cls: str, ref: str, operation: str) -> int:
        """Enter the job in an object's `current_operations`."""
        job.held.append((cls, ref))
        return self.change(cls, ref, "current_operations", job.task, operation)

    def release(self, job: Job) -> int:
        """Take the job out of all `current_operations` again."""
        writes = 0
        while job.held:
            cls, ref = job.held.pop()
            if self.db.exists(cls, ref):
                writes += self.change(cls, ref, "current_operations", job.task, None)
        return writes

    def vm_operation(self, job: Job, vm: str, operation: str, body: Steps) -> Steps:
        """Wrap the writes of an operation on a VM into what all such operations have."""
        yield self.task(job, f"Async.VM.{operation}")
        yield self.hold(job, "VM", vm, operation)
        yield self.set("VM", vm, allowed_operations=[])
        yield from body
        yield self.release(job)
        if self.db.exists("VM", vm):
            yield self.allow(vm)
        yield from self.finish(job)

    def allow(self, vm: str) -> int:
        """Bring a VM's `allowed_operations` up to date."""
        if self.db.get("VM", vm, "is_a_snapshot"):
            operations = list(allowed.VM_SNAPSHOT)
        elif self.db.get("VM", vm, "is_a_template"):
            operations = list(allowed.TEMPLATE)
        else:
            guest = self.target("VM", vm, "guest_metrics", "VM_guest_metrics")
            tools = guest is not None and bool(
                self.db.get("VM_guest_metrics", guest, "PV_drivers_version")
            )
            operations = allowed.vm_operations(self.db.get("VM", vm, "power_state"), tools=tools)
        return self.set("VM", vm, allowed_operations=operations)

    def message(self, name: str, vm: str, what: str) -> int:
        """Store the alert that XAPI itself makes after an operation."""
        label, uuid = self.db.get("VM", vm, "name_label"), self.db.get("VM", vm, "uuid")
        body = f"VM '{label}' (uuid: {uuid}) {what}"
        ref = f"OpaqueRef:{self.uuid()}"
        stamp = self.clock()
        self.db.message_create(name, 5, "VM", uuid, body, timestamp=stamp, ref=ref)
        return 1

    def disk_record(self, sr: str, label: str, size: int, **extra: Any) -> Record:  # noqa: ANN401
        """Return a new disk's record."""
        uuid = self.uuid()
        return {
            "uuid": uuid,
            "location": uuid,
            "SR": sr,
            "name_label": label,
            "type": "user",
            "virtual_size": size,
            "physical_utilisation": size // 3,
            "managed": True,
            "allowed_operations": list(allowed.VDI),
            **extra,
        }

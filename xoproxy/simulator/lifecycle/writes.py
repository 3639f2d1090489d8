"""Single writes, and what every longer operation carries with it: its task, and its marks."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from xoproxy.simulator import sexpr
from xoproxy.simulator.database import Database
from xoproxy.simulator.rules import RULES, allow, check, drop

NULL = "OpaqueRef:NULL"

Record: TypeAlias = dict[str, Any]
Steps: TypeAlias = Iterator[Any]
"""An operation under way, a few writes a step. Of what steps yield only `Takes` means something."""


@dataclass(frozen=True, slots=True)
class Takes:
    """A step that takes its time on a real pool, besides its writes."""

    seconds: float


@dataclass(slots=True)
class Job:
    """An operation: its task, what names it in `current_operations`, what it would leave behind.

    `made` is destroyed if the operation fails.
    """

    task: str = NULL
    held: list[tuple[str, str]] = field(default_factory=list)
    made: list[tuple[str, str]] = field(default_factory=list)


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

    def make(self, job: Job, cls: str, record: Record) -> str:
        """Create a row that goes again if the operation fails."""
        ref = self.add(cls, record)
        job.made.append((cls, ref))
        return ref

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

    def remove(self, cls: str, ref: str) -> bool:
        """Destroy a row, if it is there still; tells whether it was.

        VMs that came from a VM now come from where it came from.
        """
        if not self.db.exists(cls, ref):
            return False
        record = self.db.row(cls, ref).fields
        for child in record["children"] if cls == "VM" else ():
            self.set("VM", child, parent=record["parent"])
        drop(self.db, cls, ref)
        return True

    def remove_device(self, cls: str, ref: str) -> bool:
        """Destroy a device of a VM, and before it its metrics, if it has any."""
        if cls in {"VBD", "VIF"} and self.db.exists(cls, ref):
            self.remove(f"{cls}_metrics", self.db.get(cls, ref, "metrics"))
        return self.remove(cls, ref)

    def describe(self, vm: str) -> str:
        """Write a VM's record down, as XAPI keeps it in a field of another one."""
        return sexpr.write_struct(self.db.record("VM", vm))

    # -- jobs --------------------------------------------------------------------------------

    def as_task(self, job: Job, label: str, body: Steps) -> Steps:
        """Give an operation a task of its own, as a call does, and destroy it in the end."""
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
        yield
        yield from body
        yield from self.finish(job)

    def progress(self, job: Job, done: float) -> int:
        return self.set("task", job.task, progress=round(done, 3))

    def finish(self, job: Job, result: str = "") -> Steps:
        """End a task well, field by field; then its owner destroys it."""
        yield self.set("task", job.task, allowed_operations=[], finished=self.clock())
        yield self.set("task", job.task, progress=1.0)
        yield self.set("task", job.task, result=result)
        yield self.set("task", job.task, status="success")
        yield self.remove("task", job.task)

    def enter(self, job: Job, cls: str, ref: str, operation: str) -> int:
        """Check an operation, where its class has rules, and show it."""
        if cls in RULES:
            check(self.db, cls, ref, operation)
        return self.hold(job, cls, ref, operation)

    def hold(self, job: Job, cls: str, ref: str, operation: str) -> int:
        """Enter the job in an object's `current_operations`."""
        job.held.append((cls, ref))
        return self._mark(job, cls, ref, operation)

    def release(self, job: Job, cls: str, ref: str) -> int:
        """Take the job out of an object's `current_operations` again."""
        job.held.remove((cls, ref))
        return self._mark(job, cls, ref, None) if self.db.exists(cls, ref) else 0

    def release_all(self, job: Job) -> int:
        """Take the job out of all `current_operations`, the last one first."""
        return sum(self.release(job, cls, ref) for cls, ref in reversed(list(job.held)))

    def _mark(self, job: Job, cls: str, ref: str, operation: str | None) -> int:
        writes = self.change(cls, ref, "current_operations", job.task, operation)
        return writes + (allow(self.db, cls, ref) if cls in RULES else 0)

    def message(self, name: str, vm: str, what: str) -> int:
        """Store the alert that XAPI itself makes after an operation."""
        label, uuid = self.db.get("VM", vm, "name_label"), self.db.get("VM", vm, "uuid")
        body = f"VM '{label}' (uuid: {uuid}) {what}"
        ref = f"OpaqueRef:{self.uuid()}"
        stamp = self.clock()
        self.db.message_create(name, 5, "VM", uuid, body, timestamp=stamp, ref=ref)
        return 1

"""Believable changes at a given rate: what a pool does all day by itself and by its users.

A few activities run beside each other (a VM boots while a copy makes progress), each a generator
of writes, and between their steps come ticks of metrics and edits by people. The same seed on the
same database gives the same changes.
"""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.database import Database, RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import NULL, Copies, Ends, Guests, Job, Power, Steps, Writes
from xoproxy.simulator.rules import RULES, placement

MEBIBYTE: Final = 1 << 20
PARALLEL: Final = 6  # long activities at a time
LONGEST: Final = 250  # writes that one may take, at most
BURST: Final = 50  # changes that are made up for before others may run
TRIES: Final = 16  # picks of an object before an activity is given up

_WORDS = (
    "prod",
    "test",
    "neu",
    "old",
    "migré",
    "prüfen",
    "kunde-7",
    "do not touch",
    "Q3",
    "archiv",
)
_TAGS = ("prod", "test", "backup", "dmz", "kritisch", "to-delete", "équipe-2", "linux")
_EDITED = ("VM", "VM", "VM", "VM", "VDI", "network", "SR", "host")


@dataclass(slots=True)
class Activity:
    """Something under way, and the object that it has for itself."""

    job: Job
    steps: Steps
    busy: str = NULL


class Churn:
    """Changes on a database, one after the other.

    Args:
        database: any, dumps too; what it lacks is not changed.
        seed: of the chance.
        lifecycle: clones, snapshots and destroys VMs too; their number stays about the same.
        clock: the present, as XAPI writes it; without one the pool's.
    """

    def __init__(
        self,
        database: Database,
        seed: int = 1,
        *,
        lifecycle: bool = False,
        clock: Callable[[], str] | None = None,
    ) -> None:
        self._db = database
        # Not the seed alone: its references are used up by an estate or a churn made with it.
        self._rng = random.Random(f"churn {seed} {database.generation}")
        self._w = Writes(database, self._rng, clock)
        self._power = Power(self._w)
        self._copies = Copies(self._w)
        self._ends = Ends(self._w)
        self._guests = Guests(self._w)
        self._vms_wanted = database.count("VM")
        self._active: list[Activity] = []
        self._busy: set[str] = set()
        # Each returns at once (None: nothing to do it on) or as an activity of many steps.
        self._short: list[tuple[Callable[[], int], int]] = [
            (self._tick_vm, 40),
            (self._tick_host, 18),
            (self._tick_guest, 12),
            (self._tick_sr, 6),
            (self._edit_text, 8),
            (self._edit_tags, 5),
            (self._edit_other_config, 6),
        ]
        self._long: list[tuple[Callable[[Job], Activity | None], int]] = [
            (self._power_cycle, 50),
            (self._copy_task, 20),
            (self._scan, 20),
        ]
        if lifecycle:
            self._long.append((self._come_or_go, 60))

    def step(self, remaining: int | None = None) -> int:
        """Make the next change; returns the number of writes that took effect, nearly always 1.

        Args:
            remaining: how many writes are still wanted. Activities are not begun when they could
                not end in that many, so that a limited churn leaves nothing half done.
        """
        tight = remaining is not None and remaining <= LONGEST * (len(self._active) + 1)
        for _ in range(100):
            if self._active and (tight or self._likely(0.5)):
                writes = self._advance(self._rng.choice(self._active))
            elif not tight and len(self._active) < PARALLEL and self._likely(0.1):
                self._begin()
                continue
            else:
                actions, weights = zip(*self._short, strict=True)
                writes = self._rng.choices(actions, weights)[0]()
            if writes:
                return writes
        return self._touch_pool()

    def finish(self) -> int:
        """Bring everything under way to its end; returns the number of writes."""
        writes = 0
        while self._active:
            writes += self._advance(self._active[0])
        return writes

    def __len__(self) -> int:
        """Tell how many activities are under way."""
        return len(self._active)

    # -- activities --------------------------------------------------------------------------

    def _begin(self) -> None:
        makers, weights = zip(*self._long, strict=True)
        activity = self._rng.choices(makers, weights)[0](Job())
        if activity is not None:
            self._active.append(activity)
            self._busy.add(activity.busy)

    def _advance(self, activity: Activity) -> int:
        before = self._db.generation
        task = activity.job.task
        try:
            if task == NULL or self._db.exists("task", task):
                while self._db.generation == before:
                    next(activity.steps)
                return self._db.generation - before
            self._give_up(activity.job)  # a restart, or a client, ended it
        except StopIteration:
            pass
        except (RowMissingError, XapiError):
            self._give_up(activity.job)
        self._active.remove(activity)
        self._busy.discard(activity.busy)
        return self._db.generation - before

    def _give_up(self, job: Job) -> None:
        self._power.settle(job)
        if self._db.exists("task", job.task):
            self._w.set("task", job.task, finished=self._w.clock(), status="failure")
            self._w.remove("task", job.task)

    def _power_cycle(self, job: Job) -> Activity | None:
        vm = self._pick_vm()
        if vm is None:
            return None
        state = self._db.get("VM", vm, "power_state")
        operation = {"Halted": "start", "Suspended": "resume", "Paused": "unpause"}.get(state)
        if operation is None:
            operations = ("clean_reboot", "pool_migrate", "clean_shutdown", "suspend", "pause")
            operation = self._rng.choices(operations, (35, 25, 25, 8, 7))[0]
        if RULES["VM"].refusal(self._db, vm, operation) is not None:
            return None
        body = self._power_steps(job, vm, operation)
        if body is None:
            return None
        return Activity(job, self._with_guest(job, vm, operation, body), vm)

    def _with_guest(self, job: Job, vm: str, operation: str, body: Steps) -> Steps:
        """Let the guest come up after an operation that booted it."""
        yield from self._w.as_task(job, f"Async.VM.{operation}", body)
        job.task = NULL
        if self._guests.is_coming_up(vm):
            yield from self._guests.come_up(vm)

    def _power_steps(self, job: Job, vm: str, operation: str) -> Steps | None:
        """Return the writes of a power operation, None when it cannot be done."""
        power = self._power
        if operation == "suspend":
            sr = self._pick("SR", self._holds_disks)
            return power.suspend(job, vm, lambda: sr) if sr else None
        here: dict[str, Callable[[], Steps]] = {
            "clean_shutdown": lambda: power.shutdown(job, vm, "clean_shutdown"),
            "clean_reboot": lambda: power.reboot(job, vm, "clean_reboot"),
            "pause": lambda: power.pause(job, vm),
            "unpause": lambda: power.unpause(job, vm),
        }
        if operation in here:
            return here[operation]()
        host = self._host_for(vm)
        if host is None or host == self._db.get("VM", vm, "resident_on"):
            return None
        if operation == "pool_migrate":
            return power.migrate(job, vm, host)
        return (power.start if operation == "start" else power.resume)(job, vm)

    def _copy_task(self, job: Job) -> Activity | None:
        """Copy a disk: a long task of which only the progress shows."""
        vdi = self._pick("VDI", lambda vdi: vdi not in self._busy)
        if vdi is None:
            return None

        def body() -> Steps:
            yield self._w.hold(job, "VDI", vdi, "copy")
            for done in range(1, self._rng.randrange(6, 16)):
                yield self._w.progress(job, done / 16)
            yield self._w.release(job, "VDI", vdi)

        return Activity(job, self._w.as_task(job, "Async.VDI.copy", body()), vdi)

    def _scan(self, job: Job) -> Activity | None:
        sr = self._pick("SR", lambda sr: sr not in self._busy)
        if sr is None:
            return None

        def body() -> Steps:
            yield self._w.hold(job, "SR", sr, "scan")
            yield self._use_storage(sr)
            yield self._w.release(job, "SR", sr)

        return Activity(job, self._w.as_task(job, "SR.scan", body()), sr)

    def _come_or_go(self, job: Job) -> Activity | None:
        """Clone, snapshot or destroy; the more VMs above the wanted number, the more go."""
        surplus = self._db.count("VM") / max(self._vms_wanted, 1) - 1
        vm: str | None
        body: Steps | None = None
        if self._likely(0.5 + 2 * surplus):
            operation = "destroy"
            vm = self._pick("VM", self._may_go)
            if vm:
                body = self._destroy(job, vm)
        elif self._likely(0.5):
            operation = "clone"
            vm = self._pick_vm("Halted")
            label = f"{self._rng.choice(_WORDS)}-{self._rng.randrange(1000)}"
            if vm:
                body = self._copies.clone(job, vm, label)
        else:
            operation = "snapshot"
            vm = self._pick_vm()
            if vm:
                body = self._copies.snapshot(job, vm, self._rng.choice(_WORDS))
        if vm is None or body is None or RULES["VM"].refusal(self._db, vm, operation) is not None:
            return None
        return Activity(job, self._w.as_task(job, f"Async.VM.{operation}", body), vm)

    def _destroy(self, job: Job, vm: str) -> Steps:
        """Destroy a VM and, as most clients do then, the disks that were its own."""
        vbds = self._db.get("VM", vm, "VBDs")
        disks = [self._db.get("VBD", vbd, "VDI") for vbd in vbds if self._owns_disk(vbd)]
        yield from self._ends.destroy(job, vm)
        for disk in disks:
            hanging = ("VBDs", "snapshots", "crash_dumps")
            if self._db.exists("VDI", disk) and not any(
                self._db.get("VDI", disk, name) for name in hanging
            ):
                yield self._power.volumes.remove(disk)

    def _owns_disk(self, vbd: str) -> bool:
        disk = self._w.target("VBD", vbd, "VDI", "VDI")
        is_disk = disk is not None and self._db.get("VBD", vbd, "type") == "Disk"
        return is_disk and len(self._db.get("VDI", disk or NULL, "VBDs")) == 1

    # -- single changes ----------------------------------------------------------------------

    def _tick_vm(self) -> int:
        vm = self._pick_vm("Running", idle=False)
        metrics = vm and self._w.target("VM", vm, "metrics", "VM_metrics")
        if not vm or not metrics:
            return 0
        target = self._db.get("VM", vm, "memory_target") or 512 * MEBIBYTE
        used = target - self._rng.randrange(1, 16384) * 4096
        return self._w.set("VM_metrics", metrics, memory_actual=max(used, 4096))

    def _tick_host(self) -> int:
        host = self._pick("host")
        step = self._rng.choice((-1, 1)) * self._rng.randrange(1, 4096) * 4096
        return self._power.domains.use_memory(host, step) if host else 0

    def _tick_guest(self) -> int:
        """Let a guest agent speak: one of the fields that it tells, with the time."""
        vm = self._pick_vm("Running", idle=False)
        guest = vm and self._w.target("VM", vm, "guest_metrics", "VM_guest_metrics")
        if not guest:
            return 0
        if self._likely(0.7):
            return self._w.change(
                "VM_guest_metrics", guest, "other", "data-updated", str(self._rng.getrandbits(20))
            )
        address = f"fe80::{self._rng.getrandbits(16):x}:{self._rng.getrandbits(16):x}"
        return self._w.change("VM_guest_metrics", guest, "networks", "0/ipv6/0", address)

    def _tick_sr(self) -> int:
        sr = self._pick("SR", self._holds_disks)
        return self._use_storage(sr) if sr else 0

    def _edit_text(self) -> int:
        cls = self._rng.choice(_EDITED)
        ref = self._pick(cls)
        if not ref:
            return 0
        words = " ".join(self._rng.sample(_WORDS, 2))
        if self._likely(0.6) or cls == "host":
            return self._w.set(cls, ref, name_description=words)
        base = str(self._db.get(cls, ref, "name_label")).partition(" (")[0]
        return self._w.set(cls, ref, name_label=f"{base} ({words})")

    def _edit_tags(self) -> int:
        cls = self._rng.choice(_EDITED)
        ref = self._pick(cls)
        if not ref:
            return 0
        tags = list(self._db.get(cls, ref, "tags"))
        tag = self._rng.choice(_TAGS)
        changed = [t for t in tags if t != tag] if tag in tags else [*tags, tag]
        return self._w.set(cls, ref, tags=changed)

    def _edit_other_config(self) -> int:
        cls = self._rng.choice(_EDITED)
        ref = self._pick(cls)
        if not ref:
            return 0
        key = self._rng.choice(("owner", "folder", "note", "xo:last-seen"))
        value = f"{self._rng.choice(_WORDS)} {self._rng.randrange(100)}"
        kept = self._likely(0.8)
        return self._w.change(cls, ref, "other_config", key, value if kept else None)

    def _use_storage(self, sr: str) -> int:
        used = self._db.get("SR", sr, "physical_utilisation")
        size = self._db.get("SR", sr, "physical_size")
        used += self._rng.randrange(-64, 128) * MEBIBYTE
        return self._w.set("SR", sr, physical_utilisation=min(max(used, 0), max(size, 0)))

    def _touch_pool(self) -> int:
        """Change something even in a database that holds next to nothing."""
        pool = self._pick("pool")
        if not pool:
            return 0
        seen = str(self._rng.getrandbits(60))
        return self._w.change("pool", pool, "other_config", "last-seen", seen)

    # -- choices -----------------------------------------------------------------------------

    def _likely(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _pick(self, cls: str, fits: Callable[[str], bool] = lambda _: True) -> str | None:
        """Return a random object that fits; None when none was found in a few tries."""
        refs = self._db.refs(cls)
        for _ in range(TRIES if refs else 0):
            ref = self._rng.choice(refs)
            if fits(ref):
                return ref
        return None

    def _pick_vm(self, state: str | None = None, *, idle: bool = True) -> str | None:
        """Return a random plain VM, by default one with which nothing is being done."""

        def fits(vm: str) -> bool:
            record = self._db.row("VM", vm).fields
            if record["is_a_template"] or record["is_control_domain"]:
                return False
            if idle and (vm in self._busy or record["current_operations"]):
                return False
            return state is None or record["power_state"] == state

        return self._pick("VM", fits)

    def _may_go(self, vm: str) -> bool:
        """Tell whether nothing but its own devices hangs on a VM."""
        record = self._db.row("VM", vm).fields
        if record["is_control_domain"] or record["is_default_template"] or vm in self._busy:
            return False
        if record["power_state"] != "Halted" or record["current_operations"]:
            return False
        if record["is_a_template"] and not record["is_a_snapshot"]:
            return False
        hanging = (
            "snapshots",
            "consoles",
            "VTPMs",
            "VGPUs",
            "VUSBs",
            "attached_PCIs",
            "crash_dumps",
        )
        return not any(record[name] for name in hanging)

    def _holds_disks(self, sr: str) -> bool:
        record = self._db.row("SR", sr).fields
        return bool(record["content_type"] != "iso" and record["physical_size"] > 0)

    def _host_for(self, vm: str) -> str | None:
        """Return a random host that could run a VM."""
        return self._pick("host", lambda host: placement.unfit(self._db, vm, host) is None)


async def run(
    churn: Churn,
    rate: float,
    seconds: float | None = None,
    may_go: asyncio.Event | None = None,
) -> int:
    """Make `rate` changes a second, for ever or for `seconds`; returns how many there were.

    The schedule is absolute: what a busy moment delays is made up for after it. Time during
    which `may_go` is not set does not count.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    limit = math.inf if seconds is None else round(rate * seconds)
    done = 0
    while done < limit:
        if may_go is not None and not may_go.is_set():
            stopped = loop.time()
            await may_go.wait()
            start += loop.time() - stopped
        due = min(rate * (loop.time() - start), limit)
        for _ in range(BURST):
            if done >= due:
                break
            done += churn.step(None if seconds is None else int(limit) - done)
        await asyncio.sleep(max(start + (done + 1) / rate - loop.time(), 0))
    return done

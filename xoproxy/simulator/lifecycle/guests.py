"""What runs inside VMs: the agent that tells of itself some time after its guest has booted.

What a guest told in its last life is what it tells in the next. XAPI forgets it at each start
(VM_guest_metrics is replaced), so it is kept here until it has been told again.
"""

from typing import Final
from weakref import WeakKeyDictionary

from xoproxy.simulator.database import Database
from xoproxy.simulator.lifecycle.writes import Record, Steps, Takes, Writes
from xoproxy.simulator.rules import allow

MONITORED_S: Final = 2.0  # until the host's monitor has seen the new domain
BOOTED_S: Final = 8.0  # until the agent speaks, from then on

# In the order in which the fields change.
_TOLD: Final = (
    "PV_drivers_version",
    "PV_drivers_up_to_date",
    "PV_drivers_detected",
    "can_use_hotplug_vbd",
    "can_use_hotplug_vif",
    "os_version",
    "netbios_name",
    "networks",
    "other",
)

# By pool and by VM_guest_metrics: what the agent has still to tell. Whoever runs an operation
# has tools of its own, and a VM may be shut down before its agent has spoken.
_UNTOLD: Final[WeakKeyDictionary[Database, dict[str, Record]]] = WeakKeyDictionary()


class Guests:
    """The guests of one pool."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._untold = _UNTOLD.setdefault(writes.db, {})

    def renew(self, vm: str) -> Steps:
        """Replace what a VM told in its last life by an empty record."""
        old = self._w.target("VM", vm, "guest_metrics", "VM_guest_metrics")
        told = self._untold.pop(old, None) if old else None
        if old and told is None:
            record = self._db.record("VM_guest_metrics", old)
            told = {name: record[name] for name in _TOLD} if record["other"] else None
        new = self._w.add("VM_guest_metrics", {"last_updated": self._w.clock(), "live": True})
        for lost in [ref for ref in self._untold if not self._db.exists("VM_guest_metrics", ref)]:
            del self._untold[lost]
        if told is not None:
            self._untold[new] = told
        yield
        yield self._w.set("VM", vm, guest_metrics=new)
        if old is not None:
            yield self._w.remove("VM_guest_metrics", old)

    def is_coming_up(self, vm: str) -> bool:
        """Tell whether a guest runs that the monitor or its agent has not told of yet."""
        if not self._runs(vm):
            return False
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        seen = metrics is None or self._db.get("VM_metrics", metrics, "memory_actual") > 0
        return not seen or self._db.get("VM", vm, "guest_metrics") in self._untold

    def come_up(self, vm: str) -> Steps:
        """Do what follows a boot by itself: the monitor sees the VM, later its agent speaks.

        It ends early, and goes on another time, when the VM does not run meanwhile.
        """
        yield Takes(MONITORED_S)
        if not self._runs(vm):
            return
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            target = self._db.get("VM", vm, "memory_target")
            yield self._w.set("VM_metrics", metrics, memory_actual=target)
        guest = self._w.target("VM", vm, "guest_metrics", "VM_guest_metrics")
        if guest not in self._untold:
            return
        yield Takes(BOOTED_S)
        if not self._runs(vm) or self._db.get("VM", vm, "guest_metrics") != guest:
            return
        for name, value in self._untold.pop(guest, {}).items():
            if not self._db.exists("VM_guest_metrics", guest):
                return
            yield self._w.set("VM_guest_metrics", guest, **{name: value})
        if self._db.exists("VM_guest_metrics", guest):
            yield self._w.set("VM_guest_metrics", guest, last_updated=self._w.clock())
        if self._db.exists("VM", vm):
            yield allow(self._db, "VM", vm)

    def _runs(self, vm: str) -> bool:
        return self._db.exists("VM", vm) and self._db.get("VM", vm, "power_state") == "Running"

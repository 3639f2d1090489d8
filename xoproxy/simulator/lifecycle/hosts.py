"""Hosts that go down and come up: what their rows say meanwhile (xapi_host.ml, dbsync_slave.ml)."""

import calendar
import time
from typing import Final

from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.writes import Steps, Takes, Writes
from xoproxy.simulator.rules import RULES, allow

_AFTER_BOOT: Final = {"enable_on_reboot": "enabled", "disable_on_reboot": "disabled"}
PLUG_S: Final = 1.0  # in which a booting host attaches one of its storages


class Machines:
    """Writes what becomes of hosts; whether they answer is others' business."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._power = Power(writes)

    def set_live(self, host: str, *, live: bool) -> None:
        metrics = self._w.target("host", host, "metrics", "host_metrics")
        if metrics is not None:
            self._w.set("host_metrics", metrics, live=live)
        allow(self._db, "host", host)

    def boot(self, host: str, *, enabled: bool = True) -> Steps:
        """Come up: nothing of what ran there is left, devices are attached one after the other.

        Args:
            host: its reference.
            enabled: whether it takes VMs again.
        """
        for vm in self._db.get("host", host, "resident_VMs"):
            if not self._db.get("VM", vm, "is_control_domain"):
                self._power.reset(vm)
        self._w.set("host", host, enabled=False, current_operations={})
        for cls, name in (("PBD", "PBDs"), ("PIF", "PIFs")):
            for device in self._db.get("host", host, name):
                self._attach(cls, device, attached=False)
                yield
        self.set_live(host, live=True)
        display = self._db.get("host", host, "display")
        yield self._w.set("host", host, display=_AFTER_BOOT.get(display, display))
        yield from self._renew_control_domain(host)
        for cls, name in (("PIF", "PIFs"), ("PBD", "PBDs")):
            for device in self._db.get("host", host, name):
                yield Takes(PLUG_S if cls == "PBD" else 0)
                self._attach(cls, device, attached=True)
                yield
        self._w.set("host", host, enabled=enabled)
        yield allow(self._db, "host", host)

    def _attach(self, cls: str, device: str, *, attached: bool) -> None:
        if not self._db.exists(cls, device):  # somebody forgot it meanwhile
            return
        self._w.set(cls, device, currently_attached=attached)
        if cls in RULES:
            allow(self._db, cls, device)
        sr = self._db.get(cls, device, "SR") if cls == "PBD" else ""
        if self._db.exists("SR", sr):
            allow(self._db, "SR", sr)

    def _renew_control_domain(self, host: str) -> Steps:
        """Tell of the boot: the control domain's start, and when host and xapi came up."""
        began = int(_seconds(self._w.clock()))
        for key, moment in (("boot_time", began), ("agent_start_time", began + 1)):
            yield self._w.change("host", host, "other_config", key, f"{moment}.")
        dom0 = self._w.target("host", host, "control_domain", "VM")
        metrics = dom0 and self._w.target("VM", dom0, "metrics", "VM_metrics")
        if metrics:
            yield self._w.set("VM_metrics", metrics, start_time=self._w.clock())


def _seconds(date: str) -> float:
    return float(calendar.timegm(time.strptime(date, "%Y%m%dT%H:%M:%SZ")))

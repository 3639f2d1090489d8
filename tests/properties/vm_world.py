"""A pool with VMs of all kinds, and what must hold in it whenever nothing is under way."""

import random
from typing import Any

from tests.unit.simulator.worlds import DOM0, HOST, POOL
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.rules import RULES, allow, allowed, placement
from xoproxy.simulator.wiretypes import NULL

GIB = 1 << 30
OTHER_HOST = "OpaqueRef:host-2"
SHARED, LOCAL = "OpaqueRef:shared", "OpaqueRef:local"
MEMORY = 6 * GIB  # of a host; its own domain and a few VMs fill it
FEATURES = ("shutdown", "reboot", "suspend", "poweroff", "vcpu-hotplug")
SIZE = {
    "VCPUs_max": 2,
    "VCPUs_at_startup": 1,
    "memory_static_min": GIB // 2,
    "memory_dynamic_min": GIB,
    "memory_dynamic_max": 2 * GIB,
    "memory_static_max": 2 * GIB,
}
ALIVE = {"Running", "Paused"}

DISKS = (
    '<provision><disk device="0" size="{size}" sr="" bootable="true" type="system"/></provision>'
)


class Estate:
    """Builds the pool."""

    def __init__(self) -> None:
        self.db = Database(DataModel.load())
        self._hosts()
        self._storage()
        self._vms()
        for cls in RULES:
            for ref in self.db.refs(cls):
                allow(self.db, cls, ref)

    def _hosts(self) -> None:
        self.db.create("pool", {"master": HOST, "default_SR": SHARED}, POOL)
        for host, dom0 in ((HOST, DOM0), (OTHER_HOST, "OpaqueRef:dom0-2")):
            size = {"memory_total": MEMORY, "memory_free": MEMORY - GIB}
            metrics = self.db.create("host_metrics", {"live": True, **size})
            record = {"metrics": metrics, "enabled": True, "control_domain": dom0}
            self.db.create("host", {**record, "name_label": host, "address": "127.0.0.9"}, host)
            domain: dict[str, Any] = {
                "is_control_domain": True,
                "power_state": "Running",
                "resident_on": host,
            }
            domain |= {**SIZE, "memory_target": GIB}
            self.db.create("VM", {**domain, "domid": 0, "name_label": "dom0"}, dom0)

    def _storage(self) -> None:
        for sr, hosts in ((SHARED, (HOST, OTHER_HOST)), (LOCAL, (HOST,))):
            self.db.create("SR", {"physical_size": 1 << 50, "name_label": sr}, sr)
            for host in hosts:
                self.db.create("PBD", {"SR": sr, "host": host, "currently_attached": True})
        self.db.create("network", {"managed": True}, "OpaqueRef:network")
        for host in (HOST, OTHER_HOST):
            self.db.create("PIF", {"host": host, "network": "OpaqueRef:network"})

    def _vms(self) -> None:
        self.add("with tools", tools=True)
        self.add("also with tools", tools=True, sr=LOCAL)
        self.add("without tools")
        self.add("paravirtual", domain_type="pv", HVM_boot_policy="")
        self.add("bound", tools=True, platform={"nomigrate": "true"})
        self.add("cannot suspend", tools=True, told={"data-cant-suspend-reason": "because"})
        self.add("blocked", tools=True, blocked_operations={"start": "no", "clean_shutdown": "no"})
        reset = self.add("reset on boot", tools=True)
        for vbd in self.db.get("VM", reset, "VBDs"):
            vdi = self.db.get("VBD", vbd, "VDI")
            if self.db.exists("VDI", vdi):
                self.db.write("VDI", vdi, "on_boot", "reset")
        member = self.add("member", tools=True)
        appliance = self.db.create("VM_appliance", {"name_label": "appliance"})
        self.db.write("VM", member, "appliance", appliance)
        usb = self.add("with USB", tools=True)
        self.db.create("VUSB", {"VM": usb})
        config = {"disks": DISKS.format(size=GIB)}
        self.add("template", is_a_template=True, other_config=config)
        default: dict[str, Any] = {"is_a_template": True, "is_default_template": True}
        self.add("default template", other_config={**config, "default_template": "true"}, **default)
        self.add("driver domain", is_control_domain=True, affinity=HOST)

    def add(
        self, label: str, *, tools: bool = False, sr: str = SHARED, told: Any = None, **fields: Any
    ) -> str:
        record = {
            **SIZE,
            "name_label": label,
            "domain_type": "hvm",
            "HVM_boot_policy": "BIOS order",
            "other_config": {},
            "domid": -1,
            "metrics": self.db.create("VM_metrics", {}),
            **fields,
        }
        vm = self.db.create("VM", record)
        if tools:
            other = {f"feature-{name}": "1" for name in FEATURES} | (told or {})
            guest = self.db.create("VM_guest_metrics", {"other": other})
            self.db.write("VM", vm, "guest_metrics", guest)
        vdi = self.db.create("VDI", {"SR": sr, "virtual_size": GIB, "managed": True})
        disk = {"VM": vm, "VDI": vdi, "userdevice": "0", "type": "Disk", "mode": "RW"}
        self.db.create("VBD", {**disk, "metrics": self.db.create("VBD_metrics", {})})
        drive = {"VM": vm, "userdevice": "3", "type": "CD", "mode": "RO", "empty": True}
        self.db.create("VBD", {**drive, "metrics": self.db.create("VBD_metrics", {})})
        nic = {"VM": vm, "network": "OpaqueRef:network", "device": "0", "MAC": "02:00:00:00:00:01"}
        self.db.create("VIF", {**nic, "metrics": self.db.create("VIF_metrics", {})})
        return vm


def pick(rng: random.Random, db: Database) -> str:
    """Choose a VM, rather one with a state; by name, since references differ from run to run."""

    def weight(record: dict[str, Any]) -> int:
        if record["power_state"] != "Halted":
            return 12
        return 1 if record["is_a_template"] else 4

    rows = db.tables["VM"].rows.values()
    vms = sorted(rows, key=lambda row: (row.fields["name_label"], row.created))
    return rng.choices(vms, [weight(row.fields) for row in vms])[0].ref


def disorder(db: Database) -> list[str]:
    """Name what must not be while nothing is under way."""
    found = [f"task {db.get('task', task, 'name_label')}" for task in db.refs("task")]
    for vm in db.refs("VM"):
        found += [f"{db.get('VM', vm, 'name_label')}: {what}" for what in _disorder_of(db, vm)]
    for host in db.refs("host"):
        found += _disorder_on(db, host)
    for cls in ("VM", "VM_appliance", "VBD", "VIF", "VTPM"):
        for ref in db.refs(cls):
            if db.get(cls, ref, "current_operations"):
                found.append(f"{cls} is busy: {db.get(cls, ref, 'current_operations')}")
            shown = db.get(cls, ref, "allowed_operations")
            if shown != allowed(db, cls, ref):
                found.append(f"{cls} advertises {shown}, not {allowed(db, cls, ref)}")
    return found


def orphans(db: Database) -> int:
    """Count the memory images of no VM."""
    used = {row.fields["suspend_VDI"] for row in db.tables["VM"].rows.values()}
    return sum(
        row.fields["type"] == "suspend" and row.ref not in used
        for row in db.tables["VDI"].rows.values()
    )


def _disorder_of(db: Database, vm: str) -> list[str]:
    record = db.record("VM", vm)
    if record["is_control_domain"] and record["domid"] == 0:
        return []
    alive = record["power_state"] in ALIVE
    attached = record["power_state"] != "Halted"
    devices = [(cls, d) for cls in ("VBD", "VIF") for d in record[f"{cls}s"]]
    checks = {
        "host": db.exists("host", record["resident_on"]) == alive,
        "announced": record["scheduled_to_be_resident_on"] == NULL,
        "domid": (record["domid"] > 0) == alive,
        "consoles": len(record["consoles"]) == (2 if alive else 0),
        "memory image": db.exists("VDI", record["suspend_VDI"])
        == (record["power_state"] == "Suspended"),
        "devices": all(db.get(cls, d, "currently_attached") == attached for cls, d in devices),
        "metrics of devices": all(
            db.exists(f"{cls}_metrics", db.get(cls, d, "metrics")) for cls, d in devices
        ),
        "disks": all(
            db.exists("VDI", db.get("VBD", d, "VDI")) != db.get("VBD", d, "empty")
            for d in record["VBDs"]
        ),
        "metrics": record["metrics"] == NULL or db.exists("VM_metrics", record["metrics"]),
        "guest": record["guest_metrics"] == NULL
        or db.exists("VM_guest_metrics", record["guest_metrics"]),
        "parent": record["parent"] == NULL or db.exists("VM", record["parent"]),
    }
    return [what for what, holds in checks.items() if not holds]


def _disorder_on(db: Database, host: str) -> list[str]:
    record = db.record("host", host)
    guests = [db.record("VM", vm) for vm in record["resident_VMs"]]
    metrics = db.record("host_metrics", record["metrics"])
    used = sum(placement.footprint(guest) for guest in guests)
    found = []
    if record["current_operations"]:
        found.append(f"{host} is busy: {record['current_operations']}")
    if metrics["memory_free"] != metrics["memory_total"] - used:
        free = metrics["memory_free"]
        found.append(f"{host} has {free} free of {metrics['memory_total']} with {used} used")
    if any(guest["power_state"] not in ALIVE for guest in guests):
        found.append(f"{host} has residents that are not alive")
    return found

"""The receiving end: may a VM come, and with which rows does it."""

import random
import uuid as uuids
from typing import Any, Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Writes, disks
from xoproxy.simulator.lifecycle.devices import mac_of
from xoproxy.simulator.lifecycle.domains import ALIVE, Domains
from xoproxy.simulator.rules import allow, check, placement
from xoproxy.simulator.transfer.parcel import Machine, Parcel, Record
from xoproxy.simulator.wiretypes import NULL

# What belongs to the place where a VM was.
_LEFT_BEHIND: Final[Record] = {
    "affinity": NULL,
    "appliance": NULL,
    "blobs": {},
    "children": [],
    "consoles": [],
    "current_operations": {},
    "domid": -1,
    "groups": [],
    "guest_metrics": NULL,
    "parent": NULL,
    "protection_policy": NULL,
    "resident_on": NULL,
    "scheduled_to_be_resident_on": NULL,
    "snapshot_schedule": NULL,
    "suspend_SR": NULL,
    "suspend_VDI": NULL,
}


class Incoming:
    """Receives VMs into one database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._w = Writes(db, random.Random())

    def receive(self, parcel: Parcel) -> dict[str, Any]:
        """Do a step; returns what the sender needs to know. Raises what refuses it."""
        match parcel.step:
            case "check":
                self._require(parcel)
                return {}
            case "disks":
                self._require(parcel)
                return {"made": self._make_room(parcel)}
            case "arrive":
                self._require(parcel, room_made=True)
                return {"vm": self._arrive(parcel)}
            case "drop":
                for vdi in parcel.made.values():
                    if self._db.exists("VDI", vdi):
                        disks.remove_disk(self._db, vdi)
                return {}

    # -- may it come -------------------------------------------------------------------------

    def _require(self, parcel: Parcel, *, room_made: bool = False) -> None:
        host, vm = parcel.host, parcel.machines[0].record
        if not self._db.get("host", host, "enabled"):
            raise XapiError("HOST_DISABLED", host)
        if not placement.is_live(self._db, host):
            raise XapiError("HOST_OFFLINE", host)
        check(self._db, "host", host, "vm_migrate")
        there = self._db.by_uuid("VM", vm["uuid"])
        if there is not None and not parcel.copy:
            raise XapiError("DUPLICATE_VM", there)
        if not room_made:
            self._require_storage(parcel)
        for network in parcel.networks.values():
            self._require_network(host, network)
        if vm["power_state"] in ALIVE:
            needed, free = placement.needed_by(vm), placement.free_memory(self._db, host)
            if needed > free:
                raise XapiError("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(free))

    def _require_storage(self, parcel: Parcel) -> None:
        needed: dict[str, int] = {}
        for vdi, record in parcel.disks.items():
            sr = parcel.storage[vdi]
            self._db.row("SR", sr)
            if not placement.reaches(self._db, parcel.host, [sr]):
                raise XapiError("HOST_CANNOT_SEE_SR", parcel.host, sr)
            check(self._db, "SR", sr, "vdi_create")
            needed[sr] = needed.get(sr, 0) + record["physical_utilisation"]
        for sr, size in needed.items():
            disks.require_space(self._db, sr, size)

    def _require_network(self, host: str, network: str) -> None:
        pifs = self._db.get("network", network, "PIFs")
        if pifs and not any(self._db.get("PIF", pif, "host") == host for pif in pifs):
            raise XapiError("HOST_CANNOT_ATTACH_NETWORK", host, network)

    # -- what it comes with ------------------------------------------------------------------

    def _make_room(self, parcel: Parcel) -> dict[str, str]:
        made: dict[str, str] = {}
        # Disks before their snapshots, which name them.
        order = sorted(parcel.disks, key=lambda vdi: bool(parcel.disks[vdi]["is_a_snapshot"]))
        for vdi in order:
            record = parcel.disks[vdi]
            kept = ("virtual_size", "physical_utilisation", "is_a_snapshot", "snapshot_time")
            link = {"snapshot_of": made.get(record["snapshot_of"], NULL)}
            new = {**disks.given(record), **{name: record[name] for name in kept}, **link}
            made[vdi] = disks.add_disk(self._db, parcel.storage[vdi], new)
        return made

    def _arrive(self, parcel: Parcel) -> str:
        """Give the VM and its snapshots rows, all in one step; returns the VM's reference."""
        first, *snapshots = parcel.machines
        vm = self._add(parcel, first, {})
        for snapshot in snapshots:
            self._add(parcel, snapshot, {"snapshot_of": vm})
        if first.record["power_state"] in ALIVE:
            domains = Domains(self._w)
            for steps in (domains.move(vm, parcel.host), domains.renew(vm)):
                for _ in steps:
                    pass
        allow(self._db, "VM", vm)
        for vdi in parcel.made.values():
            allow(self._db, "VDI", vdi)
        for m in parcel.messages:
            said = (m["name"], m["priority"], m["cls"], m["obj_uuid"], m["body"])
            self._db.message_create(*said, timestamp=m["timestamp"])
        return vm

    def _add(self, parcel: Parcel, machine: Machine, link: Record) -> str:
        record = machine.record
        guest = NULL
        if machine.guest_metrics:
            guest = self._w.add("VM_guest_metrics", _without_uuid(machine.guest_metrics))
        rows = {
            "metrics": self._w.add("VM_metrics", _without_uuid(machine.metrics)),
            "guest_metrics": guest,
            "suspend_VDI": parcel.made.get(record["suspend_VDI"], NULL),
        }
        own: Record = {}
        if parcel.copy:
            seed = {**record["other_config"], "mac_seed": self._w.uuid()}
            own = {"uuid": self._w.uuid(), "other_config": seed, "snapshot_of": NULL}
        vm = self._w.add("VM", {**record, **_LEFT_BEHIND, **rows, **own, **link})
        for drive in reversed(machine.drives):  # the last one that is added is the first listed
            vdi = parcel.made.get(drive["VDI"], NULL)
            change = {"VM": vm, "VDI": vdi, "empty": vdi == NULL}
            self._add_device("VBD", drive, change)
        for nic in reversed(machine.nics):
            network = parcel.networks.get(nic["ref"], NULL)
            mac = nic["MAC"]
            if parcel.copy:
                mac = mac_of(nic["device"], self._db.get("VM", vm, "other_config")["mac_seed"])
            self._add_device("VIF", nic, {"VM": vm, "network": network, "MAC": mac})
        return vm

    def _add_device(self, cls: str, record: Record, change: Record) -> None:
        fresh = {"uuid": str(uuids.uuid4()), "metrics": self._w.add(f"{cls}_metrics", {})}
        self._w.add(cls, {**record, "current_operations": {}, **fresh, **change})


def _without_uuid(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "uuid"}

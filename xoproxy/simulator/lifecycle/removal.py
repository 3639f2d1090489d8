"""Hosts that leave a pool for good, and all that goes with them."""

from typing import Final

from xoproxy.simulator.lifecycle.ends import Ends
from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.writes import NULL, Job, Writes

# Rows that tell of one host; XAPI's collector removes them once their host is gone (db_gc.ml).
_OF_HOSTS: Final = (
    *("PBD", "PIF", "PGPU", "PUSB", "PCI", "host_cpu", "host_crashdump", "host_patch"),
    *("Certificate", "Feature", "Cluster_host", "PVS_cache_storage", "Host_driver"),
)


class Removal:
    """Removes hosts from a database."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db

    def reset_vms(self, host: str) -> None:
        """Declare halted what ran on a host that is lost."""
        power = Power(self._w)
        for vm in self._db.get("host", host, "resident_VMs"):
            if not self._db.get("VM", vm, "is_control_domain"):
                power.reset(vm)

    def forget_storage(self, host: str) -> None:
        """Forget the repositories that nobody else reaches, with their disks."""
        for pbd in self._db.get("host", host, "PBDs"):
            sr = self._db.get("PBD", pbd, "SR")
            self._w.set("PBD", pbd, currently_attached=False)
            self._w.remove("PBD", pbd)
            if self._db.exists("SR", sr) and not self._db.get("SR", sr, "PBDs"):
                self._forget(sr)

    def remove(self, host: str) -> None:
        """Remove a host's row and those that tell of it; local storage stays, out of reach."""
        record = self._db.record("host", host)
        for vm in record["resident_VMs"]:  # control domains: others are not allowed by now
            for _ in Ends(self._w).destroy(Job(), vm):
                pass
        for cls in _OF_HOSTS:
            for row in list(self._db.tables[cls].rows.values()):
                if row.fields["host"] == host:
                    self._remove(cls, row.ref)
        for vm in self._db.refs("VM"):
            if self._db.get("VM", vm, "affinity") == host:
                self._w.set("VM", vm, affinity=NULL)
        self._db.destroy("host", host)
        self._w.remove("host_metrics", record["metrics"])

    def _remove(self, cls: str, ref: str) -> None:
        if cls == "PIF":
            self._w.remove("PIF_metrics", self._db.get("PIF", ref, "metrics"))
            for link, field in (("VLAN", "VLAN_master_of"), ("VLAN", "VLAN_slave_of")):
                found = self._db.get("PIF", ref, field)
                for vlan in found if isinstance(found, list) else [found]:
                    self._w.remove(link, vlan)
            for bond in self._db.get("PIF", ref, "bond_master_of"):
                self._w.remove("Bond", bond)
        self._w.remove(cls, ref)

    def _forget(self, sr: str) -> None:
        for vdi in self._db.get("SR", sr, "VDIs"):
            for vbd in self._db.get("VDI", vdi, "VBDs"):
                self._w.remove("VBD", vbd)
            self._w.remove("VDI", vdi)
        self._w.remove("SR", sr)
        for pool in self._db.refs("pool"):
            for field in ("default_SR", "suspend_image_SR", "crash_dump_SR"):
                if self._db.get("pool", pool, field) == sr:
                    self._w.set("pool", pool, **{field: NULL})

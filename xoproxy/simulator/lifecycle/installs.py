"""From a template to a VM: the disks that a template asks for (xapi_templates.ml).

    <provision><disk device="0" size="10737418240" sr="" bootable="true" type="system"/></provision>

in `other_config` under "disks"; `sr` is a uuid or a name.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle.domains import Domains
from xoproxy.simulator.lifecycle.volumes import Volumes
from xoproxy.simulator.lifecycle.writes import Job, Record, Steps, Takes, Writes
from xoproxy.simulator.rules import allow, placement

_DISKS: Final = "disks"
_SCRIPT: Final = "postinstall"
_CREATE_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class _Disk:
    device: str
    size_bytes: int
    sr: str
    bootable: bool
    kind: str


class Installs:
    """Makes VMs of copied templates."""

    def __init__(self, writes: Writes) -> None:
        self._w = writes
        self._db = writes.db
        self._domains = Domains(writes)
        self._volumes = Volumes(writes)

    def provision(self, job: Job, vm: str) -> Steps:
        yield self._w.hold(job, "VM", vm, "provision")
        disks = self._disks_of(vm)
        srs = [self._sr_of(disk) for disk in disks]
        yield self._w.enter(job, "host", self._host_for(srs), "provision")
        metrics = self._w.target("VM", vm, "metrics", "VM_metrics")
        if metrics is not None:
            yield self._w.set("VM_metrics", metrics, install_time=self._w.clock())
        yield self._w.set("VM", vm, is_a_template=False)
        yield self._w.progress(job, 0.1)
        for disk, sr in zip(disks, srs, strict=True):
            yield from self._add_disk(job, vm, disk, sr)
        for key in (_DISKS, _SCRIPT):
            yield self._w.change("VM", vm, "other_config", key, None)
        job.made.clear()
        for cls, ref in list(reversed(job.held)):
            yield self._w.release(job, cls, ref)
        yield from self._domains.allow_devices(vm)

    def _disks_of(self, vm: str) -> list[_Disk]:
        text = self._db.get("VM", vm, "other_config").get(_DISKS, "")
        if not text:
            return []
        try:
            found = ET.fromstring(text).iter("disk")  # noqa: S314
            return [_disk(element.attrib) for element in found]
        except (ET.ParseError, KeyError, ValueError) as error:
            raise XapiError("INTERNAL_ERROR", f"{_DISKS}: {error!r}") from None

    def _sr_of(self, disk: _Disk) -> str:
        """Find an SR by uuid or name; a template without one leaves the choice to the pool."""
        found = self._db.by_uuid("SR", disk.sr)
        if found is not None:
            return found
        for row in self._db.tables["SR"].rows.values():
            if disk.sr and row.fields["name_label"] == disk.sr:
                return row.ref
        for pool in self._db.refs("pool") if not disk.sr else ():
            default: str = self._db.get("pool", pool, "default_SR")
            if self._db.exists("SR", default):
                return default
        raise XapiError("UUID_INVALID", "sr", disk.sr)

    def _host_for(self, srs: list[str]) -> str:
        """Choose a live host that reaches the SRs; the coordinator when there is none."""
        for host in self._db.refs("host"):
            if placement.is_live(self._db, host) and placement.reaches(self._db, host, srs):
                return host
        pool = self._db.refs("pool")[0]
        coordinator: str = self._db.get("pool", pool, "master")
        return coordinator

    def _add_disk(self, job: Job, vm: str, disk: _Disk, sr: str) -> Steps:
        if not placement.is_attached(self._db, sr):
            raise XapiError("SR_HAS_NO_PBDS", sr)
        yield Takes(_CREATE_S)
        label = f"{self._db.get('VM', vm, 'name_label')} {disk.device}"
        description = "Created by template provisioner"
        vdi = self._volumes.make(
            job, sr, label, disk.size_bytes, type=disk.kind, name_description=description
        )
        yield
        metrics = self._w.make(job, "VBD_metrics", {})
        record: Record = {
            "VM": vm,
            "VDI": vdi,
            "userdevice": disk.device,
            "bootable": disk.bootable,
            "mode": "RW",
            "type": "Disk",
            "unpluggable": disk.kind != "system",
            "empty": False,
            "other_config": {"owner": ""},
            "metrics": metrics,
        }
        vbd = self._w.make(job, "VBD", record)
        yield allow(self._db, "VBD", vbd)


def _disk(attributes: dict[str, str]) -> _Disk:
    return _Disk(
        device=attributes["device"],
        size_bytes=int(attributes["size"]),
        sr=attributes.get("sr", ""),
        bootable=attributes.get("bootable", "false") == "true",
        kind=attributes.get("type", "system"),
    )

"""The writes of operations on VMs, in XAPI's order (message_forwarding.ml, xapi_xenops.ml).

A write of an equal value is none, so what does not change does not show. `mod` lines name the
field; the marks of an operation come with it, `+start` when it is entered and `-start` when it is
taken off.
"""

import asyncio
from typing import Any

import pytest

from tests.unit.simulator.test_power import START, add_sr, enable, give_tools
from tests.unit.simulator.worlds import HOST, VM, Client, client
from xoproxy.simulator.database import Write
from xoproxy.simulator.wiretypes import NULL

pytestmark = pytest.mark.looptime

SILENT = {"task", "session"}
# What follows from other writes: the other side of relations, and what is advertised.
DERIVED = {"allowed_operations"}


class Recorder:
    """Writes down what happens to a database, a short line per write."""

    def __init__(self, user: Client) -> None:
        self.lines: list[str] = []
        self._db = user.db
        self._seen = {
            (cls, ref): user.db.record(cls, ref)
            for cls in user.db.tables
            for ref in user.db.refs(cls)
        }
        user.db.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        key = write.cls, write.row.ref
        before = self._seen.get(key, {})
        self._seen[key] = dict(write.row.fields)
        if write.cls in SILENT:
            return
        if write.op != "mod":
            shown = write.row.fields["name"] if write.cls == "message" else write.cls
            self.lines.append(f"{write.op} {shown}")
            return
        derived = self._db.tables[write.cls].model.derived | DERIVED
        for name, value in write.row.fields.items():
            if value == before.get(name) or name in derived:
                continue
            if name == "current_operations":
                self.lines += [f"{write.cls} {mark}" for mark in _marks(before[name], value)]
            else:
                self.lines.append(f"{write.cls}.{name}{_shown(name, value)}")


def _marks(before: dict[str, str], after: dict[str, str]) -> list[str]:
    entered = [f"+{name}" for task, name in after.items() if task not in before]
    return entered + [f"-{name}" for task, name in before.items() if task not in after]


def _shown(name: str, value: Any) -> str:
    if name in {"power_state", "currently_attached", "is_a_template"}:
        return f"={value}"
    if name in {"resident_on", "scheduled_to_be_resident_on", "suspend_VDI", "VDI", "parent"}:
        return "=NULL" if value == NULL else "=ref"
    return ""


async def prepare(user: Client, *, tools: bool = True) -> None:
    """Give a VM a disk and a NIC, and a host where it can run."""
    enable(user)
    sr = add_sr(user)
    user.db.write("VM", VM, "suspend_SR", sr)
    vdi = user.db.create("VDI", {"SR": sr, "virtual_size": 1 << 30, "managed": True})
    metrics = {cls: user.db.create(f"{cls}_metrics", {}) for cls in ("VBD", "VIF")}
    disk = {"VM": VM, "VDI": vdi, "type": "Disk", "userdevice": "0", "mode": "RW"}
    user.db.create("VBD", {**disk, "metrics": metrics["VBD"], "other_config": {"owner": ""}})
    nic = {"VM": VM, "device": "0", "MAC": "02:00:00:00:00:01", "metrics": metrics["VIF"]}
    user.db.create("VIF", {**nic, "network": user.db.create("network", {"managed": True})})
    user.db.write("VM", VM, "bios_strings", {"bios-vendor": "Xen"})
    if tools:
        give_tools(user)


async def running(user: Client) -> None:
    await prepare(user)
    await user.call("VM.start", *START)
    await asyncio.sleep(20)


async def record(user: Client, method: str, *arguments: Any) -> list[str]:
    user.db.clock_skew_s += 3600  # else what is stamped anew might show the same second
    recorder = Recorder(user)
    await user.call(method, *arguments)
    return recorder.lines


def newest_alert(user: Client) -> str:
    text: str = user.db.get("message", user.db.refs("message")[-1], "body")
    return text


async def test_start():
    async with client() as user:
        await prepare(user)
        assert await record(user, "VM.start", *START) == [
            "VM +start",
            "VBD +attach",
            "VIF +attach",
            "VM.memory_overhead",
            "host +vm_start",
            "VM.scheduled_to_be_resident_on=ref",
            "VBD.currently_attached=True",
            "VIF.currently_attached=True",
            "host_metrics.memory_free",
            "VM.resident_on=ref",
            "VM.scheduled_to_be_resident_on=NULL",
            "VM_metrics.current_domain_type",
            "VM.power_state=Paused",
            "VM.power_state=Running",
            "add VM_guest_metrics",
            "VM.guest_metrics",
            "del VM_guest_metrics",
            "VM.domid",
            "add console",
            "add console",
            "VM.memory_target",
            "VM.platform",
            "VM_metrics.hvm",
            "VM_metrics.start_time",
            "VM_metrics.VCPUs_number",
            "VBD.device",
            "host -vm_start",
            "VBD -attach",
            "VIF -attach",
            "VM -start",
            "add VM_STARTED",
        ]


async def test_what_a_guest_tells_after_its_boot():
    async with client() as user:
        await prepare(user)
        await user.call("VM.start", *START)
        user.db.clock_skew_s += 3600
        recorder = Recorder(user)
        await asyncio.sleep(20)
        assert recorder.lines == [
            "VM_metrics.memory_actual",
            "VM_guest_metrics.PV_drivers_detected",
            "VM_guest_metrics.other",
            "VM_guest_metrics.last_updated",
        ]


@pytest.mark.parametrize("operation", ["clean_shutdown", "hard_shutdown"])
async def test_shutdown(operation: str):
    async with client() as user:
        await running(user)
        user.db.write("VM", VM, "ha_always_run", value=True)
        user.db.write("VM", VM, "requires_reboot", value=True)
        assert await record(user, f"VM.{operation}", VM) == [
            f"VM +{operation}",
            "VM.ha_always_run",
            "VM.power_state=Halted",
            "VBD.currently_attached=False",
            "VIF.currently_attached=False",
            "VM.requires_reboot",
            "host_metrics.memory_free",
            "VM.resident_on=NULL",
            "VM.domid",
            "del console",
            "del console",
            f"VM -{operation}",
            "add VM_SHUTDOWN",
        ]


async def test_reboot():
    async with client() as user:
        await running(user)
        assert await record(user, "VM.clean_reboot", VM) == [
            "VM +clean_reboot",
            "VBD +attach",
            "VIF +attach",
            "VM.domid",
            "del console",
            "del console",
            "add console",
            "add console",
            "VM_metrics.start_time",
            "add VM_guest_metrics",
            "VM.guest_metrics",
            "del VM_guest_metrics",
            "VBD -attach",
            "VIF -attach",
            "VM -clean_reboot",
            "add VM_REBOOTED",
        ]


async def test_pause_and_unpause():
    async with client() as user:
        await running(user)
        assert await record(user, "VM.pause", VM) == [
            "VM +pause",
            "VM.power_state=Paused",
            "VM -pause",
            "add VM_PAUSED",
        ]
        assert await record(user, "VM.unpause", VM) == [
            "VM +unpause",
            "VM.power_state=Running",
            "VM -unpause",
            "add VM_UNPAUSED",
        ]


async def test_suspend_and_resume():
    async with client() as user:
        await running(user)
        lines = await record(user, "VM.suspend", VM)
        assert [line for line in lines if not line.startswith("SR.")] == [
            "VM +suspend",
            "add VDI",
            "VM.suspend_VDI=ref",
            "VM.last_booted_record",
            "VM.power_state=Suspended",
            "host_metrics.memory_free",
            "VM.resident_on=NULL",
            "VM.domid",
            "del console",
            "del console",
            "VM -suspend",
            "add VM_SUSPENDED",
        ]
        lines = await record(user, "VM.resume", VM, False, False)
        assert [line for line in lines if not line.startswith(("SR.", "VM_metrics."))] == [
            "VM +resume",
            "VBD +attach",
            "host +vm_resume",
            "VM.scheduled_to_be_resident_on=ref",
            "host_metrics.memory_free",
            "VM.resident_on=ref",
            "VM.scheduled_to_be_resident_on=NULL",
            "VM.power_state=Paused",
            "VM.power_state=Running",
            "add VM_guest_metrics",
            "VM.guest_metrics",
            "del VM_guest_metrics",
            "VM.domid",
            "add console",
            "add console",
            "VM.suspend_VDI=NULL",
            "del VDI",
            "host -vm_resume",
            "VBD -attach",
            "VM -resume",
            "add VM_RESUMED",
        ]


async def test_snapshot():
    async with client() as user:
        await running(user)
        lines = await record(user, "VM.snapshot", VM, "before", [])
        assert [line for line in lines if not line.startswith("SR.")] == [
            "VM +snapshot",
            "add VDI",
            "add VM_metrics",
            "add VM_guest_metrics",
            "add VM",
            "VM.parent=ref",
            "add VBD_metrics",
            "add VBD",
            "add VIF_metrics",
            "add VIF",
            "VM -snapshot",  # of the new one
            "VM -snapshot",
            "add VM_SNAPSHOTTED",
        ]


async def test_clone_and_destroy():
    async with client() as user:
        await prepare(user, tools=False)
        lines = await record(user, "VM.clone", VM, "clone")
        assert [line for line in lines if not line.startswith("SR.")] == [
            "VM +clone",
            "add VDI",
            "add VM_metrics",
            "add VM",
            "add VBD_metrics",
            "add VBD",
            "add VIF_metrics",
            "add VIF",
            "VM -clone",
            "VM -clone",
        ]
        clone = next(r for r in user.db.refs("VM") if user.db.get("VM", r, "name_label") == "clone")
        assert await record(user, "VM.destroy", clone) == [
            "VM +destroy",
            "del VBD_metrics",
            "del VBD",
            "del VIF_metrics",
            "del VIF",
            "del VM_metrics",
            "del VM",
        ]
        assert user.db.count("VDI") == 2  # disks stay


async def test_migration():
    async with client() as user:
        await running(user)
        other = user.db.create("host", {**user.db.record("host", HOST), "uuid": "host-2"})
        size = {"live": True, "memory_free": 1 << 36, "memory_total": 1 << 36}
        user.db.write("host", other, "metrics", user.db.create("host_metrics", size))
        for sr in user.db.refs("SR"):
            user.db.create("PBD", {"SR": sr, "host": other, "currently_attached": True})
        user.db.write("host", other, "address", "127.0.0.2")
        user.db.write("VM", VM, "domid", 7)

        assert await record(user, "VM.pool_migrate", VM, other, {}) == [
            "VM +pool_migrate",
            "host +vm_migrate",
            "VM.scheduled_to_be_resident_on=ref",
            "host_metrics.memory_free",
            "host_metrics.memory_free",
            "VM.resident_on=ref",
            "VM.scheduled_to_be_resident_on=NULL",
            "VM.domid",
            "del console",
            "del console",
            "add console",
            "add console",
            "VM_metrics.start_time",
            "host -vm_migrate",
            "VM -pool_migrate",
            "add VM_MIGRATED",
        ]
        assert newest_alert(user).endswith(
            " migrated from host '' (uuid: host-uuid) to host '' (uuid: host-2)"
        )
        locations = [user.db.get("console", c, "location") for c in user.db.refs("console")]
        assert all(location.startswith("https://127.0.0.2/") for location in locations)


async def test_a_template_is_cloned_and_provisioned():
    async with client() as user:
        enable(user)
        add_sr(user)
        sr = user.db.refs("SR")[0]
        user.db.write("VM", VM, "is_a_template", value=True)
        disks = (
            f'<provision><disk device="0" size="1073741824" sr="{user.db.get("SR", sr, "uuid")}" '
            'bootable="true" type="system"/></provision>'
        )
        user.db.write("VM", VM, "other_config", {"disks": disks})
        vm = await user.call("VM.clone", VM, "new")
        lines = await record(user, "VM.provision", vm)
        assert [line for line in lines if not line.startswith("SR.")] == [
            "VM +provision",
            "host +provision",
            "VM_metrics.install_time",
            "VM.is_a_template=False",
            "add VDI",
            "add VBD_metrics",
            "add VBD",
            "VM.other_config",
            "host -provision",
            "VM -provision",
        ]
        record_of = user.db.record("VM", vm)
        assert "disks" not in record_of["other_config"]
        assert "start" in record_of["allowed_operations"]
        vdi = user.db.get("VBD", record_of["VBDs"][0], "VDI")
        assert (user.db.get("VDI", vdi, "SR"), user.db.get("VDI", vdi, "virtual_size")) == (
            sr,
            1 << 30,
        )


async def test_revert():
    async with client() as user:
        await running(user)
        snapshot = await user.call("VM.snapshot", VM, "before", [])
        user.db.write("VM", VM, "name_description", "changed")
        (old,) = [user.db.get("VBD", v, "VDI") for v in user.db.get("VM", VM, "VBDs")]
        lines = await record(user, "VM.revert", snapshot)
        assert [line for line in lines if not line.startswith("SR.")] == [
            "VM +revert",
            "VM +reverting",
            "VM.power_state=Halted",
            "VBD.currently_attached=False",
            "VIF.currently_attached=False",
            "host_metrics.memory_free",
            "VM.resident_on=NULL",
            "VM.domid",
            "del console",
            "del console",
            "VM.name_description",
            "VM.generation_id",
            "del VBD_metrics",
            "del VBD",
            "del VDI",
            "add VDI",
            "VDI.snapshot_of",
            "add VBD_metrics",
            "add VBD",
            "del VIF_metrics",
            "del VIF",
            "add VIF_metrics",
            "add VIF",
            "add VM_guest_metrics",
            "VM.guest_metrics",
            "del VM_guest_metrics",
            "VM -reverting",
            "VM -revert",
            "add VM_SNAPSHOT_REVERTED",
        ]
        vm = user.db.record("VM", VM)
        (new,) = [user.db.get("VBD", v, "VDI") for v in vm["VBDs"]]
        assert (vm["name_description"], vm["parent"]) == ("", snapshot)
        assert not user.db.exists("VDI", old)
        assert user.db.get("VDI", new, "SR") in user.db.refs("SR")

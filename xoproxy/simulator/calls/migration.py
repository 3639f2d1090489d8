"""VMs that change pool or storage: VM.migrate_send and what belongs to it (xapi_vm_migrate.ml)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from xoproxy.simulator.calls.host import machine
from xoproxy.simulator.calls.operations import drive, marked, operations_on
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.calls.vm_operations import life_of
from xoproxy.simulator.database import Database, RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Job, disks
from xoproxy.simulator.lifecycle.domains import ALIVE
from xoproxy.simulator.rules import allow, placement
from xoproxy.simulator.rules import vm as vm_rules
from xoproxy.simulator.transfer import Parcel, Remote, pack
from xoproxy.simulator.transfer.parcel import alerts, disks_of, family
from xoproxy.simulator.wiretypes import NULL

MEMORY_PER_S: Final = 1 << 30

Map = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Move:
    """A VM, and where it is to go.

    `storage` names a repository for each disk that goes along, `networks` one for each NIC.
    """

    vm: str
    remote: Remote
    storage: Map
    networks: Map
    copy: bool
    forced: bool

    def parcel(self, db: Database, step: str, made: Map | None = None) -> Parcel:
        said = {"step": step, "host": self.remote.host, "made": made or {}, "copy": self.copy}
        where = {"storage": self.storage, "networks": self.networks}
        return pack(db, self.vm, msgspec.convert({**said, **where}, Parcel))


# -- the receiver's side -------------------------------------------------------------------


@operation("host.migrate_receive")
def migrate_receive(call: Call, host: str, network: str, _options: Map) -> Map:
    """Make ready for a VM: a session, and addresses that its pool can put it to."""
    found = machine(call, host)
    pifs = [call.db.row("PIF", pif).fields for pif in call.db.get("network", network, "PIFs")]
    here = [pif for pif in pifs if pif["host"] == host]
    if not here:
        raise XapiError("HOST_CANNOT_ATTACH_NETWORK", host, network)
    if not any(pif["IP"] or pif["IPv6"] for pif in here):
        raise XapiError("INTERFACE_HAS_NO_IP", call.db.by_uuid("PIF", here[0]["uuid"]) or NULL)
    hosts, user = call.world.hosts, call.db.get("session", call.session, "auth_user_name")
    session = call.world.sessions.open(user, "")
    base = f"{hosts.url(found)}/services"
    return {
        "SM": f"{base}/SM?session_id={session}",
        "host": host,
        "xenops": f"{base}/xenops?session_id={session}",
        "session_id": session,
        "master": f"{hosts.url(hosts.coordinator)}/",
    }


# -- the sender's side ---------------------------------------------------------------------


@operation("VM.assert_can_migrate")
async def assert_can_migrate(
    call: Call,
    vm: str,
    destination: Map,
    _live: bool,  # noqa: FBT001
    vdi_map: Map,
    vif_map: Map,
    options: Map,
    _vgpu_map: Map,
) -> None:
    move = _planned(call, vm, destination, vdi_map, vif_map, options)
    refused = vm_rules.refusal(call.db, vm, "migrate_send", strict=not move.forced)
    if refused is not None:
        raise refused
    if _is_within(call, move):
        _require_fit(call, move)
    else:
        await move.remote.put(move.parcel(call.db, "check"))


@operation("VM.migrate_send")
async def migrate_send(
    call: Call,
    vm: str,
    destination: Map,
    _live: bool,  # noqa: FBT001
    vdi_map: Map,
    vif_map: Map,
    options: Map,
    _vgpu_map: Map,
    _vdi_format_map: Map,
) -> str:
    """Move a VM to another pool, or to other storage and another host of its own."""
    move = _planned(call, vm, destination, vdi_map, vif_map, options)
    send = _within_pool if _is_within(call, move) else _to_other_pool
    return await send(call, move)


def _is_within(call: Call, move: _Move) -> bool:
    """A copy is another VM wherever it goes, so it takes the way to another pool."""
    return call.db.exists("host", move.remote.host) and not move.copy


def _planned(
    call: Call, vm: str, destination: Map, vdi_map: Map, vif_map: Map, options: Map
) -> _Move:
    """Complete the maps, or raise what is missing in them."""
    db, remote, copy = call.db, Remote(destination), options.get("copy") == "true"
    state = db.get("VM", vm, "power_state")
    if copy and state != "Halted":
        raise vm_rules.power_state_error(vm, ("Halted",), state)
    within = db.exists("host", remote.host)
    vms = family(db, vm, copy=copy)
    storage = _storage(db, vms, vdi_map, remote.host if within else None)
    networks = _networks(db, vms, vif_map, within=within)
    return _Move(vm, remote, storage, networks, copy, options.get("force") == "true")


def _storage(db: Database, vms: list[str], given: Map, host: str | None) -> Map:
    """Find a repository for each disk: the one given, its origin's, or (own pool) where it is."""
    found: Map = {}
    for vdi in dict.fromkeys(disk for vm in vms for disk in disks_of(db, vm)):
        record = db.row("VDI", vdi).fields
        sr = given.get(vdi) or given.get(record["snapshot_of"])
        if sr is None and record["type"] == "suspend" and given:
            sr = next(iter(given.values()))
        if sr is None and host is not None and placement.reaches(db, host, [record["SR"]]):
            sr = record["SR"]
        if sr is None:
            raise XapiError("VDI_NOT_IN_MAP", vdi)
        found[vdi] = sr
    return found


def _networks(db: Database, vms: list[str], given: Map, *, within: bool) -> Map:
    """Find a network for each NIC: the one given, that of a NIC with the same address."""
    by_mac = {db.get("VIF", vif, "MAC"): network for vif, network in given.items()}
    found: Map = {}
    for vif in (nic for vm in vms for nic in db.get("VM", vm, "VIFs")):
        network = given.get(vif) or by_mac.get(db.get("VIF", vif, "MAC"))
        if network is None and not within:
            raise XapiError("VIF_NOT_IN_MAP", vif)
        found[vif] = network or db.get("VIF", vif, "network")
    return found


@asynccontextmanager
async def _held(call: Call, move: _Move, leaving: Mapping[str, str]) -> AsyncIterator[None]:
    """Show what is under way on the VM and on the disks that leave their place."""
    mirrored = [("VDI", vdi, "mirror") for vdi in leaving if not _is_snapshot(call.db, vdi)]
    async with AsyncExitStack() as stack:
        if move.forced:
            refused = vm_rules.refusal(call.db, move.vm, "migrate_send", strict=False)
            if refused is not None:
                raise refused
            stack.enter_context(marked(call, "VM", move.vm, "migrate_send"))
            await stack.enter_async_context(operations_on(call, *mirrored))
        else:
            own = ("VM", move.vm, "migrate_send")
            await stack.enter_async_context(operations_on(call, own, *mirrored))
        yield


def _is_snapshot(db: Database, vdi: str) -> bool:
    return bool(db.get("VDI", vdi, "is_a_snapshot"))


def _bytes(db: Database, move: _Move, leaving: Mapping[str, str]) -> int:
    """Count what has to go over the network, memory in terms of disks."""
    size: int = sum(db.get("VDI", vdi, "physical_utilisation") for vdi in leaving)
    if db.get("VM", move.vm, "power_state") in ALIVE:
        memory: int = db.get("VM", move.vm, "memory_target")
        size += memory * disks.COPIED_PER_S // MEMORY_PER_S
    return max(size, 1)


# -- to another pool -----------------------------------------------------------------------


async def _to_other_pool(call: Call, move: _Move) -> str:
    """Let a VM arrive there before it ends here, so that it is never nowhere."""
    db = call.db
    async with _held(call, move, move.storage):
        made = (await move.remote.put(move.parcel(db, "disks")))["made"]
        try:
            size = _bytes(db, move, move.storage)
            await drive(call, disks.transfer(db, call.task, size), cancellable=True)
            answer = await move.remote.put(move.parcel(db, "arrive", made))
        except (XapiError, RowMissingError):
            await move.remote.put(Parcel("drop", move.remote.host, made=made))
            raise
        if not move.copy:
            _leave(call, move)
    return str(answer["vm"])


def _leave(call: Call, move: _Move) -> None:
    """Remove all that is left of a VM that lives elsewhere now, in one step."""
    life = life_of(call)
    for message in alerts(call.db, move.vm):
        call.db.destroy("message", message)
    for vm in reversed(family(call.db, move.vm, copy=False)):
        steps = [life.ends.destroy(Job(call.task), vm)]
        if call.db.get("VM", vm, "power_state") in ALIVE:
            steps.insert(0, life.power.halt(vm))
        for step in steps:
            for _ in step:
                pass
    for vdi in move.storage:
        if call.db.exists("VDI", vdi):
            disks.remove_disk(call.db, vdi)


# -- within the pool -----------------------------------------------------------------------


def _require_fit(call: Call, move: _Move) -> None:
    """Check that the VM can run on the host once its disks are where they are to be."""
    db, host = call.db, move.remote.host
    for sr in move.storage.values():
        if not placement.reaches(db, host, [sr]):
            raise XapiError("HOST_CANNOT_SEE_SR", host, sr)
    if db.get("VM", move.vm, "resident_on") == host:
        return
    refused = placement.unfit(db, move.vm, host)
    left = {db.get("VDI", vdi, "SR") for vdi, sr in move.storage.items()}
    if refused is not None and not (refused.code == "VM_REQUIRES_SR" and refused.params[1] in left):
        raise refused


async def _within_pool(call: Call, move: _Move) -> str:
    """Move disks, the VM with them; it keeps its reference, but its disks have new ones."""
    db, host = call.db, move.remote.host
    leaving = {vdi: sr for vdi, sr in move.storage.items() if db.get("VDI", vdi, "SR") != sr}
    machine(call, host)
    async with _held(call, move, leaving):
        _require_fit(call, move)
        made: Map = {}
        try:
            for vdi in sorted(leaving, key=lambda vdi: _is_snapshot(db, vdi)):
                made[vdi] = _twin(db, vdi, leaving[vdi], made)
            size = _bytes(db, move, leaving)
            await drive(call, disks.transfer(db, call.task, size), cancellable=True)
            _require_fit(call, move)
        except (XapiError, RowMissingError):
            for vdi in made.values():
                disks.remove_disk(db, vdi)
            raise
        _swap(db, made)
        for vif, network in move.networks.items():
            db.write("VIF", vif, "network", network)
        resident = db.get("VM", move.vm, "resident_on")
        if db.get("VM", move.vm, "power_state") in ALIVE and resident != host:
            domains = life_of(call).power.domains
            for steps in (domains.move(move.vm, host), domains.renew(move.vm)):
                for _ in steps:
                    pass
    return move.vm


def _twin(db: Database, vdi: str, sr: str, made: Map) -> str:
    """Make the disk that another one is to become."""
    check_space = db.get("VDI", vdi, "physical_utilisation")
    disks.require_space(db, sr, check_space)
    record = db.record("VDI", vdi)
    kept = ("virtual_size", "physical_utilisation", "is_a_snapshot", "snapshot_time")
    link = {"snapshot_of": made.get(record["snapshot_of"], record["snapshot_of"])}
    return disks.add_disk(
        db, sr, {**disks.given(record), **{name: record[name] for name in kept}, **link}
    )


def _swap(db: Database, made: Map) -> None:
    """Put the new disks in the place of the old ones, which then go."""
    for vdi, new in made.items():
        for vbd in db.get("VDI", vdi, "VBDs"):
            db.write("VBD", vbd, "VDI", new)
            allow(db, "VBD", vbd)
        for vm in db.refs("VM"):
            if db.get("VM", vm, "suspend_VDI") == vdi:
                db.write("VM", vm, "suspend_VDI", new)
        for snapshot in db.get("VDI", vdi, "snapshots"):
            db.write("VDI", snapshot, "snapshot_of", new)
    for vdi in made:
        disks.remove_disk(db, vdi)

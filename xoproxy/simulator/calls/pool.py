"""Class `pool`: who leads, who leaves, and settings of all hosts (xapi_pool.ml).

`pool.join` is not implemented: a pool here keeps the hosts that it was made with. A host that is
ejected answers no more; on a real pool it becomes a pool of its own.
"""

import asyncio
import random
import uuid as uuids
from typing import Final

from xoproxy.simulator.calls.host import asked, machine
from xoproxy.simulator.calls.host_power import AGENT_S, later
from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import Steps, Takes, Writes
from xoproxy.simulator.lifecycle.removal import Removal
from xoproxy.simulator.rules import check
from xoproxy.simulator.wiretypes import Json

FUSE_S: Final = 10.0  # between the answer and the restart of all xapis (constants.ml, fuse_time)
COMMIT_S: Final = 2.0
EJECT_S: Final = 3.0


def _pool(call: Call) -> str:
    return call.db.refs("pool")[0]


def _takes(seconds: float) -> Steps:
    yield Takes(seconds)


async def _transition(call: Call, host: str) -> None:
    """Let a host lead, once the fuse has burnt down."""
    await asyncio.sleep(FUSE_S / call.world.speed)
    await call.world.toolstack.restart(AGENT_S / call.world.speed, master=host)


# -- who leads -----------------------------------------------------------------------------


@operation("pool.designate_new_master")
async def designate_new_master(call: Call, host: str) -> None:
    """Let another host lead: soon after the answer xapi restarts on all hosts."""
    async with operations_on(call, ("pool", _pool(call), "designate_new_master")):
        found = machine(call, host)
        if found is call.world.hosts.coordinator:
            return
        if found.bind is None:
            raise XapiError("HOST_OFFLINE", host)
        if call.db.get("pool", _pool(call), "ha_enabled"):
            raise XapiError("HA_IS_ENABLED")
        await drive(call, _takes(COMMIT_S))
    later(call, _transition(call, host), "designate-new-master")


@operation("pool.emergency_transition_to_master")
def emergency_transition_to_master(call: Call) -> None:
    """Let the asked host lead, whether the coordinator lives or not."""
    host = asked(call)
    if host is not call.world.hosts.coordinator:
        later(call, _transition(call, host.ref), "emergency-transition")


@operation("pool.emergency_reset_master")
def emergency_reset_master(call: Call, address: str) -> None:
    """Tell the asked member who leads. Ours know that already; its xapi restarts nevertheless."""
    host, coordinator = asked(call), call.world.hosts.coordinator
    if host is coordinator or address != coordinator.address:
        raise XapiError("OPERATION_NOT_ALLOWED", f"{host.address} is no member of {address}")

    async def run() -> None:
        await asyncio.sleep(FUSE_S / call.world.speed)
        await call.world.toolstack.restart_agent(host, AGENT_S / call.world.speed)

    later(call, run(), "emergency-reset")


@operation("pool.recover_slaves")
def recover_slaves(_call: Call) -> list[str]:
    return []  # members here always know who leads: none is in emergency mode


@operation("pool.sync_database")
async def sync_database(call: Call) -> None:
    await drive(call, _takes(COMMIT_S))


# -- who leaves ----------------------------------------------------------------------------


@operation("pool.eject")
async def eject(call: Call, host: str) -> None:
    """Remove a member: its rows go, local storage and the disks on it too, and its address."""
    async with operations_on(call, ("pool", _pool(call), "eject")):
        found = machine(call, host)
        if found is call.world.hosts.coordinator:
            raise XapiError("INTERNAL_ERROR", "Xapi_pool.Cannot_eject_master")
        _require_halted(call, host)
        await drive(call, _takes(EJECT_S))
        _require_halted(call, host)
        removal = Removal(Writes(call.db, random.Random()))
        removal.forget_storage(host)
        removal.remove(host)
    call.world.hosts.remove(host)


def _require_halted(call: Call, host: str) -> None:
    for vm in call.db.get("host", host, "resident_VMs"):
        if not call.db.get("VM", vm, "is_control_domain"):
            raise XapiError("OPERATION_NOT_ALLOWED", "VM resident on host")


# -- high availability ---------------------------------------------------------------------


@operation("pool.enable_ha")
def enable_ha(call: Call, srs: list[str], _configuration: dict[str, str]) -> None:
    """Refuse: there is no cluster stack here."""
    check(call.db, "pool", _pool(call), "ha_enable")
    for sr in srs:
        call.db.row("SR", sr)
    raise XapiError("HA_NOT_INSTALLED", call.world.hosts.coordinator.ref)


@operation("pool.disable_ha")
def disable_ha(call: Call) -> None:
    check(call.db, "pool", _pool(call), "ha_disable")


@operation("pool.ha_compute_max_host_failures_to_tolerate")
def ha_compute_max_host_failures_to_tolerate(call: Call) -> int:
    """Count how many hosts may fail: without protected VMs all but the coordinator."""
    return max(0, call.db.count("host") - 1)


# -- settings of all hosts -----------------------------------------------------------------


def _on_all_hosts(field: str, value: Json | None = None) -> Handler:
    """Make a setter that writes one field of every host."""

    def run(call: Call, pool: str, *given: Json) -> None:
        call.db.row("pool", pool)
        for host in call.db.refs("host"):
            call.db.write("host", host, field, given[0] if given else value)

    return run


operation("pool.set_https_only")(_on_all_hosts("https_only"))
operation("pool.set_console_idle_timeout")(_on_all_hosts("console_idle_timeout"))
operation("pool.set_ssh_enabled_timeout")(_on_all_hosts("ssh_enabled_timeout"))
operation("pool.set_ssh_auto_mode")(_on_all_hosts("ssh_auto_mode"))
operation("pool.enable_ssh")(_on_all_hosts("ssh_enabled", value=True))
operation("pool.disable_ssh")(_on_all_hosts("ssh_enabled", value=False))


@operation("pool.reset_telemetry_uuid")
def reset_telemetry_uuid(call: Call, pool: str) -> None:
    call.db.write("pool", pool, "telemetry_uuid", str(uuids.uuid4()))


@operation("pool.get_license_state")
def get_license_state(call: Call, pool: str) -> dict[str, str]:
    """Tell the edition that all hosts have, or the first one's."""
    call.db.row("pool", pool)
    editions = [call.db.get("host", host, "edition") for host in call.db.refs("host")]
    return {"edition": editions[0] if editions else "", "expiry": "never"}


@operation("pool.has_extension")
def has_extension(call: Call, pool: str, _name: str) -> bool:
    call.db.row("pool", pool)
    return False


@operation("pool.enable_tls_verification")
def enable_tls_verification(call: Call) -> None:
    for host in call.db.refs("host"):
        call.db.write("host", host, "tls_verification_enabled", value=True)
    call.db.write("pool", _pool(call), "tls_verification_enabled", value=True)


@operation("pool.enable_redo_log")
def enable_redo_log(call: Call, sr: str) -> None:
    call.db.row("SR", sr)
    call.db.write("pool", _pool(call), "redo_log_enabled", value=True)


@operation("pool.disable_redo_log")
def disable_redo_log(call: Call) -> None:
    call.db.write("pool", _pool(call), "redo_log_enabled", value=False)


def _nothing_installed(_call: Call) -> list[str]:
    return []


for _name in ("certificate_list", "crl_list"):
    operation(f"pool.{_name}")(_nothing_installed)


async def _takes_a_moment(call: Call) -> None:
    """Do what no client sees anything of: certificates and secrets go to all hosts."""
    await drive(call, _takes(COMMIT_S))


for _name in ("certificate_sync", "rotate_secret"):
    operation(f"pool.{_name}")(_takes_a_moment)

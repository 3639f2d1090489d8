"""Class `host`: switched on and off for VMs, rebooted, shut down, restarted, removed.

Order of checks: message_forwarding.ml (the rules of the host, whether it can be reached), then
xapi_host.ml.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Final

from xoproxy.simulator.calls.host import machine
from xoproxy.simulator.calls.operations import drive, operations_on
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.lifecycle import Steps, Takes, Writes
from xoproxy.simulator.lifecycle.removal import Removal
from xoproxy.simulator.rules import allow
from xoproxy.simulator.rules.placement import is_live

PREPARE_S: Final = 2.0  # in which a host gets ready to go down; it answers meanwhile
HALT_S: Final = 10.0  # in which it goes down
BOOT_S: Final = 60.0  # in which it boots, until xapi answers again
AGENT_DELAY_S: Final = 1.0
AGENT_S: Final = 10.0  # in which xapi restarts


def later(call: Call, work: Coroutine[object, object, None], name: str) -> None:
    """Let something happen after the call has been answered."""
    call.world.group.create_task(work, name=f"simulator-{name}")


@operation("host.enable")
def enable(call: Call, host: str) -> None:
    machine(call, host).auto_enable = True
    call.db.write("host", host, "enabled", value=True)
    allow(call.db, "host", host)


@operation("host.disable")
def disable(call: Call, host: str, auto_enable: bool) -> None:  # noqa: FBT001
    """Let no VM start there; `auto_enable` tells whether that ends with the next boot."""
    machine(call, host).auto_enable = auto_enable
    call.db.write("host", host, "enabled", value=False)
    allow(call.db, "host", host)


@operation("host.reboot")
async def reboot(call: Call, host: str) -> None:
    later(call, _reboot(call, await _prepare(call, host, "reboot")), "reboot")


@operation("host.shutdown")
async def shutdown(call: Call, host: str) -> None:
    found = await _prepare(call, host, "shutdown")
    later(call, _halt(call, found), "shutdown")


async def _prepare(call: Call, host: str, name: str) -> Host:
    """Declare a host dead that is going down, as XAPI does before it is (mark_host_as_dead)."""
    async with operations_on(call, ("host", host, name)):
        found = machine(call, host)
        for vm in call.db.get("host", host, "resident_VMs"):
            if not call.db.get("VM", vm, "is_control_domain"):
                raise XapiError("HOST_IN_USE", host, "vm", vm)
        await drive(call, _takes(PREPARE_S))
        call.world.toolstack.declare_dead(found)
    return found


def _takes(seconds: float) -> Steps:
    yield Takes(seconds)


async def _halt(call: Call, host: Host) -> None:
    await asyncio.sleep(HALT_S / call.world.speed)
    call.world.toolstack.die(host)


async def _reboot(call: Call, host: Host) -> None:
    await _halt(call, host)
    await _boot(call, host)


async def _boot(call: Call, host: Host) -> None:
    await asyncio.sleep(BOOT_S / call.world.speed)
    await call.world.toolstack.boot(host)


@operation("host.power_on")
async def power_on(call: Call, host: str) -> None:
    async with operations_on(call, ("host", host, "power_on")):
        await drive(call, _takes(PREPARE_S))
    found = call.world.hosts.get(host)
    if found is not None:
        later(call, _boot(call, found), "power-on")


@operation("host.restart_agent")
def restart_agent(call: Call, host: str) -> None:
    """Restart xapi on one host; if that is the coordinator, nobody is logged in afterwards."""
    found, speed = machine(call, host), call.world.speed

    async def run() -> None:
        await asyncio.sleep(AGENT_DELAY_S / speed)
        await call.world.toolstack.restart_agent(found, AGENT_S / speed)

    later(call, run(), "restart-agent")


@operation("host.declare_dead")
def declare_dead(call: Call, host: str) -> None:
    """Believe the client that a host is down, whose VMs may then be reset."""
    _require_dead(call, host)
    _removal(call).reset_vms(host)


@operation("host.destroy")
def destroy(call: Call, host: str) -> None:
    """Remove a host that is gone for good."""
    _require_dead(call, host)
    for vm in call.db.get("host", host, "resident_VMs"):
        if not call.db.get("VM", vm, "is_control_domain"):
            raise XapiError("HOST_HAS_RESIDENT_VMS", host)
    _removal(call).remove(host)
    if call.world.hosts.get(host) is not None:
        call.world.hosts.remove(host)


def _require_dead(call: Call, host: str) -> None:
    call.db.row("host", host)
    found = call.world.hosts.get(host)
    if is_live(call.db, host) or (found is not None and found.alive):
        raise XapiError("HOST_IS_LIVE", host)
    if found is call.world.hosts.coordinator:
        raise XapiError("HOST_CANNOT_DESTROY_SELF", host)
    if any(call.db.get("pool", pool, "ha_enabled") for pool in call.db.refs("pool")):
        raise XapiError("HA_IS_ENABLED")


def _removal(call: Call) -> Removal:
    return Removal(Writes(call.db, random.Random()))

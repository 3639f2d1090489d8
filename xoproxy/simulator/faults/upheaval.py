"""Faults that happen to the pool itself: restarts, older databases, hosts that die or lead."""

import asyncio
import random
from typing import TYPE_CHECKING, assert_never

from xoproxy.simulator import certificates
from xoproxy.simulator.churn import BURST, Churn
from xoproxy.simulator.faults.kinds import (
    AskedError,
    Certificate,
    ClockSkew,
    ExpireSessions,
    Failover,
    HostDown,
    Member,
    OlderDatabase,
    Promote,
    Restart,
    Storm,
    Upheaval,
)
from xoproxy.simulator.faults.timers import Timers
from xoproxy.simulator.faults.wire import WireFaults
from xoproxy.simulator.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from xoproxy.simulator.pool import SimulatedPool


class FaultRefusedError(Exception):
    """A fault that cannot begin now; the text is one line."""


class Upheavals:
    """What befalls one pool. `up` is set while a coordinator's xapi runs."""

    def __init__(self, pool: "SimulatedPool") -> None:
        self._pool = pool
        self._hosts = pool.hosts
        self._toolstack = pool.toolstack
        self._timers = Timers()
        self._former: str | None = None  # who led before a `member`
        self._storm: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None
        self.up = pool.toolstack.up
        self.wire = WireFaults(pool.hosts.connections, self._count)
        pool.hosts.interfere(self.wire)

    async def begin(self, fault: Upheaval) -> None:
        """Let it happen; returns at once.

        Raises:
            FaultRefusedError: it is impossible now.
            AskedError: it names a host that there is not.
        """
        match fault:
            case Restart(seconds):
                self._restart(seconds, 0)
            case OlderDatabase(changes, seconds):
                self._restart(seconds, changes)
            case Member() | Promote() | Failover():
                await self._change_leader(fault)
            case HostDown(host, seconds):
                self._let_die(self._named(host), seconds)
            case Certificate(host):
                self._renew_certificates(host)
            case ClockSkew(seconds):
                self._pool.database.clock_skew_s = seconds
            case Storm():
                self._end_storm()
                self._storm = self._start(self._blow(fault), "storm")
            case ExpireSessions():
                self._pool.sessions.expire_all()
            case _:
                assert_never(fault)

    async def end(self) -> None:
        """End those that last. Dead hosts begin to boot, which takes its time."""
        self._timers.clear()
        self._end_storm()
        self._pool.database.clock_skew_s = 0.0
        for host in self._hosts:
            if not host.alive:
                self._start(self._toolstack.boot(host), "boot")
        await self._return_lead()

    def close(self) -> None:
        """Forget what was to happen, when the pool ends."""
        self._timers.clear()

    def _start(self, work: "Coroutine[object, object, None]", name: str) -> asyncio.Task[None]:
        return self._pool.group.create_task(work, name=f"simulator-{name}")

    def _count(self, method: str) -> None:
        self._pool.dispatcher.calls[method] += 1

    def _restart(self, seconds: float, lost_changes: int) -> None:
        self._require_no_restart()
        self.up.clear()
        restart = self._toolstack.restart(seconds, lost_changes=lost_changes)
        self._restarting = self._start(restart, "restart")

    def _require_no_restart(self) -> None:
        begun = self._restarting is not None and not self._restarting.done()
        if begun or self._toolstack.restarting:
            raise FaultRefusedError("a restart is under way")

    # -- who leads ---------------------------------------------------------------------------

    async def _change_leader(self, fault: Member | Promote | Failover) -> None:
        self._require_no_restart()
        match fault:
            case Member(seconds):
                if self._former is None:
                    former, leader = self._hosts.coordinator.ref, self._next_leader(None, None)
                    await self._toolstack.restart(0.0, master=leader.ref)
                    self._former = former
                self._timers.end_after("member", seconds, self._lead_again)
            case Promote(host, seed):
                await self._toolstack.restart(0.0, master=self._next_leader(host, seed).ref)
            case Failover():
                self._fail_over(fault)
            case _:
                assert_never(fault)

    def _lead_again(self) -> None:
        self._start(self._return_lead(), "lead-again")

    async def _return_lead(self) -> None:
        former, self._former = self._former, None
        if former is not None:
            await self._toolstack.restart(0.0, master=former)

    def _fail_over(self, fault: Failover) -> None:
        leader, dead = self._next_leader(fault.host, fault.seed), self._hosts.coordinator
        self._toolstack.die(dead)
        takeover = self._toolstack.restart(fault.takeover_s, master=leader.ref)
        self._restarting = self._start(takeover, "takeover")
        self._boot_after(dead, fault.seconds)

    def _next_leader(self, wanted: str | None, seed: int | None) -> Host:
        """Choose who leads instead: who is wanted, or by the seed, or the first."""
        others = [host for host in self._hosts if self._may_lead(host)]
        if wanted is not None:
            host = self._named(wanted)
            if host not in others:
                text = "leads already, is dead, or has no address that it could answer on"
                raise FaultRefusedError(f"{wanted} {text}")
            return host
        if not others:
            raise FaultRefusedError("no other host of the pool answers on an address of its own")
        return others[0] if seed is None else random.Random(seed).choice(others)

    def _may_lead(self, host: Host) -> bool:
        return host is not self._hosts.coordinator and host.alive and host.bind is not None

    # -- hosts -------------------------------------------------------------------------------

    def _named(self, name: str) -> Host:
        database = self._pool.database
        for host in filter(lambda host: host.ref, self._hosts):
            fields = ("uuid", "name_label", "hostname", "address")
            names = {database.get("host", host.ref, field) for field in fields}
            if name in names | {host.ref}:
                return host
        known = [database.get("host", host.ref, "name_label") for host in self._hosts if host.ref]
        raise AskedError(f"there is no host {name!r}; there are {', '.join(known)}")

    def _let_die(self, host: Host, seconds: float | None) -> None:
        if not host.alive:
            raise FaultRefusedError("the host is dead already")
        self._toolstack.die(host)
        self._boot_after(host, seconds)

    def _boot_after(self, host: Host, seconds: float | None) -> None:
        def boot() -> None:
            self._start(self._toolstack.boot(host), "boot")

        self._timers.end_after(f"boot {host.ref}", seconds, boot)

    def _renew_certificates(self, name: str | None) -> None:
        if not self._hosts.tls:
            raise FaultRefusedError("the pool speaks plain HTTP: nobody meets a certificate")
        for host in [self._named(name)] if name is not None else list(self._hosts):
            certificates.renew(self._pool.database, host)

    # -- storms ------------------------------------------------------------------------------

    async def _blow(self, storm: Storm) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        churn = Churn(self._pool.database, storm.seed)
        done = 0
        while done < storm.changes:
            await self.up.wait()
            for _ in range(BURST):
                if done < storm.changes:
                    done += churn.step(storm.changes - done)
            due = began + storm.seconds * done / storm.changes
            await asyncio.sleep(max(0.0, due - loop.time()))
        churn.finish()

    def _end_storm(self) -> None:
        if self._storm is not None:
            self._storm.cancel()
            self._storm = None

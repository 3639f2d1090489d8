"""Faults that happen to the pool itself: restarts, older databases, another coordinator."""

from typing import TYPE_CHECKING, TypeAlias, assert_never

from xoproxy.simulator.faults.kinds import ExpireSessions, Member, OlderDatabase, Restart
from xoproxy.simulator.faults.timers import Timers
from xoproxy.simulator.faults.wire import WireFaults
from xoproxy.simulator.hosts import Host

if TYPE_CHECKING:
    from xoproxy.simulator.pool import SimulatedPool

Upheaval: TypeAlias = Restart | OlderDatabase | Member | ExpireSessions


class FaultRefusedError(Exception):
    """A fault that cannot begin now; the text is one line."""


class Upheavals:
    """What befalls one pool. `up` is set except while a restart is under way."""

    def __init__(self, pool: "SimulatedPool") -> None:
        self._pool = pool
        self._hosts = pool.hosts
        self._timers = Timers()
        self._former: str | None = None  # who led before a `member`
        self.up = pool.toolstack.up
        self.wire = WireFaults(pool.hosts.connections, self._count)
        pool.hosts.interfere(self.wire)

    async def begin(self, fault: Upheaval) -> None:
        """Let it happen; returns at once. Raises FaultRefusedError."""
        match fault:
            case Restart(seconds):
                self._restart(seconds, 0)
            case OlderDatabase(changes, seconds):
                self._restart(seconds, changes)
            case Member(seconds):
                if self._former is None:
                    self._former = self._hosts.coordinator.ref
                    await self._lead(self._another())
                self._timers.end_after("member", seconds, self._lead_again)
            case ExpireSessions():
                self._pool.sessions.expire_all()
            case _:
                assert_never(fault)

    async def end(self) -> None:
        """End those that last, and wait until they have."""
        self._timers.clear()
        former, self._former = self._former, None
        if former is not None:
            await self._lead(former)

    def close(self) -> None:
        """Forget what was to happen, when the pool ends."""
        self._timers.clear()

    def _count(self, method: str) -> None:
        self._pool.dispatcher.calls[method] += 1

    def _restart(self, seconds: float, lost_changes: int) -> None:
        if not self.up.is_set():
            raise FaultRefusedError("a restart is under way")
        self.up.clear()
        restart = self._pool.toolstack.restart(seconds, lost_changes=lost_changes)
        self._pool.group.create_task(restart, name="simulator-restart")

    # -- who leads ---------------------------------------------------------------------------

    async def _lead(self, ref: str) -> None:
        await self._pool.toolstack.restart(0.0, master=ref)

    def _lead_again(self) -> None:
        self._pool.group.create_task(self.end(), name="simulator-lead-again")

    def _another(self) -> str:
        """Choose who could lead instead."""
        others = [host for host in self._hosts if self._may_lead(host)]
        if not others:
            raise FaultRefusedError("no other host of the pool answers on an address of its own")
        return others[0].ref

    def _may_lead(self, host: Host) -> bool:
        return host is not self._hosts.coordinator and host.alive and host.bind is not None

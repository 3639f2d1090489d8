"""Faults: a pool that misbehaves as real links, hosts and databases do.

`Faults.begin` takes a fault; those that last end by themselves after `seconds`, or with `Nothing`.
Faults of different kinds add up, one of the same kind replaces the one before. They get between
at the seams of the HTTP server (`Interference`) and never touch the control surface.
"""

import asyncio
import random
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, assert_never

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.fault_kinds import (
    BlackHole,
    Delay,
    Drop,
    ExpireSessions,
    Fail,
    Fault,
    HalfOpen,
    Member,
    Nothing,
    OlderDatabase,
    Restart,
)
from xoproxy.simulator.http import Connection, HttpServer
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.lifecycle import Power, Writes
from xoproxy.simulator.xmlrpc import XmlRpc

if TYPE_CHECKING:
    from xoproxy.simulator.pool import SimulatedPool

ADDRESSES_TRIED = 20


class FaultRefusedError(Exception):
    """A fault that cannot begin now; the text is one line."""


class Faults:
    """The faults of one pool.

    `up` is set except while a restart is under way.
    """

    def __init__(self, pool: "SimulatedPool") -> None:
        self._pool = pool
        self.up = asyncio.Event()
        self.up.set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._dropping = False
        self._delay_s = 0.0
        self._failing: list[tuple[Fail, int]] = []  # with the count that is left
        self._half_open: set[Connection] = set()
        self._exhumed = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._other: tuple[str, HttpServer] | None = None
        self._former_master: str | None = None
        self.leader: str | None = None  # address of who leads instead of the pool's own
        pool.server.faults = _Seat(self, None)

    async def begin(self, fault: Fault) -> None:  # noqa: C901  (a case per kind)
        """Let a fault begin; returns at once.

        Raises:
            FaultRefusedError: it is impossible now.
        """
        match fault:
            case Drop(seconds):
                self._dropping = seconds > 0
                self._end_after("drop", seconds, self._end_drop)
                self._abort_connections()
            case BlackHole(seconds):
                self._answering.clear()
                self._end_after("black_hole", seconds, self._answering.set)
            case HalfOpen():
                self._half_open |= {c for s in self._servers for c in s.connections}
            case Delay(ms, seconds):
                self._delay_s = ms / 1000
                self._end_after("delay", seconds, self._end_delay)
            case Restart(seconds):
                self._restart(seconds, 0)
            case OlderDatabase(changes, seconds):
                self._restart(seconds, changes)
            case Member(seconds):
                await self._step_down()
                self._end_after("member", seconds, self._lead_again)
            case ExpireSessions():
                self._pool.sessions.expire_all()
            case Fail():
                self._failing.append((fault, fault.count))
            case Nothing():
                self._end_all()
            case _:
                assert_never(fault)

    @property
    def leader_address(self) -> str:
        return self.leader or self._pool.address[0]

    def close(self) -> None:
        """Close what was opened for a fault, when the pool ends."""
        for timer in self._timers.values():
            timer.cancel()
        if self._other is not None:
            self._other[1].stop_listening()

    # -- what the servers ask ----------------------------------------------------------------

    async def hold(self, connection: Connection) -> None:
        """Wait while nothing is answered on a connection."""
        await self._answering.wait()
        gone = connection in self._half_open
        if gone:
            await self._exhumed.wait()
        if gone or self._dropping:
            connection.abort()
            raise ConnectionResetError

    async def delay(self) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)

    def check(self, method: str) -> None:
        """Let a call pass, or raise what it is to fail with."""
        for position, (fault, left) in enumerate(self._failing):
            if fault.method in (None, method):
                if left > 1:
                    self._failing[position] = fault, left - 1
                else:
                    del self._failing[position]
                self._pool.dispatcher.calls[method] += 1  # it was made, though not run
                raise XapiError(fault.code, *fault.params)

    # -- restart -----------------------------------------------------------------------------

    def _restart(self, seconds: float, lost_changes: int) -> None:
        if not self.up.is_set():
            raise FaultRefusedError("a restart is under way")
        self.up.clear()
        self._pool.group.create_task(self._run_restart(seconds, lost_changes), name="restart")

    async def _run_restart(self, seconds: float, lost_changes: int) -> None:
        other = self._other
        if other is not None:
            other[1].stop_listening()
            other[1].abort_connections()
        await self._pool.restart(seconds, lost_changes=lost_changes)
        self._recover()
        if other is not None:
            address, server = other
            await server.listen(address, self._pool.address[1], self._pool.tls)
        self.up.set()

    def _recover(self) -> None:
        Power(Writes(self._pool.database, random.Random())).recover()

    # -- change of the coordinator -----------------------------------------------------------

    async def _step_down(self) -> None:
        if self.leader is not None:
            return
        if self._other is None:
            self._other = await self._open_other()
        database = self._pool.database
        address = self._other[0]
        for pool in database.refs("pool"):
            self._former_master = database.get("pool", pool, "master")
            others = [host for host in database.refs("host") if host != self._former_master]
            others.sort(key=lambda host: database.get("host", host, "address") != address)
            if others:
                database.write("pool", pool, "master", others[0])
        self.leader = address
        self._change_coordinator()

    def _lead_again(self) -> None:
        if self.leader is None:
            return
        for pool in self._pool.database.refs("pool"):
            self._pool.database.write("pool", pool, "master", self._former_master)
        self.leader = None
        self._change_coordinator()

    def _change_coordinator(self) -> None:
        """Do what a new coordinator means to everybody: xapi restarts on all hosts."""
        self._pool.sessions.expire_all()
        self._pool.database.reindex()
        self._recover()
        self._abort_connections()

    async def _open_other(self) -> tuple[str, HttpServer]:
        """Listen on another loopback address, on the same port, as another host of the pool."""
        pool = self._pool
        own, port = pool.address
        server = HttpServer(pool.dispatcher.answer, json=JsonRpc(), xml=XmlRpc(), group=pool.group)
        for address in self._other_addresses(own):
            try:
                await server.listen(address, port, pool.tls)
            except OSError:
                continue
            server.faults = _Seat(self, address)
            server.control = pool.server.control
            return address, server
        raise FaultRefusedError(f"no other loopback address beside {own} has port {port} free")

    def _other_addresses(self, own: str) -> list[str]:
        """List addresses to try, those of other hosts first; none unless we are on loopback."""
        try:
            base = ip_address(own)
        except ValueError:
            base = IPv4Address("127.0.0.1") if own == "localhost" else IPv4Address(0)
        if not (base.is_loopback and isinstance(base, IPv4Address)):
            return []
        database = self._pool.database
        hosts = [str(database.get("host", ref, "address")) for ref in database.refs("host")]
        known = [address for address in hosts if address.startswith("127.")]
        made_up = [str(base + step) for step in range(1, ADDRESSES_TRIED)]
        return [address for address in known + made_up if address != own]

    # -- the rest ----------------------------------------------------------------------------

    @property
    def _servers(self) -> list[HttpServer]:
        return [self._pool.server, *([self._other[1]] if self._other else [])]

    def _abort_connections(self) -> None:
        for server in self._servers:
            server.abort_connections()

    def _end_after(self, kind: str, seconds: float | None, end: Callable[[], None]) -> None:
        """Schedule the end of a fault, and forget that of an earlier one of its kind."""
        if (timer := self._timers.pop(kind, None)) is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[kind] = asyncio.get_running_loop().call_later(seconds, end)

    def _end_drop(self) -> None:
        self._dropping = False

    def _end_delay(self) -> None:
        self._delay_s = 0.0

    def _end_all(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._failing.clear()
        self._end_drop()
        self._end_delay()
        self._answering.set()
        self._half_open.clear()
        self._exhumed.set()
        self._exhumed = asyncio.Event()
        self._lead_again()


class _Seat:
    """One address of the pool, as its server sees the faults.

    Args:
        address: None for the pool's own.
    """

    def __init__(self, faults: Faults, address: str | None) -> None:
        self._faults = faults
        self._address = address

    async def before_request(self, connection: Connection) -> None:
        await self._faults.hold(connection)

    async def before_call(self, connection: Connection, method: str) -> None:
        del connection
        if self._faults.leader != self._address and not method.startswith("system."):
            raise XapiError("HOST_IS_SLAVE", self._faults.leader_address)
        self._faults.check(method)

    async def before_reply(self, connection: Connection, method: str) -> None:
        del method
        await self._faults.delay()
        await self._faults.hold(connection)

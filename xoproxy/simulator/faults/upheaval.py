"""Faults that happen to the pool itself: restarts, older databases, another coordinator."""

import asyncio
import random
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, TypeAlias, assert_never

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.faults.kinds import ExpireSessions, Member, OlderDatabase, Restart
from xoproxy.simulator.faults.timers import Timers
from xoproxy.simulator.faults.wire import WireFaults
from xoproxy.simulator.http import Connection, Head, HttpServer
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.lifecycle import Power, Writes
from xoproxy.simulator.xmlrpc import XmlRpc

if TYPE_CHECKING:
    from xoproxy.simulator.pool import SimulatedPool

ADDRESSES_TRIED = 20

Upheaval: TypeAlias = Restart | OlderDatabase | Member | ExpireSessions


class FaultRefusedError(Exception):
    """A fault that cannot begin now; the text is one line."""


class Upheavals:
    """What befalls one pool. `up` is set except while a restart is under way."""

    def __init__(self, pool: "SimulatedPool") -> None:
        self._pool = pool
        self.up = asyncio.Event()
        self.up.set()
        self._timers = Timers()
        self._other: tuple[str, HttpServer] | None = None
        self._former_master: str | None = None
        self.leader: str | None = None  # address of who leads instead of the pool's own
        self.wire = WireFaults(self.connections, self._count)
        pool.server.faults = _Seat(self, None)

    def connections(self) -> list[Connection]:
        return [c for server in self._servers for c in server.connections if not c.is_control]

    async def begin(self, fault: Upheaval) -> None:
        """Let it happen; returns at once. Raises FaultRefusedError."""
        match fault:
            case Restart(seconds):
                self._restart(seconds, 0)
            case OlderDatabase(changes, seconds):
                self._restart(seconds, changes)
            case Member(seconds):
                await self._step_down()
                self._timers.end_after("member", seconds, self._lead_again)
            case ExpireSessions():
                self._pool.sessions.expire_all()
            case _:
                assert_never(fault)

    def end(self) -> None:
        self._timers.clear()
        self._lead_again()

    def close(self) -> None:
        """Close what was opened for a fault, when the pool ends."""
        self._timers.clear()
        if self._other is not None:
            self._other[1].stop_listening()

    @property
    def leader_address(self) -> str:
        return self.leader or self._pool.address[0]

    def _count(self, method: str) -> None:
        self._pool.dispatcher.calls[method] += 1

    @property
    def _servers(self) -> list[HttpServer]:
        return [self._pool.server, *([self._other[1]] if self._other else [])]

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
        for connection in self.connections():
            connection.abort()

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


class _Seat:
    """One address of the pool, as its server sees the faults.

    Args:
        address: None for the pool's own.
    """

    def __init__(self, upheavals: Upheavals, address: str | None) -> None:
        self._upheavals = upheavals
        self._address = address

    async def before_request(self, connection: Connection, head: Head) -> None:
        await self._upheavals.wire.before_request(connection, head)

    async def before_call(self, connection: Connection, method: str) -> None:
        if self._upheavals.leader != self._address and not method.startswith("system."):
            raise XapiError("HOST_IS_SLAVE", self._upheavals.leader_address)
        await self._upheavals.wire.before_call(connection, method)

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        await self._upheavals.wire.send(connection, what, head, body)

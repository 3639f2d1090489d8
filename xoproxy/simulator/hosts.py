"""The hosts of a pool: each answers on an address of its own, all on the same port.

Who leads is what the database says (`pool.master`). The others are members: they answer calls with
HOST_IS_SLAVE and the coordinator's address (see `dispatch`), but for what concerns the asked host
alone; what is no call (consoles, statistics) each host answers itself.

On an IPv4 loopback address the hosts get addresses that this machine can listen on: the
coordinator has the one that the pool listens on, the others keep theirs if it is a loopback
address and else get those next to it. Elsewhere only the coordinator listens.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from xoproxy.simulator import addresses, certificates
from xoproxy.simulator.database import Database
from xoproxy.simulator.http import Connection, HttpServer, Interference
from xoproxy.simulator.site import Site
from xoproxy.simulator.tls import Identity

PORTS_TRIED: Final = 50
REBIND_S: Final = 0.1
REBINDS: Final = 100
INTERNAL_NAME: Final = "pool"

# Calls about the asked host alone: they need no database, so members answer them too. They take
# no session, or one of `session.slave_local_login_with_password` (datamodel, LocalSession).
LOCAL_CALLS: Final = frozenset(
    {
        "session.slave_local_login_with_password",
        "session.local_logout",
        "pool.emergency_reset_master",
        "pool.emergency_transition_to_master",
        "host.emergency_disable_tls_verification",
        "host.emergency_ha_disable",
        "host.emergency_reenable_tls_verification",
        "host.emergency_reset_server_certificate",
        "host.get_system_status_capabilities",
        "host.list_methods",
        "host.local_management_reconfigure",
        "host.management_disable",
        "host.shutdown_agent",
    }
)


@dataclass(eq=False, slots=True)
class Host:
    """One host, and whether it answers.

    Attributes:
        ref: of its row; empty in a pool without hosts, which has one host nevertheless.
        bind: where it listens; None when this machine cannot listen for it.
        address: what its record and the other hosts call it.
        alive: it runs, so it answers.
        auto_enable: it is enabled when it has booted (host.disable).
    """

    ref: str
    bind: str | None
    address: str
    alive: bool = True
    server: HttpServer | None = None
    auto_enable: bool = True
    _identity: Identity | None = field(default=None)
    _internal: Identity | None = field(default=None)

    @property
    def listens(self) -> bool:
        return self.server is not None and self.server.is_listening

    @property
    def names(self) -> list[str]:
        """What its certificates are for."""
        here = [name for name in (self.bind, self.address) if name and addresses.named(name)]
        if self.bind is not None and addresses.named(self.bind) is None:
            here.append(str(addresses.LOOPBACK))  # it listens on all addresses, or by a name
        return [*here, "localhost"]

    @property
    def identity(self) -> Identity:
        """The certificate that clients meet; made when it is first needed."""
        if self._identity is None:
            self._identity = Identity(self.names)
            self._identity.context.sni_callback = self._show_internal
        return self._identity

    @property
    def internal(self) -> Identity:
        """The certificate that other hosts meet: who asks for the server name `pool`."""
        if self._internal is None:
            self._internal = Identity(self.names)
        return self._internal

    def _show_internal(
        self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext
    ) -> None:
        if name == INTERNAL_NAME:
            connection.context = self.internal.context


def answered_by_members(method: str) -> bool:
    return method in LOCAL_CALLS or method.startswith("system.")


class Hosts:
    """The hosts of one pool. Until `open` they have no network, and need none.

    Args:
        database: whose hosts they are; the addresses in it are made true.
        listen: the address and port of the coordinator; port 0 takes one that is free on all.
        tls: serve HTTPS, each host with a certificate of its own.
    """

    def __init__(
        self,
        database: Database,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        *,
        tls: bool = False,
    ) -> None:
        self._db = database
        self._port = listen[1]
        self._opened = False
        self.tls = tls
        self._hosts = {host.ref: host for host in _found(database, listen[0])}
        self._first = self.coordinator
        for host in self._hosts.values():
            if host.ref:
                _call_it(database, host.ref, host.address)

    # -- who is there ------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def get(self, ref: str) -> Host | None:
        return self._hosts.get(ref)

    @property
    def coordinator(self) -> Host:
        """The host that leads; in a pool that does not say, the first one."""
        for pool in self._db.refs("pool"):
            if (host := self._hosts.get(self._db.get("pool", pool, "master"))) is not None:
                return host
        return next(iter(self._hosts.values()))

    @property
    def address(self) -> tuple[str, int]:
        """Address and port of the host that led at first, as the pool was told to listen."""
        return self._first.bind or self._first.address, self._port

    @property
    def site(self) -> Site:
        return Site("https" if self.tls else "http", self._port)

    def url(self, host: Host) -> str:
        return self.site.origin(host.bind or host.address)

    def remove(self, ref: str) -> None:
        """Let a host that left the pool be silent for ever."""
        host = self._hosts[ref]
        self.silence(host)
        if len(self._hosts) > 1:
            del self._hosts[ref]

    # -- serving -----------------------------------------------------------------------------

    def serve(self, server_of: Callable[[Host], HttpServer]) -> None:
        """Give each host its server, which does not listen yet."""
        for host in self:
            host.server = server_of(host)

    def interfere(self, faults: Interference) -> None:
        """Let faults get between on all hosts."""
        for host in self:
            if host.server is not None:
                host.server.faults = faults

    def connections(self) -> list[Connection]:
        """List those that are open, but for the control surface's."""
        servers = [host.server for host in self if host.server is not None]
        return [c for server in servers for c in server.connections if not c.is_control]

    async def open(self) -> None:
        """Listen on every host that is alive, and write down where.

        Raises:
            OSError: an address is taken or not ours; `filename` names it with its port.
        """
        wanted = self._port
        for left in reversed(range(PORTS_TRIED if wanted == 0 else 1)):
            try:
                await self._listen_on_all()
                break
            except OSError as error:
                self.close()
                self._port = wanted
                if left == 0 or error.errno != errno.EADDRINUSE:
                    raise
        self._opened = True
        self._db.site = self.site
        for host in filter(lambda host: host.ref, self):
            _show_consoles(self._db, host)
            if self.tls:
                certificates.correct(self._db, host)

    def close(self) -> None:
        """Stop listening; connections go on."""
        for host in self:
            if host.server is not None:
                host.server.stop_listening()

    def silence(self, *hosts: Host) -> None:
        """Let hosts (none named: all) refuse connections, and reset those they have."""
        for host in hosts or self:
            if host.server is not None:
                host.server.stop_listening()
                host.server.abort_connections()

    async def answer(self, *hosts: Host) -> None:
        """Let hosts (none named: all) answer again, as far as they are alive."""
        if not self._opened:
            return
        for host in hosts or tuple(self):
            for left in reversed(range(REBINDS)):
                try:
                    await self._listen(host)
                    break
                except OSError:
                    if left == 0:
                        raise
                    await asyncio.sleep(REBIND_S)  # somebody's connection may have our port

    async def _listen_on_all(self) -> None:
        await self._listen(self._first)
        for host in self:
            await self._listen(host)

    async def _listen(self, host: Host) -> None:
        server = host.server
        if server is None or host.bind is None or not host.alive or server.is_listening:
            return
        tls = host.identity.context if self.tls else None
        try:
            _, self._port = await server.listen(host.bind, self._port, tls)
            if not host.alive:  # it has died meanwhile
                server.stop_listening()
        except socket.gaierror:
            raise  # its number is none of the system's, its text is all there is to say
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and host is not self._first:
                host.bind = None  # not every system has all of 127.0.0.0/8
                return
            number = error.errno or errno.EIO
            where = f"{host.bind}:{self._port}"
            raise OSError(number, os.strerror(number), where) from error


def _found(database: Database, listen: str) -> Iterator[Host]:
    """List the hosts of a database, with their addresses here."""
    known = {ref: str(database.get("host", ref, "address")) for ref in database.refs("host")}
    masters = [database.get("pool", pool, "master") for pool in database.refs("pool")]
    coordinator = next((ref for ref in [*masters, *known] if ref in known), "")
    binds = addresses.allotted(listen, coordinator, known)
    for ref, bind in binds.items():
        address = addresses.named(bind) if bind else None
        alive = ref == coordinator or _lives(database, ref)
        yield Host(ref, bind, address or known.get(ref) or str(addresses.LOOPBACK), alive)


def _lives(database: Database, ref: str) -> bool:
    metrics = database.get("host", ref, "metrics")
    return not database.exists("host_metrics", metrics) or bool(
        database.get("host_metrics", metrics, "live")
    )


def _call_it(database: Database, ref: str, address: str) -> None:
    """Let a host's records say where it is, as if they always had."""
    former = database.get("host", ref, "address")
    if former == address:
        return
    database.correct("host", ref, "address", address)
    for pif in database.get("host", ref, "PIFs"):
        if former and database.get("PIF", pif, "IP") == former:
            database.correct("PIF", pif, "IP", address)


def _show_consoles(database: Database, host: Host) -> None:
    """Let the consoles of the VMs on a host be reached, as if they always had been."""
    for vm in database.get("host", host.ref, "resident_VMs"):
        for console in database.get("VM", vm, "consoles"):
            path = database.get("console", console, "location").rpartition("/console?")[2]
            location = f"{database.site.origin(host.address)}/console?{path}"
            database.correct("console", console, "location", location)

"""Lets connections in one after another, however many knock at once.

An event loop serves all sockets that are ready before it looks at anything else. When a thousand
clients come back at the same moment, that is one turn of a thousand upgrades, and everybody else
waits for a tenth of a second. So connections are taken from the kernel's queue one per turn: what
each of them asks for then comes spread over as many turns, too. Who waits, waits in the kernel.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import structlog

_log = structlog.get_logger(__name__)

_BACKLOG = 4096
"""Connections that wait in the kernel (which has a limit of its own: net.core.somaxconn)."""
_PAUSE_S = 0.5
_BROKEN = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})
"""What no further attempt would mend."""
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host.

    Raises:
        OSError: one of them cannot be had.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as stack:
        listening = []
        for family, _, _, _, address in dict.fromkeys(found):
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)  # noqa: FBT003 - socket's own
            listening.append(listener)
        stack.pop_all()
    return listening


class Door:
    """Takes connections from listening sockets and gives each a protocol.

    Args:
        listeners: closed when `run` ends.
        new_protocol: makes what serves a connection.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], new_protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listeners = listeners
        self._new_protocol = new_protocol

    @property
    def address(self) -> tuple[str, int]:
        """The first address and its port."""
        host, port, *_ = self._listeners[0].getsockname()
        return host, port

    async def run(self) -> None:
        """Let connections in until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for listener in self._listeners:
                    group.create_task(self._admit(listener), name="door")
        finally:
            for listener in self._listeners:
                listener.close()

    async def _admit(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _BROKEN:
                    raise
                if error.errno in _SHORTAGES:
                    _log.warning("no room for another connection", error=error.strerror)
                    await asyncio.sleep(_PAUSE_S)
                # accept(2) also tells here what befell the peer meanwhile: not our trouble.
                await asyncio.sleep(0)
                continue
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(self._new_protocol, connection)
            except OSError:
                connection.close()

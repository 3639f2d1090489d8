"""A WebSocket's bytes: written at once or not at all, with the kernel's buffer kept small.

aiohttp does the upgrade and parses what the client sends. What we send goes to the transport as
prebuilt frames and never through aiohttp's writer: its compressor keeps a context, and the two
mixed would corrupt the stream silently.

Whether a client keeps up is told by the transport itself: with a high-water mark of zero it pauses
its protocol as soon as one byte waits in user space, and resumes it when that is gone.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from xoproxy.ws.frames import close_frame

TCP_NOTSENT_LOWAT = 25  # Linux; Python has no name for it
_CLOSE_TIMEOUT_S = 5.0
_NORMAL = 1000
_ENDED_PER_TURN = 8


class Flow(Protocol):
    """Who must know how a client's bytes flow; called synchronously."""

    def pause(self) -> None:
        """Bytes wait in user space: offer no more."""

    def resume(self) -> None:
        """They are gone."""

    def lost(self) -> None:
        """The connection is gone: write no more (uvloop's transports would raise)."""


class FlowProtocol(asyncio.Protocol):
    """Stands between a transport and aiohttp's protocol, and tells how bytes flow."""

    def __init__(self, inner: asyncio.Protocol, flow: Flow, endings: "Endings") -> None:
        self._inner = inner
        self._flow = flow
        self._endings = endings

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()
        self._flow.pause()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
        self._flow.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._flow.lost()
        self._endings.append(self._inner, exc)


class Endings:
    """Ends connections a few in each turn of the loop, however many are lost at once.

    When what stands before us goes down, a thousand are lost in one turn. That nothing is written
    to them any more is said at once; to wind up their handlers takes longer, and can wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Protocol, Exception | None]] = deque()
        self._scheduled = False

    def append(self, protocol: asyncio.Protocol, exc: Exception | None) -> None:
        self._waiting.append((protocol, exc))
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._end_some)

    def _end_some(self) -> None:
        self._scheduled = False
        try:
            for _ in range(min(_ENDED_PER_TURN, len(self._waiting))):
                protocol, exc = self._waiting.popleft()
                protocol.connection_lost(exc)
        finally:
            self._schedule()


class SocketOutlet:
    """Where one client's frames go (fits `sessions.member.Outlet`).

    `write` is the transport's own: nothing stands between the hub and `send(2)`. It must not be
    called after the flow was `lost`.
    """

    __slots__ = ("_closing", "_transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._closing = False
        self.write: Callable[[bytes], None] = transport.write

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection is cut if the peer does not answer in time."""
        if self._closing or self._transport.is_closing():
            return
        self._closing = True
        self._transport.write(close_frame(code, reason))
        loop = asyncio.get_running_loop()
        loop.call_later(_CLOSE_TIMEOUT_S, self._transport.abort)

    @property
    def closing(self) -> bool:
        return self._closing

    def answer_close(self) -> None:
        """Answer the peer's close frame, unless it is itself the answer to ours."""
        if not self._closing and not self._transport.is_closing():
            self._closing = True
            self._transport.write(close_frame(_NORMAL, ""))

    def finish(self) -> None:
        """Give the connection back; what the client did not take by now is lost with it."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def unsent(self) -> tuple[int, int]:
        """Return the bytes that wait in our buffer and in the kernel's; either moving is life."""
        queued = 0
        sock = self._transport.get_extra_info("socket")
        if sys.platform == "linux" and sock is not None and sock.fileno() >= 0:
            packed = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
            queued = struct.unpack("i", packed)[0]
        return self._transport.get_write_buffer_size(), queued


def take_over(
    request: web.Request, flow: Flow, endings: Endings, notsent_bytes: int
) -> SocketOutlet:
    """Prepare an upgraded connection's transport for prebuilt frames and flow callbacks."""
    if request.transport is None:
        raise ConnectionResetError("the connection is gone")
    transport = request.transport
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None and sock.family != socket.AF_UNIX:
        # The kernel's send buffer is the queue that nobody sees: keep what is not yet sent small,
        # so that a client which stops reading is noticed early and gets few stale frames.
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, notsent_bytes)
    transport.set_write_buffer_limits(high=0)
    transport.set_protocol(FlowProtocol(request.protocol, flow, endings))
    return SocketOutlet(transport)

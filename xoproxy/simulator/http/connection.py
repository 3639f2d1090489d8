"""One client's TCP connection."""

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Final

from xoproxy.simulator.http.wire import HEADER_LIMIT, Head, PageError, parse_head

FIRST_READ_S: Final = 10.0
FIRST_HEADERS_S: Final = 60.0
LINGER_S: Final = 1.0
READ_BYTES: Final = 65536


class ClosedError(Exception):
    """The client is gone."""


class Connection:
    """Reads heads and bodies, writes answers.

    Attributes:
        is_control: it was used for the control surface last.
        served: the number of requests so far.
        waits_for_events: what it serves may be given up when it is reset.
        task: what serves it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self.is_control = False
        self.served = 0
        self.waits_for_events = False
        self.task: asyncio.Task[None] | None = None

    @property
    def peer(self) -> tuple[str, int]:
        host, port = (self._writer.get_extra_info("peername") or ("", 0))[:2]
        return host, port

    def abort(self) -> None:
        """Reset the connection; a call that only waits for events is given up, others go on.

        Without lingering the kernel sends RST: the client sees a reset, not an orderly end.
        """
        socket_ = self._writer.get_extra_info("socket")
        if socket_ is not None:  # TLS forgets it when it closes
            with contextlib.suppress(OSError, ValueError):  # it may be closed already; uvloop: -1
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        if self.task is not None and self.waits_for_events:
            self.task.cancel()

    async def read_head(self) -> Head:
        """Read up to the empty line. Only the first request has to come in time."""
        try:
            async with asyncio.timeout(None if self.served else FIRST_HEADERS_S):
                while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                    if len(self._buffer) > HEADER_LIMIT:
                        raise PageError(431)
                    await self._read_more(None if self.served else FIRST_READ_S)
        except TimeoutError:
            raise PageError(408) from None
        block, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        if len(block) + 4 > HEADER_LIMIT:
            raise PageError(431)
        return parse_head(block)

    async def read_body(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._read_more(None)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    async def read_some(self) -> bytes:
        """Return what came next, for those who take a connection over; raises ClosedError."""
        if not self._buffer:
            await self._read_more(None)
        data, self._buffer = self._buffer, b""
        return data

    async def _read_more(self, within_s: float | None) -> None:
        try:
            async with asyncio.timeout(within_s):
                data = await self._reader.read(READ_BYTES)
        except ssl.SSLError as error:  # records that a fault has cut in the middle
            raise ClosedError from error
        if not data:
            raise ClosedError
        self._buffer += data

    async def write(self, *parts: bytes) -> None:
        if self._writer.transport.is_closing():  # drain would say so too late for uvloop
            raise ConnectionResetError
        self._writer.writelines(parts)
        await self._writer.drain()

    @property
    def unsent(self) -> int:
        """How many bytes wait for a client that does not read them."""
        transport = self._writer.transport
        return 0 if transport.is_closing() else transport.get_write_buffer_size()

    async def finish(self) -> None:
        """End our side, then let the client end its own, so that it reads our answer whole.

        Closing at once while it still sends would reset the connection under the answer.
        """
        if self._writer.transport.is_closing() or not self._writer.can_write_eof():
            return  # it was reset; or it is TLS, which has no half-closed connections
        try:
            self._writer.write_eof()
        except OSError:  # ENOTCONN, which is no ConnectionError: the client reset it just now
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(READ_BYTES):
                    pass

    def close(self) -> None:
        self._writer.close()

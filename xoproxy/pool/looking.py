"""Connections made only to look: who listens there, and what he shows. Nothing is sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

_CLOSED_S = 1.0


@asynccontextmanager
async def connection(
    url: URL, within_s: float, tls: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.StreamWriter]:
    """Connect to a host, and close the connection after the block.

    Raises:
        OSError: TimeoutError, ssl.SSLError, socket.gaierror among them: nobody there, or not so.
    """
    async with asyncio.timeout(within_s):
        _, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
    try:
        yield writer
    finally:
        writer.close()
        with suppress(OSError):
            async with asyncio.timeout(_CLOSED_S):
                await writer.wait_closed()

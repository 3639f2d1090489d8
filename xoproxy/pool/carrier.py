"""How a JSON-RPC request gets to a server and its answer back: over HTTP, as XAPI wants it.

XAPI's server is particular: a request's header block must stay under 1,024 bytes and its body under
300 KiB, and chunked requests are refused. So headers are few, and whoever makes a body measures it
(jsonrpc.py). A pool gets eight connections for calls and one for the long poll.

Pools from before JSON-RPC have a carrier of their own: xmlrpc.py.
"""

import asyncio
import socket
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from xoproxy import __version__
from xoproxy.errors import PoolUnreachable
from xoproxy.pool import trouble
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.keepalive import keep_alive
from xoproxy.pool.slices import GREAT_BYTES, Turns
from xoproxy.pool.trouble import Trouble
from xoproxy.pool.trust import Trust

USER_AGENT = f"xoproxy/{__version__}"

_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Content-Type": "application/json",
}
_OK = 200
_LEAST_BYTES_PER_S = 1024
"""An answer that comes more slowly never ends, and nobody could tell how old its news are."""
_NO_SUCH_THING = frozenset({403, 404, 405, 501})
"""What is said of a path that is not there; not 500, which XAPI says when it has trouble, too."""
_XML = (b"<?xml", b"<methodResponse")
"""How an XAPI from before JSON-RPC begins its answer to any POST: that it was no good XML-RPC
(api_server.ml before clearwater)."""


class Carrier(Protocol):
    """Brings JSON-RPC requests to one pool's servers; to be entered before use."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def post(self, url: URL, body: bytes, patience: asyncio.Timeout) -> list[bytes]:
        """Bring a request to a server and return its answer, in as many parts as it came.

        Args:
            url: scheme, host and port.
            body: a JSON-RPC 2.0 request.
            patience: of the caller; moved on while an answer comes in.

        Raises:
            PoolUnreachable: no answer; the text names no address.
        """

    def forget(self) -> None:
        """Learn anew what was learnt of the servers; somebody may have updated them."""


class NoJsonRpc(PoolUnreachable):
    """The server answers, but not like one that has JSON-RPC."""


class HttpCarrier:
    """Posts JSON to `/jsonrpc`.

    Args:
        settings: time-outs and bounds.
        trust: whose certificates are good.
        turns: shared with other pools.
    """

    def __init__(self, settings: LinkSettings, trust: Trust, turns: Turns | None = None) -> None:
        self._settings = settings
        self._trust = trust
        self._turns = turns or Turns()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.calls + 1, socket_factory=_keepalive_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            skip_auto_headers=("Accept-Encoding",),
            # asyncio.timeout bounds each request as a whole; only connecting has its own bound
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._settings.connect_timeout_s
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    def forget(self) -> None:
        pass  # connections stay good

    async def post(self, url: URL, body: bytes, patience: asyncio.Timeout) -> list[bytes]:
        try:
            return await self._post(url, body, patience)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise _unreachable(error) from error

    async def _post(self, url: URL, body: bytes, patience: asyncio.Timeout) -> list[bytes]:
        """Send a request and read the answer; a long one may take its time while it goes on."""
        if self._http is None:
            raise RuntimeError("enter the carrier before use")
        parts: list[bytes] = []
        size = 0
        async with self._http.post(
            url / "jsonrpc", data=body, ssl=self._trust.of(url), allow_redirects=False
        ) as response:
            if response.status != _OK:  # XAPI answers errors with 200, too
                response.close()
                kind = NoJsonRpc if response.status in _NO_SUCH_THING else PoolUnreachable
                why = trouble.wrong_status(response.status)
                raise kind(why.message, why.code)
            began_s = asyncio.get_running_loop().time()
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                patience.reschedule(self._next_part_due_s(began_s, size))
                if size > self._settings.reply_bytes:
                    response.close()
                    why = trouble.TOO_LARGE
                    raise PoolUnreachable(why.message, why.code)
                if size > GREAT_BYTES:
                    await self._turns.part_taken()
        patience.reschedule(None)  # all is here; the rest is our own time
        if parts and parts[0].startswith(_XML):
            raise NoJsonRpc(trouble.NOT_XAPI.message, trouble.NOT_XAPI.code)
        return parts

    def _next_part_due_s(self, began_s: float, size: int) -> float:
        """Tell when patience ends: with each part, and with all of them if they only trickle."""
        now_s = asyncio.get_running_loop().time()
        return self._settings.connect_timeout_s + min(now_s, began_s + size / _LEAST_BYTES_PER_S)


class DetectingCarrier:
    """JSON-RPC with the servers that have it, XML-RPC with those that do not.

    What a server answers first decides: later, when it fails at a call that it may have run all the
    same, nothing is sent to it a second time. That is asked anew when the pool's hosts are looked
    for, which begins with a question or a login.
    """

    def __init__(self, json: Carrier, xml: Carrier) -> None:
        self._json = json
        self._xml = xml
        self._chosen: dict[URL, Carrier] = {}

    async def __aenter__(self) -> Self:
        await self._json.__aenter__()
        await self._xml.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._xml.__aexit__(kind, error, trace)
        finally:
            await self._json.__aexit__(kind, error, trace)

    def forget(self) -> None:
        """Look for JSON-RPC again where it was missing; a server that had it still has it."""
        self._chosen = {url: it for url, it in self._chosen.items() if it is self._json}

    async def post(self, url: URL, body: bytes, patience: asyncio.Timeout) -> list[bytes]:
        if url in self._chosen:
            return await self._chosen[url].post(url, body, patience)
        try:
            answer = await self._json.post(url, body, patience)
        except NoJsonRpc:
            answer = await self._xml.post(url, body, patience)
            self._chosen[url] = self._xml
        else:
            self._chosen[url] = self._json
        return answer


_TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (TimeoutError, trouble.TIMEOUT),
    (aiohttp.ServerFingerprintMismatch, trouble.OTHER_CERTIFICATE),
    (aiohttp.ClientSSLError, trouble.UNTRUSTED),
    (aiohttp.ClientConnectorDNSError, trouble.UNKNOWN_NAME),
    (aiohttp.ClientConnectorError, trouble.REFUSED),
    (aiohttp.ClientResponseError, trouble.NOT_HTTP),
    (Exception, trouble.BROKEN),
)
"""What went wrong, most telling first (several are subclasses of each other)."""


def _unreachable(error: Exception) -> PoolUnreachable:
    why = next(why for kind, why in _TROUBLES if isinstance(error, kind))
    if trouble.is_old_tls(error):
        why = trouble.OLD_TLS
    return PoolUnreachable(why.message, why.code)


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family=family, type=kind, proto=protocol)
    keep_alive(sock)
    return sock

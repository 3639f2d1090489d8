"""`/ws`: who may connect, and what concerns many connections at once."""

import asyncio
import contextlib
from collections.abc import Collection
from itertools import islice

import structlog
from aiohttp import web

from xoproxy.auth import Peers, is_foreign_page
from xoproxy.errors import ClientError, CloseCode
from xoproxy.model import PoolId
from xoproxy.ws.connection import Connection, ConnectionServices
from xoproxy.ws.upgrade import shown, wanted_codec

_log = structlog.get_logger(__name__)

_OVERSIZE_FACTOR = 4
_RETRY_S = 10.0
"""When to try again while there are too many sessions."""
_JUDGED_AT_ONCE = 20
"""Connections whose views are judged by other rights before the rest of the proxy has its turn."""


class Endpoint:
    """Serves `/ws`.

    Args:
        services: what connections use.
        trusted_origins: web origins whose pages may connect beside our own.
        peers: tells who is at the other end of a reverse proxy.
    """

    def __init__(
        self,
        services: ConnectionServices,
        trusted_origins: Collection[str] = (),
        peers: Peers | None = None,
    ) -> None:
        self.services = services
        self.connections: set[Connection] = set()
        self.retry_after_s: float | None = None
        """When to come again, for those who are turned away; None while there is room."""
        self.turned_away_count = 0
        self._trusted_origins = trusted_origins
        self._peers = peers or Peers()
        self._empty = asyncio.Event()
        self._unjudged: dict[Connection, None] = {}
        self._rights_changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request and serve the connection until it ends."""
        if is_foreign_page(request.headers, self._trusted_origins):
            raise web.HTTPForbidden(
                text="a page of another origin may not connect; if it is yours, add its origin to "
                "server.trusted_origins\n"
            )
        codec = wanted_codec(request)
        peer = self._peers.peer(request.remote, request.headers, secure=request.secure)
        ws = web.WebSocketResponse(
            protocols=[codec.value],
            compress=True,
            autoping=False,
            autoclose=False,
            max_msg_size=self.services.limits.message.message_bytes * _OVERSIZE_FACTOR,
        )
        try:
            await ws.prepare(request)
        except ValueError as error:  # of headers that are no text, which aiohttp does not expect
            raise web.HTTPBadRequest(text="this is no WebSocket upgrade\n") from error
        connection = Connection(self.services, ws, codec)
        connection.open(request)
        is_full = len(self.connections) >= self.services.limits.sessions
        self.connections.add(connection)
        try:
            if is_full or self.retry_after_s is not None:
                self.turned_away_count += 1
                await connection.turn_away(self.retry_after_s or _RETRY_S)
            else:
                await connection.run(shown(request, peer), peer.address)
        except ClientError as error:
            _log.info("connection ended", reason=str(error))
        finally:
            self.connections.discard(connection)
            if not self.connections:
                self._empty.set()
            self.services.hub.disconnected(connection.client)
            connection.outlet.finish()
            await _let_go(ws)
        return ws

    def pool_added(self, pool: PoolId) -> None:
        """Show a new pool to everybody who asked for all of them."""
        for connection in self.connections:
            if connection.session is not None:
                connection.session.pool_added(pool)

    def rights_changed(self, account_ids: set[str]) -> None:
        """Have what these accounts see judged anew, by `judge`."""
        for connection in self.connections:
            if connection.principal is not None and connection.principal.account_id in account_ids:
                self._unjudged[connection] = None
                self._rights_changed.set()

    async def judge(self) -> None:
        """Let changed rights act on open connections, many of which do not stall the rest."""
        while True:
            await self._rights_changed.wait()
            self._rights_changed.clear()
            while self._unjudged:
                for connection in list(islice(self._unjudged, _JUDGED_AT_ONCE)):
                    del self._unjudged[connection]
                    self._judge(connection)
                await asyncio.sleep(0)

    def _judge(self, connection: Connection) -> None:
        if connection.session is None or connection.client.closed:
            return
        try:
            connection.session.rights_changed()
        except Exception:  # noqa: BLE001 - a fault of ours ends the connection: it may not go on
            _log.exception("rights could not be judged")
            connection.client.close(CloseCode.STATE_LOST, "a fault of the proxy")

    def account_ended(self, account_id: str) -> None:
        """Close whatever an account opened: it is disabled, or there is none any more."""
        for connection in list(self.connections):
            if connection.principal is not None and connection.principal.account_id == account_id:
                connection.client.close(CloseCode.CREDENTIAL_REVOKED, "account disabled")

    def revoked(self, credential: str) -> None:
        """Close what a credential opened."""
        for connection in list(self.connections):
            principal = connection.principal
            if principal is not None and principal.depends_on(credential):
                connection.client.close(CloseCode.CREDENTIAL_REVOKED, "credential revoked")

    def in_use(self) -> set[str]:
        """Return the credentials that open connections came with."""
        principals = (connection.principal for connection in self.connections)
        return {principal.credential for principal in principals if principal is not None}

    async def shut_down(self, timeout_s: float = 2.0) -> None:
        """Give everybody their bookmarks, say that we restart, and wait a moment for answers."""
        for connection in list(self.connections):
            self.services.hub.bookmark(connection.client)
            connection.client.close(CloseCode.RESTARTING, "restarting")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self.connections:
                    self._empty.clear()
                    await self._empty.wait()
        for connection in list(self.connections):
            connection.outlet.abort()


async def _let_go(ws: web.WebSocketResponse) -> None:
    """End aiohttp's side of a connection whose transport is closing, and leave no garbage.

    It finds that it cannot write a close frame, and keeps the error, whose traceback holds the
    response: a cycle of some fifty objects, which only the collector's longest run would find.
    """
    await ws.close()
    error = ws.exception()
    while error is not None:
        error.__traceback__ = None
        error = error.__context__

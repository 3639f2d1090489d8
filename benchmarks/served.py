"""Our hub and endpoint on a loopback port: everybody is let in, and a case feeds the store."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from benchmarks.line import Line
from xoproxy.cache.view import Everything, Visibility
from xoproxy.model import PoolId
from xoproxy.ws.connection import ConnectionLimits, ConnectionServices
from xoproxy.ws.endpoint import Endpoint
from xoproxy.ws.upgrade import answer_deflate


@dataclass(frozen=True, slots=True)
class _Anybody:
    """Whoever connects, with every right (fits `ws.connection.Principal`)."""

    name: str = "benchmark"
    role: str = "administrator"
    credential: str = "benchmark"
    peer: str = ""
    expires_at_s: float | None = None

    def visibility(self, pool: PoolId) -> Visibility | None:
        del pool
        return Everything()


class _Welcoming:
    """Lets everybody in (fits `ws.connection.Authenticator`)."""

    async def by_password(
        self, username: str, password: str, otp: str | None, remote: str
    ) -> _Anybody:
        raise NotImplementedError

    async def by_token(self, token: str, remote: str) -> _Anybody:
        del token, remote
        return _Anybody()


class _NoCalls:
    async def call(self, pool: PoolId, method: str, params: Mapping[str, Any]) -> Any:  # noqa: ANN401
        raise NotImplementedError


class Served:
    """A line whose clients are real WebSockets.

    Args:
        wake: called when there is something to flush; without it the case flushes by hand.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.line = Line(wake)
        line, limits = self.line, ConnectionLimits()
        services = ConnectionServices(line.hub, _Welcoming(), _NoCalls(), line.framing, limits)
        self.endpoint = Endpoint(services)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        application = web.Application()
        application.on_response_prepare.append(answer_deflate)
        application.router.add_get("/ws", self.endpoint.handle)
        async with listening(application) as url:
            yield url


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free loopback port."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()

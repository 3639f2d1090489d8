"""How long signing in may take: the client has little time, we have what we need."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from tests.integration.support import JSON
from xoproxy.app.identities import Principal
from xoproxy.auth import Directory, Identity
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.connection import ConnectionLimits, ConnectionServices
from xoproxy.ws.endpoint import Endpoint
from xoproxy.ws.frames import SharedFraming

TIMEOUT_S = 0.2


class SlowAuthenticator:
    """Knows everybody, after a while."""

    async def by_token(self, token, remote):
        del remote
        await asyncio.sleep(3 * TIMEOUT_S)
        return Principal(Identity("1", token, "", "token:1", None), Directory())

    async def by_cookie(self, secret, remote):
        return await self.by_token(secret, remote)

    async def by_password(self, username, password, otp, remote):
        del password, otp
        return await self.by_token(username, remote)


class NoCaller:
    async def call(self, principal, pool, method, params):
        raise NotImplementedError


@asynccontextmanager
async def endpoint():
    framing = SharedFraming()
    hub = Hub(framing, TokenSigner(b"k" * 32), lambda: None)
    limits = ConnectionLimits(auth_timeout_s=TIMEOUT_S)
    app = web.Application()
    app.router.add_get(
        "/ws",
        Endpoint(ConnectionServices(hub, SlowAuthenticator(), NoCaller(), framing, limits)).handle,
    )
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}/ws"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Authorization": "Bearer ada"}, None),
        ({}, {"type": "auth", "token": "ada"}),
        ({}, {"type": "auth", "username": "ada", "password": "x"}),
    ],
)
async def test_nobody_is_sent_away_because_we_are_slow(headers, said):
    async with (
        endpoint() as url,
        ClientSession() as http,
        http.ws_connect(url, protocols=[JSON], headers=headers) as ws,
    ):
        if said is not None:
            await ws.send_json(said)
        assert (await ws.receive_json(timeout=10))["user"]["name"] == "ada"


async def test_who_says_nothing_or_only_pings_is_sent_away():
    async with (
        endpoint() as url,
        ClientSession() as http,
        http.ws_connect(url, protocols=[JSON], autoping=False) as ws,
    ):
        await ws.ping()
        messages = [await ws.receive(timeout=10) for _ in range(3)]
        assert '"UNAUTHORISED"' in next(m.data for m in messages if isinstance(m.data, str))
        assert ws.close_code == 4501 or messages[-1].data == 4501

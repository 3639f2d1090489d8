"""A simulated pool with a client and its control surface, over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

TIMEOUT = aiohttp.ClientTimeout(total=5)


class CallError(Exception):
    """A call failed; `args` is XAPI's description."""


class Client:
    """A client of the pool, on connections of its own."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url
        self.session = ""

    async def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        async with self._http.post(f"{self.url}/jsonrpc", json=body) as reply:
            answer = json.loads(await reply.read())
        if "error" in answer:
            raise CallError(answer["error"]["message"], *answer["error"]["data"])
        return answer["result"]

    async def login(self) -> None:
        self.session = await self.call("session.login_with_password", "root", "x")

    async def on(self, method: str, *params: Any) -> Any:
        return await self.call(method, self.session, *params)

    async def events(self, token: str = "", timeout_s: float = 0.0) -> Any:
        return await self.on("event.from", ["*"], token, timeout_s)


class Sim:
    """The control surface."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self._http.post(f"{self._url}/_sim/{path}", data=data) as reply:
            return reply.status, await reply.json()

    async def fault(self, kind: str, **params: Any) -> None:
        assert await self.post("fault", {"kind": kind, **params}) == (200, {"ok": True})
        await asyncio.sleep(0.05)  # let resets arrive

    async def churn(self, **params: Any) -> None:
        assert await self.post("churn", params) == (200, {"ok": True})

    async def stats(self) -> Any:
        async with self._http.get(f"{self._url}/_sim/stats") as reply:
            assert reply.status == 200
            return await reply.json()


@asynccontextmanager
async def simulated(
    hosts: int = 2, vms: int = 10, *, speed: float = 10.0
) -> AsyncIterator[tuple[SimulatedPool, Client, Sim]]:
    async with (
        SimulatedPool(generate(hosts, vms, 3), speed=speed) as pool,
        aiohttp.ClientSession(timeout=TIMEOUT) as http,
        aiohttp.ClientSession(timeout=TIMEOUT) as control,
    ):
        client = Client(http, pool.url)
        await client.login()
        yield pool, client, Sim(control, pool.url)


async def until_answered(client: Client, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(aiohttp.ClientError, CallError):
                await client.login()
                return
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for a condition of the pool that runs in this process."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def outcome(call: Any) -> Any:
    """Return what a call gave, or the class or description of what it raised."""
    try:
        return await call
    except CallError as error:
        return error.args
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error)

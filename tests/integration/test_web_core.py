"""The web's client core (web/): its own checks and tests, and its tests on a proxy that runs.

Those tests are written in TypeScript (web/test/integration). They reach the proxy through a relay,
and ask this process for what a client cannot do itself: cut the relay, restart the proxy, change
the pools.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.relay import Relay, relayed
from tests.integration.restarts import Restarts, Serving, Simulated, simulated
from tests.integration.support import PASSWORD
from tests.shared import skip_or_fail

WEB = Path(__file__).resolve().parents[2] / "web"


async def run(script: str, **environment: str) -> None:
    """Run one of the scripts of web/package.json; its output is the failure's text."""
    npm = shutil.which("npm")
    if npm is None:
        skip_or_fail("there is no npm to test the web's client core with")
        raise AssertionError
    if not (WEB / "node_modules" / ".fetched").exists():
        skip_or_fail("the web's packages are not installed (make web)")
    process = await asyncio.create_subprocess_exec(
        *(npm, "run", "--silent", script),
        cwd=WEB,
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(600):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, output.decode()


class Stage:
    """A proxy on two simulated pools behind a relay, and what can be done to them."""

    def __init__(self, restarts: Restarts, pools: list[Simulated]) -> None:
        self.pools = pools
        self.relay: Relay | None = None
        self._restarts = restarts
        self._serving: Serving | None = None
        self._life = AsyncExitStack()

    async def start(self, **settings: str) -> Serving:
        self._serving = await self._life.enter_async_context(self._restarts.serving(**settings))
        if self.relay is not None:
            self.relay._target = int(self._serving.url.rpartition(":")[2])
        return self._serving

    async def stop(self) -> None:
        await self._life.aclose()

    async def all_live(self) -> None:
        assert self._serving
        async with asyncio.timeout(30):
            while True:
                pools = await self._serving.api("GET", "pools")
                if all(pool["state"] == "live" for pool in pools):
                    return
                await asyncio.sleep(0.1)

    async def answer(self, request: web.Request) -> web.Response:
        """Do what a test asks for: POST /<what> with its arguments."""
        assert self.relay
        assert self._serving
        asked: dict[str, Any] = await request.json()
        match request.match_info["what"]:
            case "cut":
                self.relay.cut()
            case "refuse":
                self.relay.refusing = asked["refuse"]
                self.relay.cut()
            case "restart":
                await self._serving.end(signal.Signals[asked["signal"]])
                await self.stop()
                await self.start(**asked.get("settings", {}))
                await self.all_live()  # whoever comes next may call it
            case "churn":
                async with asyncio.TaskGroup() as group:
                    for pool in self.pools:
                        group.create_task(pool.sim("churn", **asked))
            case "quiet":
                for pool in self.pools:
                    await pool.quiet()
            case "fault":
                await self.pools[0].sim("fault", **asked)
            case what:
                return web.Response(status=404, text=what)
        return web.json_response({})


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[dict[str, str]]:
    """Set the stage; gives the environment of the tests."""
    restarts = Restarts(directory)
    async with simulated(vms=60) as first, simulated(vms=20) as second, AsyncExitStack() as stack:
        stage = Stage(restarts, [first, second])
        serving = await stage.start()
        stack.push_async_callback(stage.stop)
        for number, pool in enumerate(stage.pools):
            access = {"url": pool.url, "username": "root", "password": pool.password}
            await serving.api("POST", "pools", name=f"pool-{number}", **access)
        await stage.all_live()
        stage.relay = await stack.enter_async_context(relayed(serving.url))
        application = web.Application()
        application.router.add_post("/{what}", stage.answer)
        control = await stack.enter_async_context(TestServer(application))
        about = {
            "url": stage.relay.url,
            "control": str(control.make_url("/")),
            "password": PASSWORD,
            "pools": [pool["id"] for pool in await serving.api("GET", "pools")],
        }
        yield {"XOPROXY_STAGE": json.dumps(about)}


@pytest.mark.slow
async def test_it_is_clean_and_its_types_fit():
    await run("check")


@pytest.mark.slow
async def test_it_passes_its_own_tests():
    await run("test")


@pytest.mark.slow
async def test_it_follows_a_running_proxy(tmp_path):
    async with staged(tmp_path) as environment:
        await run("integration", **environment)

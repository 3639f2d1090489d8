"""The whole proxy in a process of its own, on one pool; watched from within by a ticker."""

import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import aiohttp
from pydantic import SecretStr

from benchmarks.rig import obey, settle_memory
from benchmarks.ticker import Ticker
from xoproxy import app
from xoproxy.settings import LimitsSettings, LogSettings, ServerSettings, Settings, StorageSettings
from xoproxy.telemetry import configure_logging

_PASSWORD = "benchmark"  # noqa: S105 - of an account that lives as long as this process
_LOADED_S = 60.0


class BenchProxy:
    """The commands.

    Args:
        group: of the ticker, which runs once somebody asks for stalls: it has a cost of its own.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._ticker = Ticker()
        self._ticking: asyncio.Task[None] | None = None

    async def stall(self) -> dict[str, float]:
        """Tell the longest stall of the loop since the last time; the first time begins.

        By the clock, and by the loop's own processor time.
        """
        if self._ticking is None:
            self._ticking = self._group.create_task(self._ticker.run(), name="ticker")
        return {"longest_s": self._ticker.take(), "cpu_s": self._ticker.take_cpu()}

    async def settle(self) -> dict[str, object]:
        """Give back free memory, so that two looks from outside can be compared."""
        settle_memory()
        return {}

    def end(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()


async def _token(url: str) -> str:
    """Make an API token as any administrator would: a thousand password logins take a minute."""
    secret = base64.b64encode(f"admin:{_PASSWORD}".encode()).decode()
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Basic {secret}"}) as http,
        http.post(f"{url}/api/v1/tokens", json={"name": "benchmark"}) as response,
    ):
        response.raise_for_status()
        token: str = (await response.json())["token"]
        return token


async def _run(pool_url: str, directory: str, limits: Mapping[str, int]) -> None:
    settings = Settings(
        admin_password=SecretStr(_PASSWORD),
        server=ServerSettings(port=0),
        storage=StorageSettings(directory=Path(directory)),
        limits=LimitsSettings.model_validate(limits),
        log=LogSettings(level="warning"),
    )
    async with app.running(settings) as proxy, asyncio.TaskGroup() as group:
        pool = await proxy.registry.add("bench", pool_url, "root", "x")
        async with asyncio.timeout(_LOADED_S):
            await proxy.all_loaded()
        token = await _token(proxy.url)
        print(f'{{"url": "{proxy.url}", "token": "{token}", "pool": "{pool.id}"}}', flush=True)
        commands = BenchProxy(group)
        await obey({"stall": commands.stall, "settle": commands.settle})
        commands.end()


def main() -> NoReturn:
    configure_logging("json", "warning")
    with (
        tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory,
        app.new_runner() as runner,
    ):
        runner.run(_run(sys.argv[1], directory, json.loads(sys.argv[2])))
    sys.exit(0)


if __name__ == "__main__":
    main()

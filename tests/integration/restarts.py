"""`xoproxy serve` that is killed and started again, and replicas that remember what they saw."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.support import PASSWORD, View
from tests.integration.test_simulate_command import ready, simulate

_BASIC = f"Basic {base64.b64encode(f'admin:{PASSWORD}'.encode()).decode()}"


class Witness(View):
    """A view that knows what its document looked like at each position.

    The look is the sum of its objects' hashes, so that a patch costs what it touches.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        super().__init__(info)
        self.looks: dict[tuple[str, int], int] = {}
        self._hashes: dict[tuple[str, str], int] = {}
        self._touched: set[tuple[str, str]] = set()

    def handle(self, message: dict[str, Any]) -> None:
        if self.info["mode"] == "resume" and not self._hashes:
            self.look_at_all()  # at the document that was brought along
        if message["type"] == "patch":
            for op in message["ops"]:
                _, cls, key, *_ = op["path"].split("/")
                self._touched.add((cls, key))
        super().handle(message)
        if message["type"] == "patch" and not message.get("more"):
            self._look()
        elif message["type"] == "snapshot" and message["last"]:
            self.look_at_all()

    def look_at_all(self) -> None:
        """Look at the whole document: after a snapshot, or when it came from elsewhere."""
        self._hashes = {}
        self._touched = {(cls, key) for cls, held in self.document.items() for key in held}
        self._look()

    def _look(self) -> None:
        for cls, key in self._touched:
            record = self.document[cls].get(key)
            text = json.dumps(record, sort_keys=True)
            self._hashes[cls, key] = 0 if record is None else hash((cls, key, text))
        self._touched = set()
        self.looks[self.info["epoch"], self.position] = sum(self._hashes.values())


class Serving:
    """A running `xoproxy serve`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()

    def logged(self, event: str) -> list[dict[str, Any]]:
        whole, _, _ = self._log.read_text().rpartition("\n")  # the last line is being written
        lines = map(json.loads, whole.splitlines())
        return [line for line in lines if line["event"] == event]

    async def api(self, method: str, path: str, **body: Any) -> Any:
        async with (
            aiohttp.ClientSession(headers={"Authorization": _BASIC}) as http,
            http.request(method, f"{self.url}/api/v1/{path}", json=body or None) as reply,
        ):
            assert reply.ok, await reply.text()
            return await reply.json() if reply.status != 204 else None

    async def metric(self, name: str) -> float:
        """Return a metric of the only pool, or of the process."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        (value,) = [line.split()[1] for line in lines if line.partition("{")[0].split()[0] == name]
        return float(value)

    async def until(self, name: str, value: float, timeout_s: float = 20) -> None:
        """Wait until a metric has reached a value."""
        async with asyncio.timeout(timeout_s):
            while True:
                if await self.metric(name) >= value:
                    return
                await asyncio.sleep(0.05)

    async def settled(self) -> None:
        """Wait until the only pool is live and has a checkpoint."""
        async with asyncio.timeout(30):
            while True:
                if (await self.api("GET", "pools"))[0]["state"] == "live":
                    break
                await asyncio.sleep(0.1)
        await self.until_sampled("xoproxy_checkpoint_age_seconds")

    async def until_sampled(self, name: str) -> None:
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{self.url}/metrics") as reply:
                    if f"\n{name}{{" in await reply.text():
                        return
                await asyncio.sleep(0.05)


class Restarts:
    """Starts proxies on one data directory, one after another."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.data = directory / "data"
        self._directory = directory
        self._settings = settings
        self._count = 0

    @property
    def pool_directory(self) -> Path:
        (found,) = [path for path in (self.data / "history").iterdir() if path.is_dir()]
        return found

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **{name: v for name, v in os.environ.items() if not name.startswith("XOPROXY_")},
            "XOPROXY_ADMIN_PASSWORD": PASSWORD,
            "XOPROXY_STORAGE__DIRECTORY": str(self.data),
            "XOPROXY_SERVER__PORT": "0",
            "XOPROXY_LOG__FORMAT": "json",
            "XOPROXY_POOL_LINK__EVENT_TIMEOUT_S": "2",
            "PYTHONPATH": os.pathsep.join(sys.path),
            **self._settings,
            **settings,
        }

    @asynccontextmanager
    async def serving(self, **settings: str) -> AsyncIterator[Serving]:
        self._count += 1
        log = self._directory / f"log-{self._count}"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "xoproxy", "serve"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=self.environment(**settings),
            )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                line = (await process.stdout.readline()).decode()
            assert "listens at" in line, log.read_text()
            yield Serving(process, line.split()[-1], log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


class Simulated:
    """A pool in a process of its own, and its control surface."""

    def __init__(self, process: asyncio.subprocess.Process, said: dict[str, Any]) -> None:
        self.process = process
        self.url: str = said["url"]
        self.password: str = said["password"]

    async def sim(self, path: str, **body: Any) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}/_sim/{path}", json=body) as reply,
        ):
            assert reply.ok, await reply.text()

    async def churn(self, rate: float, seconds: float, seed: int) -> None:
        """Have things changed for a while, and wait until that is over."""
        await self.sim("churn", rate=rate, seconds=seconds, seed=seed)
        await asyncio.sleep(seconds)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing has changed for a moment."""
        async with aiohttp.ClientSession() as http:
            before = None
            while True:
                async with http.get(f"{self.url}/_sim/stats") as reply:
                    generation = (await reply.json())["generation"]
                if generation == before:
                    return
                before = generation
                await asyncio.sleep(0.5)

    def pause(self) -> None:
        """Let it answer nobody until it is resumed."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def add_to(self, serving: Serving) -> None:
        await serving.api(
            "POST", "pools", name="pool", url=self.url, username="root", password=self.password
        )
        await serving.settled()


@asynccontextmanager
async def simulated(vms: int) -> AsyncIterator[Simulated]:
    options = ("--hosts", "2", "--vms", str(vms), "--listen", "127.0.0.1:0", "--plain-http")
    async with simulate(*options, "--json") as process:
        pool = Simulated(process, await ready(process))
        try:
            yield pool
        finally:
            pool.resume()

"""`xoproxy demo` as a process of its own, for tests that look at the process or its commands."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from aiohttp import ClientSession

from tests.integration.support import PASSWORD


class Demo:
    """A running demo: what it printed, and its process."""

    def __init__(self, ready: dict[str, Any], process: asyncio.subprocess.Process) -> None:
        self.url: str = ready["url"]
        self.password: str = ready["password"]
        self.pools: list[dict[str, Any]] = ready["pools"]
        self.process = process

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(row for row in status.splitlines() if row.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    async def sim(self, path: str, pool: int = 0, **body: Any) -> Any:
        """Use a simulated pool's control surface."""
        url = f"{self.pools[pool]['url']}/_sim/{path}"
        async with ClientSession() as session:
            method = session.post(url, json=body) if body else session.get(url)
            async with method as reply:
                assert reply.status == 200, await reply.text()
                return await reply.json()


@asynccontextmanager
async def demo(*options: str, log: IO[bytes] | None = None) -> AsyncIterator[Demo]:
    """Run `xoproxy demo --json` on a free port until the block ends; it logs to `log` or as we."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", "demo", "--port", "0", "--json", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env={**os.environ, "XOPROXY_ADMIN_PASSWORD": PASSWORD},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            ready = json.loads(await process.stdout.readline())
        yield Demo(ready, process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0

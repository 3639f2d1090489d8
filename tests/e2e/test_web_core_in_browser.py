"""The web's client core in a real browser: its WebSocket, both encodings, losses, a hidden page.

The core is bundled as a page would load it, and served at the proxy's own origin by the browser's
interception: the proxy serves nothing of it yet.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route

from tests.e2e.browser import chromium
from tests.integration.relay import relayed
from tests.integration.support import PASSWORD, logged_in, proxy_on
from tests.shared import skip_or_fail
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

pytestmark = pytest.mark.browser

WEB = Path(__file__).resolve().parents[2] / "web"
SETUP = """async () => {
const { connect, everyFrame, followPage } = await import("/core/index.js");
const { msgpack } = await import("/core/msgpack.js");
window.show = state => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};
window.start = async (codec, password) => {
  const credentials = { username: "admin", password };
  const binary = codec === "msgpack" ? { codec: msgpack } : {};
  const client = connect({ url: location.origin, credentials, random: () => 0, ...binary });
  followPage(client, { suspendHiddenAfterMs: 50 });
  const view = client.subscribe({ classes: ["VM"] }, { compareFrom: 0 });
  const names = new Map();
  everyFrame(view, batches => {
    for (const { changes } of batches) for (const change of changes) {
      if (change.kind === "removed") names.delete(change.key);
      else names.set(change.key, change.object.name_label);
    }
  });
  Object.assign(window, { client, view, names });
  await view.ready;
};
}"""


async def bundled(directory: Path) -> dict[str, bytes]:
    """Bundle the core; gives files by their path at the origin."""
    esbuild = WEB / "node_modules" / ".bin" / "esbuild"
    if shutil.which("node") is None or not esbuild.exists():
        skip_or_fail("there is no node, or the web's packages are not installed (make web)")
    process = await asyncio.create_subprocess_exec(
        *(esbuild, "src/core/index.ts", "src/core/msgpack.ts", f"--outdir={directory}"),
        *("--bundle", "--splitting", "--minify", "--format=esm", "--log-level=error"),
        cwd=WEB,
    )
    assert await process.wait() == 0
    return _files(directory)


def _files(directory: Path) -> dict[str, bytes]:
    return {f"/core/{path.name}": path.read_bytes() for path in directory.iterdir()}


@asynccontextmanager
async def opened(url: str, files: dict[str, bytes]) -> AsyncIterator[Page]:
    """Open a page that has loaded the core; nothing may be complained of."""
    complaints: list[str] = []

    async def serve(route: Route) -> None:
        path = "/core/" + route.request.url.partition("/core/")[2]
        await route.fulfill(body=files[path], content_type="text/javascript")

    async with chromium() as browser:
        page = await browser.new_page(bypass_csp=True)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.route("**/core/**", serve)
        # A real document of the proxy: one that is intercepted may open no connection.
        await page.goto(f"{url}/healthz")
        await page.evaluate(SETUP)
        yield page
    assert complaints == []


async def shows(page: Page, wanted: dict[str, Any]) -> None:
    """Wait until the page holds these names of machines, by its batches alone."""
    names = sorted(vm["name_label"] for vm in wanted.values())
    await page.wait_for_function(
        "names => JSON.stringify([...window.names.values()].sort()) === JSON.stringify(names)",
        arg=names,
    )


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_it_follows_a_pool_through_losses_and_rest(tmp_path, codec):
    files = await bundled(tmp_path)
    async with (
        SimulatedPool(generate(2, 20, 1)) as pool,
        proxy_on(pool.url) as proxy,
        relayed(proxy.url) as relay,
        opened(relay.url, files) as page,
        logged_in(pool.url) as xapi,
    ):

        async def rename(name: str) -> None:
            vm = next(iter(await xapi.records("VM")))
            await xapi.call("VM.set_name_label", xapi.ref, vm, name)
            await shows(page, await xapi.records("VM"))

        await page.evaluate("args => window.start(...args)", [codec, PASSWORD])
        await rename("one \N{SNOWMAN}")
        assert await page.evaluate("window.view.status") == "live"

        relay.cut()
        await page.wait_for_function("window.view.status === 'offline'")
        await rename("two")

        await page.evaluate("show('hidden')")
        await page.wait_for_function("window.client.phase === 'suspended'")
        await page.evaluate("show('visible')")
        await page.wait_for_function("window.view.status === 'live'")
        await rename("three")
        assert await page.evaluate("window.client.counters.faults") == 0
        assert await page.evaluate("window.client.counters.connections") == 3

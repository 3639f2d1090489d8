"""The page at `/` in a real browser: subprotocol, deflate, patches, resume, and what people see."""

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import expect

from tests.e2e.browser import chromium, tab
from tests.integration.relay import relayed
from tests.integration.support import PASSWORD, logged_in, proxy_on
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

# One browser for all tests, so one event loop for all of them too.
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

HOSTILE = """<img src=x onerror="document.title='owned'"> & 'co'"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def pool():
    async with SimulatedPool(generate(2, 20, 1)) as simulated:
        yield simulated


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(pool):
    async with proxy_on(pool.url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, proxy):
    async with tab(browser, proxy.url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def signed_in(page):
    await page.sign_in()
    await expect(page.page.locator("#count")).to_have_text("20 VMs")
    # the page is the same one for as long as this stands in it
    await page.page.evaluate("window.witness = 'not reloaded'")
    yield page
    assert await page.page.evaluate("window.witness") == "not reloaded"


async def machines(url, password="x"):
    """List the VMs that the page shows: reference -> record."""
    async with logged_in(url, password) as xapi:
        return {
            ref: vm
            for ref, vm in (await xapi.records("VM")).items()
            if not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])
        }


async def change(url, method, *params, password="x"):
    async with logged_in(url, password) as xapi:
        await xapi.call(method, xapi.ref, *params)


async def fault(pool, **what):
    async with (
        ClientSession() as session,
        session.post(f"{pool.url}/_sim/fault", json=what) as reply,
    ):
        assert reply.status == 200


class TestSigningIn:
    async def test_with_a_wrong_password_says_so_and_then_works(self, page):
        await page.sign_in("wrong")
        await expect(page.page.get_by_role("alert")).to_have_text("Wrong user name or password.")
        await expect(page.page.get_by_label("Password")).to_be_focused()
        await page.sign_in()
        await expect(page.status).to_have_text("Connected")

    async def test_negotiates_subprotocol_and_compression(self, signed_in):
        (headers,) = signed_in.upgrades
        assert headers["sec-websocket-protocol"] == "xoproxy.v1.json"
        extensions = headers["sec-websocket-extensions"]
        assert extensions.startswith("permessage-deflate")
        assert "server_no_context_takeover" in extensions

    async def test_keeps_nothing_but_the_user_name(self, signed_in):
        kept = await signed_in.page.evaluate(
            "[Object.entries(localStorage), Object.entries(sessionStorage), document.cookie]"
        )
        assert kept == [[["xoproxy.user", "admin"]], [], ""]

    async def test_out_forgets_everything(self, signed_in):
        await signed_in.page.get_by_role("button", name="Sign out").click()
        await expect(signed_in.page.get_by_label("Password")).to_be_focused()
        await expect(signed_in.page.get_by_label("Password")).to_have_value("")
        assert await signed_in.names() == []

    async def test_to_nobody_is_said(self, page, proxy):
        del proxy
        await page.page.route_web_socket("**/ws", lambda ws: ws.close(code=4503))
        await page.sign_in()
        await expect(page.page.get_by_role("alert")).to_contain_text("too many sessions")


class TestTable:
    async def test_shows_every_machine_of_the_pool(self, signed_in, pool):
        expected = sorted(vm["name_label"] for vm in (await machines(pool.url)).values())
        assert sorted(await signed_in.names()) == expected

    async def test_shows_a_change_without_reload_and_marks_it(self, signed_in, pool):
        ref, vm = next(iter((await machines(pool.url)).items()))
        # noted by the page itself: a busy test machine may look too late
        await signed_in.page.evaluate(
            """void (window.marked = new Promise((seen) => new MutationObserver(() => {
                 const cell = document.querySelector("#body .fresh");
                 if (cell) seen(cell.className);
               }).observe(document.getElementById("body"), {subtree: true, attributes: true})))"""
        )
        await change(pool.url, "VM.set_name_label", ref, "aaa-renamed")
        first = signed_in.page.locator("#body th").first
        await expect(first).to_have_text("aaa-renamed")
        async with asyncio.timeout(5):
            assert await signed_in.page.evaluate("window.marked") == "name fresh"
        await expect(first).to_have_class("name")  # the mark goes again
        assert vm["name_label"] not in await signed_in.names()

    async def test_follows_a_machine_from_birth_to_death(self, signed_in, pool):
        refs = await machines(pool.url)
        ref = next(r for r, vm in refs.items() if vm["power_state"] == "Halted")
        async with logged_in(pool.url) as xapi:
            clone = await xapi.call("VM.clone", xapi.ref, ref, "aaa-clone")
            await expect(signed_in.page.locator("#count")).to_have_text("21 VMs")
            row = signed_in.page.get_by_role("row").filter(has_text="aaa-clone")
            await expect(row).to_contain_text("Halted")
            await xapi.call("VM.start", xapi.ref, clone, False, True)
            await expect(row).to_contain_text("Running")
            await expect(row.locator(".host")).not_to_be_empty()
            await xapi.call("VM.add_tags", xapi.ref, clone, "a/b~c")
            await expect(row.locator(".tag", has_text="a/b~c")).to_be_visible()
            await xapi.call("VM.hard_shutdown", xapi.ref, clone)
            await xapi.call("VM.destroy", xapi.ref, clone)
        await expect(signed_in.page.locator("#count")).to_have_text("20 VMs")

    async def test_takes_names_as_text(self, signed_in, pool):
        ref = next(iter(await machines(pool.url)))
        await change(pool.url, "VM.set_name_label", ref, HOSTILE)
        await change(pool.url, "VM.add_tags", ref, "<b>tag</b>")
        await signed_in.see(HOSTILE, "<b>tag</b>")
        assert await signed_in.page.locator("#body img, #body b").count() == 0
        assert await signed_in.page.title() == "xoproxy"

    async def test_is_filtered_and_ordered_from_the_keyboard(self, signed_in, pool):
        page = signed_in.page
        vms = list((await machines(pool.url)).values())
        word = vms[0]["name_label"]
        await page.get_by_role("region", name="Virtual machines").press("/")
        await page.keyboard.type(f"{word.upper()} pool-0")
        matching = [vm for vm in vms if word.lower() in vm["name_label"].lower()]
        await expect(page.locator("#count")).to_have_text(f"{len(matching)} of 20 VMs")
        await page.keyboard.press("Escape")
        await expect(page.locator("#count")).to_have_text("20 VMs")
        await page.get_by_role("columnheader", name="Memory").get_by_role("button").press("Enter")
        await page.get_by_role("columnheader", name="Memory").get_by_role("button").press("Enter")
        largest = max(vm["memory_dynamic_max"] for vm in vms)
        names = [vm["name_label"] for vm in vms if vm["memory_dynamic_max"] == largest]
        await expect(page.locator("#head [aria-sort=descending]")).to_have_text("Memory")
        first = await signed_in.page.locator("#body th").first.inner_text()
        assert first in names

    async def test_is_narrowed_to_a_power_state(self, signed_in, pool):
        running = [v for v in (await machines(pool.url)).values() if v["power_state"] == "Running"]
        button = signed_in.page.get_by_role("button", name="Running")
        await expect(button).to_contain_text(str(len(running)))
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "true")
        assert len(await signed_in.names()) == len(running)

    async def test_of_thousands_draws_only_what_is_in_sight(self, browser):
        async with (
            SimulatedPool(generate(4, 1500, 1)) as large,
            proxy_on(large.url) as proxy,
            tab(browser, proxy.url) as opened,
        ):
            await opened.sign_in()
            await expect(opened.page.locator("#count")).to_have_text("1,500 VMs", timeout=20_000)
            assert len(await opened.names()) < 100
            names = sorted(vm["name_label"] for vm in (await machines(large.url)).values())
            grid = opened.page.get_by_role("region", name="Virtual machines")
            await grid.focus()
            await grid.press("End")
            last = opened.page.locator("#body tr[aria-rowindex='1501'] th")
            await expect(last).to_be_visible()
            assert await last.inner_text() in names


class TestLinks:
    async def test_a_lost_pool_stays_in_sight_and_is_marked(self, signed_in, pool):
        link = signed_in.page.get_by_role("list", name="Pools").get_by_role("listitem")
        await expect(link).to_contain_text("pool-0live")
        await fault(pool, kind="restart", seconds=3)
        await expect(link).to_contain_text("stale", timeout=15_000)
        await expect(link).to_contain_text("since")
        assert len(await signed_in.names()) == 20
        await expect(signed_in.page.locator("#body tr.dated")).to_have_count(20)
        await expect(link).to_contain_text("live", timeout=20_000)
        await expect(signed_in.page.locator("#body tr.dated")).to_have_count(0)

    async def test_a_broken_connection_is_resumed(self, browser, proxy, pool):
        async with relayed(proxy.url) as relay, tab(browser, relay.url) as opened:
            page = opened.page
            await opened.sign_in()
            await expect(page.locator("#count")).to_have_text("20 VMs")
            relay.refusing = True
            relay.cut()
            await expect(opened.status).to_have_text("Not connected")
            await expect(page.locator("#notice")).to_contain_text("this is what was known then")
            ref = next(iter(await machines(pool.url)))
            await change(pool.url, "VM.set_name_label", ref, "meanwhile")
            relay.refusing = False
            await opened.see("meanwhile")
            await expect(opened.status).to_have_text("Connected")
            await expect(page.locator("#resumed")).to_have_text("2")  # the VMs' view and the links'
            await expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_everything_is_within_the_screen(browser, proxy, scheme):
    options = {"color_scheme": scheme, "reduced_motion": "reduce"}
    async with tab(browser, proxy.url, phone=True, **options) as opened:
        await opened.sign_in()
        await expect(opened.page.locator("#count")).to_have_text("20 VMs")
        assert await opened.page.evaluate("document.documentElement.scrollWidth") <= 390
        rows = opened.page.get_by_role("table").get_by_role("row")
        assert await rows.count() >= 20  # it is a table still
        box = await rows.nth(1).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


# --- a restart of the proxy, as processes --------------------------------------------------------


@asynccontextmanager
async def process(*arguments, **environment):
    """Run a command of ours; yields it and its first line. Ends it as an operator would."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("XOPROXY_")}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**clean, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60):
            first_line = await running.stdout.readline()
        yield running, first_line.decode()
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await running.communicate()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def test_survives_a_restart_of_the_proxy(browser, tmp_path):
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    settings = {
        "XOPROXY_SERVER__PORT": port,
        "XOPROXY_STORAGE__DIRECTORY": str(tmp_path),
        "XOPROXY_ADMIN_PASSWORD": PASSWORD,
    }
    simulate = ("simulate", "--listen", "127.0.0.1:0", "--plain-http", "--json", "--vms", "20")
    async with (
        process(*simulate) as (_, ready),
        process("serve", **settings) as (first, _),
    ):
        pool = json.loads(ready)
        await add_pool(url, pool)
        async with tab(browser, url) as opened:
            await opened.sign_in()
            count = opened.page.locator("#count")
            await expect(count).to_have_text("20 VMs", timeout=20_000)
            await opened.page.evaluate("window.witness = 'not reloaded'")

            first.terminate()
            await first.wait()
            await expect(opened.status).to_have_text("Not connected")
            assert len(await opened.names()) == 20
            ref = next(iter(await machines(pool["url"], pool["password"])))
            await rename(pool, ref, "renamed meanwhile")
            assert "renamed meanwhile" not in await opened.names()

            async with process("serve", **settings):
                await opened.see("renamed meanwhile")
                await expect(opened.status).to_have_text("Connected")
                await expect(count).to_have_text("20 VMs")
                await rename(pool, ref, "and again")
                await opened.see("and again")
                assert await opened.page.evaluate("window.witness") == "not reloaded"


async def add_pool(url, pool):
    add = ("pool", "add", "lab", pool["url"], "--user", pool["user"], "--url", url)
    secrets = {"XOPROXY_PASSWORD": PASSWORD, "XOPROXY_POOL_PASSWORD": pool["password"]}
    async with process(*add, "--as", "admin", **secrets) as (adding, _):
        assert await adding.wait() == 0


async def rename(pool, ref, name):
    await change(pool["url"], "VM.set_name_label", ref, name, password=pool["password"])

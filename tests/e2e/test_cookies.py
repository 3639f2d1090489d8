"""The cookie of a browser session in a real browser, and pages of others that reach for it."""

from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web

from tests.e2e.browser import chromium
from tests.integration.support import PASSWORD, proxy_on

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SIGN_IN = """password => fetch('/api/v1/session', {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({username: 'admin', password}),
}).then(response => response.status)"""
ASK = "([method, path]) => fetch('/api/v1/' + path, {method}).then(response => response.status)"
CONNECT = """url => new Promise(done => {
    const socket = new WebSocket(url.replace('http', 'ws') + '/ws', 'xoproxy.v1.json')
    socket.onmessage = event => done(JSON.parse(event.data).type)
    socket.onclose = event => done(event.code)
})"""
WATCH = """url => new Promise(done => {
    const socket = new WebSocket(url.replace('http', 'ws') + '/ws', 'xoproxy.v1.json')
    socket.onclose = event => done(event.code)
    socket.onmessage = () => fetch('/api/v1/session', {method: 'DELETE'})
})"""
SUBMIT = """action => {
    const form = document.createElement('form')
    Object.assign(form, {method: 'POST', enctype: 'text/plain', action})
    document.body.append(form)
    form.submit()
}"""


@asynccontextmanager
async def other_site():
    """Serve a page on another port: the same site, so that the browser sends our cookie along."""

    async def page(_request):
        return web.Response(text="<!doctype html><title>other</title>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/", page)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def context():
    async with chromium() as browser:
        yield await browser.new_context()


async def test_a_page_signs_in_watches_and_signs_out_by_a_cookie_it_cannot_read(context):
    async with proxy_on() as proxy:
        page = await context.new_page()
        await page.goto(proxy.url)
        assert await page.evaluate(SIGN_IN, PASSWORD) == 200
        assert await page.evaluate("document.cookie") == ""
        assert await page.evaluate(ASK, ["GET", "me"]) == 200
        assert await page.evaluate(ASK, ["DELETE", "tokens/none"]) == 404
        assert await page.evaluate(CONNECT, proxy.url) == "welcome"
        assert await page.evaluate(WATCH, proxy.url) == 4305
        assert await page.evaluate(ASK, ["GET", "me"]) == 401
        assert await context.cookies() == []


async def test_a_page_of_the_same_site_and_another_origin_gets_nothing(context):
    async with proxy_on() as proxy, other_site() as other:
        page, evil = await context.new_page(), await context.new_page()
        await page.goto(proxy.url)
        assert await page.evaluate(SIGN_IN, PASSWORD) == 200
        await evil.goto(other)
        assert await evil.evaluate(CONNECT, proxy.url) == 1006
        await evil.evaluate(SUBMIT, f"{proxy.url}/api/v1/users/admin/unlock")
        await evil.wait_for_url(f"{proxy.url}/**")
        await evil.get_by_text("a page of another origin may not use the API").wait_for()
        assert await page.evaluate(ASK, ["GET", "me"]) == 200

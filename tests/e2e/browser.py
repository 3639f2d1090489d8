"""A real Chromium, and the page in it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.integration.support import PASSWORD
from tests.shared import skip_or_fail

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        skip_or_fail("there is no Chromium (apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """The page, what it complained of, and the upgrades that it made."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.upgrades: list[dict[str, str]] = []
        """Headers of the answers to WebSocket upgrades, names in lower case."""
        self.script: Any = None
        """What plays the proxy, if it is not a real one."""
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._console(message.type, message.text))

    def _console(self, kind: str, text: str) -> None:
        # that the proxy was away is what some tests are about; the browser tells it by itself
        if kind in {"error", "warning"} and "ERR_CONNECTION" not in text:
            self.complaints.append(text)

    async def open(self) -> None:
        session = await self.page.context.new_cdp_session(self.page)
        await session.send("Network.enable")
        session.on("Network.webSocketHandshakeResponseReceived", self._upgraded)
        await self.page.goto(self.url)

    def _upgraded(self, event: dict[str, Any]) -> None:
        headers = event["response"]["headers"]
        self.upgrades.append({name.lower(): value for name, value in headers.items()})

    async def sign_in(self, password: str = PASSWORD) -> None:
        await self.page.get_by_label("User").fill("admin")
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def see(self, *texts: str) -> None:
        """Wait until the table shows each text as a cell's whole content."""
        for text in texts:
            await expect(self.cell(text)).to_be_visible(timeout=15_000)

    def cell(self, text: str) -> Any:
        return self.page.locator("#body th, #body td").get_by_text(text, exact=True)

    @property
    def status(self) -> Any:
        """What the page says of its connection."""
        return self.page.locator("#connection")

    async def names(self) -> list[str]:
        found: list[str] = await self.page.locator("#body th").all_inner_texts()
        return found


@asynccontextmanager
async def tab(
    browser: Browser, url: str, *, phone: bool = False, **options: Any
) -> AsyncIterator[Tab]:
    """Open the page with nothing remembered."""
    if phone:
        options |= {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    context = await browser.new_context(locale="en-GB", **options)
    try:
        opened = Tab(await context.new_page(), url)
        await opened.open()
        yield opened
        assert opened.complaints == []
    finally:
        await context.close()

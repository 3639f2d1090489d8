"""How the page at `/` is served: its policy, compression, validation."""

import base64
import gzip
import hashlib
import re
from importlib.resources import files

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from xoproxy.rest.page import routes
from xoproxy.rest.page.serving import content_policy

PAGE = files("xoproxy.rest.page").joinpath("index.html").read_bytes()


@pytest.fixture
async def url():
    application = web.Application()
    application.add_routes(routes())
    async with TestServer(application) as server:
        yield str(server.make_url("/"))


async def test_it_is_the_file_itself(url):
    async with ClientSession(auto_decompress=False) as session:
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as reply:
            assert await reply.read() == PAGE
            assert reply.content_type == "text/html"
        async with session.get(url, headers={"Accept-Encoding": "gzip, br"}) as reply:
            assert reply.headers["Content-Encoding"] == "gzip"
            packed = await reply.read()
    assert gzip.decompress(packed) == PAGE
    assert len(packed) < 16_000


async def test_it_is_not_sent_twice(url):
    async with ClientSession() as session:
        async with session.get(url) as reply:
            tag = reply.headers["ETag"]
            assert reply.headers["Cache-Control"] == "no-cache"
        async with session.get(url, headers={"If-None-Match": tag}) as reply:
            assert reply.status == 304
            assert await reply.read() == b""
        async with session.get(url, headers={"If-None-Match": '"another"'}) as reply:
            assert reply.status == 200


async def test_nothing_but_its_own_script_and_style_can_run(url):
    async with ClientSession() as session, session.get(url) as reply:
        policy = reply.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name in ("script", "style"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>".encode(), PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_another_script_has_another_policy():
    assert content_policy(b"<script>a</script>") != content_policy(b"<script>b</script>")


def test_it_loads_nothing_and_makes_no_markup_from_text():
    text = PAGE.decode()
    assert set(re.findall(r"""\b(?:src|href)=["'](\w*:?)""", text)) == {"data:"}
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", text)
    assert not re.search(r"\son\w+=\"|\sstyle=\"", text)  # the policy would refuse them anyway

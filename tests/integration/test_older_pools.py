"""What a pool of an older release answers on the wire, and how it is started."""

import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.integration.test_simulate_command import ended, ready, simulate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

LOGIN = {"method": "session.login_with_password", "params": ["root", "x"], "id": 1}


class Asked:
    """A pool, and what it answers to bodies."""

    def __init__(self, http: aiohttp.ClientSession, pool: SimulatedPool) -> None:
        self._http = http
        self._url = pool.url

    async def post(self, path: str, body: Any) -> tuple[int, str, str]:
        data = body if isinstance(body, str) else json.dumps(body)
        async with self._http.post(f"{self._url}{path}", data=data) as reply:
            return reply.status, reply.headers["Content-Type"], await reply.text()


@asynccontextmanager
async def pool_of(release: str) -> AsyncIterator[Asked]:
    async with (
        SimulatedPool(generate(1, 1), release=release) as pool,
        aiohttp.ClientSession() as http,
    ):
        yield Asked(http, pool)


@pytest.mark.parametrize("path", ["/jsonrpc", "/json", "/", "/RPC2"])
async def test_before_json_rpc_a_json_body_is_a_fault_in_xml(path: str):
    async with pool_of("6.1") as asked:
        status, kind, text = await asked.post(path, {"jsonrpc": "2.0", **LOGIN})

        assert (status, kind) == (200, "text/xml")
        assert "Failed to parse supplied XML" in text
        assert ET.fromstring(text).find("fault") is not None  # noqa: S314 - our own simulator's


@pytest.mark.parametrize("version", [{}, {"jsonrpc": "2.0"}])
async def test_the_first_json_rpc_answers_in_version_1_whatever_is_asked(version: dict[str, str]):
    async with pool_of("7.1") as asked:
        status, kind, text = await asked.post("/jsonrpc", {**version, **LOGIN})
        answer = json.loads(text)

        assert (status, kind) == (200, "application/json")
        assert list(answer) == ["result", "error", "id"]
        assert answer["error"] is None
        _, _, text = await asked.post("/jsonrpc", {**version, **LOGIN, "params": ["root"]})
        assert json.loads(text)["error"][0] == "MESSAGE_PARAMETER_COUNT_MISMATCH"


async def test_the_first_json_rpc_takes_no_text_as_id():
    async with pool_of("7.1") as asked:
        assert (await asked.post("/jsonrpc", {**LOGIN, "id": "one"}))[0] == 500
    async with pool_of("7.3") as asked:
        assert (await asked.post("/jsonrpc", {**LOGIN, "id": "one"}))[0] == 200


async def test_a_body_that_is_no_xml_is_a_page_since_json_rpc():
    async with pool_of("6.2") as asked:
        status, kind, _ = await asked.post("/", LOGIN)

        assert (status, kind) == (500, "text/html")


async def test_hosts_say_their_release():
    async with pool_of("7.6") as asked:
        _, _, text = await asked.post("/jsonrpc", {"jsonrpc": "2.0", **LOGIN})
        call = {"jsonrpc": "2.0", "method": "host.get_all_records", "id": 1}
        _, _, text = await asked.post("/jsonrpc", {**call, "params": [json.loads(text)["result"]]})
        (host,) = json.loads(text)["result"].values()

        assert (host["API_version_major"], host["API_version_minor"]) == (2, 11)
        assert host["software_version"]["product_version"] == "7.6.0"
        assert "https_only" not in host


async def test_the_command_runs_a_pool_of_a_release():
    options = ("--listen", "127.0.0.1:0", "--plain-http", "--json", "--release", "6.1")
    async with simulate(*options) as process, aiohttp.ClientSession() as http:
        said = await ready(process)
        async with http.post(f"{said['url']}/jsonrpc", json=LOGIN) as reply:
            assert (reply.status, reply.content_type) == (200, "text/xml")


async def test_the_command_names_the_releases():
    code, _, text = await ended("--release", "9.9")

    assert code == 2
    assert "no release is called '9.9'; there are rio, miami" in text

"""Each fault on the wire, as a client of the pool meets it on its socket."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from aiohttp import ClientError, ClientSession

from xoproxy.app import new_event_loop
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

TIMEOUT = aiohttp.ClientTimeout(total=5)
XML = b"""<?xml version="1.0"?><methodCall><methodName>session.login_with_password</methodName>
<params><param><value>root</value></param><param><value>x</value></param></params></methodCall>"""


class Caller:
    """Calls by hand, and the control surface."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self.url = url
        self.session = ""

    async def raw(self, method: str, *params: Any, id_: int = 1) -> tuple[int, bytes]:
        call = {"jsonrpc": "2.0", "method": method, "params": params, "id": id_}
        async with self._http.post(f"{self.url}/jsonrpc", json=call) as reply:
            return reply.status, await reply.read()

    async def answer(self, method: str, *params: Any) -> Any:
        """Call within the session; returns the answer, an error too."""
        status, body = await self.raw(method, self.session, *params)
        assert status == 200
        return json.loads(body)

    async def fault(self, **what: Any) -> None:
        async with self._http.post(f"{self.url}/_sim/fault", json=what) as reply:
            assert reply.status == 200, await reply.text()

    async def stats(self) -> Any:
        async with self._http.get(f"{self.url}/_sim/stats") as reply:
            return await reply.json()


@asynccontextmanager
async def calling() -> AsyncIterator[Caller]:
    async with (
        SimulatedPool(generate(1, 4, 2), speed=20) as pool,
        ClientSession(timeout=TIMEOUT) as http,
    ):
        caller = Caller(http, pool.url)
        _, body = await caller.raw("session.login_with_password", "root", "x")
        caller.session = json.loads(body)["result"]
        yield caller


async def by_hand(url: str, caller: Caller) -> tuple[bytes, bytes, Exception | None]:
    """Call on a socket of our own; returns head, body, and the error that ended it, if any."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    body = json.dumps({"method": "VM.get_all_records", "params": [caller.session], "id": 1})
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /jsonrpc HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    received = b""
    error: Exception | None = None
    try:
        async with asyncio.timeout(2):
            while data := await reader.read(65536):
                received += data
    except (ConnectionError, TimeoutError) as caught:
        error = caught
    finally:
        writer.close()
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest, error


def promised(head: bytes) -> int:
    return int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])


async def test_reset_comes_in_the_middle_of_an_answer() -> None:
    async with calling() as caller:
        await caller.fault(kind="reset", after_bytes=1000)
        head, body, error = await by_hand(caller.url, caller)
        assert isinstance(error, ConnectionResetError)
        assert promised(head) > len(body) == 1000
        assert (await caller.stats())["faults"] == {"reset": 1}


async def test_truncated_answers_end_orderly_but_early() -> None:
    async with calling() as caller:
        await caller.fault(kind="truncated", how="closed")
        head, body, error = await by_hand(caller.url, caller)
        assert error is None
        assert len(body) < promised(head)
        await caller.fault(kind="truncated", how="cut")
        status, body = await caller.raw("VM.get_all_records", caller.session)
        assert status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        await caller.fault(kind="none")
        assert (await caller.answer("pool.get_all"))["result"]


async def test_slow_bodies_come_in_small_pieces_until_the_fault_ends() -> None:
    async with calling() as caller:
        await caller.fault(kind="slow", bytes_per_s=2000)
        loop = asyncio.get_running_loop()
        started = loop.time()
        pieces = []
        call = {"method": "role.get_all_records", "params": [caller.session], "id": 1}
        async with caller._http.post(f"{caller.url}/jsonrpc", json=call) as reply:
            async for piece in reply.content.iter_any():
                pieces.append(piece)
                if len(pieces) == 5:
                    break
            assert max(map(len, pieces)) <= 200
            assert loop.time() - started > 0.1
            await caller.fault(kind="none")
            pieces.append(await reply.read())
        assert json.loads(b"".join(pieces))["result"]


async def test_jitter_delays_each_answer_differently() -> None:
    async with calling() as caller:
        await caller.fault(kind="jitter", ms=120, seed=4)
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(8):
            started = loop.time()
            await caller.answer("pool.get_all")
            took.append(loop.time() - started)
        assert max(took) - min(took) > 0.04
        assert (await caller.stats())["faults"] == {"jitter": 8}


@pytest.mark.parametrize("how", ["garbage", "half", "html", "empty"])
async def test_invalid_answers_come_with_a_good_head(how: str) -> None:
    async with calling() as caller:
        await caller.fault(kind="invalid_json", how=how)
        status, body = await caller.raw("pool.get_all", caller.session)
        assert status == 200
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
            json.loads(body)
        async with caller._http.post(f"{caller.url}/RPC2", data=XML) as reply:
            assert (reply.status, reply.content_type) == (200, "text/xml")
            with pytest.raises((ET.ParseError, AssertionError)):
                assert ET.fromstring(await reply.read()).tag == "methodResponse"  # noqa: S314


async def test_a_wrong_id_is_the_only_fault_of_an_answer() -> None:
    async with calling() as caller:
        await caller.fault(kind="invalid_json", how="wrong_id")
        answer = await caller.answer("pool.get_all")
        assert answer["result"]
        assert answer["id"] != 1
        async with caller._http.post(f"{caller.url}/RPC2", data=XML) as reply:
            parsed = ET.fromstring(await reply.read())  # noqa: S314 - our own bytes
            assert parsed.find(".//value") is None


@pytest.mark.parametrize("status", [500, 503])
async def test_pages_instead_of_answers(status: int) -> None:
    async with calling() as caller:
        await caller.fault(kind="pages", status=status)
        got, body = await caller.raw("pool.get_all", caller.session)
        assert got == status
        assert body.startswith(b"<html>")
        async with caller._http.get(f"{caller.url}/anything") as reply:
            assert reply.status == status
            assert reply.headers["Connection"] == "close"
        assert (await caller.stats())["calls"]["pool.get_all"] == 1


async def test_too_many_pending_tasks_for_a_while() -> None:
    async with calling() as caller:
        await caller.fault(kind="too_many_pending_tasks", seconds=0.4)
        answer = await caller.answer("pool.get_all")
        assert answer["error"]["message"] == "TOO_MANY_PENDING_TASKS"
        await asyncio.sleep(0.5)
        assert (await caller.answer("pool.get_all"))["result"]


async def test_only_the_calls_of_a_method_are_hit() -> None:
    async with calling() as caller:
        await caller.fault(kind="pages", method="host.get_all")
        await caller.fault(kind="invalid_json", method="VM.get_all", how="empty")
        assert (await caller.answer("pool.get_all"))["result"]
        assert (await caller.raw("host.get_all", caller.session))[0] == 500
        assert await caller.raw("VM.get_all", caller.session) == (200, b"")


async def test_the_same_seed_hits_the_same_calls() -> None:
    def outcomes(bodies: list[bytes]) -> Iterator[str]:
        for body in bodies:
            try:
                json.loads(body)
                yield "ok"
            except ValueError:
                yield "bad"

    async with calling() as caller:
        runs = []
        for seed in (7, 7, 8):
            await caller.fault(kind="truncated", how="cut", probability=0.4, seed=seed)
            calls = [(await caller.raw("pool.get_all", caller.session))[1] for _ in range(30)]
            runs.append(list(outcomes(calls)))
        assert runs[0] == runs[1] != runs[2]
        assert {"ok", "bad"} == set(runs[0])


async def test_faults_of_different_kinds_add_up() -> None:
    async with calling() as caller:
        await caller.fault(kind="reset", after_bytes=10, probability=0.5, seed=1)
        await caller.fault(kind="pages", probability=0.5, seed=2)
        seen = set()
        for _ in range(30):
            try:
                seen.add((await caller.raw("pool.get_all", caller.session))[0])
            except ClientError:
                seen.add(0)
        assert seen == {0, 200, 500}


def leaving(url: str, session: str) -> None:
    """Call, and reset the connection before the answer comes."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    body = json.dumps({"method": "VM.get_all_records", "params": [session], "id": 1}).encode()
    with socket.create_connection((host, int(port))) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(b"POST /jsonrpc HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.05)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, new_event_loop])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "delay", "ms": 150},
        {"kind": "slow", "bytes_per_s": 1000},
        {"kind": "black_hole", "seconds": 0.15},
    ],
    ids=lambda fault: fault["kind"],
)
def test_the_pool_minds_no_client_that_left(loop_factory: Any, fault: dict[str, Any]) -> None:
    async def play() -> None:
        async with calling() as caller:
            await caller.fault(**fault)
            for _ in range(3):
                await asyncio.to_thread(leaving, caller.url, caller.session)
            await asyncio.sleep(0.2)
            await caller.fault(kind="drop")
            await caller.fault(kind="none")
            assert (await caller.answer("pool.get_all"))["result"]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(play())

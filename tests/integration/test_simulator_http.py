"""The simulator's HTTP manners, over real sockets."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import xmlrpc.client
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from yarl import URL

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.http import Connection, Head, HttpServer, connection
from xoproxy.simulator.http.wire import BODY_LIMIT
from xoproxy.simulator.pool import SimulatedPool

ESTATE: dict[str, dict[str, dict[str, str]]] = {
    "pool": {"OpaqueRef:p": {"master": "OpaqueRef:h"}},
    "host": {"OpaqueRef:h": {}},
}
LOGIN = {"jsonrpc": "2.0", "method": "session.login_with_password", "params": ["root", "x"]}


@dataclass
class Answer:
    version: str
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def read(self) -> Answer:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        version, status = first.split(" ")[:2]
        return Answer(version, int(status), headers, body)

    async def post(self, path: str, body: bytes, *headers: str, version: str = "1.1") -> Answer:
        line = f"POST {path} HTTP/{version}"
        await self.send(line, f"Content-Length: {len(body)}", *headers, body=body)
        return await self.read()

    async def is_closed(self, within_s: float = 0.3) -> bool:
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


@contextlib.asynccontextmanager
async def connect(pool: SimulatedPool) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(*pool.address)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def pool() -> AsyncIterator[SimulatedPool]:
    async with SimulatedPool(ESTATE, speed=100) as made:
        yield made


def server_of(pool: SimulatedPool) -> HttpServer:
    server = pool.hosts.coordinator.server
    assert server is not None
    return server


@pytest.fixture
async def wire(pool: SimulatedPool) -> AsyncIterator[Wire]:
    async with connect(pool) as made:
        yield made


def call(**members) -> bytes:
    return json.dumps({"id": 1, **LOGIN, **members}).encode()


async def test_a_kept_connection_carries_many_calls(wire: Wire):
    answers = [await wire.post("/jsonrpc", call(id=number)) for number in range(3)]

    assert [json.loads(answer.body)["id"] for answer in answers] == [0, 1, 2]
    answer = answers[-1]
    assert (answer.version, answer.status) == ("HTTP/1.1", 200)
    assert answer.headers["connection"] == "keep-alive"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache, no-store"
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_calls_that_come_together_are_answered_in_order(wire: Wire):
    for number in range(3):
        body = call(id=number)
        line = "POST /jsonrpc HTTP/1.1"
        await wire.send(line, f"Content-Length: {len(body)}", body=body)

    assert [json.loads((await wire.read()).body)["id"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("headers", "version"), [(["Connection: close"], "1.1"), (["Connection: keep-alive"], "1.0")]
)
async def test_the_connection_is_closed_when_asked_and_for_http_1_0(
    wire: Wire, headers: list[str], version: str
):
    answer = await wire.post("/jsonrpc", call(), *headers, version=version)

    assert (answer.version, answer.status) == (f"HTTP/{version}", 200)
    assert answer.headers["connection"] == "close"
    assert await wire.is_closed()


@pytest.mark.parametrize("path", ["/", "/RPC2", "/xmlrpc", "/anything", "/RPC2?x=y"])
async def test_every_other_path_is_xmlrpc(wire: Wire, path: str):
    body = xmlrpc.client.dumps(("root", "x"), "session.login_with_password").encode()
    answer = await wire.post(path, body)

    assert answer.headers["content-type"] == "text/xml"
    (reply,), _ = xmlrpc.client.loads(answer.body.decode())
    assert isinstance(reply, dict)
    assert reply["Status"] == "Success"


@pytest.mark.parametrize("path", ["/jsonrpc", "/json", "/jsonrpc?x=y"])
async def test_json_paths(wire: Wire, path: str):
    assert "result" in json.loads((await wire.post(path, call())).body)


@pytest.mark.parametrize(("size", "status"), [(1024, 200), (1025, 431)])
async def test_headers_of_1024_bytes_and_no_more(wire: Wire, size: int, status: int):
    body = call()
    lines = ["POST /jsonrpc HTTP/1.1", f"Content-Length: {len(body)}", "X: "]
    lines[-1] += "x" * (size - len("\r\n".join(lines)) - 4)
    await wire.send(*lines, body=body)

    assert (await wire.read()).status == status


async def test_endless_headers_are_refused_before_they_end(wire: Wire):
    wire.writer.write(b"POST / HTTP/1.1\r\nX: " + b"x" * 2000)

    assert (await wire.read()).status == 431
    assert await wire.is_closed()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: abc"],
        ["Content-Length: -1"],
        ["Content-Length: 307201"],
    ],
)
async def test_bodies_are_refused_by_their_headers(wire: Wire, headers: list[str]):
    await wire.send("POST /jsonrpc HTTP/1.1", *headers)
    answer = await wire.read()

    assert answer.status == 500
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["connection"] == "close"
    assert b"<html>" in answer.body
    assert await wire.is_closed()


async def test_the_refusal_of_a_long_body_arrives_while_it_is_sent(wire: Wire):
    body = b"x" * 5_000_000
    await wire.send("POST /jsonrpc HTTP/1.1", f"Content-Length: {len(body)}", body=body)

    assert (await wire.read()).status == 500


async def test_the_longest_body_that_is_taken(wire: Wire):
    body = call()
    padded = body[:-1] + b" " * (BODY_LIMIT - len(body)) + body[-1:]

    assert (await wire.post("/jsonrpc", padded)).status == 200


@pytest.mark.parametrize("path", ["/", "/jsonrpc"])
async def test_what_is_no_call_is_an_html_page(wire: Wire, path: str):
    answer = await wire.post(path, b"nonsense")

    assert (answer.status, answer.headers["content-type"]) == (500, "text/html")
    assert await wire.is_closed()


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET / HTTP/1.1", 403), ("PUT /import HTTP/1.1", 403), ("nonsense", 500), ("A B C", 500)],
)
async def test_other_requests(wire: Wire, line: str, status: int):
    await wire.send(line)

    assert (await wire.read()).status == status


async def test_a_preflight(wire: Wire):
    await wire.send("OPTIONS /jsonrpc HTTP/1.1", "Access-Control-Request-Headers: content-type")
    answer = await wire.read()

    assert answer.status == 200
    assert answer.headers["access-control-allow-headers"] == "X-Requested-With, content-type"
    assert not await wire.is_closed(0.1)


async def test_a_slow_first_request_is_told_so(
    pool: SimulatedPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "FIRST_READ_S", 0.1)
    async with connect(pool) as slow:
        slow.writer.write(b"POST")
        assert (await slow.read()).status == 408

    async with connect(pool) as kept:
        assert (await kept.post("/jsonrpc", call())).status == 200
        await asyncio.sleep(0.3)  # later requests may take their time
        assert (await kept.post("/jsonrpc", call())).status == 200


async def test_connections_above_the_limit_wait(
    pool: SimulatedPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_of(pool), "_slots", asyncio.Semaphore(1))
    async with connect(pool) as second:
        async with connect(pool) as first:
            assert (await first.post("/jsonrpc", call())).status == 200
            body = call()
            line = "POST /jsonrpc HTTP/1.1"
            await second.send(line, f"Content-Length: {len(body)}", body=body)
            await asyncio.sleep(0.2)
            assert not second.reader._buffer  # type: ignore[attr-defined]
        assert (await second.read()).status == 200


class Meddler:
    """Records the seams that a call passes, and can fail it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.error: XapiError | None = None

    async def before_request(self, connection: Connection, head: Head) -> None:
        del head
        self.seen.append(f"request from {connection.peer[0]}")

    async def before_call(self, _connection: Connection, method: str) -> None:
        self.seen.append(f"call {method}")
        if self.error:
            raise self.error

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        self.seen.append(f"reply to {what}")
        await connection.write(head, body)


async def test_faults_get_between_calls_and_not_control(pool: SimulatedPool, wire: Wire):
    async def control(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return 200, f"{method} {path} {body.decode()}".encode()

    meddler = Meddler()
    pool.hosts.interfere(meddler)
    server_of(pool).control = control
    assert (await wire.post("/_sim/fault", b"{}")).body == b"POST /_sim/fault {}"
    await wire.send("GET /_sim/stats HTTP/1.1")
    assert (await wire.read()).body == b"GET /_sim/stats "
    assert meddler.seen == []

    await wire.post("/jsonrpc", call())
    method = "session.login_with_password"
    passed = ["request from 127.0.0.1", f"call {method}", f"reply to {method}"]
    assert meddler.seen == passed

    meddler.error = XapiError("HOST_IS_SLAVE", "10.0.0.1")
    reply = json.loads((await wire.post("/jsonrpc", call())).body)
    assert (reply["error"]["message"], reply["error"]["data"]) == ("HOST_IS_SLAVE", ["10.0.0.1"])


async def test_without_control_its_paths_are_not_there(pool: SimulatedPool, wire: Wire):
    server_of(pool).control = None
    await wire.send("GET /_sim/stats HTTP/1.1")

    assert (await wire.read()).status == 404


async def test_aborting_spares_the_control_connection(pool: SimulatedPool, wire: Wire):
    async def control(_method: str, _path: str, _body: bytes) -> tuple[int, bytes]:
        server_of(pool).abort_connections()
        return 200, b"done"

    server_of(pool).control = control
    async with connect(pool) as other:
        await other.post("/jsonrpc", call())
        assert (await wire.post("/_sim/fault", b"")).body == b"done"
        assert await other.is_closed()


async def test_records_that_are_no_tls_end_their_connection_only():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def spoil(port: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            os.write(wrapped.fileno(), b"nonsense beneath TLS" * 10)
            with contextlib.suppress(OSError):
                return wrapped.recv(1)
        return b""

    async with SimulatedPool(ESTATE, tls=True) as pool, aiohttp.ClientSession() as http:
        port = URL(pool.url).port
        assert port is not None
        assert await asyncio.to_thread(spoil, port) == b""
        async with http.post(f"{pool.url}/jsonrpc", json={**LOGIN, "id": 1}, ssl=False) as reply:
            assert reply.status == 200

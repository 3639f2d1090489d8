"""`xoproxy simulate` as a process: what it prints, serves, and how it ends."""

import asyncio
import hashlib
import json
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.shared import shared_path

TIMEOUT_S = 20


@asynccontextmanager
async def simulate(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", "simulate", *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        line = await process.stdout.readline()
    answer = json.loads(line)
    assert isinstance(answer, dict)
    return answer


async def ended(*options: str) -> tuple[int | None, str, str]:
    async with simulate(*options) as process, asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def call(http: aiohttp.ClientSession, url: str, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    async with http.post(f"{url}/jsonrpc", json=body) as reply:
        return json.loads(await reply.read())["result"]


async def login(http: aiohttp.ClientSession, said: dict[str, Any]) -> str:
    return str(
        await call(http, said["url"], "session.login_with_password", said["user"], said["password"])
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_what_it_says_and_ends_cleanly(number: signal.Signals) -> None:
    options = ("--listen", "127.0.0.1:0", "--plain-http", "--json", "--hosts", "2", "--vms", "5")
    async with simulate(*options, "--user", "me", "--password", "pw") as process:
        said = await ready(process)
        assert set(said) == {"url", "user", "password", "hosts"}
        assert (said["user"], said["password"]) == ("me", "pw")
        assert said["url"].startswith("http://127.0.0.1:")
        port = said["url"].rpartition(":")[2]
        told = [(host["address"], host["url"]) for host in said["hosts"]]
        assert told == [
            ("127.0.0.1", f"http://127.0.0.1:{port}"),
            ("127.0.0.2", f"http://127.0.0.2:{port}"),
        ]
        async with aiohttp.ClientSession() as http:
            session = await login(http, said)
            hosts = await call(http, said["url"], "host.get_all", session)
            assert len(hosts) == 2
            async with http.get(f"{said['url']}/_sim/stats") as reply:
                before = (await reply.json())["generation"]
            await asyncio.sleep(0.3)
            async with http.get(f"{said['url']}/_sim/stats") as reply:
                assert (await reply.json())["generation"] == before  # without --rate: quiet
            process.send_signal(number)
            async with asyncio.timeout(5):
                out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_by_default_it_speaks_tls_with_a_certificate_of_its_own() -> None:
    async with simulate("--listen", "127.0.0.1:0", "--json", "--vms", "1") as process:
        said = await ready(process)
        host, port = said["url"].removeprefix("https://").split(":")
        pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
        der = ssl.PEM_cert_to_DER_cert(pem)
        assert hashlib.sha256(der).hexdigest() == said["fingerprint"]
        assert said["hosts"][0]["fingerprint"] == said["fingerprint"]
        trusting = ssl.create_default_context(cadata=pem)  # checks the address too
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
            assert await login(http, said)


async def test_a_member_speaks_tls_too() -> None:
    async with simulate("--listen", "127.0.0.1:0", "--json", "--vms", "1") as process:
        said = await ready(process)
        member = said["hosts"][1]
        port = int(member["url"].rpartition(":")[2])
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.2", port))
        der = ssl.PEM_cert_to_DER_cert(pem)
        assert hashlib.sha256(der).hexdigest() == member["fingerprint"] != said["fingerprint"]
        trusting = ssl.create_default_context(cadata=pem)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
            async with http.post(f"{member['url']}/_sim/fault", json={"kind": "member"}) as reply:
                assert reply.status == 200
            assert await login(http, {**said, "url": member["url"]})


async def test_changes_happen_at_the_rate_asked_for() -> None:
    options = ("--listen", "127.0.0.1:0", "--plain-http", "--json", "--rate", "100", "--lifecycle")
    async with simulate(*options) as process:
        said = await ready(process)
        async with aiohttp.ClientSession() as http:
            generations = []
            for _ in range(2):
                async with http.get(f"{said['url']}/_sim/stats") as reply:
                    generations.append((await reply.json())["generation"])
                await asyncio.sleep(1)
        assert 80 <= generations[1] - generations[0] <= 125


async def test_a_dump_is_loaded_with_its_warnings() -> None:
    path = shared_path("recorded/xenadmin/state5.xml")
    options = ("--listen", "127.0.0.1:0", "--plain-http", "--json", "--load", str(path))
    async with simulate(*options) as process:
        said = await ready(process)
        assert [host["address"] for host in said["hosts"]] == ["127.0.0.1"]  # not 10.80.226.1
        async with aiohttp.ClientSession() as http:
            session = await login(http, said)
            vms = await call(http, said["url"], "VM.get_all", session)
        assert len(vms) > 10
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
        assert err.startswith(b"xoproxy: warning: table host, row OpaqueRef:6e16d828")
        assert err.count(b"\n") == 1


async def test_it_ends_with_whoever_started_it() -> None:
    async with simulate("--listen", "127.0.0.1:0", "--json", "--until-stdin-closes") as process:
        await ready(process)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_people_are_told_how_to_go_on() -> None:
    async with simulate("--listen", "127.0.0.1:0", "--name", "Mein Pool") as process:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            lines = [(await process.stdout.readline()).decode() for _ in range(14)]
    text = "".join(lines)
    assert "Simulated pool 'Mein Pool' at https://127.0.0.1:" in lines[0]
    assert "user root, password simulated" in text
    assert "/_sim/fault" in text
    assert text.count("certified by itself") == 4
    assert "  member      https://127.0.0.4:" in text


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--listen", "somewhere"), 2, "--listen takes ADDRESS:PORT, like 127.0.0.1:8443"),
        (("--listen", "127.0.0.1:99999"), 2, "--listen takes ADDRESS:PORT"),
        (("--listen", ":80"), 2, "--listen needs an address before the port"),
        (("--hosts", "0"), 2, "Invalid value for '--hosts'"),
        (("--rate", "-1"), 2, "Invalid value for '--rate'"),
        (("--load", "/nowhere"), 2, "Invalid value for '--load'"),
        (("--listen", "192.0.2.1:0"), 1, "cannot listen on 192.0.2.1:0"),
    ],
)
async def test_mistakes_are_said_in_one_line(
    options: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = await ended(*options)
    assert (got, out) == (code, "")
    assert err.startswith(f"xoproxy: {message}")
    assert err.count("\n") == 1


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        got, _, err = await ended("--listen", f"127.0.0.1:{port}", "--plain-http")
    assert got == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert err.count("\n") == 1


async def test_the_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.3", 0)) as taken:
        port = taken.getsockname()[1]
        got, _, err = await ended("--listen", f"127.0.0.1:{port}", "--plain-http")
    assert got == 1
    assert err == f"xoproxy: cannot listen on 127.0.0.3:{port}: Address already in use\n"


async def test_a_file_that_is_no_estate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "estate.txt"
    path.write_text("hello", "utf-8")
    got, _, err = await ended("--load", str(path))
    assert got == 1
    assert err == (
        f"xoproxy: {path} is neither a XAPI database dump (XML) nor an estate file (JSON)\n"
    )

"""What somebody tries who means harm, against a whole proxy: one attack, one test."""

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, encode_basic_auth

from tests.integration.logs import logged
from tests.integration.support import JSON, MSGPACK, PASSWORD, connected, fast_settings
from xoproxy import app
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

ADMIN = {"Authorization": encode_basic_auth("admin", PASSWORD)}
COOKIE = "xoproxy_session"


class Target:
    """A running proxy, and where it keeps what it knows."""

    def __init__(self, url: str, directory: Path, http: ClientSession) -> None:
        self.url = url
        self.directory = directory
        self.http = http

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}/api/v1/{path}", **options) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text else None

    async def still_works(self) -> None:
        status, me = await self.ask("GET", "me")
        assert (status, me["name"]) == (200, "admin")

    async def raw(self, head: str, body: bytes = b"") -> bytes:
        """Send a request as it is written here: no client's library mends it."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = f"{head}\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        lines += f"Content-Length: {len(body)}\r\n\r\n"
        writer.write(lines.encode("latin-1") + body)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def target(directory: Path) -> AsyncIterator[Target]:
    settings = fast_settings(directory)
    async with app.running(settings) as proxy, ClientSession(headers=ADMIN) as http:
        yield Target(proxy.url, directory, http)


async def test_guessing_passwords_is_slowed_down_by_every_door(tmp_path):
    """Who guesses by HTTP has no more guesses by WebSocket."""
    async with target(tmp_path) as t, ClientSession() as stranger:
        statuses, wait = [], None
        for number in range(7):
            guess = {"Authorization": encode_basic_auth("admin", f"guess {number}")}
            async with stranger.get(f"{t.url}/api/v1/me", headers=guess) as reply:
                statuses.append(reply.status)
                wait = reply.headers.get("Retry-After")
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert wait is not None
        assert int(wait) > 0
        async with connected(t.url, auth=None) as client:
            await client.send({"type": "auth", "username": "admin", "password": PASSWORD})
            await client.until(lambda: client.close_code)
            assert client.close_code == 4501, "not even the right one, for a while"


async def test_no_credential_is_found_in_logs_database_or_urls(tmp_path, monkeypatch):
    secrets = ["the user's very own", "another good password"]
    with logged(monkeypatch) as log:
        async with target(tmp_path) as t, SimulatedPool(generate(1, 2, 1)) as pool:
            pool.sessions.change_password("x", "pool-pass-phrase")
            secrets.append("pool-pass-phrase")
            user = {"name": "ann", "password": secrets[0], "role": "viewer"}
            status, ann = await t.ask("POST", "users", json=user)
            assert status == 201, ann
            status, token = await t.ask("POST", "tokens", json={"name": "theirs"})
            secrets.append(token["token"].rpartition("_")[2])
            new = {"name": "lab", "url": pool.url, "username": "root"}
            status, added = await t.ask("POST", "pools", json={**new, "password": secrets[2]})
            assert status == 201, added
            async with connected(t.url, auth=None) as client:
                await client.send({"type": "auth", "token": token["token"]})
                await client.until(lambda: client.welcome)
                await client.subscribe()
            body = {"username": "ann", "password": secrets[0]}
            async with (
                ClientSession() as browser,
                browser.post(f"{t.url}/api/v1/session", json=body) as reply,
            ):
                assert reply.status == 200, await reply.text()
                secrets.append(reply.cookies[COOKIE].value.rpartition("_")[2])
            await t.ask("PATCH", f"users/{ann['id']}", json={"password": secrets[1]})
            await t.ask("GET", f"me?token={token['token']}")
            for wrong in ("tokens", "users", "session"):
                await t.ask("POST", wrong, json={"password": secrets[0], "token": secrets[3]})
        lines = log.getvalue()
    assert "session opened" in lines
    assert len(secrets) == 5
    stored = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"lab" in stored, "this is the database"
    for secret in secrets:
        assert secret not in lines
        assert secret.encode() not in stored


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_foreign_page_can_neither_change_anything_nor_listen(tmp_path, origin):
    """CSRF, and WebSockets across origins; with a cookie or Basic that the browser attaches."""
    async with target(tmp_path) as t, ClientSession() as browser:
        body = {"username": "admin", "password": PASSWORD}
        async with browser.post(f"{t.url}/api/v1/session", json=body) as reply:
            assert reply.status == 200
            cookie = {"Cookie": f"{COOKIE}={reply.cookies[COOKIE].value}"}
        for credential in (cookie, ADMIN):
            headers = {**credential, "Origin": origin}
            form = {"Content-Type": "text/plain"}
            for method, path, more in (
                ("POST", "tokens", {}),
                ("POST", "tokens", form),
                ("GET", "me", {}),
                ("DELETE", "session", {}),
            ):
                url = f"{t.url}/api/v1/{path}"
                sent: dict[str, Any] = {"data": b'{"name": "x"}', "headers": {**headers, **more}}
                async with (
                    ClientSession() as page,
                    page.request(method, url, **sent) as reply,
                ):
                    assert reply.status == 403
                    assert "Access-Control-Allow-Origin" not in reply.headers
            async with ClientSession() as page:
                with pytest.raises(WSServerHandshakeError) as refused:
                    await page.ws_connect(f"{t.url}/ws", protocols=[JSON], headers=headers)
                assert refused.value.status == 403
        assert (await t.ask("GET", "tokens"))[1] == []


async def test_a_session_that_was_planted_is_never_taken_over(tmp_path):
    async with target(tmp_path) as t, ClientSession() as browser:
        planted = {"Cookie": f"{COOKIE}=xos_{'a' * 10}_{'b' * 52}"}
        body = {"username": "admin", "password": PASSWORD}
        async with browser.post(f"{t.url}/api/v1/session", json=body, headers=planted) as reply:
            assert reply.status == 200
            made = f"{COOKIE}={reply.cookies[COOKIE].value}"
        assert made != planted["Cookie"]
        async with ClientSession() as thief:
            async with thief.get(f"{t.url}/api/v1/me", headers=planted) as reply:
                assert reply.status == 401
            with_made = {"Cookie": made}
            async with thief.get(f"{t.url}/api/v1/me", headers=with_made) as reply:
                assert reply.status == 200
            out = {**with_made, "X-Requested-With": "x"}
            async with thief.delete(f"{t.url}/api/v1/session", headers=out) as reply:
                assert reply.status == 204
            async with thief.get(f"{t.url}/api/v1/me", headers=with_made) as reply:
                assert reply.status == 401, "who signed out is out, whoever kept a copy"


TRICKS = [
    "/api/v1/../../etc/passwd",
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/api/v1/%2e%2e/%2e%2e/metrics",
    "//etc/passwd",
    "/api/v1//users",
    "/api//v1/users",
    "/api/v1/users/",
    "/api/v1/users%2f..%2ftokens",
    "/api/v1/openapi.json/../users",
    "/api/v1/openapi.json%2f..%2fusers",
    "/api/v1/openapi.json;/../users",
    "/api/v1/users%00.json",
    "/%00",
    "/index.html%00.png",
    "/static/../xoproxy.db",
    "/API/V1/USERS",
    "\\..\\..\\etc\\passwd",
    "/%c0%ae%c0%ae/etc/passwd",
    "/api/v1/pools/..%2fusers",
    "http://127.0.0.1/api/v1/users",
    "/ws/../api/v1/users",
]


@pytest.mark.parametrize("path", TRICKS)
async def test_no_path_leads_past_the_sign_in_or_out_of_what_is_served(tmp_path, path):
    async with target(tmp_path) as t:
        for method in ("GET", "POST", "DELETE"):
            answer = await t.raw(f"{method} {path} HTTP/1.1")
            status = int(answer.split(b" ", 2)[1])
            assert status in {308, 301, 400, 401, 404, 405, 415}, answer
            assert b"root:" not in answer
            assert b"xoproxy_" not in answer
            assert b"password_hash" not in answer
        await t.still_works()


async def test_members_that_nobody_asked_for_are_refused_not_taken(tmp_path):
    """Mass assignment: neither another's role nor an id, a hash or an owner comes by a body."""
    async with target(tmp_path) as t:
        user = {"name": "ann", "password": "a good long one"}
        for extra in (
            {"id": "0000000000000000"},
            {"password_hash": "$argon2id$x"},
            {"generation": 7},
            {"created_at": "2000-01-01T00:00:00Z"},
            {"enabled": True},
            {"__class__": "Account"},
        ):
            status, said = await t.ask("POST", "users", json={**user, **extra})
            assert (status, said["error"]["code"]) == (400, "BAD_MESSAGE")
            assert next(iter(extra)) in said["error"]["message"]
        status, ann = await t.ask("POST", "users", json=user)
        assert (status, ann["role"]) == (201, "none")
        for extra in ({"account_id": "x"}, {"owner": "x"}, {"id": "x"}, {"secret_digest": "x"}):
            status, _ = await t.ask("POST", "tokens", json={"name": "n", **extra})
            assert status == 400
        auth = {"Authorization": encode_basic_auth("ann", user["password"])}
        async with ClientSession(headers=auth) as http:
            mine = {"old": user["password"], "new": "another good one", "role": "administrator"}
            async with http.put(f"{t.url}/api/v1/me/password", json=mine) as reply:
                assert reply.status == 400
            for method, path, body in (
                ("PATCH", f"users/{ann['id']}", {"role": "administrator"}),
                ("POST", "grants", {"user": "ann", "role": "administrator"}),
                ("PUT", "roles/root", {"permissions": ["*"]}),
                ("POST", "users", {**user, "name": "eve", "role": "administrator"}),
            ):
                url = f"{t.url}/api/v1/{path}"
                async with http.request(method, url, json=body) as reply:
                    assert reply.status == 403
        status, ann = await t.ask("GET", f"users/{ann['id']}")
        assert ann["role"] == "none"


INJECTIONS = [
    "'; DROP TABLE accounts; --",
    "' OR '1'='1",
    '" OR ""="',
    "admin'--",
    "x' UNION SELECT password_hash FROM accounts --",
    "%' OR name LIKE '%",
    "\\'; DELETE FROM grants; --",
    "1; SELECT pg_sleep(10)",
    "$$;DROP TABLE tokens;$$",
]


async def test_sql_in_names_filters_and_paths_is_text(tmp_path):
    async with target(tmp_path) as t:
        for number, text in enumerate(INJECTIONS):
            path = text.replace("%", "%25").replace("/", "%2f").replace(";", "%3B")
            for kind in ("users", "groups", "tokens", "pools", "grants", "roles"):
                for method in ("GET", "DELETE"):
                    status, _ = await t.ask(method, f"{kind}/{path}")
                    assert status in {400, 404, 405}, (kind, text)
            status, made = await t.ask("POST", "groups", json={"name": text})
            assert (status, made["name"]) == (201, text)
            body = {"name": text, "password": f"a good long one {number}"}
            status, made = await t.ask("POST", "users", json=body)
            assert (status, made["name"], made["role"]) == (201, text, "none")
            scope = {"kind": "tag", "value": text}
            grant = {"user": made["id"], "role": "viewer", "scope": scope}
            assert (await t.ask("POST", "grants", json=grant))[0] == 201
            sign_in = {"Authorization": encode_basic_auth(text, "' OR '1'='1")}
            async with (
                ClientSession(headers=sign_in) as http,
                http.get(f"{t.url}/api/v1/me") as reply,
            ):
                assert reply.status in {401, 429}
        async with connected(t.url) as client:
            for number, text in enumerate(INJECTIONS):
                query = {"classes": ["VM"], "filter": text, "pools": [text]}
                await client.send({"type": "subscribe", "id": number + 1, "query": query})
                answer = await client.answer(number + 1)
                assert answer["code"] in {"BAD_QUERY", "NOT_FOUND"}
        status, users = await t.ask("GET", "users")
        assert {user["name"] for user in users} == {"admin", *INJECTIONS}
        await t.still_works()


def _deep(depth: int) -> dict[str, bytes]:
    return {
        "list": b"[" * depth + b"]" * depth,
        "map": b'{"a":' * depth + b"1" + b"}" * depth,
        "open": b"[" * depth,
    }


async def test_bodies_that_are_too_large_or_too_deep_are_refused(tmp_path):
    async with target(tmp_path) as t:
        headers = {"Content-Type": "application/json"}
        for body in (*_deep(30_000).values(), *_deep(500).values()):
            status, said = await t.ask("POST", "users", data=body[:65_000], headers=headers)
            assert (status, said["error"]["code"]) == (400, "BAD_MESSAGE")
        wide = b'{"name": "' + b"x" * 200_000 + b'"}'
        status, said = await t.ask("POST", "users", data=wide, headers=headers)
        assert (status, said["error"]["code"]) == (413, "TOO_LARGE")
        many = json.dumps({"name": "g", "members": ["x"] * 10_000}).encode()
        status, _ = await t.ask("POST", "groups", data=many, headers=headers)
        assert status in {400, 404, 413}
        long = await t.raw(f"GET /api/v1/me HTTP/1.1\r\nX: {'x' * 100_000}")
        assert int(long.split(b" ", 2)[1]) in {400, 431}
        await t.still_works()


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_messages_that_are_too_large_or_too_deep_end_nobody_else(tmp_path, protocol):
    attacks: list[bytes] = []
    if protocol == JSON:
        attacks += [*_deep(100_000).values()]
        attacks += [b'{"type": "subscribe", "id": 1, "query": ' + _deep(50_000)["map"] + b"}"]
        attacks += [b'{"type": "ping", "id": ' + b"9" * 100_000 + b"}"]
        filters = ["(" * 4_000, "!" * 4_000, "a:b " * 1_000, "x" * 100_000]
        attacks += [
            json.dumps(
                {"type": "subscribe", "id": 1, "query": {"classes": ["VM"], "filter": text}}
            ).encode()
            for text in filters
        ]
    else:
        attacks += [b"\x91" * 100_000 + b"\xc0", b"\x81\xa1a" * 50_000 + b"\xc0"]
        attacks += [b"\xdd" + struct.pack(">I", 2**32 - 1), b"\xdf" + struct.pack(">I", 2**32 - 1)]
        attacks += [b"\xc6" + struct.pack(">I", 2**32 - 1), b"\xc9" + struct.pack(">Ib", 2**31, 1)]
        attacks += [msgpack.packb({"type": "ping", "id": {"a": [os.urandom(8)] * 1_000}})]
    attacks.append(b"x" * 3_000_000)
    async with target(tmp_path) as t, connected(t.url, protocol) as bystander:
        for attack in attacks:
            async with (
                ClientSession() as http,
                http.ws_connect(f"{t.url}/ws", protocols=[protocol], max_msg_size=0) as ws,
            ):
                sign_in = {"type": "auth", "username": "admin", "password": PASSWORD}
                if protocol == JSON:
                    await ws.send_str(json.dumps(sign_in))
                else:
                    await ws.send_bytes(msgpack.packb(sign_in))
                await ws.receive(10)
                try:
                    if protocol == JSON:
                        await ws.send_str(attack.decode())
                    else:
                        await ws.send_bytes(attack)
                    answer = await ws.receive(10)
                except ConnectionError:
                    continue  # it did not even wait for all of it
                if answer.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    said = (
                        json.loads(answer.data)
                        if protocol == JSON
                        else msgpack.unpackb(answer.data)
                    )
                    assert said["type"] == "error", said
                    assert said["code"] in {"BAD_MESSAGE", "BAD_QUERY", "TOO_LARGE"}
                else:
                    assert answer.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED}
                    assert ws.close_code in {4502, 1009, 1006, None} or answer.data in {4502, 1009}
        await bystander.send({"type": "ping", "id": 77})
        assert (await bystander.answer(77))["type"] == "pong"
        await t.still_works()

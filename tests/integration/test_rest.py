"""The HTTP API over loopback: pools, tokens, sign-in, foreign pages, bad requests, health."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from tests.integration.administration import PASSWORD, administration
from xoproxy.auth import Account

POOL = {
    "name": "Paris",
    "url": "https://xcp1.example",
    "username": "root",
    "password": "hunter2-hunter2",
}
BASIC = {"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}


@pytest.fixture
async def server(tmp_path):
    async with administration(tmp_path) as served:
        yield served


@pytest.fixture
async def http(server):
    async with aiohttp.ClientSession(server.url, headers=BASIC) as session:
        yield session


@pytest.fixture
async def stranger(server):
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def added(http, **changes):
    async with http.post("/api/v1/pools", json=POOL | changes) as response:
        assert response.status == 201, await response.text()
        return await response.json()


async def token(http, **body):
    async with http.post("/api/v1/tokens", json={"name": "cli"} | body) as response:
        assert response.status == 201, await response.text()
        return await response.json()


async def problem(request, status):
    """Return code and message of an error; check its form and that it holds no secret."""
    async with request as response:
        text = await response.text()
        assert response.status == status, text
        assert response.content_type == "application/json"
        assert "hunter2" not in text
        error = json.loads(text)["error"]
        assert set(error) == {"code", "message"}
        assert "\n" not in error["message"]
        return error["code"], error["message"]


# Pools


async def test_a_pool_is_added_shown_changed_and_removed(http):
    async with http.post("/api/v1/pools", json=POOL) as response:
        pool = await response.json()
        assert response.headers["Location"] == f"/api/v1/pools/{pool['id']}"
        assert response.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"[a-z2-9]{8}", pool["id"])
    assert pool | {"name": "Paris", "enabled": True, "state": "live", "error": None} == pool
    assert datetime.fromisoformat(pool["created_at"]).tzinfo is not None
    path = f"/api/v1/pools/{pool['id']}"
    async with http.get("/api/v1/pools") as response:
        assert await response.json() == [pool]
    async with http.get(path) as response:
        assert await response.json() == pool
    async with http.patch(path, json={"name": "Lyon", "enabled": False}) as response:
        changed = await response.json()
        assert changed == pool | {"name": "Lyon", "enabled": False, "state": "disabled"}
    async with http.delete(path) as response:
        assert (response.status, await response.read()) == (204, b"")
    async with http.get("/api/v1/pools") as response:
        assert await response.json() == []


async def test_credentials_of_a_pool_never_come_back(http):
    pool = await added(http)
    path = f"/api/v1/pools/{pool['id']}"
    for method, target in (("GET", "/api/v1/pools"), ("GET", path), ("DELETE", path)):
        async with http.request(method, target) as response:
            assert "hunter2" not in await response.text()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://XCP1.example/", "https://xcp1.example"),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("https://[2001:DB8::1]:4443", "https://[2001:db8::1]:4443"),
        ("https://xcp_1", "https://xcp_1"),
    ],
)
async def test_addresses_are_kept_in_one_form(http, written, kept):
    assert (await added(http, url=written))["url"] == kept


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("xcp1.example", "must look like https://"),
        ("ftp://xcp1", "must look like https://"),
        ("https://", "must look like https://"),
        ("https://a b", "must look like https://"),
        ("https://xcp1:port", "must look like https://"),
        ("https://xcp1:99999", "must look like https://"),
        ("https://xcp1:0", "must not name port 0"),
        ("https://[::1", "must look like https://"),
        ("https://[fe80::zz]", "must look like https://"),
        ("https://-x", "must look like https://"),
        ("https://root:hunter2@xcp1", "must not hold credentials"),
        ("https://xcp1/jsonrpc", "must not hold a path"),
        ("https://xcp1/?a", "must not hold a path"),
        ("https://xcp1#a", "must not hold a path"),
        ("https://xcp1\nHost: x", "must look like https://"),
    ],
)
async def test_addresses_that_are_none_are_refused(http, url, message):
    code, text = await problem(http.post("/api/v1/pools", json=POOL | {"url": url}), 400)
    assert code == "BAD_MESSAGE"
    assert text.startswith(f"url: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: "),
        ({"name": "   "}, "name: "),
        ({"name": "x" * 101}, "name: "),
        ({"name": "a\nb"}, "name: must not hold control characters"),
        ({"name": 7}, "name: "),
        ({"password": ""}, "password: "),
        ({"password": ["hunter2"]}, "password: "),
        ({"username": None}, "username: "),
        ({"username": "a\0b"}, "username: must not hold the character NUL"),
        ({"enabled": True}, "enabled: there is no such member"),
        ({"id": "mine"}, "id: there is no such member"),
    ],
)
async def test_bad_members_are_named(http, change, message):
    code, text = await problem(http.post("/api/v1/pools", json=POOL | change), 400)
    assert code == "BAD_MESSAGE"
    assert text.startswith(message)


async def test_names_are_unique(http):
    await added(http)
    other = await added(http, name="Lyon")
    path = f"/api/v1/pools/{other['id']}"
    expected = ("CONFLICT", "there is already a pool named 'Paris'")
    assert expected == await problem(http.post("/api/v1/pools", json=POOL), 409)
    change = {"name": "Paris", "enabled": False}
    assert expected == await problem(http.patch(path, json=change), 409)
    async with http.get(path) as response:
        assert await response.json() == other  # a refused change changes nothing


async def test_unknown_pools_are_not_found(http):
    for method, body in (("GET", None), ("PATCH", {"enabled": True}), ("DELETE", None)):
        request = http.request(method, "/api/v1/pools/nowhere", json=body)
        assert await problem(request, 404) == ("NOT_FOUND", "there is no pool 'nowhere'")


async def test_a_change_of_nothing_is_refused(http):
    pool = await added(http)
    request = http.patch(f"/api/v1/pools/{pool['id']}", json={})
    text = "give at least one of name, url, username, password, enabled"
    assert await problem(request, 400) == ("BAD_MESSAGE", text)


async def test_address_and_credentials_can_be_changed_and_the_password_stays_secret(http, server):
    pool = await added(http)
    change = {"url": "https://XCP2.example/", "username": "other", "password": "hunter2-new"}
    async with http.patch(f"/api/v1/pools/{pool['id']}", json=change) as response:
        changed = await response.json()
    assert (changed["url"], changed["username"]) == ("https://xcp2.example", "other")
    assert "hunter2" not in json.dumps(changed)
    (stored,) = await server.storage.pools.list()
    assert (stored.password, stored.name) == ("hunter2-new", "Paris")


async def test_pools_are_checked_told_to_reconnect_and_their_certificates_listed(http):
    look = {name: POOL[name] for name in ("url", "username", "password")}
    async with http.post("/api/v1/pools/check", json=look) as response:
        report = await response.json()
    assert (report["good"], report["steps"][0]["outcome"]) == (False, "failed")

    pool = await added(http)
    path = f"/api/v1/pools/{pool['id']}"
    async with http.post(f"{path}/check") as response:
        assert (await response.json())["good"]
    async with http.post(f"{path}/reconnect") as response:
        assert await response.json() == pool
    async with http.get(f"{path}/certificates") as response:
        assert await response.json() == [{"host": "Paris", "accepted": None, "shown": None}]
    for method, target in (("POST", "check"), ("POST", "reconnect"), ("GET", "certificates")):
        await problem(http.request(method, f"/api/v1/pools/nowhere/{target}"), 404)


async def test_a_certificate_is_accepted_by_its_fingerprint_only(http, server):
    pool = await added(http)
    path = f"/api/v1/pools/{pool['id']}/accept"
    for wrong in ("", "12:34", "x" * 64, "A" * 63, 7):
        code, text = await problem(http.post(path, json={"fingerprint": wrong}), 400)
        assert (code, text.partition(":")[0]) == ("BAD_MESSAGE", "fingerprint")
    fingerprint = ":".join(["AB"] * 32)
    async with http.post(path, json={"fingerprint": fingerprint}) as response:
        assert response.status == 200
    (stored,) = await server.storage.pools.list()
    assert stored.pins == {"host": "ab" * 32}


# Tokens


async def test_a_token_signs_in_until_it_is_revoked(http, stranger, server):
    made = await token(http)
    assert made["user"] == "admin"
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with stranger.get("/api/v1/tokens", headers=headers) as response:
        assert response.status == 200
        (listed,) = await response.json()
    secret = made.pop("token")
    assert listed == made | {"last_used_at": listed["last_used_at"]}
    assert secret not in json.dumps(listed)
    async with stranger.delete(f"/api/v1/tokens/{made['id']}", headers=headers) as response:
        assert response.status == 204
    assert server.revoked == [f"token:{made['id']}"]
    code, text = await problem(stranger.get("/api/v1/tokens", headers=headers), 401)
    assert (code, text) == ("UNAUTHORISED", "the API token was revoked; create another one")
    await problem(http.delete(f"/api/v1/tokens/{made['id']}"), 404)
    assert len(server.revoked) == 1


async def test_a_token_can_expire(http):
    made = await token(http, expires_in_s=3600)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    for wrong in (0, -1, 59, "3600", 3600.5, 10**12, True):
        body = {"name": "x", "expires_in_s": wrong}
        code, text = await problem(http.post("/api/v1/tokens", json=body), 400)
        assert (code, text.partition(":")[0]) == ("BAD_MESSAGE", "expires_in_s")


# Who asks


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer xop_aaaaaaaaaa_" + "a" * 52,
        "Basic",
        "Basic !!!",
        "Basic /////w==",
        "Basic YWRtaW46d3Jvbmc=",
        "Basic YWRtaW4=",
        "Digest username=admin",
    ],
)
async def test_strangers_are_refused_with_a_challenge(stranger, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", "/pools"), ("POST", "/pools"), ("DELETE", "/tokens/x")):
        request = stranger.request(method, f"/api/v1{path}", headers=headers)
        assert (await problem(request, 401))[0] == "UNAUTHORISED"
    async with stranger.get("/api/v1/pools", headers=headers) as response:
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="xoproxy", Basic')


async def test_browsers_are_not_asked_to_prompt(stranger):
    async with stranger.get("/api/v1/pools", headers={"Sec-Fetch-Mode": "cors"}) as response:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="xoproxy"'


async def test_guessing_is_slowed_down(stranger, server):
    wrong = {"Authorization": aiohttp.encode_basic_auth("admin", "guess")}
    for _ in range(5):
        await problem(stranger.get("/api/v1/pools", headers=wrong), 401)
    async with stranger.get("/api/v1/pools", headers=BASIC) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"
    async with stranger.get("/metrics") as response:
        text = await response.text()
        assert 'xoproxy_logins_total{outcome="refused",way="password"} 5.0' in text
    assert server.accounts.logins["password", "throttled"] == 1


async def test_other_roles_may_do_nothing_here(server, stranger):
    account = Account(
        id="v",
        name="viewer",
        role="viewer",
        password_hash="-",
        enabled=True,
        created_at=datetime.now(UTC),
    )
    await server.storage.directory.put_account(account)
    server.directory.put_account(account)
    _, text = await server.tokens.issue("v", "t")
    headers = {"Authorization": f"Bearer {text}"}
    for method, path in (
        ("GET", "/pools"),
        ("POST", "/pools"),
        ("PATCH", "/pools/x"),
        ("DELETE", "/pools/x"),
        ("GET", "/users"),
        ("POST", "/users"),
        ("PATCH", "/users/viewer"),
        ("DELETE", "/users/viewer"),
        ("GET", "/groups"),
        ("PUT", "/groups/x/members/viewer"),
        ("GET", "/roles"),
        ("PUT", "/roles/x"),
        ("GET", "/permissions"),
        ("GET", "/grants"),
        ("POST", "/grants"),
        ("DELETE", "/grants/x"),
        ("GET", "/grants/why"),
    ):
        request = stranger.request(method, f"/api/v1{path}", headers=headers, json={})
        assert (await problem(request, 403))[0] == "FORBIDDEN"


# Pages


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_foreign_origins_are_refused_whatever_the_credentials(http, headers):
    for method in ("GET", "POST"):
        request = http.request(method, "/api/v1/pools", json=POOL, headers=headers)
        code, text = await problem(request, 403)
        assert code == "FORBIDDEN"
        assert "server.trusted_origins" in text
    async with http.get("/api/v1/pools") as response:
        assert await response.json() == []


async def test_our_own_and_trusted_pages_may(http, server):
    for origin in (server.url, "https://trusted.example"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        async with http.post(
            "/api/v1/pools", json=POOL | {"name": origin}, headers=headers
        ) as response:
            assert response.status == 201


async def test_nothing_is_allowed_across_origins(stranger):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with stranger.options("/api/v1/pools", headers=headers) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.startswith("Access-Control")]


# Bad requests


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"[" * 5000],
)
async def test_bodies_that_are_no_fitting_json_are_refused(http, body):
    headers = {"Content-Type": "application/json"}
    request = http.post("/api/v1/pools", data=body, headers=headers)
    assert (await problem(request, 400))[0] == "BAD_MESSAGE"


async def test_forms_are_refused(http):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        request = http.post("/api/v1/pools", data=b"{}", headers={"Content-Type": kind})
        expected = ("BAD_MESSAGE", "send the body as application/json")
        assert expected == await problem(request, 400)


async def test_huge_bodies_are_refused_with_and_without_a_length(http):
    headers = {"Content-Type": "application/json"}

    async def endless():
        for _ in range(100):
            yield b" " * 65536

    for data in (b" " * 65537, endless()):
        request = http.post("/api/v1/pools", data=data, headers=headers)
        assert (await problem(request, 413))[0] == "TOO_LARGE"


async def test_unknown_paths_and_methods_answer_in_the_same_form(http):
    assert (await problem(http.get("/api/v1/nothing"), 404))[0] == "NOT_FOUND"
    assert (await problem(http.get("/api/v1/pools/a/b"), 404))[0] == "NOT_FOUND"
    async with http.put("/api/v1/pools", json={}) as response:
        assert response.status == 405
        assert {"GET", "POST"} <= set(response.headers["Allow"].split(","))


async def test_a_client_that_leaves_inside_its_body_disturbs_nobody(server, http):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST /api/v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(
        f"{head}Authorization: {BASIC['Authorization']}\r\nContent-Length: 500\r\n\r\n{{".encode()
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    assert (await added(http))["name"] == "Paris"


# Documentation


async def test_the_description_is_public_and_complete(stranger):
    async with stranger.get("/api/v1/openapi.json") as response:
        document = await response.json()
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == {
        ("GET", "/pools"),
        ("POST", "/pools"),
        ("GET", "/pools/{id}"),
        ("PATCH", "/pools/{id}"),
        ("DELETE", "/pools/{id}"),
        ("POST", "/pools/check"),
        ("POST", "/pools/{id}/check"),
        ("POST", "/pools/{id}/reconnect"),
        ("GET", "/pools/{id}/certificates"),
        ("POST", "/pools/{id}/accept"),
        ("GET", "/users"),
        ("POST", "/users"),
        ("GET", "/users/{user}"),
        ("PATCH", "/users/{user}"),
        ("DELETE", "/users/{user}"),
        ("POST", "/users/{user}/unlock"),
        ("POST", "/session"),
        ("DELETE", "/session"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions/{id}"),
        ("GET", "/me"),
        ("PUT", "/me/password"),
        ("GET", "/groups"),
        ("POST", "/groups"),
        ("GET", "/groups/{group}"),
        ("PATCH", "/groups/{group}"),
        ("DELETE", "/groups/{group}"),
        ("PUT", "/groups/{group}/members/{user}"),
        ("DELETE", "/groups/{group}/members/{user}"),
        ("PUT", "/groups/{group}/groups/{inner}"),
        ("DELETE", "/groups/{group}/groups/{inner}"),
        ("GET", "/roles"),
        ("GET", "/roles/{role}"),
        ("PUT", "/roles/{role}"),
        ("DELETE", "/roles/{role}"),
        ("GET", "/permissions"),
        ("GET", "/grants"),
        ("POST", "/grants"),
        ("GET", "/grants/why"),
        ("GET", "/grants/{id}"),
        ("DELETE", "/grants/{id}"),
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("DELETE", "/tokens/{id}"),
        ("GET", "/audit"),
        ("GET", "/audit/verify"),
    }
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in schemas
    assert set(schemas["PoolAdd"]["required"]) == {"name", "url", "username", "password"}
    assert "password" not in schemas["PoolInfo"]["properties"]
    assert schemas["PoolInfo"]["properties"]["state"]["enum"] == [
        "connecting",
        "live",
        "stale",
        "disabled",
        "error",
    ]


async def test_answers_have_exactly_the_described_members(http):
    async with http.get("/api/v1/openapi.json") as response:
        schemas = (await response.json())["components"]["schemas"]
    pool, made = await added(http), await token(http)
    assert set(pool) == set(schemas["PoolInfo"]["properties"])
    assert set(made) == set(schemas["NewToken"]["properties"])
    async with http.get("/api/v1/tokens") as response:
        (listed,) = await response.json()
    assert set(listed) == set(schemas["TokenInfo"]["properties"])


# Health


async def test_health_and_readiness_need_no_sign_in(stranger, server):
    async with stranger.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
    async with stranger.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "reasons": []})
    server.reasons.append("pool k3f9 has not been loaded yet")
    async with stranger.get("/readyz") as response:
        assert response.status == 503
        assert (await response.json())["reasons"] == server.reasons


async def test_metrics_are_text_for_prometheus(stranger):
    async with stranger.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "process_resident_memory_bytes" in await response.text()

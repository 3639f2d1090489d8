"""Cookies from signing in to signing out: over real sockets, with a browser's headers."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.integration.logs import logged
from tests.integration.support import JSON, PASSWORD, Client, fast_settings
from xoproxy import app
from xoproxy.settings import AccountsSettings

ADMIN = {"username": "admin", "password": PASSWORD}
PLAIN, PROTECTED = "xoproxy_session", "__Host-xoproxy"
AGENT = "Mozilla/5.0 (X11)\t" + "x" * 300
USER = "correct battery staple"


@pytest.fixture
async def proxy(tmp_path):
    async with running(tmp_path) as url:
        yield url


@asynccontextmanager
async def running(place: Path, **accounts):
    settings = fast_settings(place)
    changed = {
        "server": settings.server.model_copy(update={"trusted_proxies": ("127.0.0.9/32",)}),
        "accounts": AccountsSettings(**accounts),
    }
    async with app.running(settings.model_copy(update=changed)) as proxy:
        yield proxy.url


def browser(url, **headers):
    """Return a browser on our own page: with a cookie jar, and the headers that it adds."""
    own = {"Origin": url, "Sec-Fetch-Site": "same-origin", "User-Agent": AGENT}
    # aiohttp keeps no cookies of addresses otherwise
    jar = aiohttp.CookieJar(unsafe=True)
    return ClientSession(f"{url}/api/v1/", headers=own | headers, cookie_jar=jar)


@asynccontextmanager
async def signed_in(url, **who):
    async with browser(url) as page:
        async with page.post("session", json=who or ADMIN) as response:
            assert response.status == 200, await response.text()
        yield page


async def status(request):
    async with request as response:
        return response.status


async def answer(request):
    async with request as response:
        assert response.status in {200, 201}, await response.text()
        return await response.json()


async def refusal(request):
    async with request as response:
        error = (await response.json())["error"]
        return response.status, error["code"], error["message"]


async def secret_of(page):
    (cookie,) = page.cookie_jar
    return cookie.value


@asynccontextmanager
async def watching(page, url):
    """Open a WebSocket as a page does, and expect to be let in by the cookie."""
    async with (
        page.ws_connect(url.replace("http", "ws") + "/ws", protocols=[JSON]) as ws,
        asyncio.TaskGroup() as group,
    ):
        client = Client(ws, JSON)
        reader = group.create_task(client.read())
        await client.until(lambda: client.welcome or client.answers)
        yield client
        await ws.close()
        reader.cancel()


async def closed(client):
    return await client.until(lambda: client.close_code)


async def add_user(page, name="bob", **more):
    body = {"name": name, "password": USER, "role": "viewer"} | more
    return await answer(page.post("users", json=body))


# Signing in


async def test_a_cookie_is_for_our_own_pages_and_no_script(proxy):
    async with browser(proxy) as page:
        async with page.post("session", json=ADMIN) as response:
            header = response.headers["Set-Cookie"]
            made = await response.json()
        attributes = {part.strip() for part in header.split(";")[1:]}
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= attributes
        assert "Secure" not in attributes
        assert header.startswith(f"{PLAIN}=xos_")
        assert await secret_of(page) not in json.dumps(made)
        assert made["must_change"] is False
        assert (made["user"], made["address"], made["current"]) == ("admin", "127.0.0.1", True)
        assert made["user_agent"] == (AGENT.replace("\t", "?"))[:200]
        assert (await answer(page.get("me")))["name"] == "admin"


async def test_over_tls_the_cookie_is_protected_and_an_unprotected_one_is_nothing(proxy):
    def connector():
        return aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))

    tls = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7, 198.51.100.4"}
    async with ClientSession(f"{proxy}/api/v1/", headers=tls, connector=connector()) as front:
        async with front.post("session", json=ADMIN) as response:
            header = response.headers["Set-Cookie"]
            made = await response.json()
        assert header.startswith(f"{PROTECTED}=xos_")
        assert "Secure" in {part.strip() for part in header.split(";")}
        assert made["address"] == "198.51.100.4"  # what the first proxy was told is not believed
        secret = header.partition("=")[2].partition(";")[0]
        assert await status(front.get("me", headers={"Cookie": f"{PROTECTED}={secret}"})) == 200
        assert await status(front.get("me", headers={"Cookie": f"{PLAIN}={secret}"})) == 401


async def test_nobody_but_a_trusted_proxy_says_where_one_is(proxy):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    async with browser(proxy, **headers) as page, page.post("session", json=ADMIN) as response:
        assert response.headers["Set-Cookie"].startswith(PLAIN)
        assert (await response.json())["address"] == "127.0.0.1"


async def test_each_sign_in_makes_another_session(proxy):
    """No fixation: what a browser brings along is never taken over."""
    planted = "xos_" + "a" * 10 + "_" + "b" * 52
    async with browser(proxy) as page:
        page.cookie_jar.update_cookies({PLAIN: planted}, response_url=URL(proxy))
        await answer(page.post("session", json=ADMIN))
        first = await secret_of(page)
        await answer(page.post("session", json=ADMIN))
        second = await secret_of(page)
        assert len({planted, first, second}) == 3
        page.cookie_jar.clear()
        assert await status(page.get("me", headers={"Cookie": f"{PLAIN}={planted}"})) == 401


async def test_a_cookie_opens_no_other_session_and_wrong_bodies_are_told(proxy):
    async with signed_in(proxy) as page:
        assert await refusal(page.post("session", json={})) == (
            400,
            "BAD_MESSAGE",
            "give username and password, or send an Authorization header",
        )
        wrong = {"username": "admin", "password": "wrong"}
        assert (await refusal(page.post("session", json=wrong)))[:2] == (401, "UNAUTHORISED")
        assert (await refusal(page.post("session", data=ADMIN)))[:2] == (400, "BAD_MESSAGE")


async def test_a_session_by_token_has_the_rights_of_the_token_and_ends_with_it(proxy):
    async with signed_in(proxy) as admin, browser(proxy) as page:
        body = {"name": "kiosk", "role": "viewer"}
        token = await answer(admin.post("tokens", json=body))
        bearer = {"Authorization": f"Bearer {token['token']}"}
        made = await answer(page.post("session", json={}, headers=bearer))
        assert made["token"] == token["id"]
        assert (await answer(page.get("me")))["administers"] is False
        assert (await refusal(page.get("pools")))[:2] == (403, "FORBIDDEN")
        assert [one["id"] for one in await answer(page.get("sessions"))] == [made["id"]]
        async with watching(page, proxy) as client:
            assert client.welcome["user"]["name"] == "admin"
            assert await status(admin.delete(f"tokens/{token['id']}")) == 204
            assert await closed(client) == 4305
        assert await status(page.get("me")) == 401


# Sockets


async def test_a_cookie_signs_a_socket_in_at_its_upgrade_and_signing_out_closes_it(proxy):
    async with signed_in(proxy) as page, watching(page, proxy) as client:
        assert client.welcome["user"] == {"name": "admin", "role": "administrator"}
        assert await status(page.delete("session")) == 204
        assert await closed(client) == 4305
        assert await status(page.get("me")) == 401
        assert list(page.cookie_jar) == []


async def test_a_socket_with_a_cookie_that_is_nothing_is_told_so(proxy):
    cookie = {"Cookie": f"{PLAIN}=xos_{'a' * 10}_{'b' * 52}"}
    async with browser(proxy, **cookie) as page, watching(page, proxy) as client:
        (error,) = client.answers
        assert error["code"] == "UNAUTHORISED"
        assert await closed(client) == 4501


async def test_a_browser_is_told_to_forget_a_cookie_that_is_nothing_and_only_then(proxy):
    async with signed_in(proxy) as page:
        wrong = {"username": "admin", "password": "wrong"}
        assert await status(page.post("session", json=wrong)) == 401
        assert await status(page.get("me")) == 200
        secret = await secret_of(page)
        assert await status(page.delete("session")) == 204
        page.cookie_jar.update_cookies({PLAIN: secret}, response_url=URL(proxy))
        assert await status(page.get("me")) == 401
        assert list(page.cookie_jar) == []


@pytest.mark.parametrize(
    "end", ["disable", "remove", "new password", "own new password", "end session"]
)
async def test_what_ends_a_session_closes_its_sockets(proxy, end):
    async with signed_in(proxy) as admin:
        bob = await add_user(admin)
        async with (
            signed_in(proxy, username="bob", password=USER) as page,
            watching(page, proxy) as client,
        ):
            (session,) = await answer(page.get("sessions"))
            path, new = f"users/{bob['id']}", "another battery staple"
            if end == "disable":
                await answer(admin.patch(path, json={"enabled": False}))
            elif end == "remove":
                assert await status(admin.delete(path)) == 204
            elif end == "new password":
                await answer(admin.patch(path, json={"password": new}))
            elif end == "own new password":
                old = await secret_of(page)
                body = {"old": USER, "new": new}
                assert await status(page.put("me/password", json=body)) == 204
                assert old != await secret_of(page)
                assert await status(page.get("me")) == 200  # by another session
                page.cookie_jar.clear()
                page.cookie_jar.update_cookies({PLAIN: old}, response_url=URL(proxy))
            else:
                assert await status(admin.delete(f"sessions/{session['id']}")) == 204
            assert await closed(client) == 4305
            assert await status(page.get("me")) == 401


async def test_enabling_an_account_again_does_not_bring_its_sessions_back(proxy):
    async with signed_in(proxy) as admin:
        bob = await add_user(admin)
        async with signed_in(proxy, username="bob", password=USER) as page:
            for enabled in (False, True):
                await answer(admin.patch(f"users/{bob['id']}", json={"enabled": enabled}))
            assert await status(page.get("me")) == 401


# Devices


async def test_one_sees_and_ends_his_own_sessions_and_an_administrator_all(proxy):
    async with signed_in(proxy) as admin:
        await add_user(admin)
        bob = {"username": "bob", "password": USER}
        async with signed_in(proxy, **bob) as phone, signed_in(proxy, **bob) as desk:
            listed = await answer(desk.get("sessions"))
            assert [one["current"] for one in listed] == [False, True]
            assert {one["user"] for one in listed} == {"bob"}
            everybody = await answer(admin.get("sessions"))
            assert sorted(one["user"] for one in everybody) == ["admin", "bob", "bob"]
            of_bob = await answer(admin.get("sessions", params={"user": "bob"}))
            assert [one["id"] for one in of_bob] == [one["id"] for one in listed]
            (own,) = [one["id"] for one in everybody if one["user"] == "admin"]
            # what one may not see and what is not there are the same answer
            foreign, none = f"sessions/{own}", "sessions/aaaaaaaaaa"
            refused = [await refusal(desk.delete(path)) for path in (foreign, none)]
            assert {(code, what) for code, what, _ in refused} == {(404, "NOT_FOUND")}
            assert (await refusal(desk.get("sessions", params={"user": "admin"})))[0] == 403
            assert await status(desk.delete(f"sessions/{listed[0]['id']}")) == 204
            assert await status(phone.get("me")) == 401
            assert await status(desk.get("me")) == 200


async def test_sessions_last_beyond_a_restart_and_end_with_their_time(tmp_path):
    async with running(tmp_path) as url, signed_in(url) as page:
        secret = await secret_of(page)
        await add_user(page)
    async with running(tmp_path) as url, browser(url, Cookie=f"{PLAIN}={secret}") as page:
        assert (await answer(page.get("me")))["name"] == "admin"
        # what a crash leaves behind is over all the same: the account says so
        body = {"old": PASSWORD, "new": USER}
        assert await status(page.put("me/password", json=body)) == 204
    async with running(tmp_path) as url, browser(url, Cookie=f"{PLAIN}={secret}") as page:
        assert await status(page.get("me")) == 401


async def test_sessions_are_listed_and_revoked_from_the_command_line(proxy, tmp_path):
    async with signed_in(proxy) as page:
        token = (await answer(page.post("tokens", json={"name": "x"})))["token"]
        environment = {**os.environ, "XOPROXY_URL": proxy, "XOPROXY_TOKEN": token}

        async def command(*arguments):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "xoproxy",
                "session",
                *arguments,
                env=environment,
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            return process.returncode, out.decode()

        code, out = await command("list", "--json")
        (listed,) = json.loads(out)
        assert (code, listed["user"], listed["address"]) == (0, "admin", "127.0.0.1")
        assert "Mozilla/5.0" in (await command("list", "--user", "admin"))[1]
        code, out = await command("revoke", listed["id"])
        assert (code, out) == (0, f"Signed out {listed['id']}.\n")
        assert await status(page.get("me")) == 401
        assert (await command("revoke", listed["id"]))[0] == 1


# Pages of others


FOREIGN = [
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_foreign_pages_do_nothing_with_our_cookie(proxy, headers):
    async with signed_in(proxy) as page:
        cookie = {"Cookie": f"{PLAIN}={await secret_of(page)}"} | headers
    async with ClientSession(f"{proxy}/api/v1/", headers=cookie) as evil:
        for method, path in (("GET", "me"), ("POST", "tokens"), ("DELETE", "session")):
            assert await status(evil.request(method, path, json={"name": "x"})) == 403
        assert await status(evil.post("session", json=ADMIN)) == 403  # nor sign anybody in
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await evil.ws_connect(proxy.replace("http", "ws") + "/ws", protocols=[JSON])
        assert caught.value.status == 403


async def test_where_a_browser_tells_nothing_a_change_needs_a_header_of_our_own(proxy):
    async with signed_in(proxy) as page:
        cookie = {"Cookie": f"{PLAIN}={await secret_of(page)}"}
    async with ClientSession(f"{proxy}/api/v1/", headers=cookie) as old:
        assert await status(old.get("me")) == 200
        form = {"Content-Type": "text/plain"}
        code, what, text = await refusal(old.post("pools/x/reconnect", headers=form))
        assert (code, what) == (403, "FORBIDDEN")
        assert "X-Requested-With" in text
        asked = {"X-Requested-With": "xoproxy"}
        assert await status(old.post("pools/x/reconnect", headers=asked)) == 404
        assert await status(old.post("tokens", json={"name": "x"})) == 201


# Who has to choose another password


async def test_who_must_change_his_password_may_do_nothing_else(proxy):
    async with signed_in(proxy) as admin:
        await add_user(admin, role="administrator", must_change=True)
        async with browser(proxy) as page:
            made = await answer(page.post("session", json={"username": "bob", "password": USER}))
            assert made["must_change"] is True
            for method, path in (("GET", "pools"), ("GET", "sessions"), ("POST", "tokens")):
                code, what, text = await refusal(page.request(method, path, json={"name": "x"}))
                assert (code, what) == (403, "FORBIDDEN")
                assert "password" in text
            async with watching(page, proxy) as client:
                assert client.answers[0]["code"] == "UNAUTHORISED"
                assert await closed(client) == 4501
            assert (await answer(page.get("me")))["must_change"] is True
            body = {"old": USER, "new": USER}
            assert (await refusal(page.put("me/password", json=body)))[0] == 400
            body["new"] = "another battery staple"
            assert await status(page.put("me/password", json=body)) == 204
            assert await status(page.get("pools")) == 200


# Guessing


async def test_failures_outlive_a_restart_and_are_forgotten_by_unlocking(tmp_path):
    wrong = {"username": "bob", "password": "not his password"}
    right = wrong | {"password": USER}
    async with running(tmp_path) as url, signed_in(url) as admin, browser(url) as page:
        await add_user(admin)
        for _ in range(9):
            await status(page.post("session", json=wrong))
            if await status(page.post("session", json=right)) == 429:
                break
        else:
            for _ in range(5):
                assert await status(page.post("session", json=wrong)) == 401
        assert await status(page.post("session", json=right)) == 429
    async with running(tmp_path) as url, signed_in(url) as admin, browser(url) as page:
        for _ in range(5):  # a wait that is over is followed by a longer one
            if await status(page.post("session", json=wrong)) == 429:
                break
        assert await status(page.post("session", json=right)) == 429
        assert await status(admin.post("users/bob/unlock")) == 200
        assert await status(page.post("session", json=right)) == 200


async def test_guesses_sent_at_once_are_no_more_than_those_sent_one_by_one(proxy):
    async with signed_in(proxy) as admin, browser(proxy) as page:
        await add_user(admin)

        async def guess(number):
            body = {"username": "bob", "password": f"is it this one {number}?"}
            return await status(page.post("session", json=body))

        async with asyncio.TaskGroup() as group:
            guesses = [group.create_task(guess(number)) for number in range(40)]
        outcomes = [task.result() for task in guesses]
        assert set(outcomes) == {401, 429}
        assert outcomes.count(401) <= 7  # five are free, two are looked at together
        body = {"username": "bob", "password": USER}
        async with page.post("session", json=body) as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) >= 1


async def test_an_unknown_name_is_refused_just_as_a_known_one(proxy):
    async with signed_in(proxy) as admin, browser(proxy) as page:
        await add_user(admin)
        answers = {}
        for name in ("bob", "nobody"):
            body = {"username": name, "password": "not the password"}
            refused = [await refusal(page.post("session", json=body)) for _ in range(6)]
            answers[name] = [
                (code, what, text.rstrip("0123456789 s")) for code, what, text in refused
            ]
        assert answers["bob"] == answers["nobody"]
        assert [code for code, *_ in answers["bob"]] == [401] * 5 + [429]


# Secrets


async def test_no_secret_is_logged_or_told(tmp_path, monkeypatch):
    told = []
    with logged(monkeypatch) as log:
        async with running(tmp_path) as url, signed_in(url) as page:
            cookie = await secret_of(page)
            made = await answer(page.post("tokens", json={"name": "x"}))
            told.append(json.dumps(await answer(page.get("sessions"))))
            told.append(json.dumps(await answer(page.get("tokens"))))
            async with watching(page, url):
                pass
            told.append(str(await refusal(page.delete("nothing"))))
            told.append(str(await refusal(page.delete(f"tokens/{made['id']}x"))))
            for header in (
                {"Authorization": f"Bearer {made['token']}x"},
                {"Authorization": f"Bearer {cookie}"},
                {"Cookie": f"{PLAIN}={cookie}x"},
            ):
                async with ClientSession(headers=header) as stranger:
                    told.append(str(await refusal(stranger.get(f"{url}/api/v1/me"))))
        lines = log.getvalue()
    for text in (lines, *told):
        for secret in (cookie[15:], made["token"][15:], PASSWORD):
            assert secret not in text
    events = {json.loads(line)["event"] for line in lines.splitlines()}
    assert {"signed in", "api token made", "session opened"} <= events

"""Which host, which certificate, which pool: confirmed once, then never changed silently."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.integration.support import PASSWORD, Client, connected, proxy_on, same
from xoproxy import app
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

LAB = {"name": "Lab", "username": "root", "password": "x"}
LINKS = {"type": "subscribe", "id": 1, "query": {"classes": ["pool_link"], "pools": ["proxy"]}}


class World:
    """A proxy, its API, and a client that watches the links."""

    def __init__(self, proxy: app.Proxy, http: aiohttp.ClientSession, client: Client) -> None:
        self.proxy = proxy
        self.client = client
        self._http = http

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        async with self._http.request(method, f"/api/v1/{path}", json=body or None) as response:
            answer = await response.json()
            assert response.status == status, answer
            return answer

    async def until(self, state: str, code: str | None = None) -> dict[str, Any]:
        """Wait for a state of the only link, as clients see it."""
        found: dict[str, Any] = {}

        def there() -> bool:
            views = [view for view in self.client.views.values() if view.pool == "proxy"]
            links = list(views[0].document["pool_link"].values())
            found.update(links[0] if links else {})
            error = found.get("error") or {}
            return found.get("state") == state and (code is None or error.get("code") == code)

        await self.client.until(there)
        return dict(found)

    def differences(self, pool: SimulatedPool) -> list[str]:
        """Compare what the proxy holds with a pool's database."""
        (info,) = self.proxy.registry._supervisor._pools
        store = self.proxy.registry._supervisor.store(info)
        database = pool.database
        found: list[str] = []
        for cls in store.classes - {"message", "task"}:
            theirs = {ref: database.record(cls, ref) for ref in database.refs(cls)}
            ours = {str(e.ref): msgspec.json.decode(e.raw) for e in store.entries(cls)}
            if not same(ours, theirs):
                found.append(cls)
        return found

    async def until_equal(self, pool: SimulatedPool) -> None:
        async with asyncio.timeout(10):
            while self.differences(pool):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)

    async def all_pinned(self, pool_id: str) -> list[dict[str, Any]]:
        """Wait until a certificate was accepted for every host."""
        async with asyncio.timeout(10):
            while True:
                hosts: list[dict[str, Any]] = await self.ask("GET", f"pools/{pool_id}/certificates")
                if len(hosts) > 1 and all(host["accepted"] for host in hosts):
                    return hosts
                await asyncio.sleep(0.05)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    auth = {"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}
    async with (
        proxy_on() as proxy,
        aiohttp.ClientSession(proxy.url, headers=auth) as http,
        connected(proxy.url) as client,
    ):
        await client.send(LINKS)
        await client.answer(1)
        yield World(proxy, http, client)


@pytest.fixture
async def pool() -> AsyncIterator[SimulatedPool]:
    async with SimulatedPool(generate(3, 12, 1), tls=True, speed=20) as pool:
        yield pool


async def fault(pool: SimulatedPool, kind: str, **members: Any) -> None:
    status, body = await pool.control.answer(
        "POST", "/_sim/fault", msgspec.json.encode({"kind": kind, **members})
    )
    assert status == 200, body


def fingerprint(pool: SimulatedPool) -> str:
    return pool.hosts.coordinator.identity.fingerprint


async def test_a_pool_is_added_with_the_certificate_that_was_confirmed(pool):
    async with world() as w:
        refused = await w.ask("POST", "pools", 409, **LAB, url=pool.url)
        shown = refused["error"]["data"]["certificate"]
        assert refused["error"]["code"] == "CERTIFICATE"
        assert shown["fingerprint"] == fingerprint(pool) in refused["error"]["message"]
        assert pool.control.stats()["calls"] == {}, "no password goes to a stranger"

        wrong = await w.ask("POST", "pools", 409, **LAB, url=pool.url, fingerprint="ab" * 32)
        assert "shows another certificate" in wrong["error"]["message"]
        assert await w.ask("GET", "pools") == []

        await w.ask("POST", "pools", 201, **LAB, url=pool.url, fingerprint=fingerprint(pool))
        await w.until("live")


async def test_the_pool_itself_tells_the_certificates_of_its_other_hosts(pool):
    async with world() as w:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url, fingerprint=fingerprint(pool))
        hosts = await w.all_pinned(made["id"])
        recorded: set[str] = set()
        async with asyncio.timeout(20):
            while len(recorded) < 2:
                for record in await w.ask("GET", "audit"):
                    if record["operation"] == "learnCertificates":
                        assert record["object"] == f"/pools/{made['id']}"
                        recorded |= set(record["details"]["hosts"])
                await asyncio.sleep(0.05)

    assert recorded < {host["host"] for host in hosts}
    assert len(hosts) == 3
    assert all(host["accepted"] == host["shown"]["fingerprint"] for host in hosts)
    assert len({host["accepted"] for host in hosts}) == 3


async def test_a_failover_under_tls_needs_nobody(pool):
    async with world() as w:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url, fingerprint=fingerprint(pool))
        await w.all_pinned(made["id"])
        before = (await w.until("live"))["master"]
        await fault(pool, "failover", takeover_s=0.5)
        await w.until("stale")
        after = await w.until("live")
        assert after["error"] is None
        await w.until_equal(pool)
        link = await w.until("live")
        assert link["master"] != before


async def test_a_changed_certificate_stops_the_link_until_it_is_accepted(pool):
    async with world() as w:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url, fingerprint=fingerprint(pool))
        link = await w.until("live")
        await fault(pool, "certificate", host=pool.hosts.coordinator.ref)
        await fault(pool, "drop")
        link = await w.until("error", "CERTIFICATE")
        assert link["objects"] > 0, "what we hold stays"
        sessions = pool.database.refs("session")
        await asyncio.sleep(1.0)
        assert pool.database.refs("session") == sessions, "nobody logs in there meanwhile"

        listed = await w.ask("GET", f"pools/{made['id']}/certificates")
        (changed,) = [h for h in listed if h["accepted"] not in {None, h["shown"]["fingerprint"]}]
        refused = await w.ask("POST", f"pools/{made['id']}/accept", 409, fingerprint="cd" * 32)
        assert refused["error"]["code"] == "CERTIFICATE"
        accepted = changed["shown"]["fingerprint"]
        await w.ask("POST", f"pools/{made['id']}/accept", fingerprint=accepted)
        await w.until("live")
        await w.until_equal(pool)


async def test_who_accepts_a_certificate_of_another_host_does_not_lose_the_pool(pool):
    async with world() as w:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url, fingerprint=fingerprint(pool))
        await w.all_pinned(made["id"])
        await w.until("live")
        others = [h for h in pool.hosts if h.ref != pool.hosts.coordinator.ref]
        await fault(pool, "certificate", host=others[0].ref)
        sessions = set(pool.database.refs("session"))
        accepted = others[0].identity.fingerprint
        await w.ask("POST", f"pools/{made['id']}/accept", fingerprint=accepted)
        hosts = await w.ask("GET", f"pools/{made['id']}/certificates")
        assert all(host["accepted"] == host["shown"]["fingerprint"] for host in hosts)
        await w.until("live")
        await w.until_equal(pool)
        assert set(pool.database.refs("session")) == sessions, "nobody logged in anew"
        assert w.proxy.registry._supervisor.transitions()[made["id"]]["probing", "enabled"] == 1


async def test_another_pool_at_the_address_never_shows_its_objects():
    async with world() as w:
        async with SimulatedPool(generate(1, 8, 1), speed=20) as first:
            await w.ask("POST", "pools", 201, **LAB, url=first.url)
            link = await w.until("live")
            address = first.address
        await w.until("stale")
        async with SimulatedPool(generate(1, 30, 2), listen=address, speed=20) as other:
            refused = await w.until("error", "WRONG_POOL")
            assert refused["uuid"] == link["uuid"]
            assert w.differences(first) == []
            assert "another pool" in refused["error"]["message"].lower()
            assert other.control.stats()["sessions"] == 0, "left at once"


async def test_an_expired_password_is_told_and_mended_by_the_operator():
    async with world() as w, SimulatedPool(generate(1, 8, 1), speed=50) as pool:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url)
        await w.until("live")
        pool.sessions.change_password("x", "new")
        await fault(pool, "expire_sessions")
        link = await w.until("error", "AUTH_FAILED")
        assert link["objects"] > 0
        assert "password" in link["error"]["message"]

        await w.ask("PATCH", f"pools/{made['id']}", password="new")
        await w.until("live")


async def test_a_pool_restored_from_an_older_backup_is_followed_back_in_time():
    async with world() as w, SimulatedPool(generate(1, 8, 1), speed=50) as pool:
        await w.ask("POST", "pools", 201, **LAB, url=pool.url)
        await w.until("live")
        vms = pool.database.refs("VM")
        for number in range(40):
            pool.database.write("VM", vms[number % len(vms)], "name_description", f"n {number}")
        made = pool.database.create("network", {"name_label": "made after the backup"})
        await w.until_equal(pool)
        await fault(pool, "older_database", changes=30, seconds=0.2)
        await w.until("stale")
        await w.until("live")
        await w.until_equal(pool)
        assert not pool.database.exists("network", made)
        assert not any(view.resets for view in w.client.views.values() if view.pool == "proxy")


async def test_an_operator_need_not_wait_for_the_next_attempt():
    async with world() as w, SimulatedPool(generate(1, 3, 1), speed=50) as pool:
        made = await w.ask("POST", "pools", 201, **LAB, url=pool.url)
        await w.until("live")
        link = await w.ask("POST", f"pools/{made['id']}/reconnect")
        assert link["state"] == "live", "a living link is left alone"
        await w.ask("POST", "pools/nowhere/reconnect", 404)


# --- the check before -----------------------------------------------------------------------------


async def outcomes(w: World, **look: Any) -> dict[str, str]:
    report = await w.ask("POST", "pools/check", **{"username": "root", "password": "x", **look})
    assert all(step["advice"] for step in report["steps"] if step["outcome"] == "failed")
    assert report["good"] == all(s["outcome"] in {"ok", "warning"} for s in report["steps"])
    return {step["name"]: step["outcome"] for step in report["steps"]}


async def test_a_check_goes_as_far_as_it_gets(pool):
    async with world() as w:
        found = await outcomes(w, url="https://no-such-host.invalid")
        assert (found["address"], found["port"]) == ("failed", "skipped")
        found = await outcomes(w, url=f"https://127.0.0.1:{9}")
        assert (found["port"], found["tls"]) == ("failed", "skipped")
        found = await outcomes(w, url=pool.url)
        assert (found["certificate"], found["credentials"]) == ("failed", "skipped")
        pin = {"fingerprint": fingerprint(pool)}
        found = await outcomes(w, url=pool.url, **pin, password="wrong")
        assert (found["xapi"], found["credentials"], found["pool"]) == ("ok", "failed", "skipped")
        found = await outcomes(w, url=pool.url, **pin)
        assert set(found.values()) == {"ok"}
        await fault(pool, "clock_skew", seconds=3600)
        assert (await outcomes(w, url=pool.url, **pin))["clock"] == "warning"
        assert pool.control.stats()["sessions"] == 0, "nobody stays logged in"


async def test_a_member_is_good_enough_but_not_the_best(pool):
    async with world() as w:
        member = next(host for host in pool.hosts if host is not pool.hosts.coordinator)
        url = f"https://{member.address}:{pool.address[1]}"
        found = await outcomes(w, url=url, fingerprint=member.identity.fingerprint)
        assert found["xapi"] == "ok"
        assert found["credentials"] == "failed", "the coordinator's certificate is not known"


async def test_what_answers_but_is_no_pool_is_told():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        writer.close()

    async with world() as w, await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await outcomes(w, url=f"http://127.0.0.1:{port}")
        assert (found["tls"], found["xapi"]) == ("warning", "failed")

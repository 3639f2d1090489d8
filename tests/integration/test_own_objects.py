"""The proxy's own objects over real sockets: who is sent what, down to the bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from tests.integration.administration import Api, asking
from tests.integration.support import JSON, MSGPACK, PASSWORD, Client, connected, proxy_on
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

OWN = ["api_token", "grant", "group", "pool_config", "pool_link", "user", "user_role"]


@asynccontextmanager
async def signed_in(url: str, name: str, protocol: str = JSON) -> AsyncIterator[Client]:
    async with connected(url, protocol, auth=None) as client:
        await client.send({"type": "auth", "username": name, "password": PASSWORD})
        await client.until(lambda: client.welcome)
        yield client


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, Api]]:
    async with (
        SimulatedPool(generate(1, 2, 3)) as one,
        SimulatedPool(generate(1, 2, 4)) as two,
        proxy_on(one.url, two.url) as proxy,
        asking(proxy.url, "admin", PASSWORD) as ask,
    ):
        yield proxy.url, ask


async def user(ask: Api, name: str) -> Any:
    return await ask("POST", "/users", {"name": name, "password": PASSWORD}, 201)


async def grant(ask: Api, to: dict[str, str], role: str = "viewer", **scope: str) -> Any:
    given = {**to, "role": role, "scope": scope or {"kind": "everything"}}
    return await ask("POST", "/grants", given, 201)


def names(view: Any, cls: str, field: str = "name") -> set[str]:
    return {record[field] for record in view.records(cls).values()}


async def test_an_administrator_is_shown_everything_and_each_change(served):
    url, ask = served
    async with connected(url) as client:
        (view,) = await client.subscribe(pools=["proxy"])
        assert sorted(view.document) == OWN
        assert names(view, "pool_link") == names(view, "pool_config") == {"pool-0", "pool-1"}
        assert names(view, "user") == {"admin"}
        assert names(view, "user_role") == {"administrator", "operator", "user", "viewer"}

        bob = await user(ask, "bob")
        members = {"name": "staff", "members": ["bob"]}
        group = await ask("POST", "/groups", members, 201)
        given = await grant(ask, {"group": "staff"}, kind="tag", value="prod")
        token = await ask("POST", "/tokens", {"name": "cli"}, 201)
        await client.until(lambda: names(view, "api_token") == {"cli"})
        (shown,) = view.records("grant").values()
        ((ref, staff),) = view.records("group").items()
        assert (shown["scope"], shown["value"], shown["group"]) == ("tag", "prod", ref)
        assert staff["users"] == [f"OpaqueRef:user-{bob['id']}"]

        await ask("PATCH", "/users/bob", {"enabled": False})
        await client.until(lambda: any(not r["enabled"] for r in view.records("user").values()))
        await ask("DELETE", f"/tokens/{token['id']}", status=204)
        await ask("DELETE", f"/groups/{group['id']}", status=204)
        await client.until(lambda: not view.records("grant"))
        assert given["id"] not in json.dumps(view.document)
        pools = await ask("GET", "/pools")
        await ask("PATCH", f"/pools/{pools[0]['id']}", {"name": "renamed"})
        await client.until(lambda: "renamed" in names(view, "pool_config"))
        await ask("DELETE", f"/pools/{pools[0]['id']}", status=204)
        await client.until(lambda: names(view, "pool_config") == {"pool-1"})
        await ask("DELETE", "/users/bob", status=204)
        await client.until(lambda: names(view, "user") == {"admin"})


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_links_come_and_go_with_grants(served, protocol):
    url, ask = served
    zero, one = [pool["id"] for pool in await ask("GET", "/pools")]
    await user(ask, "bob")
    async with connected(url) as admin:
        (vms,) = await admin.subscribe(pools=[one], classes=["VM"])
        uuid = next(vm["uuid"] for vm in vms.records("VM").values())
    async with signed_in(url, "bob", protocol) as client:
        (view,) = await client.subscribe(pools=["proxy"], classes=["pool_link", "grant"])
        assert view.document == {"pool_link": {}, "grant": {}}
        first = await grant(ask, {"user": "bob"}, kind="pool", pool=zero)

        def links() -> set[str]:
            (mine,) = [v for v in client.views.values() if v.pool == "proxy"]
            return names(mine, "pool_link", "pool")

        await client.until(lambda: links() == {zero})
        await grant(ask, {"user": "bob"}, kind="object", pool=one, value=uuid)
        await client.until(lambda: links() == {zero, one})
        await ask("DELETE", f"/grants/{first['id']}", status=204)
        await client.until(lambda: links() == {one})
        await grant(ask, {"user": "bob"}, kind="tag", value="prod")
        await client.until(lambda: links() == {zero, one})


async def test_filters_masks_and_windows_work_as_anywhere(served):
    url, ask = served
    for name in ("bob", "eve"):
        await user(ask, name)
    await grant(ask, {"user": "bob"})
    async with connected(url) as client:
        query = {"pools": ["proxy"], "classes": ["user"], "filter": "name:=bob"}
        (view,) = await client.subscribe(1, **query, fields={"user": ["name"]})
        assert list(view.records("user").values()) == [{"name": "bob"}]
        (view,) = await client.subscribe(
            2, pools=["proxy"], classes=["grant"], filter="user.name:=bob"
        )
        assert len(view.records("grant")) == 1
        (window,) = await client.subscribe(
            3, pools=["proxy"], classes=["user"], order=["name"], window=[0, 2]
        )
        assert window.document["total"] == 3


async def test_without_pools_nothing_of_the_proxy_is_asked_for(served):
    url, _ = served
    async with connected(url) as client:
        views = await client.subscribe(classes=["user", "VM"])
        assert "proxy" not in {view.pool for view in views}
        assert all("user" not in view.document for view in views)


async def test_the_bytes_for_a_viewer_of_everything_hold_nobody_elses(served):
    url, ask = served
    ids = {name: (await user(ask, name))["id"] for name in ("bob", "secretive-eve")}
    mine = await grant(ask, {"user": "bob"})
    others = await grant(ask, {"user": "secretive-eve"}, "operator", kind="tag", value="hush")
    both = {"name": "secret-club", "members": ["secretive-eve"]}
    club = await ask("POST", "/groups", both, 201)
    shared = {"name": "staff", "members": ["bob", "secretive-eve"]}
    staff = await ask("POST", "/groups", shared, 201)
    token = await ask("POST", "/tokens", {"name": "secret-token"}, 201)
    pools = await ask("GET", "/pools")

    received = b""
    async with (
        ClientSession() as session,
        session.ws_connect(f"{url}/ws", protocols=[JSON], compress=0, max_msg_size=0) as ws,
    ):

        async def read_until(wanted: bytes) -> None:
            nonlocal received
            async with asyncio.timeout(20):
                while wanted not in received:
                    frame = await ws.receive()
                    assert frame.type is WSMsgType.TEXT, frame
                    received += frame.data.encode()

        await ws.send_json({"type": "auth", "username": "bob", "password": PASSWORD})
        for number, query in enumerate(
            [
                {"classes": ["*"], "pools": ["proxy"]},
                {"classes": ["user", "grant"], "pools": ["proxy"], "filter": "name:e | hush"},
                {
                    "classes": ["user"],
                    "pools": ["proxy"],
                    "window": [0, 100],
                    "facets": ["role", "enabled"],
                },
            ]
        ):
            await ws.send_json({"type": "subscribe", "id": number, "query": query})
        await ws.send_json({"type": "ping", "id": "asked"})
        await read_until(b'"asked"')
        # everything that may change, changes: of his own he is told, of others' nothing
        await ask("PATCH", "/users/secretive-eve", {"enabled": False})
        await ask("PATCH", f"/groups/{club['id']}", {"members": []})
        await ask("PUT", "/roles/secret-role", {"permissions": ["view"]})
        await ask("PATCH", f"/pools/{pools[0]['id']}", {"name": "seen-by-its-link"})
        await read_until(b"seen-by-its-link")
        last = await grant(ask, {"user": "bob"}, kind="tag", value="the-last-one")
        await read_until(b"the-last-one")

    for known in (ids["bob"], mine["id"], last["id"], staff["id"], pools[1]["id"]):
        assert known.encode() in received
    for hidden in (
        ids["secretive-eve"],
        "secretive-eve",
        "hush",
        others["id"],
        club["id"],
        "secret-club",
        "secret-token",
        token["id"],
        "secret-role",
        pools[0]["url"],
        "argon2",
    ):
        assert hidden.encode() not in received, hidden
    assert b'"total":1' in received

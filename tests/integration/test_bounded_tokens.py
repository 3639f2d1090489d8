"""Tokens with fewer rights than their user, over real sockets and a simulated pool."""

import json
from contextlib import asynccontextmanager

from aiohttp import ClientSession, encode_basic_auth

from tests.integration.sim import simulated
from tests.integration.support import PASSWORD, connected, proxy_on

BASIC = {"Authorization": encode_basic_auth("admin", PASSWORD)}


class Api:
    def __init__(self, http):
        self._http = http

    async def ask(self, method, path, body=None):
        async with self._http.request(method, path, json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.status != 204 else None

    async def token(self, role=None):
        body = {"name": "x"} | ({"role": role} if role else {})
        return (await self.ask("POST", "tokens", body))["token"]


@asynccontextmanager
async def scene():
    async with (
        simulated(hosts=1, vms=3) as (pool, _, _),
        proxy_on(pool.url) as proxy,
        ClientSession(f"{proxy.url}/api/v1/", headers=BASIC) as http,
    ):
        yield proxy.url, Api(http)


@asynccontextmanager
async def signed_in(url, token):
    async with connected(url, auth=None) as client:
        await client.send({"type": "auth", "token": token})
        await client.until(lambda: client.welcome)
        yield client


async def call(client, pool, method, **params):
    message = {"type": "call", "id": method, "pool": pool, "method": method, "params": params}
    await client.send(message)
    answer = await client.answer(method)
    return answer.get("code", "done")


async def test_an_administrators_token_does_and_shows_what_its_role_has():
    async with scene() as (url, api):
        async with signed_in(url, await api.token("viewer")) as viewer:
            (view,) = await viewer.subscribe(classes=["VM"])
            (vm, *_) = (
                ref
                for ref, record in view.records("VM").items()
                if record["power_state"] == "Running" and not record["is_control_domain"]
            )
            assert await call(viewer, view.pool, "VM.hard_shutdown", vm=vm) == "FORBIDDEN"
            assert await call(viewer, view.pool, "VM.get_by_uuid", uuid="x") == "FORBIDDEN"
            # secret by default: a viewer is not told, whoever he is
            assert not any("xenstore_data" in record for record in view.records("VM").values())
        async with signed_in(url, await api.token("operator")) as operator:
            assert await call(operator, view.pool, "VM.hard_shutdown", vm=vm) == "done"
        async with signed_in(url, await api.token()) as unbound:
            (view,) = await unbound.subscribe(classes=["VM"])
            assert all("xenstore_data" in record for record in view.records("VM").values())


async def test_who_sees_the_same_by_a_bound_or_by_a_role_shares_the_work():
    async with scene() as (url, api):
        await api.ask("POST", "users", {"name": "bob", "password": PASSWORD, "role": "viewer"})
        async with connected(url, auth=None) as bob:
            await bob.send({"type": "auth", "username": "bob", "password": PASSWORD})
            await bob.until(lambda: bob.welcome)
            (his,) = await bob.subscribe(classes=["VM"])
            async with signed_in(url, await api.token("viewer")) as bounded:
                # a resume token is of a query, a scope of rights and a position: of no user
                (same,) = await bounded.resume([his], classes=["VM"])
                assert same.info["mode"] == "resume"
                assert same.records("VM") == his.records("VM")


async def test_a_role_that_changes_acts_on_what_it_bounds_at_once():
    async with scene() as (url, api):
        await api.ask("PUT", "roles/kiosk", {"permissions": ["view"]})
        token = await api.token("kiosk")
        async with signed_in(url, token) as client:
            (view,) = await client.subscribe(classes=["VM"])
            assert view.records("VM")
            await api.ask("PUT", "roles/kiosk", {"permissions": ["vm.console"]})
            await client.until(lambda: view.gone)
            await api.ask("PUT", "roles/kiosk", {"permissions": ["view"]})
            await client.until(
                lambda: any(
                    v.records("VM") for v in client.views.values() if not v.gone and v.complete
                )
            )
            await api.ask("DELETE", "roles/kiosk")
            await client.until(lambda: all(v.gone for v in client.views.values()))
            assert json.dumps(client.answers).count('"error"') == 0

"""`xoproxy.client` against a running proxy, over real sockets."""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.integration.relay import Relay, relayed
from tests.integration.restarts import Restarts, simulated
from tests.integration.support import PASSWORD, logged_in, proxy_on, same
from xoproxy import client
from xoproxy.model import PoolId
from xoproxy.rest.pool_models import PoolChange
from xoproxy.simulator.estate import generate
from xoproxy.simulator.faults.kinds import Delay, Nothing
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.tls import Identity

ADMIN: dict[str, Any] = {"username": "admin", "password": PASSWORD}


@pytest.fixture
async def pool():
    async with SimulatedPool(generate(2, 12, 1)) as simulated:
        yield simulated


@pytest.fixture
async def proxy(pool):
    async with proxy_on(pool.url) as running:
        yield running


@asynccontextmanager
async def connect(url, **options):
    """Connect; nothing in here may hang, and nothing may be left behind."""
    async with asyncio.timeout(30), client.connect(url, **options) as connected:
        yield connected
    left = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("xoproxy-client")]
    assert left == []


async def rename_a_vm(pool, *names):
    """Rename a VM; return its reference."""
    async with logged_in(pool.url) as xapi:
        ref = min(await xapi.records("VM"))
        for name in names:
            await xapi.call("VM.set_name_label", xapi.ref, ref, name)
    return ref


def named(view, name):
    return [vm for vm in view.objects("VM") if vm["name_label"] == name]


async def assert_equal(view, pool, *classes):
    async with logged_in(pool.url) as xapi:
        for cls in classes:
            held = {obj.ref: obj.record for obj in view.objects(cls)}
            assert same(held, await xapi.records(cls)), cls


class TestView:
    @pytest.mark.parametrize("encoding", ["json", "msgpack"])
    async def test_holds_what_the_pool_has(self, pool, proxy, encoding):
        async with connect(proxy.url, **ADMIN, encoding=encoding) as c:
            view = await c.subscribe("*")
            assert c.connection
            assert c.connection.deflate
            ref = await rename_a_vm(pool, "renamed")
            found = await view.until(lambda v: v[ref]["name_label"] == "renamed" and v[ref])
            assert found.cls == "VM"
            await assert_equal(view, pool, "VM", "host", "SR", "VIF", "pool")
            assert len(view) == len(list(view)) > 100
            assert all(view[ref].ref == ref for ref in view)
            (of_pool,) = view.pools.values()
            assert of_pool.pool == found.pool in c.pools
            assert view.positions == {of_pool.pool: of_pool.position}
            assert not view.stale
            with pytest.raises(KeyError):
                view["OpaqueRef:nobody"]

    async def test_shows_what_was_asked_for_only(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            fields = {"VM": ["name_label", "power_state"]}
            view = await c.subscribe(["VM", "host"], filter="!is_a_template", fields=fields)
            assert {cls for p in view.pools.values() for cls in p.classes} == {"VM", "host"}
            for vm in view.objects("VM"):
                assert set(vm.record) == {"name_label", "power_state"}

    async def test_tells_changes_with_before_and_after(self, pool, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            changes = view.changes()
            ref = await rename_a_vm(pool, "one")
            change = await anext(changes)
            assert (change.kind, change.ref, change.cls) == ("changed", ref, "VM")
            assert change.before is not None
            assert change.after is not None
            assert change.before["name_label"] != change.after["name_label"] == "one"
            assert change.fields == {"name_label"}
            assert change.after == view[ref]

    async def test_that_is_closed_ends_its_changes_and_keeps_its_content(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            changes = view.changes()
            await view.close()
            assert [change async for change in changes] == []
            assert [change async for change in view.changes()] == []
            assert len(view) > 0
            await view.close()
            again = await c.subscribe("VM")
            assert len(again) == len(view)

    async def test_several_share_what_is_the_same(self, pool, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            first, second, hosts = [await c.subscribe(cls) for cls in ("VM", "VM", "host")]
            ref = await rename_a_vm(pool, "shared")
            for view in (first, second):
                await view.until(lambda v: v[ref]["name_label"] == "shared")
            assert len(hosts) == 2
            await first.close()
            await rename_a_vm(pool, "again")
            await second.until(lambda v: v[ref]["name_label"] == "again")
            assert first[ref]["name_label"] == "shared"

    async def test_follows_pools_as_they_come_and_go(self, proxy):
        async with (
            SimulatedPool(generate(1, 3, 2)) as other,
            connect(proxy.url, **ADMIN) as c,
        ):
            view = await c.subscribe("host")
            changes = view.changes()
            added = await proxy.registry.add("other", other.url, "root", "x")
            await view.until(lambda v: len(v) == 3)
            assert (await anext(changes)).kind == "added"
            (link,) = [link for link in c.pools.values() if link["name"] == "other"]
            await proxy.registry.remove(PoolId(link["pool"]))
            await view.until(lambda v: len(v.pools) == 1)
            assert len(view) == 2
            assert added

    async def test_says_what_is_stale(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            (id_,) = c.pools
            await proxy.registry.change(id_, PoolChange(enabled=False))
            await view.until(lambda v: v.stale)
            assert view.stale[id_]["state"] == "disabled"
            assert len(view) > 0


class TestConnection:
    @pytest.mark.parametrize("encoding", ["json", "msgpack"])
    async def test_that_broke_is_resumed(self, pool, proxy, encoding):
        async with (
            relayed(proxy.url) as relay,
            connect(relay.url, **ADMIN, encoding=encoding) as library,
        ):
            view = await library.subscribe("*")
            await settled(view)
            whole = library.received_bytes
            changes = view.changes()
            relay.refusing = True
            relay.cut()
            await view.until(lambda v: not v.is_current)
            ref = await rename_a_vm(pool, "mean", "while")
            relay.refusing = False
            await view.until(lambda v: v.is_current and v[ref]["name_label"] == "while")
            assert library.received_bytes < whole / 10
            assert (library.reconnects, library.faults) == (1, 0)
            change = await anext(c async for c in changes if c.ref == ref)  # not the messages
            assert change.fields == {"name_label"}
            await assert_equal(view, pool, "VM", "host")

    async def test_is_made_again_and_again(self, pool, proxy):
        async with relayed(proxy.url) as relay, connect(relay.url, **ADMIN) as c:
            view = await c.subscribe("*")
            for number in range(3):
                await settled(view)
                relay.cut()
                ref = await rename_a_vm(pool, f"name-{number}")
                wanted = f"name-{number}"
                await view.until(lambda v: v[ref]["name_label"] == wanted)  # noqa: B023
            assert c.faults == 0
            await assert_equal(view, pool, "VM")

    @pytest.mark.slow
    @pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
    async def test_outlives_a_proxy_that_is_restarted(self, tmp_path, ending):
        restarts = Restarts(tmp_path)
        async with simulated(vms=10) as pool, restarts.serving() as first:
            await pool.add_to(first)
            async with relayed(first.url) as relay, connect(relay.url, **ADMIN) as c:
                view = await c.subscribe("*")
                await settled(view)
                whole = c.received_bytes
                await pool.sim("churn", rate=20, seconds=1, seed=1)
                await view.updated()
                await first.end(ending)
                relay.cut()
                await view.until(lambda v: not v.is_current)
                async with restarts.serving() as second:
                    relay.lead_to(second.url)
                    await view.until(lambda v: v.is_current)
                    await second.settled()
                    await pool.quiet()
                    ref = await touch(pool)
                    await view.until(lambda v: v[ref]["name_label"] == "touched")
                    assert c.received_bytes < whole / 3
                    assert c.faults == 0
                    async with logged_in(pool.url, pool.password) as xapi:
                        held = {obj.ref: obj.record for obj in view.objects("VM")}
                        assert same(held, await xapi.records("VM"))

    @pytest.mark.parametrize("encoding", ["json", "msgpack"])
    async def test_of_a_slow_program_gets_less_and_the_same_in_the_end(self, encoding):
        async with (
            SimulatedPool(generate(3, 60, 3)) as pool,
            proxy_on(pool.url) as proxy,
            connect(proxy.url, **ADMIN, encoding=encoding) as c,
        ):
            view = await c.subscribe("*")
            changes = view.changes()
            for _ in range(5):
                await rename_a_vm(pool, *map(str, range(40)))
                time.sleep(0.2)  # noqa: ASYNC251 - the program computes something
            ref = await rename_a_vm(pool, "last")
            await view.until(lambda v: v[ref]["name_label"] == "last")
            told = [await anext(changes) for _ in range(len(changes))]  # the messages, too
            (change,) = [c for c in told if c.ref == ref]
            assert change.after == view[ref]
            await assert_equal(view, pool, "VM", "VBD", "task")
            assert (c.reconnects, c.faults) == (0, 0)

    async def test_that_nobody_answers_is_said(self, unused_tcp_port):
        with pytest.raises(client.Unreachable, match="connection refused"):
            async with connect(f"http://127.0.0.1:{unused_tcp_port}", token="x"):
                pass

    async def test_to_somebody_else_is_said(self, pool):
        with pytest.raises(client.Unreachable, match="is no xoproxy"):
            async with connect(pool.url, token="x"):
                pass

    async def test_with_wrong_credentials_is_said(self, proxy):
        with pytest.raises(client.NotSignedIn, match="wrong user name or password"):
            async with connect(proxy.url, username="admin", password="wrong"):
                pass

    async def test_lets_failures_of_the_program_pass_as_they_are(self, proxy):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is about this block
            async with connect(proxy.url, **ADMIN) as c:
                await c.subscribe("host")
                _ = 1 / 0


class TestTls:
    @pytest.fixture
    async def secured(self, proxy):
        identity = Identity(["127.0.0.1"])
        relay = Relay(int(proxy.url.rpartition(":")[2]))
        server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, ssl=identity.context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield identity, url
        server.close()
        relay.cut()
        await server.wait_closed()

    async def test_a_certificate_of_nobody_is_refused(self, secured):
        _, url = secured
        with pytest.raises(client.Unreachable, match="certificate is not good"):
            async with connect(url, **ADMIN):
                pass

    async def test_one_that_is_pinned_is_believed_and_no_other(self, secured):
        identity, url = secured
        async with connect(url, **ADMIN, fingerprint=identity.fields["fingerprint"]) as c:
            assert len(await c.subscribe("host")) == 2
        with pytest.raises(client.Unreachable, match=identity.fingerprint):
            async with connect(url, **ADMIN, fingerprint="00" * 32):
                pass

    async def test_an_authority_of_ones_own_is_believed(self, secured, tmp_path):
        identity, url = secured
        (tmp_path / "ca.pem").write_text(identity.pem)
        async with connect(url, **ADMIN, ca_file=tmp_path / "ca.pem") as c:
            assert len(await c.subscribe("host")) == 2

    async def test_to_a_proxy_without_is_said(self, proxy):
        with pytest.raises(client.Unreachable, match="TLS failed"):
            async with connect(proxy.url.replace("http:", "https:"), **ADMIN):
                pass


@asynccontextmanager
async def a_token(proxy, name="script"):
    """A token, and a function that revokes it."""
    basic = aiohttp.encode_basic_auth("admin", PASSWORD)
    async with aiohttp.ClientSession(headers={"Authorization": basic}) as http:
        async with http.post(f"{proxy.url}/api/v1/tokens", json={"name": name}) as reply:
            made = await reply.json()

        async def revoke():
            async with http.delete(f"{proxy.url}/api/v1/tokens/{made['id']}") as reply:
                assert reply.ok

        yield made["token"], revoke


class TestCredentials:
    async def test_that_are_revoked_end_it(self, proxy):
        async with a_token(proxy) as (token, revoke), connect(proxy.url, token=token) as c:
            view = await c.subscribe("host")
            await revoke()
            with pytest.raises(client.NotSignedIn):
                await view.until(lambda _: False)
            with pytest.raises(client.NotSignedIn):
                await c.subscribe("VM")
            assert len(view) == 2

    async def test_that_are_renewed_go_on(self, proxy, pool):
        async with a_token(proxy) as (old, revoke), a_token(proxy, "new") as (new, _):
            tokens = [new, old]
            async with connect(proxy.url, token=tokens.pop) as c:
                view = await c.subscribe("VM")
                await revoke()
                ref = await rename_a_vm(pool, "renewed")
                await view.until(lambda v: v.is_current and v[ref]["name_label"] == "renewed")
                assert tokens == []


class TestCalls:
    async def test_return_what_xapi_returns(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            vm = next(iter(view.objects("VM")))
            assert await c.call(vm.pool, "VM.get_uuid", self=vm.ref) == vm["uuid"]
            await c.call(vm.pool, "VM.set_name_label", self=vm.ref, value="by call")
            await view.until(lambda v: v[vm.ref]["name_label"] == "by call")

    async def test_raise_what_xapi_refuses(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            (pool,) = c.pools
            with pytest.raises(client.XapiFailure) as caught:
                await c.call(pool, "VM.get_uuid", self="OpaqueRef:nobody")
            assert caught.value.xapi_code == "HANDLE_INVALID"
            assert caught.value.params == ("VM", "OpaqueRef:nobody")
            with pytest.raises(client.NotFound):
                await c.call("nopool", "VM.get_uuid", self="OpaqueRef:nobody")
            with pytest.raises(client.Forbidden):
                await c.call(pool, "session.get_all")

    async def test_are_refused_when_the_object_has_changed(self, proxy, pool):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            ref = await rename_a_vm(pool, "one")
            seen = await view.until(lambda v: v[ref]["name_label"] == "one" and v[ref])
            await rename_a_vm(pool, "two")
            await view.until(lambda v: v[ref]["name_label"] == "two")
            setting: dict[str, Any] = {"self": ref, "value": "three"}
            with pytest.raises(client.Conflict):
                await c.call(seen.pool, "VM.set_name_label", expect=[seen], **setting)
            await c.call(seen.pool, "VM.set_name_label", expect=[view[ref]], **setting)

    async def test_that_are_too_long_are_refused_at_once(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            (pool,) = c.pools
            with pytest.raises(client.Refused, match="longer than"):
                await c.call(pool, "VM.set_name_label", self="x", value="x" * 300_000)
            with pytest.raises(TypeError):
                await c.call(pool, "VM.set_name_label", self=object(), value="x")

    async def test_under_way_are_lost_with_the_connection(self, proxy, pool):
        async with relayed(proxy.url) as relay, connect(relay.url, **ADMIN) as c:
            (id_,) = c.pools
            async with asyncio.TaskGroup() as tasks:
                await pool.control.faults.begin(Delay(seconds=30, ms=5_000))
                calling = tasks.create_task(lost(c, id_))
                await asyncio.sleep(0.3)
                relay.cut()
                await calling
            await pool.control.faults.begin(Nothing())


async def lost(c, pool):
    with pytest.raises(client.Disconnected, match="may have happened"):
        await c.call(pool, "VM.get_all")


class TestBadQueries:
    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({"classes": "Vm"}, "did you mean VM"),
            ({"classes": "VM", "filter": "power_state:("}, "at character"),
            ({"classes": "VM", "fields": {"VM": ["name_lable"]}}, "did you mean name_label"),
        ],
    )
    async def test_are_explained(self, proxy, query, said):
        async with connect(proxy.url, **ADMIN) as c:
            with pytest.raises(client.BadQuery, match=said):
                await c.subscribe(**query)
            assert len(await c.subscribe("host")) == 2


class TestCancellation:
    async def test_of_what_waits_leaves_a_client_that_works(self, proxy, pool):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("VM")
            (id_,) = c.pools
            for waiting in (
                view.until(lambda _: False),
                anext(view.changes()),
                c.call(id_, "VM.get_all"),
                c.subscribe("*"),
                c.ping(),
            ):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await waiting
            ref = await rename_a_vm(pool, "still here")
            await view.until(lambda v: v[ref]["name_label"] == "still here")
            await c.ping()
            assert len(c._live) == 2  # the links and the view: what was cancelled is unsubscribed
            assert not c._answers

    async def test_of_connecting_leaves_nothing(self, proxy):
        for pause_s in (0, 0.001, 0.005, 0.02, 0.05):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(pause_s), connect(proxy.url, **ADMIN):
                    await asyncio.sleep(30)


class TestState:
    async def test_lets_another_life_go_on(self, proxy, pool):
        async with connect(proxy.url, **ADMIN) as c:
            view = await c.subscribe("*")
            await settled(view)
            whole = c.received_bytes
            state = json.loads(json.dumps(c.state()))
        ref = await rename_a_vm(pool, "while away")
        async with connect(proxy.url, **ADMIN, state=state) as c:
            view = await c.subscribe("*")
            await view.until(lambda v: v[ref]["name_label"] == "while away")
            assert c.received_bytes < whole / 10
            async for change in view.changes():
                if change.ref == ref:  # messages about other things may come and go meanwhile
                    assert change.fields == {"name_label"}
                    break
            await assert_equal(view, pool, "VM", "host")


class Scripted:
    """Something that speaks the protocol, but says what it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.closed: list[int | None] = []
        self.subscriptions: list[dict[str, Any]] = []
        self.refusing = False
        self._number = 0

    async def serve(self, request):
        if self.refusing:
            return web.Response(status=503, headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(protocols=["xoproxy.v1.json"])
        await socket.prepare(request)
        self._number += 1
        async for frame in socket:
            message = json.loads(frame.data)
            if message["type"] == "auth":
                await socket.send_json({"type": "welcome"})
            elif message["type"] == "subscribe":
                await self._subscribed(socket, message)
        self.closed.append(socket.close_code)
        return socket

    async def _subscribed(self, socket, message):
        number, seq, id_ = message["id"], self._number, message["id"]
        cls = message["query"]["classes"][0]
        self.subscriptions.append(message)
        about = {"view": number, "pool": cls, "epoch": "e", "seq": seq, "classes": [cls]}
        mode = "resume" if "resume" in message else "snapshot"
        views = [about | {"mode": mode}]
        answers: list[dict[str, Any]] = [{"type": "subscribed", "id": id_, "views": views}]
        if mode == "snapshot":
            rows = {"class": cls, "fields": ["$ref", "n"], "keys": ["a"], "rows": [["R:a", seq]]}
            answers.append({"type": "snapshot", "view": number, "seq": seq, "last": True} | rows)
            answers.append({"type": "bookmark", "view": number, "seq": seq, "resume": f"t{id_}"})
        await socket.send_json(answers)
        if cls == "VM" and self._number == 1:
            await asyncio.sleep(0.05)
            wrong = {"type": "patch", "view": number, "from": 77, "to": 78, "ops": []}
            await socket.send_json(wrong)


@pytest.fixture
async def scripted():
    script = Scripted()
    application = web.Application()
    application.router.add_get("/ws", script.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield script
    await runner.cleanup()


async def test_a_proxy_that_breaks_the_protocol_is_asked_afresh(scripted):
    async with connect(scripted.url, token="t", encoding="json") as c:
        host = await c.subscribe("host")
        view = await c.subscribe("VM")
        assert view["R:a"]["n"] == 1
        changes = view.changes()
        change = await anext(changes)
        assert change.after
        assert (change.after["n"], view["R:a"]["n"], host["R:a"]["n"]) == (2, 2, 1)
        assert (c.faults, c.reconnects) == (1, 1)
        assert scripted.closed == [4000]
        resumed = {m["query"]["classes"][0]: "resume" in m for m in scripted.subscriptions[3:]}
        assert resumed == {"pool_link": True, "host": True, "VM": False}


async def test_a_proxy_that_is_full_is_said_and_asked_again_later(scripted):
    scripted.refusing = True
    with pytest.raises(client.Unreachable, match="no more sessions") as caught:
        async with connect(scripted.url, token="t", encoding="json"):
            pass
    assert caught.value.retry_after_s == 1
    scripted.refusing = False
    async with connect(scripted.url, token="t", encoding="json") as c:
        view = await c.subscribe("VM")  # which breaks the protocol then, and is begun anew
        scripted.refusing = True
        await view.until(lambda v: not v.is_current)
        await view.until(lambda _: isinstance(c.trouble, client.Unreachable))
        scripted.refusing = False
        await view.until(lambda v: v.is_current)
        assert c.trouble is None


async def test_the_example_of_the_documentation_runs():
    async with (
        SimulatedPool(generate(2, 12, 1), speed=100) as pool,
        proxy_on(pool.url) as proxy,
        a_token(proxy) as (token, _),
        asyncio.timeout(40),
    ):
        code, lines = await run_example(proxy.url, token)
    assert code == (0, "")
    assert len([line for line in lines if " on " in line]) == 12
    assert lines[-1].startswith("changed ")


async def run_example(url, token):
    text = (Path(__file__).parents[2] / "docs" / "client-python.md").read_text()
    example = text.partition("```python\n")[2].partition("```")[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", example),
        env={**os.environ, "XOPROXY_URL": url, "XOPROXY_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return (process.returncode, err.decode()), out.decode().splitlines()


class TestWindow:
    async def test_shows_rows_in_order_and_moves(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            machines = "!is_a_template !is_control_domain"
            view = await c.subscribe("VM", filter=machines)
            ordered = sorted(vm["name_label"].lower() for vm in view.objects())
            window = await c.window(
                "VM", filter=machines, order=["name_label"], count=5, facets=["power_state"]
            )
            assert window.total == len(view) == 12
            assert [vm["name_label"].lower() for vm in window] == ordered[:5]
            assert sum(window.facets["power_state"].values()) == 12
            assert {vm.pool for vm in window} == set(c.pools)
            await window.move(4)
            assert [vm["name_label"].lower() for vm in window] == ordered[4:9]
            await window.move(10, 5)
            assert [vm["name_label"].lower() for vm in window] == ordered[10:]
            await window.move(100)
            assert (len(window), window.total) == (0, 12)
            await window.move(0, 1)
            ref = window.rows[0].ref
            await c.call(window.rows[0].pool, "VM.set_name_label", self=ref, value="~~~")
            await window.until(lambda w: w.rows[0].ref != ref)

    async def test_is_asked_for_again_where_it_was(self, proxy):
        async with relayed(proxy.url) as relay, connect(relay.url, **ADMIN) as c:
            window = await c.window("VM", order=["name_label"], count=3)
            await window.move(2)
            names = [vm["name_label"] for vm in window]
            relay.cut()
            await window.until(lambda w: not w.is_current)
            await window.until(lambda w: w.is_current)
            assert (window.offset, window.count) == (2, 3)
            assert [vm["name_label"] for vm in window] == names

    async def test_that_cannot_be_moved_so_far_says_so(self, proxy):
        async with connect(proxy.url, **ADMIN) as c:
            window = await c.window("VM", count=3)
            with pytest.raises(client.Refused):
                await window.move(0, 100_000)
            assert (len(window), window.count) == (3, 3)
            await window.move(1)


async def settled(view):
    """Wait until a view can be resumed."""
    slots = view._subscription.slots.values()
    await view._client.ping()
    await view.until(lambda _: all(slot.replica.complete for slot in slots))
    async with asyncio.timeout(10):
        while not all(slot.replica.token for slot in slots):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.02)


async def touch(pool):
    async with logged_in(pool.url, pool.password) as xapi:
        ref = min(await xapi.records("VM"))
        await xapi.call("VM.set_name_label", xapi.ref, ref, "touched")
    return ref

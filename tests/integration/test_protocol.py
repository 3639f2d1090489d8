"""What the protocol answers to good and bad clients, over real sockets (docs/protocol.md)."""

import asyncio
import base64
import json
import zlib

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.integration.support import JSON, MSGPACK, PASSWORD, connected, proxy_on, same
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool


@pytest.fixture
async def pool():
    async with SimulatedPool(generate(1, 5, 1)) as simulated:
        yield simulated


@pytest.fixture
async def proxy(pool):
    async with proxy_on(pool.url) as running:
        yield running


@pytest.fixture
async def admin(proxy):
    async with connected(proxy.url) as client:
        yield client


async def refused(client, message):
    """Send a message with id 9 and return the error's code."""
    await client.send({"id": 9, **message})
    answer = await client.answer(9)
    assert answer["type"] == "error", answer
    return answer["code"]


class TestUpgrade:
    async def test_without_a_subprotocol_is_a_bad_request_that_names_them(self, proxy):
        async with ClientSession() as session, session.get(f"{proxy.url}/ws") as reply:
            assert reply.status == 400
            assert JSON in (text := await reply.text())
            assert MSGPACK in text

    async def test_with_a_wrong_subprotocol_is_refused(self, proxy):
        async with ClientSession() as session:
            with pytest.raises(WSServerHandshakeError) as caught:
                await session.ws_connect(f"{proxy.url}/ws", protocols=["xoproxy.v9.json"])
        assert caught.value.status == 400

    @pytest.mark.parametrize("compress", [True, False])
    @pytest.mark.parametrize("protocol", [JSON, MSGPACK])
    async def test_both_encodings_work_with_and_without_deflate(self, proxy, protocol, compress):
        async with connected(proxy.url, protocol, compress=compress) as client:
            (view,) = await client.subscribe(classes=["VM"])
            assert view.document["VM"]

    async def test_deflate_is_promised_to_be_stateless_both_ways(self, proxy):
        async with connected(proxy.url) as client:
            extensions = client.ws._response.headers["Sec-WebSocket-Extensions"]
        assert "server_no_context_takeover" in extensions
        assert "client_no_context_takeover" in extensions

    async def test_a_page_of_another_origin_is_refused(self, proxy):
        async with ClientSession(headers={"Origin": "https://evil.example"}) as session:
            with pytest.raises(WSServerHandshakeError) as caught:
                await session.ws_connect(f"{proxy.url}/ws", protocols=[JSON])
        assert caught.value.status == 403


class TestSigningIn:
    async def test_welcome_tells_user_and_limits(self, admin):
        assert admin.welcome["protocol"] == "xoproxy.v1"
        assert admin.welcome["user"] == {"name": "admin", "role": "administrator"}
        assert admin.welcome["limits"]["message_bytes"] >= 256 * 1024

    @pytest.mark.parametrize(
        "credentials",
        [
            {"username": "admin", "password": "wrong"},
            {"username": "nobody", "password": PASSWORD},
            {"token": "xop_forged"},
            {"username": "admin"},
            {},
        ],
    )
    async def test_wrong_credentials_are_an_error_and_4501(self, proxy, credentials):
        async with connected(proxy.url, auth=None) as client:
            await client.send({"type": "auth", **credentials})
            await client.until(lambda: client.close_code)
            assert client.close_code == 4501
            assert [a["code"] for a in client.answers] == ["UNAUTHORISED"]
            assert PASSWORD not in json.dumps(client.answers)

    async def test_anything_before_auth_is_4502(self, proxy):
        async with connected(proxy.url, auth=None) as client:
            await client.send({"type": "subscribe", "id": 1, "query": {"classes": ["VM"]}})
            await client.until(lambda: client.close_code)
            assert client.close_code == 4502

    async def test_messages_behind_auth_wait_for_its_outcome(self, proxy):
        async with connected(proxy.url, auth=None) as client:
            await client.send({"type": "auth", "username": "admin", "password": PASSWORD})
            await client.send({"type": "ping", "id": 1})
            assert (await client.answer(1))["type"] == "pong"

    async def test_a_later_auth_renews_or_ends(self, admin):
        admin.welcome = None
        await admin.send({"type": "auth", "username": "admin", "password": PASSWORD})
        await admin.until(lambda: admin.welcome)
        await admin.send({"type": "auth", "username": "admin", "password": "wrong"})
        await admin.until(lambda: admin.close_code)
        assert admin.close_code == 4501


class TestBadMessages:
    @pytest.mark.parametrize(
        "frame", ["", "{", "[]", "1", "null", '"x"', "\x00", "[" * 100_000, '{"type":']
    )
    async def test_frames_that_do_not_decode_to_a_map_are_4502(self, admin, frame):
        await admin.ws.send_str(frame)
        await admin.until(lambda: admin.close_code)
        assert admin.close_code == 4502

    async def test_the_wrong_kind_of_frame_is_4502(self, admin):
        await admin.ws.send_bytes(b'{"type":"ping"}')
        await admin.until(lambda: admin.close_code)
        assert admin.close_code == 4502

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "dance"},
            {"type": 1},
            {},
            {"type": "subscribe"},
            {"type": "subscribe", "query": []},
            {"type": "subscribe", "query": {"classes": ["VM"]}, "resume": [{"token": 1}]},
            {"type": "call", "pool": "p"},
            {"type": "call", "pool": "p", "method": "VM.start", "params": []},
        ],
    )
    async def test_wrong_members_are_answered_and_the_connection_stays(self, admin, message):
        assert await refused(admin, message) == "BAD_MESSAGE"
        await admin.send({"type": "ping", "id": 1})
        assert (await admin.answer(1))["type"] == "pong"

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"classes": []},
            {"classes": ["Vm"]},
            {"classes": "VM"},
            {"classes": ["VM"], "filter": "power_state:("},
            {"classes": ["VM"], "filter": "colour:red"},
            {"classes": ["VM"], "fields": {"VM": ["colour"]}},
            {"classes": ["VM"], "order": ["name_label"]},
            {"classes": ["VM"], "window": [0, 1_001]},
            {"classes": ["VM"], "facets": ["power_state"]},
            {"classes": ["VM"], "rate": 1000},
        ],
    )
    async def test_bad_queries(self, admin, query):
        assert await refused(admin, {"type": "subscribe", "query": query}) == "BAD_QUERY"

    async def test_a_window_that_is_not_there_cannot_be_moved(self, admin):
        assert await refused(admin, {"type": "window", "window": [0, 1]}) == "NOT_FOUND"

    async def test_an_oversized_message_is_too_large_and_the_connection_stays(self, admin):
        await admin.send({"type": "ping", "pad": "x" * 300_000})
        error = await admin.until(lambda: admin.answers and admin.answers[0])
        assert error["code"] == "TOO_LARGE"
        await admin.send({"type": "ping", "id": 1})
        await admin.answer(1)

    async def test_a_deflate_bomb_ends_the_connection(self, proxy):
        async with connected(proxy.url) as client:
            packer = zlib.compressobj(wbits=-15)
            bomb = packer.compress(b" " * (64 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
            header = b"\xc1\xfe" + (len(bomb) - 4).to_bytes(2, "big")
            if len(bomb) - 4 > 0xFFFF:
                header = b"\xc1\xff" + (len(bomb) - 4).to_bytes(8, "big")
            client.ws._writer.transport.write(header + b"\0\0\0\0" + bomb[:-4])
            await client.until(lambda: client.close_code)
            assert client.close_code in (1009, 1006)

    async def test_others_are_not_disturbed(self, proxy, admin):
        (view,) = await admin.subscribe(classes=["VM"])
        async with connected(proxy.url) as bad:
            await bad.ws.send_str("junk")
            await bad.until(lambda: bad.close_code)
        await admin.send({"type": "ping", "id": 2})
        await admin.answer(2)
        assert view.complete


class TestSubscriptions:
    async def test_an_id_in_use_is_refused(self, admin):
        await admin.subscribe(id_=9, classes=["VM"])
        query = {"classes": ["host"]}
        assert await refused(admin, {"type": "subscribe", "query": query}) == "ID_IN_USE"

    async def test_an_unknown_pool_is_not_found(self, admin):
        query = {"classes": ["VM"], "pools": ["nope"]}
        assert await refused(admin, {"type": "subscribe", "query": query}) == "NOT_FOUND"
        call = {"type": "call", "pool": "nope", "method": "VM.start", "params": {}}
        assert await refused(admin, call) == "NOT_FOUND"

    async def test_an_equal_query_is_the_same_view(self, admin):
        (view,) = await admin.subscribe(id_=1, classes=["VM", "host"])
        await admin.send({"type": "subscribe", "id": 2, "query": {"classes": ["host", "VM", "VM"]}})
        (info,) = (await admin.answer(2))["views"]
        assert (info["view"], info["mode"]) == (view.number, "same")
        await admin.send({"type": "unsubscribe", "id": 1})
        assert (await admin.answer(1))["result"] is None

    async def test_nothing_comes_after_unsubscribe(self, pool, admin):
        (view,) = await admin.subscribe(classes=["VM"])
        await admin.send({"type": "unsubscribe", "id": 1})
        await admin.answer(1)
        before = view.patches
        pool.database.write("VM", pool.database.refs("VM")[0], "name_label", "renamed")
        await asyncio.sleep(0.3)
        assert view.patches == before
        assert await refused(admin, {"type": "unsubscribe"}) == "NOT_FOUND"

    async def test_pools_are_followed_as_they_come_and_go(self, proxy, admin):
        (first,) = await admin.subscribe(classes=["VM"])
        async with SimulatedPool(generate(1, 3, 2)) as other:
            info = await proxy.registry.add("later", other.url, "root", "x")
            view = await admin.until(
                lambda: next((v for v in admin.views.values() if v.pool == info.id), None)
            )
            await admin.until(lambda: view.resets == ["loaded"] and view.complete)
            assert len(view.document["VM"]) == other.database.count("VM")
            await proxy.registry.remove(info.id)
            await admin.until(lambda: view.gone)
        assert not first.gone

    async def test_the_links_are_objects_of_the_proxy(self, proxy, admin):
        (view,) = await admin.subscribe(pools=["proxy"], classes=["pool_link"])
        (link,) = view.document["pool_link"].values()
        assert link["state"] == "live"
        assert link["error"] is None
        (pool,) = await proxy.registry.list()
        assert (link["pool"], link["name"]) == (pool.id, "pool-0")


class TestCalls:
    @pytest.mark.parametrize("protocol", [JSON, MSGPACK])
    async def test_a_result_has_xapis_types(self, pool, proxy, protocol):
        ref = pool.database.refs("VM")[0]
        async with connected(proxy.url, protocol) as client:
            (view,) = await client.subscribe(classes=["VM"])
            call = {"type": "call", "id": 5, "pool": view.pool, "method": "VM.get_record"}
            await client.send({**call, "params": {"self": ref}})
            assert same((await client.answer(5))["result"], view.records("VM")[ref])

    async def test_a_call_returns_and_its_effect_comes_as_a_patch(self, pool, admin):
        (view,) = await admin.subscribe(classes=["VM"])
        ref = pool.database.refs("VM")[0]
        params = {"self": ref, "value": "by call"}
        call = {"type": "call", "id": 5, "pool": view.pool, "method": "VM.set_name_label"}
        await admin.send({**call, "params": params})
        assert (await admin.answer(5))["type"] == "result"
        await admin.until(lambda: view.records("VM")[ref]["name_label"] == "by call")

    async def test_xapis_refusal_is_passed_on(self, admin):
        (view,) = await admin.subscribe(classes=["VM"])
        params = {"self": "OpaqueRef:none", "value": "x"}
        call = {"type": "call", "id": 5, "pool": view.pool, "method": "VM.set_name_label"}
        await admin.send({**call, "params": params})
        answer = await admin.answer(5)
        assert answer["code"] == "XAPI_FAILURE"
        assert answer["data"] == ["HANDLE_INVALID", "VM", "OpaqueRef:none"]

    @pytest.mark.parametrize("method", ["session.logout", "event.from", "secret.get_all"])
    async def test_what_is_the_proxys_own_business_is_refused(self, admin, method):
        (view,) = await admin.subscribe(classes=["VM"])
        call = {"type": "call", "pool": view.pool, "method": method, "params": {}}
        assert await refused(admin, call) in ("FORBIDDEN", "BAD_MESSAGE")

    async def test_expect_refuses_what_has_changed(self, pool, admin):
        (view,) = await admin.subscribe(classes=["VM"])
        ref = pool.database.refs("VM")[0]
        key = next(k for k, v in view.document["VM"].items() if v["$ref"] == ref)
        seen = view.position
        pool.database.write("VM", ref, "name_label", "changed")
        await admin.until(lambda: view.records("VM")[ref]["name_label"] == "changed")
        call = {
            "type": "call",
            "pool": view.pool,
            "method": "VM.set_name_label",
            "params": {"self": ref, "value": "lost update"},
            "expect": [{"view": view.number, "key": key, "seq": seen}],
        }
        assert await refused(admin, call) == "CONFLICT"


class TestResume:
    async def test_a_client_goes_on_where_it_stood(self, pool, proxy):
        async with connected(proxy.url) as client:
            (view,) = await client.subscribe(classes=["VM"])
        ref = pool.database.refs("VM")[0]
        pool.database.write("VM", ref, "name_label", "while away")
        async with connected(proxy.url) as client:
            (resumed,) = await client.resume([view], classes=["VM"])
            assert resumed.info["mode"] == "resume"
            await client.until(lambda: resumed.records("VM")[ref]["name_label"] == "while away")
            assert client.received_bytes < 5_000

    async def test_tokens_that_are_not_ours_give_a_snapshot(self, proxy):
        async with connected(proxy.url) as client:
            (view,) = await client.subscribe(classes=["VM"])
            assert view.token is not None
            signed = base64.urlsafe_b64decode(view.token + "===")
            flipped = bytes([signed[0] ^ 1]) + signed[1:]
            forged = base64.urlsafe_b64encode(flipped).decode()
            await client.send({"type": "unsubscribe", "id": 1})
            await client.answer(1)
            for number, token in enumerate(["", "x", forged, view.token[:-4], "A" * 10_000]):
                resume = [{"token": token, "seq": view.position}]
                (again,) = await client.subscribe(id_=f"r{number}", classes=["VM"], resume=resume)
                assert again.info["mode"] == "snapshot"
                await client.send({"type": "unsubscribe", "id": f"r{number}"})
                await client.answer(f"r{number}")
            resume = [{"token": view.token, "seq": view.position}]
            (other,) = await client.subscribe(id_="o", classes=["host"], resume=resume)
            assert other.info["mode"] == "snapshot"

    async def test_a_position_from_the_future_gives_a_snapshot(self, proxy):
        async with connected(proxy.url) as client:
            (view,) = await client.subscribe(classes=["VM"])
            await client.send({"type": "unsubscribe", "id": 1})
            await client.answer(1)
            resume = [{"token": view.token, "seq": view.position + 10**9}]
            (again,) = await client.subscribe(id_=2, classes=["VM"], resume=resume)
            assert again.info["mode"] == "snapshot"

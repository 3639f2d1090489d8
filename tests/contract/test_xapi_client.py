"""What every client of a pool does, whatever carries its requests: one suite for all carriers."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace

import msgspec
import pytest

from tests.shared import shared_files, shared_path
from xoproxy.errors import PoolAuthFailed, PoolUnreachable, RequestRefused, XapiFailure
from xoproxy.model import PoolId, XapiClass
from xoproxy.pool import methods, replies
from xoproxy.pool.carrier import Carrier, HttpCarrier
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.jsonrpc import JsonRpcClient, trust_of
from xoproxy.pool.trust import Trust
from xoproxy.pool.xmlrpc import XmlRpcCarrier
from xoproxy.simulator.dumps import load_estate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.tls import Identity

DUMPS = "recorded/xenadmin"
VM = XapiClass("VM")
SETTINGS = LinkSettings(connect_timeout_s=2.0, request_timeout_s=10.0, event_slack_s=2.0)

MakeCarrier = Callable[[LinkSettings, Trust], Carrier]


@pytest.fixture(params=[HttpCarrier, XmlRpcCarrier], ids=["json", "xml"])
def carrier(request) -> MakeCarrier:
    return request.param


@asynccontextmanager
async def client_of(simulator, carrier: MakeCarrier, settings=SETTINGS, **changes):
    base = PoolConfig(PoolId("p"), "Lab", simulator.url, simulator.user, simulator.password)
    config = replace(base, **changes)
    made = carrier(settings, trust_of(config))
    async with JsonRpcClient(config, settings, "xoproxy@test", made) as client:
        yield client


@asynccontextmanager
async def logged_in(carrier: MakeCarrier, estate=None, settings=SETTINGS):
    async with (
        SimulatedPool(estate or generate(1, 3, 1)) as simulator,
        client_of(simulator, carrier, settings) as client,
    ):
        await client.reach([])
        await client.login()
        yield simulator, client


async def value(client, method, *params):
    return replies.json_value(await client.call(method, params))


# --- the session ----------------------------------------------------------------------------------


async def test_a_session_bears_our_originator_and_ends_with_the_logout(carrier):
    async with logged_in(carrier) as (simulator, client):
        (ours,) = simulator.database.refs("session")
        assert simulator.database.record("session", ours)["originator"] == "xoproxy@test"
        await client.logout()
        assert not simulator.database.refs("session")
        with pytest.raises(XapiFailure) as caught:
            await client.call("VM.get_all")
        assert caught.value.code == "SESSION_INVALID"


async def test_a_wrong_password_is_told_apart(carrier):
    async with (
        SimulatedPool(generate(1, 1, 1)) as simulator,
        client_of(simulator, carrier, password="wrong") as client,
    ):
        with pytest.raises(PoolAuthFailed):
            await client.login()


# --- calls ----------------------------------------------------------------------------------------


async def test_results_have_the_types_that_the_data_model_says(carrier):
    async with logged_in(carrier) as (simulator, client):
        vm = simulator.database.refs("VM")[-1]
        record = simulator.database.record("VM", vm)

        assert await value(client, "VM.get_memory_static_max", vm) == record["memory_static_max"]
        assert isinstance(record["memory_static_max"], int)
        assert await value(client, "VM.get_is_a_template", vm) is record["is_a_template"]
        assert await value(client, "VM.get_tags", vm) == record["tags"]
        assert await value(client, "VM.set_name_label", vm, "42") == ""
        assert await value(client, "VM.get_name_label", vm) == "42"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        " a\r\nb\rc\n\t",
        "<&>\"'",
        "ünï😀 \u2028",
        "20240131T12:00:00Z",
        "]]>",
        "x" * 99_999,
    ],
)
async def test_texts_pass_both_ways(carrier, text):
    async with logged_in(carrier) as (simulator, client):
        vm = simulator.database.refs("VM")[-1]
        await client.call("VM.set_name_description", [vm, text])

        assert simulator.database.record("VM", vm)["name_description"] == text
        assert await value(client, "VM.get_name_description", vm) == text


async def test_parameters_of_every_type_arrive(carrier):
    async with logged_in(carrier) as (simulator, client):
        database = simulator.database
        vm = database.refs("VM")[-1]
        await client.call("VM.set_other_config", [vm, {"a": "1", "b": "é"}])
        await client.call("VM.set_tags", [vm, ["x", "y"]])
        await client.call("VM.set_user_version", [vm, 2**40])
        (pool,) = database.refs("pool")
        await client.call("pool.set_wlb_verify_cert", [pool, True])
        record = database.record("VM", vm)
        assert (record["tags"], record["user_version"]) == (["x", "y"], 2**40)
        assert database.record("pool", pool)["wlb_verify_cert"] is True
        assert record["other_config"]["b"] == "é"
        since = await value(client, "message.get_since", "20240131T12:00:00Z")
        assert isinstance(since, dict)


async def test_failures_keep_their_code_and_parameters(carrier):
    async with logged_in(carrier) as (_, client):
        with pytest.raises(XapiFailure) as caught:
            await client.call("VM.get_record", ["OpaqueRef:none"])
        assert (caught.value.code, caught.value.params) == (
            "HANDLE_INVALID",
            ("VM", "OpaqueRef:none"),
        )
        with pytest.raises(XapiFailure) as caught:
            await client.call("VM.nonsense")
        assert caught.value.code == "MESSAGE_METHOD_UNKNOWN"


async def test_a_call_that_is_too_large_is_refused_and_harms_nothing(carrier):
    async with logged_in(carrier) as (simulator, client):
        vm = simulator.database.refs("VM")[-1]
        for text in ("x" * (300 << 10), "<" * (299 << 10) + "x" * 1000):
            with pytest.raises(RequestRefused):
                await client.call("VM.set_name_label", [vm, text])
        assert await value(client, "VM.get_all")


async def test_calls_run_side_by_side(carrier):
    async with logged_in(carrier) as (_, client), asyncio.TaskGroup() as group:
        calls = [group.create_task(client.call("VM.get_all")) for _ in range(20)]
        poll = group.create_task(client.events([VM], "99999999,0", 1.0))
    assert len({bytes(call.result()) for call in calls}) == 1
    assert poll.result().events == []


# --- records and events ---------------------------------------------------------------------------


async def all_records(client) -> dict[str, list[tuple[str, bytes]]]:
    classes = methods.event_classes(await value(client, "system.listMethods"))
    return {
        cls: [
            (ref, replies.checked_record(bytes(raw)))
            for ref, raw in (await client.records(cls)).items()
        ]
        for cls in sorted(classes)
    }


async def assert_same_bytes(simulator):
    """Compare what the carriers bring, class by class, and the events' records with both."""
    async with (
        client_of(simulator, HttpCarrier) as json,
        client_of(simulator, XmlRpcCarrier) as xml,
    ):
        await json.login()
        await xml.login()
        told, expected = await all_records(xml), await all_records(json)
        assert told.keys() == expected.keys()
        for cls, records in expected.items():
            for ours, theirs in zip(told[cls], records, strict=True):
                assert ours == theirs, cls
        events = [(await client.events(sorted(told), "", 5)) for client in (json, xml)]
        first, second = (
            [(e.cls, e.operation, e.ref, replies.checked_record(e.record)) for e in reply.events]
            for reply in events
        )
        assert first == second
        assert events[0].valid_ref_counts == events[1].valid_ref_counts
        return sum(map(len, expected.values()))


@pytest.mark.parametrize("release", [None, "8.2", "7.1"])
async def test_a_record_is_the_same_to_the_byte_over_both(release):
    async with SimulatedPool(generate(3, 40, 1), release=release) as simulator:
        assert await assert_same_bytes(simulator) > 500


@pytest.mark.parametrize("dump", shared_files(DUMPS, "*.*"), ids=lambda path: path.name)
async def test_every_dump_is_the_same_to_the_byte_over_both(dump):
    loaded = load_estate(shared_path(f"{DUMPS}/{dump.name}"))
    async with SimulatedPool(
        loaded.estate, stamps=loaded.stamps, generation=loaded.generation
    ) as simulator:
        assert await assert_same_bytes(simulator) > 100


async def test_odd_values_are_the_same_to_the_byte_over_both():
    async with SimulatedPool(generate(1, 8, 1)) as simulator:
        database = simulator.database
        texts = [
            "",
            "007",
            "-1",
            "a\r\nb\r",
            "\n x \n",
            "<&>\"'/\\",
            "é😀\u2028\ufeff",
            "NaN",
            "]]>",
        ]
        for vm, text in zip(database.refs("VM")[-9:], texts, strict=False):
            database.write("VM", vm, "name_label", text)
            database.write("VM", vm, "tags", [text, text])
            database.write("VM", vm, "other_config", {text or "k": text, "b": ""})
            database.write("VM", vm, "memory_static_max", 2**63 - 1)
            database.write("VM", vm, "order", -(2**63))
        floats = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-7, 1e22, 0.1, 123456.75]
        for metrics, number in zip(database.refs("VM_metrics"), floats, strict=False):
            database.write("VM_metrics", metrics, "VCPUs_utilisation", {"0": number, "1": 0.25})
            database.write("VM_metrics", metrics, "VCPUs_CPU", {"0": 3, "11": -4})
            database.write("VM_metrics", metrics, "VCPUs_flags", {"0": ["a", "7"]})
            database.write("VM_metrics", metrics, "start_time", "19691231T23:59:59Z")
        await assert_same_bytes(simulator)


async def test_events_come_after_the_token_and_in_time(carrier):
    async with logged_in(carrier) as (simulator, client):
        database = simulator.database
        first = await client.events([VM], "", 1)
        assert {e.ref for e in first.events} == set(database.refs("VM"))
        assert {(e.cls, e.operation) for e in first.events} == {("vm", "add")}

        renamed, *_, destroyed = database.refs("VM")
        database.write("VM", renamed, "name_label", "new")
        database.destroy("VM", destroyed)
        second = await client.events([VM], first.token, 1)
        told = {e.ref: e for e in second.events}
        assert told[renamed].operation == "mod"
        assert msgspec.json.decode(told[renamed].record)["name_label"] == "new"
        assert told[destroyed].operation == "del"
        assert not bytes(told[destroyed].record)
        assert second.valid_ref_counts["vm"] == database.count("VM")

        quiet = await client.events([VM], second.token, 0.2)
        assert quiet.events == []


async def test_a_cancelled_wait_leaves_the_client_usable(carrier):
    async with logged_in(carrier) as (_, client):
        first = await client.events([VM], "", 1)
        async with asyncio.TaskGroup() as group:
            wait = group.create_task(client.events([VM], first.token, 30))
            await asyncio.sleep(0.2)
            wait.cancel()
        assert await value(client, "VM.get_all")


# --- when it does not work ------------------------------------------------------------------------


async def test_a_silent_pool_is_given_up_in_time(carrier):
    settings = replace(SETTINGS, request_timeout_s=0.5)
    async with logged_in(carrier, settings=settings) as (simulator, client):
        body = msgspec.json.encode({"kind": "black_hole"})
        await simulator.control.answer("POST", "/_sim/fault", body)
        with pytest.raises(PoolUnreachable) as caught:
            await client.call("VM.get_all")
        assert caught.value.code == "TIMEOUT"
        await simulator.control.answer("POST", "/_sim/fault", b'{"kind":"none"}')
        assert await value(client, "VM.get_all")


async def test_nobody_there_is_told_without_the_address(carrier):
    async with SimulatedPool(generate(1, 1, 1)) as simulator:
        pass
    async with client_of(simulator, carrier) as client:
        with pytest.raises(PoolUnreachable) as caught:
            await client.login()
    assert caught.value.code == "UNREACHABLE"
    assert "127.0.0.1" not in str(caught.value)


async def test_only_the_accepted_certificate_gets_the_password(carrier):
    async with SimulatedPool(generate(1, 1, 1), tls=True) as simulator:
        for pins in ({}, {"127.0.0.1": "ab" * 32}):
            async with client_of(simulator, carrier, pins=pins) as client:
                with pytest.raises(PoolUnreachable) as caught:
                    await client.login()
            assert caught.value.code == "CERTIFICATE"
        assert simulator.control.stats()["calls"] == {}

        good = {"127.0.0.1": simulator.hosts.coordinator.identity.fingerprint}
        async with client_of(simulator, carrier, pins=good) as client:
            await client.login()
            assert await value(client, "VM.get_all")


async def test_an_authority_of_ones_own_is_enough(carrier, tmp_path):
    async with SimulatedPool(generate(1, 1, 1), tls=True) as simulator:
        authority = tmp_path / "ca.pem"
        authority.write_text(simulator.hosts.coordinator.identity.pem)
        async with client_of(simulator, carrier, ca_path=authority) as client:
            await client.login()
            assert await value(client, "VM.get_all")


@contextmanager
def _shaking_hands(listener: socket.socket, context: ssl.SSLContext):
    """Do nothing but TLS handshakes, as stunnel does them: asyncio's servers send no alerts."""

    def serve() -> None:
        with suppress(OSError):  # closed, at last
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_from_before_1_2_is_told_as_what_it_is(carrier):
    identity = Identity(["127.0.0.1"])
    context = identity.context
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL would not even serve it
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1
    with socket.create_server(("127.0.0.1", 0)) as listener, _shaking_hands(listener, context):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        pins = {"127.0.0.1": identity.fingerprint}
        config = PoolConfig(PoolId("p"), "x", url, "root", "x", pins=pins)
        made = carrier(SETTINGS, trust_of(config))
        async with JsonRpcClient(config, SETTINGS, carrier=made) as client:
            with pytest.raises(PoolUnreachable, match=r"before 1\.2") as caught:
                await client.login()
    assert caught.value.code == "CERTIFICATE"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 500 Internal Error\r\nContent-Length: 6\r\n\r\n<html>", "NOT_XAPI"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "NOT_XAPI"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>", "NOT_XAPI"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x00\xff<x", "NOT_XAPI"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "NOT_XAPI"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "NOT_XAPI"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "UNREACHABLE"),
        (b"", "UNREACHABLE"),
    ],
)
async def test_what_is_not_xapi_is_no_answer(carrier, answer, code):
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = PoolConfig(PoolId("p"), "x", f"http://127.0.0.1:{port}", "root", "x")
        made = carrier(SETTINGS, trust_of(config))
        async with JsonRpcClient(config, SETTINGS, carrier=made) as client:
            with pytest.raises(PoolUnreachable) as caught:
                await client.call("VM.get_all")
    assert caught.value.code == code
    assert "127.0.0.1" not in str(caught.value)


async def test_an_answer_that_only_trickles_is_given_up(carrier):
    settings = replace(SETTINGS, connect_timeout_s=0.5)
    served = asyncio.Event()

    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<?xml version='1.0'?>")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()
            served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = PoolConfig(PoolId("p"), "x", f"http://127.0.0.1:{port}", "root", "x")
        made = carrier(settings, trust_of(config))
        async with JsonRpcClient(config, settings, carrier=made) as client:
            with pytest.raises(PoolUnreachable) as caught:
                await client.call("VM.get_all")
        await served.wait()
    assert caught.value.code == "TIMEOUT"


async def test_an_answer_beyond_the_bound_is_cut_off(carrier):
    settings = replace(SETTINGS, reply_bytes=20_000)
    async with logged_in(carrier, settings=settings) as (_, client):
        with pytest.raises(PoolUnreachable, match="larger"):
            await client.records(VM)
        assert await value(client, "pool.get_all")

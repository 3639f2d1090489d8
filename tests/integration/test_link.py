"""A pool's link under faults: states, sessions, credentials, certificates, commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from tests.integration.watched import FAST, POOL, config, watched
from xoproxy.errors import ConfigError, ErrorCode, PoolUnreachable, RequestRefused, XapiFailure
from xoproxy.model import Ref, XapiClass
from xoproxy.pool.client import PoolConfig
from xoproxy.pool.jsonrpc import JsonRpcClient
from xoproxy.pool.link import LinkState
from xoproxy.simulator.estate import generate

VM = XapiClass("VM")
SMALL = generate(2, 12, 1)


def rename_a_vm(world, name: str) -> None:
    database = world.simulator.database
    database.write("VM", database.refs("VM")[0], "name_label", name)


def halted(world) -> Ref:
    database = world.simulator.database
    return next(
        Ref(ref)
        for ref in database.refs("VM")
        if (vm := database.record("VM", ref))["power_state"] == "Halted"
        and not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])
    )


# --- breaking and healing -------------------------------------------------------------------------


async def test_reset_connections_cost_neither_session_nor_position():
    async with watched(SMALL) as world:
        for n in range(3):
            await world.until(lambda: world.stats["event_waits"] == 1)
            await world.fault("drop")
            await world.until(lambda: world.state is LinkState.STALE)
            rename_a_vm(world, f"name {n}")
            await world.until_live()
            await world.until_equal()

        assert world.calls("session.login_with_password") == 1
        assert world.counts.full_lists == 1
        assert world.witness.loads == 1


@pytest.mark.parametrize("kind", ["black_hole", "half_open"])
async def test_a_silent_connection_is_noticed_and_replaced(kind):
    settings = replace(FAST, event_timeout_s=1.0, event_slack_s=0.5, connect_timeout_s=0.5)
    async with watched(SMALL, settings) as world:
        await world.until(lambda: world.stats["event_waits"] == 1)
        seconds = {"seconds": 3} if kind == "black_hole" else {}
        await world.fault(kind, **seconds)
        rename_a_vm(world, "unheard")

        took_s = await world.until(lambda: world.state is LinkState.STALE)
        assert took_s < 2.5
        assert world.error_code == "TIMEOUT"
        await world.until_live()
        await world.until_equal()
        assert world.witness.loads == 1
        assert world.counts.full_lists == 1, "the session was kept"


async def test_an_ended_session_is_replaced_and_the_pool_listed():
    async with watched(SMALL) as world:
        await world.fault("expire_sessions")
        await world.until(lambda: world.state is LinkState.STALE)
        await world.until_live()
        rename_a_vm(world, "after")
        await world.until_equal()

        assert world.counts.full_lists == 2
        assert world.witness.loads == 1
        assert world.stats["sessions"] == 1


async def test_the_coordinator_is_followed_away_and_back():
    async with watched(SMALL) as world:
        master = world.status.master
        await world.fault("member")
        await world.until(lambda: world.state is LinkState.STALE)
        await world.until_live()
        rename_a_vm(world, "led by another")
        await world.until_equal()
        assert world.status.master != master

        await world.fault("none")
        await world.until(lambda: world.state is LinkState.STALE)
        await world.until_live()
        rename_a_vm(world, "led as before")
        await world.until_equal()
        assert world.status.master == master
        assert world.witness.loads == 1
        errors = {status.link.error for status in world.witness.statuses} - {None}
        assert errors
        assert not any("127." in error.message for error in errors if error)


async def test_there_is_one_session_and_at_most_one_waiting_poll():
    async with watched(SMALL) as world:
        waits, sessions = [], []

        async def sample(seconds: float) -> None:
            for _ in range(int(seconds / 0.01)):
                waits.append(world.stats["event_waits"])
                sessions.append(world.stats["sessions"])
                await asyncio.sleep(0.01)

        await world.churn(rate=100, seconds=1, lifecycle=True)
        await sample(1)
        await world.fault("drop")
        await sample(0.5)
        await world.fault("expire_sessions")
        await sample(1)

        assert max(waits) == 1
        assert max(sessions) == 1
    assert world.stats["sessions"] == 0, "logged out"


async def test_a_wrong_password_is_told_and_mended_by_the_operator():
    async with watched(SMALL, live=False, speed=20, password="wrong") as world:
        await world.until(lambda: world.state is LinkState.ERROR)
        assert world.error_code == "AUTH_FAILED"
        assert "wrong" not in str(world.witness.statuses)
        assert not world.store.loaded

        await world.supervisor.replace(config(world.simulator))
        await world.until_live()
        assert world.witness.states[-2:] == ["connecting", "live"]


async def test_a_pool_that_is_not_there_is_an_error_without_addresses():
    async with watched(SMALL, live=False, url="http://127.0.0.1:9") as world:
        await world.until(lambda: world.state is LinkState.ERROR)
        assert world.error_code == "UNREACHABLE"
        assert "127.0.0.1" not in world.status.record().decode()
        with pytest.raises(RequestRefused) as caught:
            await world.supervisor.call(POOL, "VM.get_all", {})
        assert caught.value.code is ErrorCode.POOL_UNAVAILABLE


async def test_a_busy_pool_is_asked_again():
    async with watched(SMALL) as world:
        await world.fault("fail", method="VM.get_all", code="TOO_MANY_PENDING_TASKS", count=2)

        result = await world.supervisor.call(POOL, "VM.get_all", {})

        assert len(msgspec.json.decode(result)) == world.store.by_class.count(VM)
        assert world.calls("VM.get_all") == 3


async def test_a_failure_of_our_own_is_shown_and_healed():
    async with watched(SMALL) as world:
        world.witness.raising = ZeroDivisionError("private")
        rename_a_vm(world, "unlucky")
        await world.until(lambda: world.error_code == "INTERNAL")
        assert "private" not in str(world.status)
        await world.until_live()
        rename_a_vm(world, "lucky")
        await world.until_equal()
        assert world.counts.full_lists == 2


# --- the operator ---------------------------------------------------------------------------------


async def test_a_disabled_pool_logs_out_and_keeps_its_data():
    async with watched(SMALL) as world:
        objects = len(world.store)
        await world.supervisor.disable(POOL)
        assert world.state is LinkState.DISABLED
        assert world.stats["sessions"] == 0
        assert len(world.store) == objects > 0
        rename_a_vm(world, "meanwhile")
        with pytest.raises(RequestRefused, match="not connected"):
            await world.supervisor.call(POOL, "VM.get_all", {})

        await world.supervisor.enable(POOL)
        await world.until_live()
        await world.until_equal()
        assert world.witness.loads == 1
        assert world.witness.states == ["connecting", "live", "disabled", "stale", "live"]


async def test_a_removed_pool_is_gone_at_once():
    async with watched(SMALL) as world:
        await world.supervisor.remove(POOL)

        assert world.stats["sessions"] == 0
        assert not list(world.supervisor.statuses())
        with pytest.raises(RequestRefused) as caught:
            await world.supervisor.call(POOL, "VM.get_all", {})
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_ending_in_the_middle_of_anything_is_quick():
    for moment_s in (0.0, 0.01, 0.05, 0.2):
        async with watched(SMALL, live=False) as world:
            await asyncio.sleep(moment_s)
            async with asyncio.timeout(1):
                await world.supervisor.close()
        assert world.stats["sessions"] == 0


async def test_counters_are_told_now_and_then():
    async with watched(SMALL) as world:
        await world.churn(rate=200, seconds=1)
        await asyncio.sleep(1)

        told = [s for s in world.witness.statuses if s.link.state is LinkState.LIVE]
        assert 1 < len(told) <= 15, "at most one each 0.1 s"
        assert told[-1].last_event_at_s != told[0].last_event_at_s


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "http://",
        "http://u:p@h",
        "http://h/path",
        "http://h?q",
        "http://h:x",
        "http://[::1",
    ],
)
def test_bad_urls_are_refused_without_repeating_them(url):
    with pytest.raises(ConfigError) as caught:
        JsonRpcClient(PoolConfig(POOL, "x", url, "u", "p"), FAST)
    assert "u:p" not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- certificates ---------------------------------------------------------------------------------


async def test_an_unknown_certificate_is_refused_before_the_password_goes():
    async with watched(SMALL, live=False, tls=True) as world:
        await world.until(lambda: world.state is LinkState.ERROR)
        assert world.error_code == "CERTIFICATE"
        assert world.calls("session.login_with_password") == 0


async def test_an_accepted_certificate_is_recognised():
    async with watched(SMALL, tls=True, trusted=True) as world:
        rename_a_vm(world, "over TLS")
        await world.until_equal()


async def test_another_certificate_than_the_accepted_one_is_refused():
    async with watched(SMALL, live=False, tls=True, pins={"127.0.0.1": "ab" * 32}) as world:
        await world.until(lambda: world.state is LinkState.ERROR)
        assert world.error_code == "CERTIFICATE"
        assert world.calls("session.login_with_password") == 0


# --- commands -------------------------------------------------------------------------------------


async def call(world, method: str, timeout_s: float | None = None, **params: object):
    raw = await world.supervisor.call(POOL, method, params, timeout_s)
    return msgspec.json.decode(raw)


async def test_a_command_takes_effect_as_an_event():
    async with watched(SMALL) as world:
        vm = halted(world)

        assert await call(world, "VM.set_name_label", self=vm, value="renamed") == ""

        await world.until(lambda: b'"renamed"' in world.witness.replica[vm])
        assert await call(world, "VM.get_name_label", self=vm) == "renamed"


async def test_a_long_command_is_a_task_that_is_followed_and_cleaned_up():
    async with watched(SMALL) as world:
        vm = halted(world)

        clone = await call(world, "VM.clone", vm=vm, new_name="copy")

        assert world.simulator.database.record("VM", clone)["name_label"] == "copy"
        assert world.calls("Async.VM.clone") == 1
        assert world.calls("task.get_record") == 0
        assert world.calls("task.get_status") == 0
        await world.until(lambda: not world.simulator.database.count("task"))
        await world.until_equal()


async def test_xapis_refusal_comes_through_with_its_parameters():
    async with watched(SMALL) as world:
        vm = halted(world)

        with pytest.raises(XapiFailure) as caught:
            await call(world, "VM.clean_shutdown", vm=vm)

        assert caught.value.code == "VM_BAD_POWER_STATE"
        assert caught.value.params == (vm, "running", "halted")
        assert world.simulator.database.count("task") == 0


async def test_a_command_that_takes_too_long_is_given_up_but_not_undone():
    async with watched(SMALL) as world:
        vm = halted(world)
        await world.fault("delay", ms=300)

        with pytest.raises(RequestRefused) as caught:
            await call(world, "VM.start", vm=vm, start_paused=False, force=False, timeout_s=0.5)

        assert caught.value.code is ErrorCode.TIMEOUT


async def test_a_command_during_a_break_is_refused_at_once():
    async with watched(SMALL) as world:
        await world.fault("restart", seconds=0.5)
        await world.until(lambda: world.state is LinkState.STALE)

        with pytest.raises(RequestRefused) as caught:
            await call(world, "VM.get_all")

        assert caught.value.code is ErrorCode.POOL_UNAVAILABLE
        await world.until_live()
        assert await call(world, "VM.get_all")


async def test_a_command_whose_pool_goes_down_has_an_unknown_outcome():
    async with watched(SMALL) as world:
        await world.fault("delay", ms=400)
        async with asyncio.TaskGroup() as group:

            async def command() -> None:
                with pytest.raises(RequestRefused, match="unknown") as caught:
                    await call(world, "VM.get_all")
                assert caught.value.code is ErrorCode.POOL_UNAVAILABLE

            group.create_task(command())
            await asyncio.sleep(0.2)
            await world.fault("drop")


async def test_calls_are_bounded_in_flight_and_in_waiting():
    settings = replace(FAST, calls=3, calls_waiting=4)
    async with watched(SMALL, settings) as world:
        await world.until(lambda: world.stats["event_waits"] == 1)
        await world.fault("delay", ms=300)
        outcomes = []

        async def command() -> None:
            try:
                await call(world, "VM.get_all")
                outcomes.append("done")
            except RequestRefused as refusal:
                outcomes.append(refusal.code)

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(command())
            await asyncio.sleep(0.1)
            assert outcomes == [ErrorCode.BUSY] * 4, "two under way, four waiting"
            assert len(world.simulator.hosts.connections()) <= 4
        assert sorted(outcomes) == [ErrorCode.BUSY] * 4 + ["done"] * 6


async def test_a_call_that_xapi_would_not_take_is_not_sent():
    async with watched(SMALL) as world:
        vm = halted(world)
        with pytest.raises(RequestRefused, match="300 KiB") as caught:
            await call(world, "VM.set_name_description", self=vm, value="x" * 300_000 * 2)

        assert caught.value.code is ErrorCode.TOO_LARGE
        assert world.calls("VM.set_name_description") == 0
        assert world.state is LinkState.LIVE


# --- the wire -------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(serve):
    """Run a server of bare connections; give its URL, and wait for its side of them to end."""
    handlers: set[asyncio.Task] = set()

    async def handle(reader, writer) -> None:
        if task := asyncio.current_task():
            handlers.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if handlers:
            await asyncio.wait(handlers)
    await asyncio.sleep(0)  # for their transports to close


@asynccontextmanager
async def answering(*answers: bytes):
    """Serve raw HTTP answers, one a request, and keep the requests."""
    requests = []

    async def serve(reader, writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            requests.append((head, await reader.readexactly(length)))
            writer.write(answers[len(requests) - 1])
            await writer.drain()

    async with serving(serve) as url:
        pool = PoolConfig(POOL, "x", url, "root", "päss" * 10)
        async with JsonRpcClient(pool, FAST, "xoproxy@test") as client:
            yield client, requests


def ok(body: bytes, content_type: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        content_type,
        len(body),
        body,
    )


async def test_requests_fit_xapis_server():
    replies = [ok(b'{"jsonrpc":"2.0","result":"OpaqueRef:s","id":%d}' % n) for n in (1, 2)]
    async with answering(*replies) as (client, requests):
        await client.login()
        await client.call("VM.get_all")

    for head, _ in requests:
        assert head.startswith(b"POST /jsonrpc HTTP/1.1\r\n")
        assert len(head) < 512
        assert b"User-Agent: xoproxy/" in head
        for unwanted in (b"chunked", b"accept-encoding", b"cookie", b"connection: close"):
            assert unwanted not in head.lower()
    login, listing = (msgspec.json.decode(body) for _, body in requests)
    assert login["params"] == ["root", "päss" * 10, "1.1", "xoproxy@test"]
    assert listing["params"] == ["OpaqueRef:s"]
    assert login["jsonrpc"] == "2.0"
    assert isinstance(login["id"], int)


async def test_a_reply_that_is_not_json_is_mended():
    body = (
        b'{"jsonrpc":"2.0","result":{"events":[{"id":"1","timestamp":"0.0","class":"host_cpu",'
        b'"operation":"add","ref":"OpaqueRef:1","snapshot":{"utilisation":NaN,"modelname":"\xff"}}],'
        b'"valid_ref_counts":{"host_cpu":1},"token":"1,0"},"id":1}'
    )
    async with answering(ok(body)) as (client, _):
        reply = await client.events([XapiClass("host_cpu")], "", 1)

    assert reply.token == "1,0"
    assert bytes(reply.events[0].record) == b'{"utilisation":null,"modelname":"\xef\xbf\xbd"}'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 500 Internal Error\r\nContent-Length: 6\r\n\r\n<html>", "NOT_XAPI"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "NOT_XAPI",
        ),
        (ok(b"<html></html>", b"text/html"), "NOT_XAPI"),
        (ok(b"{}"), "NOT_XAPI"),
        (ok(b'{"result":null,"error":null}'), "NOT_XAPI"),
        (ok(b'{"error":7}'), "NOT_XAPI"),
        (ok(b'{"jsonrpc":"2.0","result":[],"id":7}'), "NOT_XAPI"),  # to another call
        (ok(b'{"jsonrpc":"2.0","result":[],"id":"1"}'), "NOT_XAPI"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "NOT_XAPI"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "TIMEOUT"),
        (b"", "TIMEOUT"),
    ],
)
async def test_answers_that_are_not_xapis(answer, code):
    settings = replace(FAST, request_timeout_s=0.3, connect_timeout_s=0.3)
    async with answering(answer) as (client, _):
        client._settings = settings
        with pytest.raises(PoolUnreachable) as caught:
            await client.call("VM.get_all")

    assert caught.value.code == code
    assert "127.0.0.1" not in caught.value.message


async def test_an_answer_beyond_the_bound_is_cut_off():
    async with answering(ok(b'{"result":"' + b"x" * 100_000 + b'"}')) as (client, _):
        client._carrier._settings = replace(FAST, reply_bytes=50_000)
        with pytest.raises(PoolUnreachable, match="larger"):
            await client.call("VM.get_all")


@asynccontextmanager
async def trickling(body: bytes, piece: int, pause_s: float) -> AsyncIterator[str]:
    """Serve one answer in pieces."""

    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), piece):
            writer.write(body[at : at + piece])
            await writer.drain()
            await asyncio.sleep(pause_s)

    async with serving(serve) as url:
        yield url


NOTHING_NEW = b'{"result":{"events":[],"token":"1,0","valid_ref_counts":{}}}'


async def test_a_long_answer_may_take_longer_than_the_timeout_while_it_goes_on():
    settings = replace(FAST, connect_timeout_s=0.5, event_slack_s=0.1)
    async with trickling(NOTHING_NEW + 2000 * b" ", 350, 0.2) as url:
        pool = PoolConfig(POOL, "x", url, "root", "x")
        async with JsonRpcClient(pool, settings) as client:
            reply = await client.events([VM], "1,0", 0.1)

    assert reply.token == "1,0"


async def test_an_answer_that_only_trickles_is_given_up():
    """Else the link would be called live for as long as a byte comes now and then."""
    settings = replace(FAST, connect_timeout_s=0.3, event_slack_s=0.1)
    async with trickling(NOTHING_NEW + 2000 * b" ", 5, 0.05) as url:
        pool = PoolConfig(POOL, "x", url, "root", "x")
        async with JsonRpcClient(pool, settings) as client:
            with pytest.raises(PoolUnreachable) as caught:
                await client.events([VM], "1,0", 0.1)

    assert caught.value.code == "TIMEOUT"


async def test_hosts_that_name_each_other_are_not_followed_for_ever():
    slave = ok(
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["127.0.0.1"]}}'
    )
    async with answering(*[slave] * 9) as (client, requests):
        with pytest.raises(PoolUnreachable, match="each other"):
            await client.login()

    assert len(requests) <= 3


@pytest.mark.parametrize("address", ["", "evil.example/path", "a b", "user@host", "host:80"])
async def test_an_address_that_is_none_is_not_followed(address):
    error = {"code": 1, "message": "HOST_IS_SLAVE", "data": [address]}
    answer = ok(msgspec.json.encode({"jsonrpc": "2.0", "error": error}))
    async with answering(answer) as (client, _):
        with pytest.raises(PoolUnreachable, match="without address"):
            await client.login()

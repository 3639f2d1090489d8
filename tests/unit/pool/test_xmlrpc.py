"""The processes that speak XML-RPC: what they are told, and that none is left behind."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from yarl import URL

from xoproxy.app import new_event_loop
from xoproxy.errors import PoolUnreachable, RequestRefused
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.trust import Trust
from xoproxy.pool.xmlrpc import XmlRpcCarrier

SETTINGS = LinkSettings(connect_timeout_s=2.0)
ANSWER = (
    b'<?xml version="1.0"?><methodResponse><params><param><value><struct>'
    b"<member><name>Status</name><value>Success</value></member>"
    b"<member><name>Value</name><value>%b</value></member>"
    b"</struct></value></param></params></methodResponse>"
)


@asynccontextmanager
async def serving(answer: bytes | None = b"x", *, once: bool = False):
    """Serve XML-RPC: the same answer to every request (or connection), or none at all."""
    requests: list[tuple[bytes, bytes]] = []

    async def serve(reader, writer) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = (
                    int(line[15:]) for line in head.lower().split(b"\r\n") if b"length:" in line
                )
                requests.append((head, await reader.readexactly(length)))
                if answer is not None:
                    body = ANSWER % answer
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                    )
                if once:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield URL(f"http://127.0.0.1:{port}"), requests


@asynccontextmanager
async def carrier():
    async with XmlRpcCarrier(SETTINGS, Trust({})) as made:
        yield made


def call(method: str = "VM.get_name_label", *params: object) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})


async def post(carrier, url, body=None, patience_s=5.0) -> bytes:
    async with asyncio.timeout(patience_s) as patience:
        return b"".join(await carrier.post(url, body or call(), patience))


def pids() -> set[int]:
    """Name the processes that this one has begun and that run."""
    begun: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            begun.update(map(int, (task / "children").read_text().split()))
    return set(filter(_runs, begun))


pytestmark = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(),
    reason="processes are counted in /proc, which Linux alone has",
)


async def until(condition, within_s=5.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


async def test_requests_fit_xapis_server():
    async with serving() as (url, requests), carrier() as made:
        reply = await post(made, url, call("session.login_with_password", "root", "pässword"))

    ((head, body),) = requests
    assert reply == b'{"result":"x"}'
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert len(head) < 512
    assert b"User-Agent: xoproxy/" in head
    for unwanted in (b"chunked", b"accept-encoding: gzip", b"cookie", b"connection: close"):
        assert unwanted not in head.lower()
    assert "<string>pässword</string>".encode() in body


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, new_event_loop])
def test_any_loop_can_begin_and_end_processes(loop_factory):
    async def work() -> None:
        before = pids()
        async with serving(answer=None) as (url, requests), carrier() as made:
            with pytest.raises(TimeoutError):
                await post(made, url, patience_s=3)
            await until(lambda: pids() == before)
            assert len(requests) == 1
        async with serving() as (url, _), carrier() as made:
            assert await post(made, url) == b'{"result":"x"}'
        assert pids() == before

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work())


async def test_one_process_serves_one_call_after_the_other_on_one_connection():
    before = pids()
    async with serving() as (url, requests), carrier() as made:
        assert pids() == before  # none until there is a call
        for _ in range(3):
            await post(made, url)
        assert len(pids() - before) == 1
        assert len(requests) == 3
    assert pids() == before


async def test_a_connection_that_the_server_ended_meanwhile_is_replaced():
    async with serving(once=True) as (url, requests), carrier() as made:
        for _ in range(3):
            assert await post(made, url) == b'{"result":"x"}'
            await asyncio.sleep(0.05)
        assert len(requests) == 3


async def test_calls_at_once_have_processes_of_their_own_and_few_are_kept():
    before = pids()
    async with serving() as (url, _), carrier() as made:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(post(made, url))
        await until(lambda: len(pids() - before) == 2)


async def test_credentials_are_neither_in_the_command_line_nor_in_the_environment(monkeypatch):
    monkeypatch.setenv("XOPROXY_POOLS__LAB__PASSWORD", "hunter2")
    before = pids()
    async with serving() as (url, _), carrier() as made:
        await post(made, url, call("session.login_with_password", "root", "hunter3"))
        (pid,) = pids() - before
        assert b"hunter" not in _shown(pid)


def _shown(pid: int) -> bytes:
    """Return what others can read of a process."""
    return b"".join(Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))


async def test_a_process_gives_way_to_ours():
    before = pids()
    async with serving() as (url, _), carrier() as made:
        await post(made, url)
        (pid,) = pids() - before
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        assert _oom_score(pid) > _oom_score(os.getpid())


def _oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def test_the_end_of_patience_ends_the_process():
    before = pids()
    async with serving(answer=None) as (url, requests), carrier() as made:
        with pytest.raises(TimeoutError):
            await post(made, url, patience_s=0.5)
        assert len(requests) == 1
        await until(lambda: pids() == before)


async def test_who_goes_away_ends_the_process():
    before = pids()
    async with serving(answer=None) as (url, requests), carrier() as made:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(post(made, url))
            await until(lambda: requests)
            waiting.cancel()
        await until(lambda: pids() == before)


async def test_leaving_ends_what_is_under_way():
    before = pids()
    async with serving(answer=None) as (url, requests), asyncio.TaskGroup() as group:
        async with carrier() as made:
            waiting = group.create_task(_failure(post(made, url)))
            await until(lambda: requests)
        assert pids() == before
        assert isinstance(await waiting, PoolUnreachable)


async def test_a_process_that_dies_is_a_broken_link_and_another_takes_its_place():
    before = pids()
    async with serving() as (url, _), carrier() as made:
        await post(made, url)
        (pid,) = pids() - before
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PoolUnreachable, match="process"):
            await post(made, url)
        assert await post(made, url) == b'{"result":"x"}'


async def test_a_process_that_dies_during_a_call_is_a_broken_link():
    before = pids()
    async with serving(answer=None) as (url, requests), carrier() as made:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_failure(post(made, url)))
            await until(lambda: requests)
            (pid,) = pids() - before
            os.kill(pid, signal.SIGKILL)
        assert isinstance(waiting.result(), PoolUnreachable)


async def _failure(work) -> Exception | None:
    try:
        await work
    except PoolUnreachable as error:
        return error
    return None


async def test_an_end_of_ours_ends_the_process():
    """Even when we are killed while it waits for XAPI."""
    async with serving(answer=None) as (url, requests):
        ours = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ORPHANING, str(url), stdout=asyncio.subprocess.PIPE
        )
        assert ours.stdout is not None
        pid = int(await ours.stdout.readline())
        await until(lambda: requests)
        ours.kill()
        await ours.wait()
        await until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # dead, and nobody has looked yet


_ORPHANING = """
import asyncio, sys
from yarl import URL
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.trust import Trust
from xoproxy.pool.xmlrpc import XmlRpcCarrier

async def main():
    async with XmlRpcCarrier(LinkSettings(), Trust({})) as carrier, asyncio.TaskGroup() as group:
        async with asyncio.timeout(60) as patience:
            body = b'{"method":"event.next","params":[],"id":1}'
            task = group.create_task(carrier.post(URL(sys.argv[1]), body, patience))
            while not carrier._workers:
                await asyncio.sleep(0.01)
            (worker,) = carrier._workers
            print(worker.pid, flush=True)
            await task

asyncio.run(main())
"""


async def test_what_xml_cannot_carry_is_refused():
    async with serving() as (url, requests), carrier() as made:
        with pytest.raises(RequestRefused) as caught:
            await post(made, url, call("VM.set_name_label", "OpaqueRef:1", "a\x00b"))
        assert caught.value.code == "BAD_MESSAGE"
        assert requests == []
        assert await post(made, url)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a\r\nb\rc\n", "a\r\nb\rc\n"),
        (b"\xff\xc3\xa9\xc3", "\ufffdé\ufffd"),
        (b"a\x01b\x0bc", "a\ufffdb\ufffdc"),
        ("\uffff😀".encode(), "\ufffd😀"),
    ],
)
async def test_texts_that_are_no_xml_are_mended_and_line_ends_kept(text, told):
    async with serving(text) as (url, _), carrier() as made:
        reply = await post(made, url)
    assert msgspec.json.decode(reply) == {"result": told}


async def test_a_large_answer_comes_whole():
    async with serving(b"0123456789" * 1_000_000) as (url, _), carrier() as made:
        reply = await post(made, url)
    assert len(reply) == 10_000_000 + len('{"result":""}')

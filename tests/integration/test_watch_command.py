"""`xoproxy watch` against a running proxy."""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
from contextlib import asynccontextmanager

import pytest

from tests.integration.support import PASSWORD, logged_in, proxy_on, same
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool


@pytest.fixture
async def pool():
    async with SimulatedPool(generate(2, 12, 1)) as simulated:
        yield simulated


@pytest.fixture
async def proxy(pool):
    async with proxy_on(pool.url) as running:
        yield running


@asynccontextmanager
async def command(*arguments, stdout=asyncio.subprocess.PIPE, password=PASSWORD):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XOPROXY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", "watch", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "XOPROXY_PASSWORD": password, "TERM": "xterm-256color"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process):
    async with asyncio.timeout(20):
        return json.loads(await process.stdout.readline())


async def end(process):
    """Wait for the end; return the exit code and what was said about it."""
    async with asyncio.timeout(20):
        _, err = await process.communicate()
    return process.returncode, err.decode()


class TestJson:
    async def test_prints_messages_as_they_come(self, pool, proxy):
        query = ("--class", "VM", "--field", "name_label", "--filter", "!is_a_template")
        async with command(proxy.url, "--as", "admin", "--json", *query) as process:
            assert (await line(process))["type"] == "welcome"
            answer = await line(process)
            assert answer["type"] == "subscribed"
            assert [view["classes"] for view in answer["views"]] == [["VM"]]
            snapshot = await line(process)
            assert snapshot["fields"] == ["$ref", "name_label"]
            assert (await line(process))["type"] == "bookmark"
            ref = snapshot["rows"][0][0]
            async with logged_in(pool.url) as xapi:
                await xapi.call("VM.set_name_label", xapi.ref, ref, "renamed")
            patch = await line(process)
            assert patch["ops"] == [
                {
                    "op": "replace",
                    "path": f"/VM/{snapshot['keys'][0]}/name_label",
                    "value": "renamed",
                }
            ]
            process.send_signal(signal.SIGINT)
            assert await end(process) == (0, "")

    async def test_says_the_same_in_messagepack(self, proxy):
        options = (proxy.url, "--as", "admin", "--json", "--class", "host")
        async with (
            command(*options) as first,
            command(*options, "--encoding", "msgpack") as second,
        ):
            for process in (first, second):
                await line(process)  # welcome
                await line(process)  # subscribed
            left, right = await line(first), await line(second)
            assert same(left["rows"], right["rows"])

    async def test_ends_quietly_when_nobody_reads_on(self, proxy):
        reading, writing = os.pipe()
        async with command(proxy.url, "--as", "admin", "--json", stdout=writing) as process:
            os.close(writing)
            os.close(reading)
            assert await end(process) == (0, "")

    async def test_ends_on_sigterm(self, proxy):
        async with command(proxy.url, "--as", "admin", "--json") as process:
            await line(process)
            process.terminate()
            assert await end(process) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--json", "--filter", "power_state:("), 2, "at character"),
        (("--json", "--class", "Vm"), 2, "there is no class 'Vm': did you mean VM?"),
        (("--json", "--field", "name_lable"), 2, "did you mean name_label?"),
        ((), 2, "the table needs a terminal: use --json"),
    ],
)
async def test_what_is_asked_wrongly_is_explained(proxy, arguments, code, said):
    async with command(proxy.url, "--as", "admin", *arguments) as process:
        returned, err = await end(process)
    assert returned == code
    assert said in err
    assert err.startswith("xoproxy: ")
    assert err.count("\n") == 1


async def test_a_wrong_password_is_code_4(proxy):
    async with command(proxy.url, "--as", "admin", "--json", password="wrong") as process:
        assert await end(process) == (4, "xoproxy: wrong user name or password\n")


@pytest.mark.parametrize(
    ("password", "options", "code", "said"),
    [("wrong", (), 4, "wrong user name"), (PASSWORD, ("--class", "Vm"), 2, "did you mean VM")],
)
async def test_the_table_ends_like_the_lines(proxy, terminal, password, options, code, said):
    arguments = (proxy.url, "--as", "admin", *options)
    async with command(*arguments, stdout=terminal.slave, password=password) as process:
        returned, err = await end(process)
    assert (returned, err.count("\n")) == (code, 1)
    assert said in err


async def test_nobody_there_is_code_3(unused_port):
    async with command(f"http://127.0.0.1:{unused_port}", "--as", "x", "--json") as process:
        code, err = await end(process)
    assert code == 3
    assert "connection refused" in err


@pytest.fixture
def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]  # bound, but nobody listens


class Terminal:
    """What a person would see: the screen after each drawing."""

    def __init__(self, rows, columns):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.written = b""
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self):
        self.written += os.read(self.master, 65_536)
        self._arrived.set()

    def screen(self):
        text = self.written.rpartition(b"\x1b[H")[2].decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

    async def until(self, *wanted):
        async with asyncio.timeout(20):
            while not all(text in self.screen() for text in wanted):
                self._arrived.clear()
                await self._arrived.wait()

    def close(self):
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
async def terminal():
    opened = Terminal(24, 120)
    yield opened
    opened.close()


async def test_the_table_follows_the_pool_and_leaves_the_terminal_as_it_was(pool, proxy, terminal):
    async with command(proxy.url, "--as", "admin", stdout=terminal.slave) as process:
        await terminal.until("VM  12", "pool-0 live", "connected", "changes/s")
        async with logged_in(pool.url) as xapi:
            machines = await xapi.records("VM")
            ref = next(r for r, vm in machines.items() if not is_hidden(vm))
            await xapi.call("VM.set_name_label", xapi.ref, ref, "aaa-first")
        await terminal.until("aaa-first", "1 in all")
        assert terminal.screen().splitlines()[2].startswith("aaa-first")
        process.send_signal(signal.SIGINT)
        assert await end(process) == (0, "")
    await asyncio.sleep(0)
    assert b"\x1b[?1049h" in terminal.written
    assert b"\x1b[?1049l" in terminal.written  # the screen from before is back


def is_hidden(vm):
    return vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"]

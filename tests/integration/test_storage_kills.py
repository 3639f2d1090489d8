"""kill -9 in the middle of writes: what was acknowledged is there, and nothing is corrupt.

The moment is random; the seed is printed, and XOPROXY_KILL_SEED plays it again.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests import postgresql
from xoproxy.storage import Storage, open_storage

pytestmark = pytest.mark.slow

WRITES = 500
ROUNDS = 6
SEED = int(os.environ.get("XOPROXY_KILL_SEED") or random.randrange(1 << 30))


async def _writer(url, key, first):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.storage_writer", url, key, str(first)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def _acknowledged(process, count, kill, delay_s):
    """Let it write so many times, kill at a moment of the next; return all that it said."""
    lines: list[str] = []
    try:
        async with asyncio.timeout(120):
            while len(lines) <= count:
                line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode()
                lines.append(line.decode())
            await asyncio.sleep(delay_s)  # a moment, not a wait: whatever it hits is fine
            kill()
            rest, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert lines.pop(0) == "open\n"
    assert postgresql.PASSWORD not in errors.decode()
    # a line cut short was not said
    return lines + [line for line in rest.decode().splitlines(keepends=True) if line[-1] == "\n"]


async def _check(storage: Storage, lines: list[str], under_way: set[str]) -> None:
    """See that everything that was said is there; what was under way may be, whole."""
    contents = await storage.directory.contents()
    accounts = {account.id: account for account in contents.accounts}
    grants = {grant.id for grant in contents.grants}
    groups = {group.id: group for group in contents.groups}
    pools = {pool.name: pool for pool in await storage.pools.list()}  # decrypts them
    gone = {line.split()[1] for line in lines if line.startswith("gone")}
    for line in lines:
        what, name, *more = line.split()
        match what:
            case "account":
                assert name in accounts
            case "grant":
                # its removal may have been done, and could not be said any more
                assert name in grants or name in gone or name in under_way
            case "group":
                assert len(groups[name].members) == int(more[0])
            case "pool":
                assert pools[f"pool {name}"].password == f"secret {name}"
            case "role":
                assert accounts[name].role == "operator"
            case "gone":
                assert name not in grants
    said = Counter(line.split()[0] for line in lines)
    for what, there in (("account", accounts), ("group", groups), ("pool", pools)):
        assert said[what] <= len(there) <= said[what] + ROUNDS


async def _rounds(url, key, kill_of, after):
    """Write, kill and check, again and again on the same storage."""
    print(f"XOPROXY_KILL_SEED={SEED}")  # noqa: T201 - shown if it fails
    chance = random.Random(SEED)
    lines: list[str] = []
    under_way: set[str] = set()
    for round_ in range(ROUNDS):
        process = await _writer(url, key, (round_ + 1) * 100)
        count = chance.randrange(1, 2 * WRITES // ROUNDS)
        if round_ == ROUNDS - 1:
            count = max(count, WRITES - len(lines))
        said = await _acknowledged(process, count, kill_of(process, chance), chance.random() / 100)
        after()
        lines += said
        under_way |= {line.split()[1] for line in said[-5:] if line.startswith("grant")}
        async with open_storage(url, key) as storage:
            await _check(storage, lines, under_way)
    assert len(lines) >= WRITES


async def test_sqlite_keeps_what_it_acknowledged(tmp_path):
    file = tmp_path / "data" / "xoproxy.db"

    def check_file():
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []

    await _rounds(
        f"sqlite:///{file}", tmp_path / "data" / "key", lambda process, _: process.kill, check_file
    )


@pytest.fixture(scope="module")
def server():
    """One that is as safe as an operator's; it will be killed."""
    with postgresql.running() as server:
        yield server


async def test_postgresql_keeps_what_it_acknowledged(server, tmp_path):
    await _rounds(
        server.new_database(), tmp_path / "key", lambda process, _: process.kill, lambda: None
    )


async def test_a_killed_server_keeps_what_it_acknowledged(server, tmp_path):
    """The writer ends by itself then: a proxy would tell its users that it could not be stored."""
    url = server.new_database()

    def killed(_process, chance):
        return chance.choice([server.kill, lambda: server.stop(signal.SIGQUIT)])

    def start_again():
        server.start()
        server.query(url.rpartition("/")[2], "select count(*) from accounts")

    await _rounds(url, tmp_path / "key", killed, start_again)


async def test_a_rotation_that_is_killed_loses_no_secret(tmp_path, server):
    chance = random.Random(SEED)
    print(f"XOPROXY_KILL_SEED={SEED}")  # noqa: T201 - shown if it fails
    for name, url in (
        ("sqlite", f"sqlite:///{tmp_path / 'sqlite' / 'xoproxy.db'}"),
        ("postgresql", server.new_database()),
    ):
        key = tmp_path / name / "key"
        async with open_storage(url, key) as storage:
            for number in range(20):
                await storage.pools.add(f"pool {number}", "https://p", "root", f"secret {number}")
        for _ in range(ROUNDS):
            await _killed_rotations(url, key, chance)
            async with open_storage(url, key) as storage:
                passwords = [pool.password for pool in await storage.pools.list()]
            assert passwords == [f"secret {number}" for number in range(20)]


ROTATE = """
import asyncio, sys
from pathlib import Path
from xoproxy.storage.rotation import rotate_key
from xoproxy.telemetry import configure_logging
configure_logging("json", "error")
while True:
    asyncio.run(rotate_key(sys.argv[1], Path(sys.argv[2])))
    print("done", flush=True)
"""


async def _killed_rotations(url: str, key: Path, chance: random.Random) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ROTATE, url, key),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            for _ in range(chance.randrange(1, 4)):
                assert await process.stdout.readline() == b"done\n"
            await asyncio.sleep(chance.random() / 10)
    finally:
        process.kill()
        await process.communicate()

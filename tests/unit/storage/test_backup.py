"""Backups: whole, private, and back again: into either database, from older versions too."""

import asyncio
import hashlib
import json
import shutil
import stat

import pytest
from sqlalchemy import MetaData, insert, select

from tests.unit.storage.places import NOW, Place, account, migrated, sqlite_place
from xoproxy.auth import ApiToken, Group, KeptGrant
from xoproxy.auth.grants import EVERYTHING
from xoproxy.errors import ConfigError
from xoproxy.storage import archive, backup
from xoproxy.storage.archive import _KINDS, _kind
from xoproxy.storage.backup import back_up, restore
from xoproxy.storage.database import open_database, revisions
from xoproxy.storage.keyring import Keyring, read_key
from xoproxy.storage.rotation import rotate_key
from xoproxy.storage.schema import accounts as accounts_table
from xoproxy.storage.schema import metadata


@pytest.fixture
def target(tmp_path):
    return tmp_path / "backup"


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request, tmp_path):
    """Where another storage may be made."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path / "other")
    server = request.getfixturevalue("postgresql_server")
    return Place(request.getfixturevalue("new_database")(), tmp_path / "other", server)


async def _filled(place, *, accounts=1):
    async with place.open() as storage:
        names = list(accounts_table.c.keys())
        made = [account(f"user {number} ø", f"a{number}") for number in range(accounts)]
        rows = [{name: getattr(one, name) for name in names} for one in made]
        async with storage.database.writing() as connection:
            await connection.execute(insert(accounts_table), rows)
        await storage.tokens.add_token(ApiToken("t1", "a0", "script", b"\x00d", NOW))
        group = Group("g1", "staff", NOW, frozenset({"a0"}))
        await storage.directory.put_group(group)
        await storage.directory.put_group(Group("g0", "all", NOW, frozenset(), frozenset({"g1"})))
        grant = KeptGrant("r1", "", "g1", "viewer", EVERYTHING, deny=True, created_at=NOW)
        await storage.directory.add_grant(grant)
        await storage.pools.add("Paris", "https://p", "root", "hunter2", pins={"p": "F"})
        return storage.signing_key


async def _contents(place):
    """Return all rows of all tables."""
    async with place.open() as storage, storage.database.reading() as connection:
        return {
            table.name: (await connection.execute(select(table).order_by(*table.c))).all()
            for table in metadata.sorted_tables
        }


def _with_key_of(place, other):
    other.directory.mkdir(exist_ok=True)
    shutil.copy(place.key, other.key)


async def test_what_was_backed_up_comes_back_on_either_database(place, other, target):
    await _filled(place, accounts=1200)  # several pieces
    done = await back_up(place.url, place.key, target)
    _with_key_of(place, other)
    restored = await restore(other.url, other.key, target)
    assert restored == done
    assert restored.rows > 1200
    assert await _contents(other) == await _contents(place)
    async with other.open() as storage:
        (pool,) = await storage.pools.list()
        assert (pool.password, pool.pins) == ("hunter2", {"p": "F"})


async def test_a_backup_is_private_and_holds_no_key(place, target):
    await _filled(place)
    await back_up(place.url, place.key, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    content = target.read_bytes()
    assert b"Paris" in content
    for secret in (b"hunter2", place.key.read_bytes().strip()):
        assert secret not in content
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


async def test_with_its_key_a_backup_is_all_that_is_needed(place, other, target):
    await _filled(place)
    await back_up(place.url, place.key, target, with_key=True)
    await restore(other.url, other.key, target)
    assert other.key.read_bytes() == place.key.read_bytes()
    assert stat.S_IMODE(other.key.stat().st_mode) == 0o600
    assert await _contents(other) == await _contents(place)


async def test_a_backup_shows_one_moment_while_others_write(place, other, target):
    """Each account comes before its token: in no moment is there one without the other's kind."""
    await _filled(place)
    async with place.open() as storage:
        stop = asyncio.Event()

        async def write():
            number = 0
            while not stop.is_set():
                number += 1
                await storage.directory.put_account(account(f"n{number}", f"n{number}"))
                token = ApiToken(f"t{number}n", f"n{number}", "script", b"d", NOW)
                await storage.tokens.add_token(token)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            for round_ in range(3):
                await back_up(place.url, place.key, target.with_name(f"backup{round_}"))
            stop.set()
    for round_ in range(3):
        file = target.with_name(f"backup{round_}")
        _with_key_of(place, other)
        # foreign keys are checked: a token without its account would be refused
        await restore(other.url, other.key, file, force=True)
        found = await _contents(other)
        assert 0 <= len(found["accounts"]) - len(found["api_tokens"]) <= 1


async def test_nothing_is_replaced_unasked(place, target):
    await _filled(place)
    await back_up(place.url, place.key, target)
    async with place.open() as storage:
        await storage.directory.put_account(account("late", "a9"))
    before = await _contents(place)
    with pytest.raises(ConfigError, match=r"not empty \(accounts: 2, .*--force replaces"):
        await restore(place.url, place.key, target)
    assert await _contents(place) == before
    await restore(place.url, place.key, target, force=True)
    assert len((await _contents(place))["accounts"]) == 1
    with pytest.raises(ConfigError, match="is there already"):
        await back_up(place.url, place.key, target)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:5] + lines[6:],
        lambda lines: [*lines, lines[1]],
        lambda lines: [line.replace(b"user 0", b"user 9") for line in lines],
        lambda lines: [lines[0]],
        lambda lines: [*lines[:-1], lines[-1][:-20]],
    ],
)
async def test_what_is_damaged_is_refused_before_anything_changes(place, target, damage):
    await _filled(place)
    await back_up(place.url, place.key, target)
    before = await _contents(place)
    target.write_bytes(b"".join(damage(target.read_bytes().splitlines(keepends=True))))
    with pytest.raises(ConfigError, match="is damaged, or not whole"):
        await restore(place.url, place.key, target, force=True)
    assert await _contents(place) == before


async def test_who_has_no_key_cannot_change_a_backup(place, target, tmp_path):
    """Who could would make himself an administrator of whoever restores it."""
    await _filled(place)
    await back_up(place.url, place.key, target)
    forger = sqlite_place(tmp_path / "forger")
    await _filled(forger)
    forged = tmp_path / "forged"
    await back_up(forger.url, forger.key, forged)
    lines = forged.read_bytes().splitlines(keepends=True)
    theirs = json.loads(target.read_bytes().splitlines()[0])
    head = json.loads(lines[0]) | {"key_id": theirs["key_id"]}
    lines[0] = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    end = json.loads(lines[-1])
    end["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    lines[-1] = json.dumps(end, separators=(",", ":")).encode() + b"\n"
    forged.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match="changed by somebody who has no key"):
        await restore(place.url, place.key, forged, force=True)


async def test_a_key_that_is_missing_or_another_is_named(place, tmp_path, target):
    await _filled(place)
    key_id = (await back_up(place.url, place.key, target)).key_id
    other = sqlite_place(tmp_path / "other")
    with pytest.raises(ConfigError, match=f"needs the key {key_id}: put the key file"):
        await restore(other.url, other.key, target)
    async with other.open():
        pass
    with pytest.raises(ConfigError, match=f"needs the key {key_id}, and .* is the key"):
        await restore(other.url, other.key, target, force=True)


async def test_a_backup_from_before_a_rotation_needs_the_old_key(place, target):
    signing_key = await _filled(place)
    await back_up(place.url, place.key, target)
    rotated = await rotate_key(place.url, place.key)
    with pytest.raises(ConfigError, match="needs the key"):
        await restore(place.url, place.key, target, force=True)
    place.key.write_bytes(rotated.old_key.read_bytes())
    await restore(place.url, place.key, target, force=True)
    async with place.open() as storage:
        assert storage.signing_key == signing_key


@pytest.mark.parametrize("revision", revisions()[1:-1])
async def test_backups_of_older_versions_can_be_restored(place, target, tmp_path, revision):
    """Their rows, in tables as they were then."""
    await _filled(place)
    await migrated(place, revision)
    await _old_backup(place, target, revision)
    other = sqlite_place(tmp_path / "other")
    _with_key_of(place, other)
    await restore(other.url, other.key, target)
    async with other.open() as storage:
        (found,) = (await storage.directory.contents()).accounts
        assert found.name == "user 0 ø"
        (pool,) = await storage.pools.list()
        assert pool.password == "hunter2"


async def _old_backup(place, target, revision):
    """Back up as the version of that revision did: its tables, found by looking."""
    database, then = open_database(place.url), MetaData()
    async with database.reading() as connection:
        await connection.run_sync(then.reflect)
        keyring = Keyring(read_key(place.key) or b"")
        head = archive.Head(1, NOW, "0.0", revision, keyring.key_id)
        then.remove(then.tables["alembic_version"])
        with target.open("wb") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(backup, "metadata", then)
            await backup._write(file, head, keyring, connection)
    await database.close()


async def test_a_backup_of_a_newer_version_is_refused(place, target):
    await _filled(place)
    await back_up(place.url, place.key, target)
    lines = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(
        b"".join([lines[0].replace(revisions()[-1].encode(), b"9999", 1), *lines[1:]])
    )
    with pytest.raises(ConfigError, match="made by a newer version"):
        await restore(place.url, place.key, target, force=True)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"{}\n", b'{"xoproxy_backup": "x"}\n'])
async def test_what_is_no_backup_is_refused(place, target, content):
    target.write_bytes(content)
    with pytest.raises(ConfigError, match="this is no backup of xoproxy"):
        await restore(place.url, place.key, target)


async def test_nothing_to_back_up_is_said_and_nothing_made(tmp_path, target):
    place = sqlite_place(tmp_path / "data")
    with pytest.raises(ConfigError, match="there is no database"):
        await back_up(place.url, place.key, target)
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_cannot_be_written_is_named(place, tmp_path):
    await _filled(place)
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file or directory"):
        await back_up(place.url, place.key, tmp_path / "nowhere" / "backup")


def test_each_column_has_a_kind():
    kinds = {_kind(column.type) for table in metadata.tables.values() for column in table.columns}
    assert kinds <= set(_KINDS)

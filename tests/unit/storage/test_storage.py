"""Storage on real SQLite files: first start, restart, migrations, keys, what is refused."""

import asyncio
import shutil
import sqlite3
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select, update

from xoproxy.auth import Account, ApiToken, Group, KeptGrant, Kind, Role, Scope, by_filter
from xoproxy.auth.grants import EVERYTHING
from xoproxy.errors import ConfigError, ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.storage import open_storage
from xoproxy.storage.database import _MIGRATIONS, migrate, open_database
from xoproxy.storage.schema import accounts, metadata, pools

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "data" / "xoproxy.db", tmp_path / "data" / "storage.key"


def opened(place):
    database, key = place
    return open_storage(f"sqlite+aiosqlite:///{database}", key)


async def refusal(place):
    with pytest.raises(ConfigError) as caught:
        async with opened(place):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def account(name="admin", account_id="a1"):
    return Account(
        id=account_id,
        name=name,
        role="administrator",
        password_hash="$h",
        enabled=True,
        created_at=NOW,
    )


async def test_first_start_makes_private_files(place):
    async with opened(place) as storage:
        assert len(storage.signing_key) == 32
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place[0].parent.iterdir()}
        assert modes.pop("storage.key") == 0o600
        assert set(modes) == {"xoproxy.db", "xoproxy.db-wal", "xoproxy.db-shm"}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(place[0].parent.stat().st_mode) == 0o700


async def test_everything_survives_a_restart(place):
    async with opened(place) as storage:
        signing_key = storage.signing_key
        await storage.directory.put_account(account())
        token = ApiToken("t1", "a1", "cli", b"\x00digest", NOW, expires_at=NOW + timedelta(days=1))
        await storage.tokens.add_token(token)
        await storage.tokens.note_token_uses({"t1": NOW})
        first = await storage.pools.add("one", "https://one", "root", "pässwörd")
        second = await storage.pools.add("two", "https://two:4443", "root", "", enabled=False)
    async with opened(place) as storage:
        assert storage.signing_key == signing_key
        assert (await storage.directory.contents()).accounts == (account(),)
        (stored,) = await storage.tokens.tokens()
        assert stored == ApiToken(
            "t1", "a1", "cli", b"\x00digest", NOW, NOW, NOW + timedelta(days=1), None
        )
        assert stored.created_at.tzinfo is UTC
        assert await storage.pools.list() == [first, second]
        assert first.password == "pässwörd"
        assert "pässwörd" not in repr(first)


async def test_moments_are_stored_in_utc(place):
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    async with opened(place) as storage:
        await storage.directory.put_account(account())
        await storage.tokens.add_token(ApiToken("t1", "a1", "cli", b"d", elsewhere))
        (stored,) = await storage.tokens.tokens()
        assert stored.created_at == NOW
        assert stored.created_at.utcoffset() == timedelta(0)


async def test_pool_passwords_are_not_in_the_files(place):
    async with opened(place) as storage:
        await storage.pools.add("one", "https://one", "root", "hunter2-hunter2")
        stored = b"".join(path.read_bytes() for path in place[0].parent.iterdir())
        assert b"https://one" in stored  # the search does find what is there
        assert b"hunter2" not in stored


async def test_a_password_moved_to_another_pool_does_not_open(place):
    async with opened(place) as storage:
        one = await storage.pools.add("one", "https://one", "root", "secret")
        await storage.pools.add("evil", "https://evil", "root", "x")
        stolen = select(pools.c.password).where(pools.c.id == one.id).scalar_subquery()
        async with storage.database.writing() as connection:
            await connection.execute(
                update(pools).where(pools.c.name == "evil").values(password=stolen)
            )
        with pytest.raises(ConfigError, match="pool 'evil' cannot be decrypted: it is damaged, or"):
            await storage.pools.list()


async def test_pools_are_changed_renamed_and_removed(place):
    async with opened(place) as storage:
        one = await storage.pools.add("one", "https://one", "root", "x")
        two = await storage.pools.add("two", "https://two", "root", "x")
        assert len(one.id) == 8
        changed = await storage.pools.change(one.id, name="uno", enabled=False)
        assert (changed.name, changed.enabled, changed.password) == ("uno", False, "x")
        assert await storage.pools.change(one.id) == changed
        await storage.pools.remove(two.id)
        assert await storage.pools.list() == [changed]


async def test_taken_names_and_unknown_pools_are_refused(place):
    unknown = PoolId("nowhere")
    async with opened(place) as storage:
        await storage.pools.add("one", "https://one", "root", "x")
        two = await storage.pools.add("two", "https://two", "root", "x")
        for attempt, code in (
            (storage.pools.add("one", "https://x", "root", "x"), ErrorCode.CONFLICT),
            (storage.pools.change(two.id, name="one"), ErrorCode.CONFLICT),
            (storage.pools.change(unknown, enabled=True), ErrorCode.NOT_FOUND),
            (storage.pools.change(unknown), ErrorCode.NOT_FOUND),
            (storage.pools.remove(unknown), ErrorCode.NOT_FOUND),
        ):
            with pytest.raises(RequestRefused) as caught:
                await attempt
            assert caught.value.code is code
        assert [pool.name for pool in await storage.pools.list()] == ["one", "two"]


async def test_revoked_tokens_are_not_listed_and_go_with_their_account(place):
    async with opened(place) as storage:
        await storage.directory.put_account(account())
        for token_id in ("t1", "t2"):
            await storage.tokens.add_token(ApiToken(token_id, "a1", "cli", b"d", NOW))
        await storage.tokens.revoke_token("t1", NOW)
        assert [token.id for token in await storage.tokens.tokens()] == ["t2"]
        await storage.directory.remove_account("a1")
        assert await storage.tokens.tokens() == []  # foreign keys are enforced


async def test_groups_roles_and_grants_are_kept_changed_and_removed(place):
    staff = Group("g1", "staff", NOW, frozenset({"a1", "a2"}))
    everybody = Group("g2", "everybody", NOW, frozenset(), frozenset({"g1"}))
    role = Role("starter", frozenset({"view", "vm.power.start"}))
    grants = (
        KeptGrant("r1", "a1", "", "viewer", EVERYTHING, False, NOW),
        KeptGrant("r2", "", "g1", "starter", Scope(Kind.OBJECT, PoolId("p"), "u"), True, NOW),
        KeptGrant("r3", "", "g2", "viewer", by_filter("power_state:Running"), False, NOW),
    )
    async with opened(place) as storage:
        directory = storage.directory
        for name, account_id in (("admin", "a1"), ("bob", "a2")):
            await directory.put_account(account(name, account_id))
        for group in (staff, everybody):
            await directory.put_group(group)
        await directory.put_role(role)
        for grant in grants:
            await directory.add_grant(grant)
    async with opened(place) as storage:
        directory = storage.directory
        found = await directory.contents()
        assert (found.groups, found.roles, found.grants) == ((staff, everybody), (role,), grants)

        await directory.put_account(replace(account(), enabled=False, role=""))
        await directory.put_group(replace(staff, members=frozenset({"a2"})))
        await directory.put_role(replace(role, permissions=frozenset({"*"})))
        await directory.remove_grant("r1")
        found = await directory.contents()
        assert (found.accounts[0].enabled, found.accounts[0].role) == (False, "")
        assert found.groups[0].members == {"a2"}
        assert found.roles == (Role("starter", frozenset({"*"})),)
        assert found.grants == grants[1:]

        await directory.remove_account("a2")
        await directory.remove_group("g1")
        await directory.remove_role("starter")
        found = await directory.contents()
        assert found.groups == (replace(everybody, groups=frozenset()),)
        assert (found.roles, found.grants) == ((), grants[2:])


async def test_a_failed_transaction_leaves_nothing(place):
    row = {"id": "a", "name": "a", "role": "r", "password_hash": "h", "enabled": True}

    async def fail_after_writing(database):
        async with database.writing() as connection:
            await connection.execute(insert(accounts).values(**row, created_at=NOW))
            raise ZeroDivisionError

    async with opened(place) as storage:
        with pytest.raises(ZeroDivisionError):
            await fail_after_writing(storage.database)
        assert (await storage.directory.contents()).accounts == ()


async def test_concurrent_writers_all_succeed(place):
    async with opened(place) as storage, opened(place) as second:  # as two processes would
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                store = (storage if number % 2 else second).pools
                tasks.create_task(store.add(f"pool {number}", "https://x", "root", "x"))
        assert len(await storage.pools.list()) == 20


@pytest.mark.parametrize("_round", range(8))
async def test_first_starts_at_once_agree_on_the_keys(place, _round):
    async def start():
        async with opened(place) as storage:
            return storage.signing_key

    async with asyncio.TaskGroup() as tasks:
        starts = [tasks.create_task(start()) for _ in range(4)]
    assert len({task.result() for task in starts}) == 1


async def test_tables_match_the_schema_after_up_down_and_up_again(place):
    async with opened(place) as storage, storage.database.writing() as connection:
        await connection.run_sync(migrate, "base")
        tables = await connection.run_sync(lambda sync: sync.dialect.get_table_names(sync))
        assert tables == ["alembic_version"]
        await connection.run_sync(migrate, "head")
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"compare_type": True}), metadata
            )
        )
        assert differences == []


async def test_a_failing_migration_changes_nothing(place, monkeypatch):
    monkeypatch.setattr("xoproxy.storage.opening.create_key", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        async with opened(place):
            pass
    with sqlite3.connect(place[0]) as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == []
    connection.close()


async def test_a_missing_key_is_never_replaced(place):
    async with opened(place):
        pass
    place[1].unlink()
    assert "storage.key is missing, but the database holds secrets" in await refusal(place)
    assert not place[1].exists()


async def test_a_wrong_key_is_named(place, tmp_path):
    async with opened(place):
        pass
    async with opened((tmp_path / "other.db", tmp_path / "other.key")):
        pass
    shutil.copy(tmp_path / "other.key", place[1])
    assert "does not fit the database (it was made with another key)" in await refusal(place)


@pytest.mark.parametrize("content", [b"", b"hello", b"AAAA\n"])
async def test_a_damaged_key_file_is_named(place, content):
    async with opened(place):
        pass
    place[1].write_bytes(content)
    assert "is not a key file" in await refusal(place)
    assert place[1].read_bytes() == content


async def test_a_key_without_database_is_used(place):
    async with opened(place):
        pass
    key = place[1].read_bytes()
    place[0].unlink()
    async with opened(place):
        assert place[1].read_bytes() == key


async def test_a_newer_database_is_named(place):
    async with opened(place):
        pass
    with sqlite3.connect(place[0]) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    assert "was it written by a newer one?" in await refusal(place)


async def test_a_file_that_is_no_database_is_named(place):
    place[0].parent.mkdir()
    place[0].write_bytes(b"hello, this is no database" * 100)
    assert "cannot use the database: file is not a database" in await refusal(place)


async def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write the database" in await refusal((tmp_path / "file" / "x.db", tmp_path))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hello", "is not a SQLAlchemy URL"),
        ("postgresql://u:hunter2@h/d", "postgresql is not supported yet"),
        ("sqlite://", "would forget everything"),
        ("sqlite:///:memory:", "would forget everything"),
    ],
)
def test_bad_urls_are_named_without_their_password(url, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


async def test_an_unreachable_database_is_told_in_one_sentence(place):
    async with opened(place) as storage:
        assert await storage.database.unreachable() is None
        await storage.database.close()  # pooled connections keep a deleted file open
        shutil.rmtree(place[0].parent)
        expected = "storage does not answer (OperationalError)"
        assert await storage.database.unreachable() == expected
    # aiosqlite's thread of the failed connection still reports to this loop
    while any("_connection_worker" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_the_highest_numbered_migration_is_the_last_one():
    """A database at that number is not looked at any further, so the numbers must be right."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    names = sorted(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert ScriptDirectory.from_config(config).get_current_head() == names[-1].partition("_")[0]

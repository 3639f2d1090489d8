"""Storage on SQLite and on PostgreSQL: first start, restart, keys, what is refused."""

import asyncio
import shutil
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest
from sqlalchemy import insert, select, update

from tests.unit.storage.places import NOW, account, refusal, sqlite_place
from xoproxy.auth import ApiToken, Group, KeptGrant, Kind, Role, Scope, by_filter
from xoproxy.auth.grants import EVERYTHING
from xoproxy.errors import ConfigError, ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.storage.schema import accounts, pools


async def test_everything_survives_a_restart(place):
    async with place.open() as storage:
        signing_key = storage.signing_key
        await storage.directory.put_account(account())
        token = ApiToken("t1", "a1", "cli", b"\x00digest", NOW, expires_at=NOW + timedelta(days=1))
        await storage.tokens.add_token(token)
        await storage.tokens.note_token_uses({"t1": NOW})
        first = await storage.pools.add("one", "https://one", "root", "pässwörd")
        second = await storage.pools.add("two", "https://two:4443", "root", "", enabled=False)
    async with place.open() as storage:
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
    async with place.open() as storage:
        await storage.directory.put_account(account())
        await storage.tokens.add_token(ApiToken("t1", "a1", "cli", b"d", elsewhere))
        (stored,) = await storage.tokens.tokens()
        assert stored.created_at == NOW
        assert stored.created_at.utcoffset() == timedelta(0)


async def test_a_password_moved_to_another_pool_does_not_open(place):
    async with place.open() as storage:
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
    async with place.open() as storage:
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
    async with place.open() as storage:
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
    async with place.open() as storage:
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
    async with place.open() as storage:
        directory = storage.directory
        for name, account_id in (("admin", "a1"), ("bob", "a2")):
            await directory.put_account(account(name, account_id))
        for group in (staff, everybody):
            await directory.put_group(group)
        await directory.put_role(role)
        for grant in grants:
            await directory.add_grant(grant)
    async with place.open() as storage:
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

    async with place.open() as storage:
        with pytest.raises(ZeroDivisionError):
            await fail_after_writing(storage.database)
        assert (await storage.directory.contents()).accounts == ()


async def test_who_is_cancelled_while_nobody_writes_leaves_the_database_free(place):
    async def write_on_and_on(storage):
        while True:
            await storage.directory.put_account(account())

    async with place.open() as storage:
        for turn in range(20):
            writer = asyncio.get_running_loop().create_task(write_on_and_on(storage))
            await asyncio.sleep(0.001 * turn)
            async with storage.database.at_rest():
                writer.cancel()
                await asyncio.sleep(0)
            await storage.directory.put_account(account("bob", "b"))
            await asyncio.wait([writer])
        assert len((await storage.directory.contents()).accounts) == 2


async def test_concurrent_writers_all_succeed(place):
    async with place.open() as storage, place.open() as second:  # as two processes would
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                store = (storage if number % 2 else second).pools
                tasks.create_task(store.add(f"pool {number}", "https://x", "root", "x"))
        assert len(await storage.pools.list()) == 20


async def test_nobody_writes_between_what_is_read_and_what_is_written(place):
    async with place.open() as storage, place.open() as second:  # as two processes would
        await storage.directory.put_account(account(role="0"))

        async def count_on(database):
            async with database.writing() as connection:
                role = (await connection.execute(select(accounts.c.role))).scalar_one()
                await asyncio.sleep(0)
                await connection.execute(update(accounts).values(role=str(int(role) + 1)))

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(count_on((storage if number % 2 else second).database))
        assert (await storage.directory.contents()).accounts[0].role == "20"


async def test_a_reader_sees_one_moment(place):
    query = select(accounts.c.name).order_by(accounts.c.name)
    async with place.open() as storage:
        await storage.directory.put_account(account())
        async with storage.database.reading() as connection:
            before = (await connection.execute(query)).scalars().all()
            await storage.directory.put_account(account("bob", "a2"))
            assert (await connection.execute(query)).scalars().all() == before == ["admin"]
        async with storage.database.reading() as connection:
            assert (await connection.execute(query)).scalars().all() == ["admin", "bob"]


@pytest.mark.parametrize("_round", range(8))
async def test_first_starts_at_once_agree_on_the_keys(place, _round):
    async def start():
        async with place.open() as storage:
            return storage.signing_key

    async with asyncio.TaskGroup() as tasks:
        starts = [tasks.create_task(start()) for _ in range(4)]
    assert len({task.result() for task in starts}) == 1


async def test_a_missing_key_is_never_replaced(place):
    async with place.open():
        pass
    place.key.unlink()
    assert "storage.key is missing, but the database holds secrets" in await refusal(place.open())
    assert not place.key.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"AAAA\n"])
async def test_a_damaged_key_file_is_named(place, content):
    async with place.open():
        pass
    place.key.write_bytes(content)
    assert "is not a key file" in await refusal(place.open())
    assert place.key.read_bytes() == content


async def test_pool_passwords_are_not_in_the_database(place):
    async with place.open() as storage:
        await storage.pools.add("one", "https://one", "root", "hunter2-hunter2")
        (row,) = place.query("select url, password from pools")
        assert "https://one" in row  # it does find what is there
        assert "hunter2" not in row
        assert b"hunter2".hex() not in row


async def test_a_wrong_key_is_named(place, tmp_path):
    async with place.open():
        pass
    other = sqlite_place(tmp_path / "other")
    async with other.open():
        pass
    shutil.copy(other.key, place.key)
    assert "does not fit the database (it was made with another key)" in await refusal(place.open())


async def test_a_key_without_database_is_used(place, tmp_path):
    other = sqlite_place(tmp_path / "other")
    async with other.open():
        key = other.key.read_bytes()
    place.directory.mkdir()
    shutil.copy(other.key, place.key)
    async with place.open():
        assert place.key.read_bytes() == key


async def test_a_newer_database_is_named(place):
    async with place.open():
        pass
    place.query("update alembic_version set version_num = '9999'")
    assert "was it written by a newer one?" in await refusal(place.open())


async def test_a_failing_first_start_changes_nothing(place, monkeypatch):
    monkeypatch.setattr("xoproxy.storage.opening.create_key", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        async with place.open():
            pass
    assert place.tables() == set()


async def test_nothing_secret_shows_in_the_storage_itself(place):
    async with place.open() as storage:
        assert repr(storage.signing_key) not in repr(storage)
        assert repr(storage.history_key) not in repr(storage)

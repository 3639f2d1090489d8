"""What is PostgreSQL's own: how it is reached, who owns the database, what is refused."""

import asyncio
import socket

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tests.postgresql import PASSWORD
from tests.unit.storage.places import account, refusal
from xoproxy.errors import ConfigError
from xoproxy.storage import open_storage
from xoproxy.storage.database import open_database


@pytest.fixture
def place(postgresql_place):
    return postgresql_place


def _cut_all(place):
    """End all connections to the database, as a restart of the server does."""
    place.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgres"])
async def test_urls_as_people_write_them(place, scheme):
    url = place.url.replace("postgresql", scheme) + "?sslmode=prefer&application_name=mine"
    async with open_storage(url, place.key) as storage:
        assert await storage.database.unreachable() is None


async def test_a_session_is_as_we_need_it_whatever_the_server_has_by_default(place):
    place.query("alter role owner set synchronous_commit = off")
    place.query("alter role owner set timezone = 'Asia/Tokyo'")
    place.query("alter role owner set default_transaction_isolation = 'serializable'")
    try:
        async with place.open() as storage:
            await storage.directory.put_account(account())
            (kept,) = (await storage.directory.contents()).accounts
            assert kept == account()
            async with storage.database.writing() as connection:
                for setting, expected in (
                    ("synchronous_commit", "on"),
                    ("timezone", "UTC"),
                    ("transaction_isolation", "read committed"),
                ):
                    found = await connection.execute(text(f"SHOW {setting}"))
                    assert found.scalar() == expected
    finally:
        place.query("alter role owner reset all")


async def test_who_only_reads_cannot_write(place):
    async with place.open() as storage:
        with pytest.raises(DBAPIError, match="read-only transaction"):
            async with storage.database.reading() as connection:
                await connection.execute(text("DELETE FROM accounts"))


async def test_the_connections_of_a_process_are_bounded(place):
    async with place.open() as storage:

        async def read():
            async with storage.database.reading() as connection:
                await connection.execute(text("SELECT pg_sleep(0.05)"))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(read())
        count = "select count(*) from pg_stat_activity where application_name = 'xoproxy'"
        assert place.query(count + " and datname = current_database()") == ["4"]


async def test_a_server_that_was_restarted_is_not_noticed(place):
    async with place.open(alone=True) as storage:
        await storage.directory.put_account(account())
        _cut_all(place)
        assert await storage.database.unreachable() is None
        await storage.directory.put_account(account("bob", "a2"))
        assert len((await storage.directory.contents()).accounts) == 2
        assert "another proxy uses this database" in await refusal(place.open(alone=True))


async def test_one_proxy_per_database_wherever_it_runs(place):
    async with place.open(alone=True):
        assert "another proxy uses this database" in await refusal(place.open(alone=True))
    async with place.open(alone=True):
        pass


async def test_who_lost_the_database_to_another_one_does_not_write_any_more(place):
    async with place.open(alone=True) as storage:
        _cut_all(place)
        async with place.open(alone=True) as other:
            with pytest.raises(ConfigError, match="another proxy uses this database"):
                await storage.directory.put_account(account())
            assert (await other.directory.contents()).accounts == ()
        await _stored(storage, account())


async def test_who_was_paused_for_long_does_not_overwrite_what_another_one_wrote(
    place, monkeypatch
):
    async with place.open(alone=True) as storage:
        claim = storage.database._claim
        held = claim._connection
        pid = held.get_server_pid()
        place.query(f"select pg_terminate_backend({pid})")
        # as it looks to a machine that heard nothing of that
        monkeypatch.setattr(claim, "_connection", _Paused(pid))
        async with place.open(alone=True) as other:
            with pytest.raises(SQLAlchemyError, match="the claim to the database was lost"):
                await storage.directory.put_account(account())
            with pytest.raises(ConfigError, match="another proxy uses this database"):
                await storage.directory.put_account(account())
            assert (await other.directory.contents()).accounts == ()
        await _stored(storage, account())


async def _stored(storage, account):
    """Write as soon as the server has noticed that the other one has left."""
    async with asyncio.timeout(30):
        while True:
            try:
                await storage.directory.put_account(account)
            except ConfigError:
                await asyncio.sleep(0.05)
            else:
                return


class _Paused:
    """A connection whose other end is gone, unheard."""

    def __init__(self, pid):
        self._pid = pid
        self._closed = False

    def get_server_pid(self):
        return self._pid

    def is_closed(self):
        return self._closed

    def terminate(self):
        self._closed = True


async def test_a_wrong_password_is_told_without_it(place):
    url = place.url.replace("p%40ss", "wr0ng-%40ss")
    found = await refusal(open_storage(url, place.key))
    assert 'password authentication failed for user "owner"' in found
    assert "wr0ng" not in found


async def test_a_database_that_is_not_there_is_named(place):
    found = await refusal(open_storage(f"{place.url}x", place.key))
    assert 'x" does not exist' in found
    assert PASSWORD not in found


async def test_a_user_that_may_not_make_tables_is_told_so(place):
    place.query("create role guest login password 'hunter2'")
    url = place.url.replace(place.url.partition("@")[0], "postgresql://guest:hunter2")
    try:
        found = await refusal(open_storage(url, place.key))
        assert "permission denied for schema public" in found
        assert "hunter2" not in found
    finally:
        place.query("drop role guest")


@pytest.mark.parametrize("query", ["sslmode=hunter2", "hunter2=1"])
async def test_bad_parameters_are_told_without_the_password(place, query):
    found = await refusal(open_storage(f"{place.url}?{query}", place.key))
    assert found.startswith("storage: cannot use the database")
    assert PASSWORD not in found
    assert "p%40ss" not in found


async def test_nobody_there_is_told_in_one_sentence(unused_port, tmp_path):
    url = f"postgresql://owner:hunter2@127.0.0.1:{unused_port}/d"
    found = await refusal(open_storage(url, tmp_path / "key"))
    assert "cannot use the database: " in found
    assert str(unused_port) in found
    assert "hunter2" not in found
    database = open_database(url)
    assert await database.unreachable() == "storage does not answer (OperationalError)"
    await database.close()


@pytest.fixture
def unused_port():
    with socket.socket() as held:  # bound, not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_what_fails_mid_way_is_what_callers_catch(place):
    database = place.url.rpartition("/")[2]
    async with place.open(alone=True) as storage:
        place.server.query("postgres", f"alter database {database} with allow_connections false")
        place.server.query(
            "postgres",
            "select pg_terminate_backend(pid) from pg_stat_activity where datname like 'd%'",
        )
        with pytest.raises(SQLAlchemyError) as caught:
            await storage.directory.put_account(account())
        assert "not currently accepting connections" in str(caught.value)
        assert PASSWORD not in str(caught.value)
        assert "does not answer" in str(await storage.database.unreachable())

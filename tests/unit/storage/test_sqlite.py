"""What is SQLite's own: its files."""

import asyncio
import shutil
import stat
import sys
import threading

import pytest

from tests.unit.storage.places import migrated, refusal, sqlite_place
from xoproxy.errors import ConfigError
from xoproxy.storage.database import open_database


@pytest.fixture
def place(tmp_path):
    return sqlite_place(tmp_path / "data")


async def test_first_start_makes_private_files(place):
    async with place.open() as storage:
        assert len(storage.signing_key) == 32
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.directory.iterdir()}
        assert modes.pop("storage.key") == 0o600
        assert set(modes) == {"xoproxy.db", "xoproxy.db-wal", "xoproxy.db-shm"}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(place.directory.stat().st_mode) == 0o700


async def test_pool_passwords_are_in_no_file(place):
    async with place.open() as storage:
        await storage.pools.add("one", "https://one", "root", "hunter2-hunter2")
        stored = b"".join(path.read_bytes() for path in place.directory.iterdir())
        assert b"https://one" in stored  # the search does find what is there
        assert b"hunter2" not in stored


async def test_what_is_acknowledged_survives_a_power_failure(place):
    async with place.open() as storage, storage.database.writing() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2  # FULL
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1


async def test_foreign_keys_are_back_after_tables_were_changed(place):
    async with place.open() as storage:
        for _ in range(8):  # whichever of the pooled connections comes
            async with storage.database.writing(migrates=True) as connection:
                assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 0
            async with storage.database.reading() as connection:
                assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1


async def test_rows_without_what_they_refer_to_are_damage(place):
    async with place.open():
        pass
    await migrated(place, "0003")
    place.query("insert into group_accounts values ('nowhere', 'nobody')")
    assert "table group_accounts refers to rows of" in await refusal(place.open())


async def test_a_file_that_is_no_database_is_named(place):
    place.directory.mkdir()
    place.file.write_bytes(b"hello, this is no database" * 100)
    found = await refusal(place.open())
    assert "cannot use the database: file is not a database" in found


async def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write the database" in await refusal(sqlite_place(tmp_path / "file").open())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hello", "is not a URL"),
        ("postgresql://u:hunter2@h:port/d", "is not a URL"),
        ("mysql://u:hunter2@h/d", "mysql is not supported"),
        ("postgresql+psycopg://u:hunter2@h/d", "psycopg is not supported"),
        ("sqlite://", "would forget everything"),
        ("sqlite:///:memory:", "would forget everything"),
    ],
)
def test_bad_urls_are_named_without_their_password(url, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


def test_without_its_package_postgresql_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"pip install 'xoproxy\[postgresql\]'"):
        open_database("postgresql://u:hunter2@h/d")


async def test_an_unreachable_database_is_told_in_one_sentence(place):
    async with place.open() as storage:
        assert await storage.database.unreachable() is None
        await storage.database.close()  # pooled connections keep a deleted file open
        shutil.rmtree(place.directory)
        expected = "storage does not answer (OperationalError)"
        assert await storage.database.unreachable() == expected
    # aiosqlite's thread of the failed connection still reports to this loop
    while any("_connection_worker" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)

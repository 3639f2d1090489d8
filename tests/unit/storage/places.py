"""Where a storage is: a database and a key file; and how tests look at it from outside."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.postgresql import Server
from xoproxy.auth import Account
from xoproxy.errors import ConfigError
from xoproxy.storage import Storage, open_storage
from xoproxy.storage.database import migrate, open_database

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    url: str
    directory: Path
    server: Server | None = None

    @property
    def key(self) -> Path:
        return self.directory / "storage.key"

    @property
    def file(self) -> Path:
        return self.directory / "xoproxy.db"

    def open(self, **options: Any) -> AbstractAsyncContextManager[Storage]:
        return open_storage(self.url, self.key, **options)

    def query(self, statement: str) -> Sequence[str]:
        """Run a statement past all our code; each row as text, its values divided by "|"."""
        if self.server is not None:
            return self.server.query(self.url.rpartition("/")[2], statement)
        with closing(sqlite3.connect(self.file)) as connection, connection:
            rows = connection.execute(statement).fetchall()
        return ["|".join(map(str, row)) for row in rows]

    def tables(self) -> set[str]:
        if self.server is None:
            return set(self.query("select name from sqlite_master where type = 'table'"))
        return set(self.query("select tablename from pg_tables where schemaname = 'public'"))


def sqlite_place(directory: Path) -> Place:
    return Place(f"sqlite+aiosqlite:///{directory / 'xoproxy.db'}", directory)


async def changed(place: Place, change: Callable[..., Any], *arguments: Any) -> Any:
    """Do something with the tables themselves, in one transaction."""
    database = open_database(place.url)
    try:
        async with database.writing(migrates=True) as connection:
            return await connection.run_sync(change, *arguments)
    finally:
        await database.close()


async def migrated(place: Place, revision: str) -> None:
    def change(connection: Connection) -> None:
        migrate(connection, revision)

    await changed(place, change)


async def refusal(opening: AbstractAsyncContextManager[Any]) -> str:
    """Return why a storage does not open."""
    with pytest.raises(ConfigError) as caught:
        async with opening:
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def account(name: str = "admin", account_id: str = "a1", role: str = "administrator") -> Account:
    return Account(account_id, name, role, password_hash="$h", enabled=True, created_at=NOW)

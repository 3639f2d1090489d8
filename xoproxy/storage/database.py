"""The engine: connections, transactions, migrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from xoproxy.errors import ConfigError
from xoproxy.storage import sqlite

_MIGRATIONS = Path(__file__).parent / "migrations"
_CONNECTIONS = 4
_TIMEOUT_S = 10.0


class Database:
    """Hands out transactions. Built by `open_database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view of the data."""
        async with asyncio.timeout(_TIMEOUT_S), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: on disk when the block ends, undone when it raises."""
        async with asyncio.timeout(_TIMEOUT_S), self._engine.connect() as connection:
            await connection.execution_options(**{sqlite.WRITES: True})
            async with connection.begin():
                yield connection

    async def unreachable(self) -> str | None:
        """Return why the database cannot be used just now; None: it can."""
        try:
            async with self.reading() as connection:
                await connection.execute(select(1))
        except (SQLAlchemyError, TimeoutError) as error:
            return f"storage does not answer ({type(error).__name__})"
        return None

    async def close(self) -> None:
        await self._engine.dispose()


def open_database(url_text: str) -> Database:
    """Prepare the engine; nothing is connected yet.

    Args:
        url_text: SQLAlchemy URL. It may hold a password and is never shown.

    Raises:
        ConfigError: the URL, or the place of the file, is not usable.
    """
    try:
        url = make_url(url_text)
    except ArgumentError:
        raise ConfigError("storage.url is not a SQLAlchemy URL like sqlite:///data.db") from None
    if url.get_backend_name() != "sqlite":
        raise ConfigError(
            f"storage.url: {url.get_backend_name()} is not supported yet; use sqlite:///<path>"
        )
    sqlite.prepare_file(url)
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_TIMEOUT_S,
        hide_parameters=True,  # errors end in logs
    )
    sqlite.configure(engine)
    return Database(engine)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision, up or down, inside the caller's transaction.

    Raises:
        ConfigError: the database was written by a newer version.
    """
    if revision == "head" and _is_at_head(connection):
        return
    # Not at the top: this costs a seventh of a second, and is needed after an upgrade only.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    # percent signs are interpolated by configparser
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        if revision == "base" or revision.startswith("-"):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigError(
            f"storage: this version cannot use the database ({error}); was it written by a newer "
            "one? Start that version, or restore an older backup"
        ) from None


def _is_at_head(connection: Connection) -> bool:
    """Tell whether the tables are those of the last migration: their files are numbered."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    last = max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    found = connection.execute(text("SELECT version_num FROM alembic_version"))
    return found.scalars().all() == [last.partition("_")[0]]

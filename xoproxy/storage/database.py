"""Transactions and migrations, on whichever database there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from xoproxy.errors import ConfigError
from xoproxy.storage import postgresql, sqlite
from xoproxy.storage.transactions import MIGRATES, TIMEOUT_S, WRITES

_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Hands out transactions. Built by `open_database`."""

    def __init__(self, engine: AsyncEngine, claim: postgresql.Claim | None = None) -> None:
        self._engine = engine
        self._claim = claim
        self._writer = asyncio.Lock()

    @asynccontextmanager
    async def reading(self, timeout_s: float = TIMEOUT_S) -> AsyncIterator[AsyncConnection]:
        """One consistent view of the data, at one moment."""
        async with asyncio.timeout(timeout_s), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(
        self, timeout_s: float = TIMEOUT_S, *, migrates: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """One transaction: on disk when the block ends, undone when it raises.

        One at a time: nobody else writes between what it reads and what it writes.

        Args:
            timeout_s: for all of it.
            migrates: whether it changes tables (`migrate`); foreign keys may not act in it.
        """
        async with asyncio.timeout(timeout_s), self._writer:
            if self._claim is not None:
                await self._claim.renew()
            async with self._engine.connect() as connection:
                await connection.execution_options(**{WRITES: True, MIGRATES: migrates})
                async with connection.begin():
                    if self._claim is not None:
                        await self._claim.check(connection)
                    yield connection

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Wait until nobody writes, and let nobody begin before the block ends.

        A task that is cancelled while it writes may leave its transaction open in a thread, and
        SQLite locked for those who write last: tasks are cancelled in here.
        """
        async with self._writer:
            yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Have the database for this proxy alone until the block ends.

        A SQLite file needs nothing here: who holds `storage.directory` has it.

        Raises:
            ConfigError: another proxy has it.
        """
        async with self._claim.held() if self._claim is not None else nullcontext():
            yield

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


def open_database(url_text: str, *, create: bool = True) -> Database:
    """Prepare the engine; nothing is connected yet.

    Args:
        url_text: SQLAlchemy URL. It may hold a password and is never shown.
        create: whether to make a SQLite file that is not there.

    Raises:
        ConfigError: the URL, or the place of the file, is not usable.
    """
    try:
        url = make_url(url_text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "storage.url is not a URL like sqlite:///data.db or postgresql://user:password@host/name"
        ) from None
    match url.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            return Database(sqlite.new_engine(url, create=create))
        case "postgresql" | "postgresql+asyncpg" | "postgres":
            return Database(postgresql.new_engine(url), postgresql.Claim(url))
        case other:
            raise ConfigError(
                f"storage.url: {other} is not supported; use sqlite:///<path> or "
                "postgresql://<user>:<password>@<host>/<database>"
            )


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision, up or down, inside a transaction that `migrates`.

    Args:
        connection: whose tables.
        revision: a number like "0003"; "head" is the last, "base" has no tables.

    Raises:
        ConfigError: the database was written by a newer version.
    """
    found = current_revision(connection)
    if revision == "head":
        revision = revisions()[-1]
    if found == revision:
        return  # without Alembic, which costs a seventh of a second
    options = connection.get_execution_options()
    assert options.get(MIGRATES), "rows would be lost on SQLite"  # noqa: S101
    # Not at the top: it is needed after an upgrade only.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    # percent signs are interpolated by configparser
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        if revision == "base" or (found is not None and revision < found):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigError(
            f"storage: this version cannot use the database ({error}); was it written by a newer "
            "one? Start that version, or restore an older backup"
        ) from None
    sqlite.check_migrated(connection)


def revisions() -> list[str]:
    """Return the numbers of the migrations, which are those of their files, in their order."""
    files = (_MIGRATIONS / "versions").glob("[0-9]*.py")
    return sorted(path.name.partition("_")[0] for path in files)


def current_revision(connection: Connection) -> str | None:
    """Return of which revision the tables are; None: there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version"))
    return found.scalar_one_or_none()

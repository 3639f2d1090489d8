"""All that is SQLite's own: its file, its pragmas, its transactions."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from xoproxy.errors import ConfigError
from xoproxy.storage.transactions import CONNECTIONS, MIGRATES, TIMEOUT_S, WRITES

_BUSY_S = 5
_PRAGMAS = (
    # An acknowledged change survives a power failure. Writes are rare (an administrator's work), so
    # the fsync that NORMAL would save is not worth the doubt.
    "synchronous = FULL",
    f"busy_timeout = {_BUSY_S * 1000}",  # ms; for a backup or another command that holds the file
)


def new_engine(url: URL, *, create: bool) -> AsyncEngine:
    """Make an engine for a file.

    Args:
        url: of the file.
        create: whether to make it, too, if it is not there.

    Raises:
        ConfigError: the place cannot be used.
    """
    _prepare_file(_path(url), create=create)
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=TIMEOUT_S,
        hide_parameters=True,  # errors end in logs
    )
    _configure(engine)
    return engine


def _path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise ConfigError("storage.url: give a file; a database in memory would forget everything")
    return Path(url.database.removeprefix("file:").partition("?")[0])


def _prepare_file(path: Path, *, create: bool) -> None:
    """Make the database file and its directory, readable by their owner only.

    SQLite gives its -wal and -shm files the mode of the database.
    """
    if not create and not path.exists():
        raise ConfigError(f"storage: there is no database {path}; is storage.directory right?")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        _use_write_ahead_log(path)
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"storage: cannot use the database: {error}") from None
    except OSError as error:
        raise ConfigError(
            f"storage: cannot write the database {path}: {error.strerror}; "
            "set storage.directory to a place that this user may write to"
        ) from None


def _use_write_ahead_log(path: Path) -> None:
    """Let readers not wait for the writer, nor it for them; the file remembers.

    Of two processes that start at once on a new file, one fails to switch it with "database is
    locked", without waiting for the busy timeout: hence our own patience.
    """
    give_up_s = time.monotonic() + _BUSY_S
    with closing(sqlite3.connect(path)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(0.02)
            else:
                return


def _configure(engine: AsyncEngine) -> None:
    """Set pragmas on every connection, and begin transactions ourselves.

    Python's sqlite3 begins a transaction at the first write only, and then DEFERRED: one that reads
    before it writes fails at once with "database is locked" when another has written meanwhile, and
    no busy timeout helps. A transaction that will write therefore begins IMMEDIATE.

    Foreign keys are off by default, and cannot be switched within a transaction. They have to be
    off while tables are changed: SQLite changes a table by copying it and dropping the old one,
    which would delete whatever refers to its rows, with ON DELETE CASCADE.
    """

    def on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - aiosqlite's adapter
        connection.isolation_level = None  # sqlite3 shall not begin transactions
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        foreign_keys = "OFF" if options.get(MIGRATES) else "ON"
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {foreign_keys}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")

    event.listen(engine.sync_engine, "connect", on_connect)
    event.listen(engine.sync_engine, "begin", on_begin)


def check_migrated(connection: Connection) -> None:
    """Find what a change of tables left behind.

    Raises:
        ConfigError: a row refers to one that is not there.
    """
    if connection.dialect.name != "sqlite":
        return  # there, foreign keys hold all the time
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row is not None:
        raise ConfigError(
            f"storage: the database is damaged: table {row[0]} refers to rows of {row[2]} that are "
            "not there; restore a backup"
        )

"""All that is SQLite's own: its file, its pragmas, its transactions."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from xoproxy.errors import ConfigError

WRITES = "xoproxy_writes"
"""Execution option of a connection whose next transaction will write."""

_PRAGMAS = (
    "journal_mode = WAL",  # readers do not wait for the writer, nor it for them
    # An acknowledged change survives a power failure. Writes are rare (an administrator's work), so
    # the fsync that NORMAL would save is not worth the doubt.
    "synchronous = FULL",
    "foreign_keys = ON",  # off by default, per connection
    "busy_timeout = 5000",  # ms; for a backup or another command that holds the file
)


def prepare_file(url: URL) -> None:
    """Make the database file and its directory, readable by their owner only.

    SQLite gives its -wal and -shm files the mode of the database.

    Raises:
        ConfigError: the place cannot be used.
    """
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise ConfigError("storage.url: give a file; a database in memory would forget everything")
    path = Path(url.database.removeprefix("file:").partition("?")[0])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigError(
            f"storage: cannot write the database {path}: {error.strerror}; "
            "set storage.directory to a place that this user may write to"
        ) from None


def configure(engine: AsyncEngine) -> None:
    """Set pragmas on every connection, and begin transactions ourselves.

    Python's sqlite3 begins a transaction at the first write only, and then DEFERRED: one that reads
    before it writes fails at once with "database is locked" when another has written meanwhile, and
    no busy timeout helps. A transaction that will write therefore begins IMMEDIATE.
    """

    def on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - aiosqlite's adapter
        connection.isolation_level = None  # sqlite3 shall not begin transactions
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", on_connect)
    event.listen(engine.sync_engine, "begin", on_begin)

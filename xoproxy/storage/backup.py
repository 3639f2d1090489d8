"""Copies all that lasts into one file, and brings it back: into whichever database there is.

A copy is taken in one transaction that only reads, so it shows one moment while the proxy goes on.
Restoring is one transaction too: everything is there afterwards, or nothing has changed. The tables
are first made as they were when the copy was taken, then brought up to date: backups of older
versions can be restored.
"""

import base64
import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, TableClause, func, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy import __version__
from xoproxy.errors import ConfigError
from xoproxy.storage import archive, sqlite
from xoproxy.storage.database import current_revision, migrate, open_database, revisions
from xoproxy.storage.keyring import Keyring, read_key, write_key
from xoproxy.storage.opening import explained, unlock
from xoproxy.storage.schema import metadata, sealed_secrets

_TIMEOUT_S = 3600.0
_ROWS = 500


@dataclass(frozen=True, slots=True)
class Done:
    """What a backup holds.

    Args:
        rows: of all tables.
        key_id: names the key that it needs.
        created_at: when it was taken.
    """

    rows: int
    key_id: str
    created_at: datetime


async def back_up(url: str, key_path: Path, target: Path, *, with_key: bool = False) -> Done:
    """Write a copy of the storage, readable by its owner only; a proxy may run on it.

    Args:
        url: of the database.
        key_path: the key file.
        target: a file that is not there yet.
        with_key: whether to write the key into it, too: then it opens every secret that it holds.

    Raises:
        ConfigError: the storage does not open, or the file cannot be written.
    """
    with _new_file(target) as file, explained():
        database = open_database(url, create=False)
        try:
            async with database.reading(_TIMEOUT_S) as connection:
                keyring, revision = await _look_at(connection, key_path)
                key = read_key(key_path) if with_key else None
                head = archive.Head(
                    xoproxy_backup=archive.VERSION,
                    created_at=datetime.now(UTC),
                    made_by=__version__,
                    revision=revision,
                    key_id=keyring.key_id,
                    key=base64.b64encode(key).decode() if key else None,
                )
                rows = await _write(file, head, keyring, connection)
        finally:
            await database.close()
    return Done(rows, keyring.key_id, head.created_at)


async def _look_at(connection: AsyncConnection, key_path: Path) -> tuple[Keyring, str]:
    """Return key and revision of what is to be backed up."""
    revision = await connection.run_sync(current_revision)
    if revision is None:
        raise ConfigError("storage: there is nothing to back up yet: no proxy was ever started")
    if revision != revisions()[-1]:
        raise ConfigError(
            "storage: the database belongs to another version of xoproxy: back it up with that one"
        )
    unlocked = await unlock(connection, key_path)
    if unlocked is None:
        raise ConfigError("storage: there is nothing to back up yet: no proxy was ever started")
    return unlocked.keyring, revision


async def _write(
    file: IO[bytes], head: archive.Head, keyring: Keyring, connection: AsyncConnection
) -> int:
    writer = archive.Writer(file)
    writer.head(head)
    for table in metadata.sorted_tables:
        writer.section(table)
        result = await connection.stream(select(table).order_by(*table.primary_key))
        async for part in result.partitions(_ROWS):
            writer.rows(part)
    return writer.end(keyring)


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """Write a file; it has its name only when it is whole and on the disk."""
    if target.exists():
        raise ConfigError(f"{target} is there already; choose another name")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, target)  # unlike rename, it replaces nothing
        finally:
            draft.unlink(missing_ok=True)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror or error}") from None


async def restore(url: str, key_path: Path, source: Path, *, force: bool = False) -> Done:
    """Bring back what a backup holds; no proxy may run.

    Args:
        url: of the database, which need not be of the kind that was backed up.
        key_path: the key file; made, if it is not there and the backup holds the key.
        source: the backup.
        force: whether to replace what is there.

    Raises:
        ConfigError: the backup or the key is not good, or something is there; nothing has changed.
    """
    with _file(source) as file:
        head = archive.read_head(file)
        if head.revision not in revisions():
            raise ConfigError(
                f"the backup was made by a newer version ({head.made_by}): restore it with that one"
            )
        key = _key_of(head, key_path)
        rows = archive.verify(file, Keyring(key))
        database = open_database(url)
        try:
            with explained():
                async with database.alone(), database.writing(_TIMEOUT_S, migrates=True) as made:
                    await made.run_sync(_restore, head, file, force)
                    if read_key(key_path) is None:
                        write_key(key_path, key)
                    await unlock(made, key_path)
        finally:
            await database.close()
    return Done(rows, head.key_id, head.created_at)


@contextmanager
def _file(source: Path) -> Iterator[IO[bytes]]:
    try:
        with source.open("rb") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from None


def _key_of(head: archive.Head, key_path: Path) -> bytes:
    key = read_key(key_path)
    if key is None and head.key is not None:
        with suppress(binascii.Error):
            key = base64.b64decode(head.key, validate=True)
    if key is None:
        raise ConfigError(
            f"the backup needs the key {head.key_id}: put the key file that belongs to it at "
            f"{key_path}"
        )
    found = Keyring(key).key_id
    if found != head.key_id:
        raise ConfigError(
            f"the backup needs the key {head.key_id}, and {key_path} is the key {found}: move that "
            "away (what is in the storage needs it), and put the right one there"
        )
    return key


def _restore(connection: Connection, head: archive.Head, file: IO[bytes], force: bool) -> None:  # noqa: FBT001
    if not force:
        _check_empty(connection)
    if current_revision(connection) is not None:
        migrate(connection, "base")
    migrate(connection, head.revision)
    clause: TableClause | None = None
    rows: list[list[Any]] = []
    for item in archive.contents(file):
        if isinstance(item, archive.Section) or len(rows) == _ROWS:
            _insert(connection, clause, rows)
            rows = []
        if isinstance(item, archive.Section):
            clause = item.clause()
        else:
            rows.append(item)
    _insert(connection, clause, rows)
    migrate(connection)
    sqlite.check_migrated(connection)


def _insert(connection: Connection, clause: TableClause | None, rows: list[list[Any]]) -> None:
    if clause is not None and rows:
        names = clause.c.keys()
        values = [dict(zip(names, row, strict=True)) for row in rows]
        connection.execute(insert(clause), values)


def _check_empty(connection: Connection) -> None:
    """Refuse to replace what somebody may need."""
    there = set(inspect(connection).get_table_names())
    found = []
    for table in metadata.sorted_tables:
        if table.name in there and table is not sealed_secrets:
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            if count:
                found.append(f"{table.name}: {count}")
    if found:
        raise ConfigError(
            f"the storage is not empty ({', '.join(found)}); --force replaces all of it"
        )

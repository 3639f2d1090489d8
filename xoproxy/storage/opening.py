"""Opens the storage: tables brought up to date, key and database matched to each other."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.errors import ConfigError
from xoproxy.storage.browser_sessions import StoredSessions
from xoproxy.storage.database import Database, migrate, open_database
from xoproxy.storage.directory import StoredDirectory
from xoproxy.storage.keyring import (
    Keyring,
    SealBroken,
    create_key,
    pending_key,
    read_key,
    replace_key,
)
from xoproxy.storage.pools import StoredPools
from xoproxy.storage.schema import sealed_secrets
from xoproxy.storage.sign_ins import StoredSignIns
from xoproxy.storage.tokens import StoredTokens

_SIGNING_KEY = "signing_key"
_SIGNING_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Storage:
    """All that lasts.

    Args:
        keyring: seals what the database must not show.
        signing_key: signs what clients bring back, such as resume tokens; lasts as long as the
            database.
        history_key: encrypts the pools' logs and checkpoints; another one after `rotate_key`.
        audit_key: holds the audit log together; lasts as long as the database, as that log does,
            through rotations, backups and moves.
    """

    database: Database
    directory: StoredDirectory
    tokens: StoredTokens
    sessions: StoredSessions
    sign_ins: StoredSignIns
    pools: StoredPools
    keyring: Keyring
    signing_key: bytes = field(repr=False)
    history_key: bytes = field(repr=False)
    audit_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A key that fits the database, and what that holds for all.

    Args:
        path: of the file that the key is in.
    """

    keyring: Keyring
    signing_key: bytes = field(repr=False)
    path: Path


@asynccontextmanager
async def open_storage(
    url: str, key_path: Path, *, alone: bool = False, create: bool = True
) -> AsyncIterator[Storage]:
    """Open the database, and make it and its key file if they are not there.

    Args:
        url: SQLAlchemy URL of the database.
        key_path: file of the key that encrypts secrets in it.
        alone: whether no other proxy may use the database meanwhile, on whichever machine.
        create: whether to make a SQLite file that is not there.

    Raises:
        ConfigError: the database or the key cannot be used; a key that is missing or wrong for an
            existing database is never replaced, for what it encrypts would be lost silently.
    """
    async with AsyncExitStack() as stack:
        database = open_database(url, create=create)
        stack.push_async_callback(database.close)
        with explained():
            if alone:
                await stack.enter_async_context(database.alone())
            # one transaction: of two that start at once, the second waits and finds all done
            async with database.writing(migrates=True) as connection:
                await connection.run_sync(migrate)
                unlocked = await unlock(connection, key_path) or await _first(connection, key_path)
        if unlocked.path != key_path:
            replace_key(unlocked.path, key_path)
        yield Storage(
            database,
            StoredDirectory(database),
            StoredTokens(database),
            StoredSessions(database),
            StoredSignIns(database),
            StoredPools(database, unlocked.keyring),
            unlocked.keyring,
            unlocked.signing_key,
            unlocked.keyring.derived("history"),
            Keyring(unlocked.signing_key).derived("audit"),
        )


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a database says when it cannot be used into a `ConfigError`."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]  # details may quote values
        raise ConfigError(f"storage: cannot use the database: {reason}") from None
    except TimeoutError:
        raise ConfigError("storage: the database does not answer in time") from None


async def unlock(connection: AsyncConnection, key_path: Path) -> Unlocked | None:
    """Match key file and database by the signing key, which is in every database.

    A new key that waits beside the file is the right one if its rotation was cut short after the
    database had it.

    Returns:
        None: the database is new, nothing was ever encrypted.

    Raises:
        ConfigError: no key fits.
    """
    query = select(sealed_secrets.c.value).where(sealed_secrets.c.name == _SIGNING_KEY)
    sealed = (await connection.execute(query)).scalar_one_or_none()
    if sealed is None:
        return None
    refused = None
    for path in (key_path, pending_key(key_path)):
        key = read_key(path)
        if key is not None:
            keyring = Keyring(key)
            try:
                return Unlocked(keyring, keyring.open(sealed, _SIGNING_KEY), path)
            except SealBroken as error:
                refused = refused or error
    if refused is None:
        raise ConfigError(
            f"storage: the key file {key_path} is missing, but the database holds secrets "
            "encrypted with it; restore the file from your backup or set storage.key_file"
        )
    raise ConfigError(
        f"storage: the key file {key_path} does not fit the database ({refused}); "
        "restore the file that belongs to it or set storage.key_file"
    )


async def _first(connection: AsyncConnection, key_path: Path) -> Unlocked:
    keyring = Keyring(read_key(key_path) or create_key(key_path))
    signing_key = secrets.token_bytes(_SIGNING_KEY_BYTES)
    row = {
        "name": _SIGNING_KEY,
        "value": keyring.seal(signing_key, _SIGNING_KEY),
        "created_at": datetime.now(UTC),
    }
    await connection.execute(insert(sealed_secrets).values(row))
    return Unlocked(keyring, signing_key, key_path)

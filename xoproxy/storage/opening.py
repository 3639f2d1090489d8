"""Opens the storage: tables brought up to date, key and database matched to each other."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.errors import ConfigError
from xoproxy.storage.database import Database, migrate, open_database
from xoproxy.storage.directory import StoredDirectory
from xoproxy.storage.keyring import Keyring, SealBroken, create_key, read_key
from xoproxy.storage.pools import StoredPools
from xoproxy.storage.schema import sealed_secrets
from xoproxy.storage.tokens import StoredTokens

_SIGNING_KEY = "signing_key"
_SIGNING_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Storage:
    """All that lasts.

    Args:
        signing_key: signs what clients bring back, such as resume tokens; lasts as long as the
            database.
        history_key: encrypts the pools' logs and checkpoints.
    """

    database: Database
    directory: StoredDirectory
    tokens: StoredTokens
    pools: StoredPools
    signing_key: bytes
    history_key: bytes


@asynccontextmanager
async def open_storage(url: str, key_path: Path) -> AsyncIterator[Storage]:
    """Open the database, and make it and its key file if they are not there.

    Args:
        url: SQLAlchemy URL of the database.
        key_path: file of the key that encrypts secrets in it.

    Raises:
        ConfigError: the database or the key cannot be used; a key that is missing or wrong for an
            existing database is never replaced, for what it encrypts would be lost silently.
    """
    database = open_database(url)
    try:
        try:
            # one transaction: of two that start at once, the second waits and finds all done
            async with database.writing() as connection:
                await connection.run_sync(migrate)
                keyring, signing_key = await _unlock(connection, key_path)
        except DBAPIError as error:
            raise ConfigError(f"storage: cannot use the database: {error.orig}") from error
        yield Storage(
            database,
            StoredDirectory(database),
            StoredTokens(database),
            StoredPools(database, keyring),
            signing_key,
            keyring.derived("history"),
        )
    finally:
        await database.close()


async def _unlock(connection: AsyncConnection, key_path: Path) -> tuple[Keyring, bytes]:
    """Match key file and database by the signing key, which is in every database."""
    query = select(sealed_secrets.c.value).where(sealed_secrets.c.name == _SIGNING_KEY)
    sealed = (await connection.execute(query)).scalar_one_or_none()
    key = read_key(key_path)
    if sealed is None:
        keyring = Keyring(key or create_key(key_path))
        signing_key = secrets.token_bytes(_SIGNING_KEY_BYTES)
        row = {
            "name": _SIGNING_KEY,
            "value": keyring.seal(signing_key, _SIGNING_KEY),
            "created_at": datetime.now(UTC),
        }
        await connection.execute(insert(sealed_secrets).values(row))
        return keyring, signing_key
    if key is None:
        raise ConfigError(
            f"storage: the key file {key_path} is missing, but the database holds secrets "
            "encrypted with it; restore the file from your backup or set storage.key_file"
        )
    keyring = Keyring(key)
    try:
        return keyring, keyring.open(sealed, _SIGNING_KEY)
    except SealBroken as error:
        raise ConfigError(
            f"storage: the key file {key_path} does not fit the database ({error}); "
            "restore the file that belongs to it or set storage.key_file"
        ) from None

"""Gives the storage another key: whatever is sealed is sealed anew.

The key file and the database cannot change in one step. So the new key first waits beside the old
one; then the database changes, in one transaction; then the file is replaced. Whoever opens the
storage tries both files (`opening.unlock`) and ends what was cut short: at each moment, one of the
two opens everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.errors import ConfigError
from xoproxy.storage.keyring import Keyring, SealBroken, create_key, pending_key, replace_key
from xoproxy.storage.opening import explained, open_storage
from xoproxy.storage.pools import purpose as password_purpose
from xoproxy.storage.schema import pools, sealed_secrets

SEALED: Mapping[Column[bytes], Callable[[Row[Any]], str]] = {
    pools.c.password: lambda row: password_purpose(row.id),
    sealed_secrets.c.value: lambda row: str(row.name),
}
"""Each column that the keyring seals -> what for."""

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done.

    Args:
        old_key: the file of the old key; what was backed up before needs it.
        sealed: how many secrets have the new one.
    """

    old_key: Path
    sealed: int


async def rotate_key(url: str, key_path: Path) -> Rotated:
    """Make a new key, and seal everything with it; no proxy may run.

    Raises:
        ConfigError: the storage does not open, is in use, or holds what cannot be decrypted;
            nothing has changed then.
    """
    pending = pending_key(key_path)
    async with open_storage(url, key_path, alone=True, create=False) as storage:
        new = Keyring(create_key(pending))
        with explained():
            async with storage.database.writing(_TIMEOUT_S) as connection:
                sealed = await _seal_anew(connection, storage.keyring, new)
    return Rotated(replace_key(pending, key_path), sealed)


async def _seal_anew(connection: AsyncConnection, old: Keyring, new: Keyring) -> int:
    count = 0
    for column, purpose in SEALED.items():
        table = column.table
        for row in (await connection.execute(select(table))).all():
            text = purpose(row)
            try:
                plain = old.open(row._mapping[column], text)  # noqa: SLF001 - its public name
            except SealBroken as error:
                raise ConfigError(
                    f"storage: {text} cannot be decrypted ({error}); nothing was changed. Set it "
                    "anew, then try again"
                ) from None
            statement = update(table).values({column: new.seal(plain, text)})
            for key in table.primary_key:
                statement = statement.where(key == row._mapping[key])  # noqa: SLF001
            await connection.execute(statement)
            count += 1
    return count

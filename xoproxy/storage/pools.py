"""How to reach each pool: name, address and credentials, the password sealed."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.errors import ConfigError, ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.storage.database import Database
from xoproxy.storage.keyring import Keyring, SealBroken
from xoproxy.storage.schema import pool_certificates, pools

_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """One configured pool.

    Args:
        uuid: of XAPI's pool, "" until it is known.
        pins: host -> SHA-256 of the certificate that was accepted for it.
    """

    id: PoolId
    name: str
    url: str
    username: str
    password: str = field(repr=False)
    enabled: bool
    created_at: datetime
    uuid: str
    pins: Mapping[str, str]


class StoredPools:
    """Reads and writes the configured pools."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def list(self) -> Sequence[PoolConfig]:
        """Return all pools, oldest first."""
        query = select(pools).order_by(pools.c.created_at, pools.c.id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
            pins = await _pins(connection)
        return [self._config(row, pins.get(row.id, {})) for row in rows]

    async def add(
        self,
        name: str,
        url: str,
        username: str,
        password: str,
        *,
        enabled: bool = True,
        pins: Mapping[str, str] | None = None,
    ) -> PoolConfig:
        """Keep a new pool, with the certificates that were accepted for its hosts.

        Raises:
            RequestRefused: CONFLICT, the name is taken.
        """
        pool_id = PoolId("".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH)))
        row = {
            "id": pool_id,
            "name": name,
            "url": url,
            "username": username,
            "password": self._keyring.seal(password.encode(), purpose(pool_id)),
            "enabled": enabled,
            "created_at": datetime.now(UTC),
        }
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(pools).values(row))
                await _pin(connection, pool_id, pins or {})
                return await self._read(connection, pool_id)
        except IntegrityError:
            raise _name_taken(name) from None

    async def change(
        self,
        pool_id: PoolId,
        *,
        name: str | None = None,
        url: str | None = None,
        username: str | None = None,
        password: str | None = None,
        enabled: bool | None = None,
        uuid: str | None = None,
        pins: Mapping[str, str] | None = None,
    ) -> PoolConfig:
        """Change what is given, and return the pool as it is then.

        Args:
            pool_id: which.
            name: unique.
            url: its address.
            username: of the account there.
            password: of the account there.
            enabled: whether to connect.
            uuid: of XAPI's pool.
            pins: host -> fingerprint; other hosts keep theirs.

        Raises:
            RequestRefused: NOT_FOUND, or CONFLICT when the name is taken.
        """
        values: dict[str, object] = {
            "name": name,
            "url": url,
            "username": username,
            "enabled": enabled,
            "uuid": uuid,
        }
        if password is not None:
            values["password"] = self._keyring.seal(password.encode(), purpose(pool_id))
        changed = {column: value for column, value in values.items() if value is not None}
        try:
            async with self._database.writing() as connection:
                if changed:
                    statement = update(pools).where(pools.c.id == pool_id).values(changed)
                    await connection.execute(statement)
                found = await self._read(connection, pool_id)
                if pins:
                    await _pin(connection, pool_id, pins)
                    found = await self._read(connection, pool_id)
                return found
        except IntegrityError:
            raise _name_taken(name or "") from None

    async def remove(self, pool_id: PoolId) -> None:
        """Forget a pool and its credentials.

        Raises:
            RequestRefused: NOT_FOUND.
        """
        async with self._database.writing() as connection:
            result = await connection.execute(delete(pools).where(pools.c.id == pool_id))
        if result.rowcount != 1:
            raise _not_found(pool_id)

    async def _read(self, connection: AsyncConnection, pool_id: PoolId) -> PoolConfig:
        row = (await connection.execute(select(pools).where(pools.c.id == pool_id))).one_or_none()
        if row is None:
            raise _not_found(pool_id)
        return self._config(row, (await _pins(connection, pool_id)).get(pool_id, {}))

    def _config(self, row: Row[Any], pins: Mapping[str, str]) -> PoolConfig:
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
        try:
            password = self._keyring.open(values.pop("password"), purpose(row.id))
        except SealBroken as error:
            raise ConfigError(
                f"storage: the password of pool {row.name!r} cannot be decrypted: {error}"
            ) from None
        return PoolConfig(**values, password=password.decode(), pins=pins)


async def _pins(
    connection: AsyncConnection, pool_id: PoolId | None = None
) -> dict[str, dict[str, str]]:
    """Return {pool: {host: fingerprint}} of one pool, or of all."""
    query = select(pool_certificates)
    if pool_id is not None:
        query = query.where(pool_certificates.c.pool_id == pool_id)
    found: dict[str, dict[str, str]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.pool_id, {})[row.host] = row.fingerprint
    return found


async def _pin(connection: AsyncConnection, pool_id: PoolId, pins: Mapping[str, str]) -> None:
    table, now = pool_certificates, datetime.now(UTC)
    for host, fingerprint in pins.items():
        this = (table.c.pool_id == pool_id) & (table.c.host == host)
        await connection.execute(delete(table).where(this))
        row = {"pool_id": pool_id, "host": host, "fingerprint": fingerprint, "accepted_at": now}
        await connection.execute(insert(table).values(row))


def purpose(pool_id: str) -> str:
    """Say what a pool's password is sealed for."""
    return f"pool/{pool_id}/password"


def _name_taken(name: str) -> RequestRefused:
    return RequestRefused(ErrorCode.CONFLICT, f"there is already a pool named {name!r}")


def _not_found(pool_id: PoolId) -> RequestRefused:
    return RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {pool_id!r}")

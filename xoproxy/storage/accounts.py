"""Accounts in the database: fits `auth.AccountStore`."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.exc import IntegrityError

from xoproxy.auth import Account
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.storage.database import Database
from xoproxy.storage.schema import accounts


class StoredAccounts:
    """Reads and writes accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, account_id: str) -> Account | None:
        return await self._one(accounts.c.id == account_id)

    async def account_named(self, name: str) -> Account | None:
        return await self._one(accounts.c.name == name)

    async def account_names(self) -> Mapping[str, str]:
        async with self._database.reading() as connection:
            rows = await connection.execute(select(accounts.c.id, accounts.c.name))
            return {row.id: row.name for row in rows}

    async def add_account(self, account: Account) -> None:
        row = {name: getattr(account, name) for name in accounts.c.keys()}  # noqa: SIM118
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(accounts).values(row))
        except IntegrityError:
            raise RequestRefused(
                ErrorCode.CONFLICT, f"there is already an account named {account.name!r}"
            ) from None

    async def set_password_hash(self, account_id: str, password_hash: str) -> None:
        statement = update(accounts).where(accounts.c.id == account_id)
        async with self._database.writing() as connection:
            await connection.execute(statement.values(password_hash=password_hash))

    async def _one(self, condition: ColumnElement[bool]) -> Account | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(accounts).where(condition))).one_or_none()
        return Account(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name

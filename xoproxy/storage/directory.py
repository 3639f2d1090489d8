"""Accounts, groups, roles and grants in the database: fits `auth.DirectoryStore`."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.auth import Account, Contents, Group, KeptGrant, Kind, Role, Scope
from xoproxy.storage.database import Database
from xoproxy.storage.schema import (
    accounts,
    grants,
    group_accounts,
    group_groups,
    groups,
    roles,
)


class StoredDirectory:
    """Reads all at once, and writes one thing at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def contents(self) -> Contents:
        """Read everything."""
        async with self._database.reading() as connection:

            async def rows(table: Table, *order: Any) -> Any:  # noqa: ANN401 - columns, rows
                return (await connection.execute(select(table).order_by(*order))).all()

            members, inner = defaultdict(set), defaultdict(set)
            for row in await rows(group_accounts):
                members[row.group_id].add(row.account_id)
            for row in await rows(group_groups):
                inner[row.group_id].add(row.inner_id)
            return Contents(
                accounts=tuple(
                    Account(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
                    for row in await rows(accounts, accounts.c.created_at, accounts.c.id)
                ),
                groups=tuple(
                    Group(
                        row.id,
                        row.name,
                        row.created_at,
                        frozenset(members[row.id]),
                        frozenset(inner[row.id]),
                    )
                    for row in await rows(groups, groups.c.created_at, groups.c.id)
                ),
                roles=tuple(
                    Role(row.name, frozenset(row.permissions.split())) for row in await rows(roles)
                ),
                grants=tuple(
                    _grant(row) for row in await rows(grants, grants.c.created_at, grants.c.id)
                ),
            )

    async def put_account(self, account: Account) -> None:
        row = {name: getattr(account, name) for name in accounts.c.keys()}  # noqa: SIM118
        async with self._database.writing() as connection:
            await _put(connection, accounts, "id", row)

    async def set_password_hash(self, account_id: str, old: str, new: str) -> None:
        this = (accounts.c.id == account_id) & (accounts.c.password_hash == old)
        async with self._database.writing() as connection:
            await connection.execute(update(accounts).where(this).values(password_hash=new))

    async def remove_account(self, account_id: str) -> None:
        await self._remove(accounts, "id", account_id)

    async def put_group(self, group: Group) -> None:
        row = {"id": group.id, "name": group.name, "created_at": group.created_at}
        async with self._database.writing() as connection:
            await _put(connection, groups, "id", row)
            for table, column, ids in (
                (group_accounts, "account_id", group.members),
                (group_groups, "inner_id", group.groups),
            ):
                await connection.execute(delete(table).where(table.c.group_id == group.id))
                if ids:
                    values = [{"group_id": group.id, column: one} for one in sorted(ids)]
                    await connection.execute(insert(table), values)

    async def remove_group(self, group_id: str) -> None:
        await self._remove(groups, "id", group_id)

    async def put_role(self, role: Role) -> None:
        row = {"name": role.name, "permissions": " ".join(sorted(role.permissions))}
        async with self._database.writing() as connection:
            await _put(connection, roles, "name", row)

    async def remove_role(self, name: str) -> None:
        await self._remove(roles, "name", name)

    async def add_grant(self, grant: KeptGrant) -> None:
        row = {
            "id": grant.id,
            "account_id": grant.account_id or None,
            "group_id": grant.group_id or None,
            "role": grant.role,
            "kind": grant.scope.kind.value,
            "pool_id": grant.scope.pool,
            "value": grant.scope.value,
            "deny": grant.deny,
            "created_at": grant.created_at,
        }
        async with self._database.writing() as connection:
            await connection.execute(insert(grants).values(row))

    async def remove_grant(self, grant_id: str) -> None:
        await self._remove(grants, "id", grant_id)

    async def _remove(self, table: Table, key: str, value: str) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(table).where(table.c[key] == value))


async def _put(connection: AsyncConnection, table: Table, key: str, row: dict[str, Any]) -> None:
    """Write a row that may be there already."""
    changed = await connection.execute(update(table).where(table.c[key] == row[key]).values(row))
    if changed.rowcount == 0:
        await connection.execute(insert(table).values(row))


def _grant(row: Any) -> KeptGrant:  # noqa: ANN401 - a row
    return KeptGrant(
        id=row.id,
        account_id=row.account_id or "",
        group_id=row.group_id or "",
        role=row.role,
        scope=Scope(Kind(row.kind), row.pool_id, row.value),
        deny=row.deny,
        created_at=row.created_at,
    )

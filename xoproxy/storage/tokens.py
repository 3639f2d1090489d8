"""API tokens in the database: fits `auth.TokenStore`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, select, update

from xoproxy.auth import ApiToken
from xoproxy.storage.database import Database
from xoproxy.storage.schema import api_tokens


class StoredTokens:
    """Reads and writes API tokens. Revoked ones stay as rows: their ids are never given again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_token(self, token: ApiToken) -> None:
        row = {name: getattr(token, name) for name in api_tokens.c.keys()}  # noqa: SIM118
        async with self._database.writing() as connection:
            await connection.execute(insert(api_tokens).values(row))

    async def token(self, token_id: str) -> ApiToken | None:
        query = select(api_tokens).where(api_tokens.c.id == token_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return ApiToken(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name

    async def tokens(self) -> Sequence[ApiToken]:
        query = (
            select(api_tokens)
            .where(api_tokens.c.revoked_at.is_(None))
            .order_by(api_tokens.c.created_at, api_tokens.c.id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [ApiToken(**row._mapping) for row in rows]  # noqa: SLF001

    async def revoke_token(self, token_id: str, at: datetime) -> bool:
        statement = (
            update(api_tokens)
            .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def note_token_use(self, token_id: str, at: datetime) -> None:
        statement = update(api_tokens).where(api_tokens.c.id == token_id)
        async with self._database.writing() as connection:
            await connection.execute(statement.values(last_used_at=at))

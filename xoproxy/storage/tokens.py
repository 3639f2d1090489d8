"""API tokens in the database: fits `auth.TokenStore`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from xoproxy.auth import ApiToken
from xoproxy.storage.database import Database
from xoproxy.storage.schema import api_tokens

_log = structlog.get_logger(__name__)


class StoredTokens:
    """Reads and writes API tokens. Revoked ones stay as rows: their ids are never given again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_token(self, token: ApiToken) -> None:
        row = {name: getattr(token, name) for name in api_tokens.c.keys()}  # noqa: SIM118
        async with self._database.writing() as connection:
            await connection.execute(insert(api_tokens).values(row))

    async def tokens(self) -> Sequence[ApiToken]:
        query = (
            select(api_tokens)
            .where(api_tokens.c.revoked_at.is_(None))
            .order_by(api_tokens.c.created_at, api_tokens.c.id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [ApiToken(**row._mapping) for row in rows]  # noqa: SLF001

    async def revoke_token(self, token_id: str, at: datetime) -> None:
        statement = update(api_tokens).where(api_tokens.c.id == token_id)
        async with self._database.writing() as connection:
            await connection.execute(statement.values(revoked_at=at))

    async def note_token_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep when tokens were last used, if the database can be written just now."""
        statement = (
            update(api_tokens)
            .where(api_tokens.c.id == bindparam("token"))
            .values(last_used_at=bindparam("at"))
        )
        rows = [{"token": token_id, "at": at} for token_id, at in uses.items()]
        try:
            async with self._database.writing() as connection:
                await connection.execute(statement, rows)
        except (SQLAlchemyError, TimeoutError) as error:  # nobody waits for it, and it may pass
            _log.warning("token uses not written", cause=type(error).__name__)

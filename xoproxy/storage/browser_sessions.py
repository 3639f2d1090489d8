"""Browser sessions in the database: fits `auth.SessionStore`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from xoproxy.auth import BrowserSession
from xoproxy.storage.database import Database
from xoproxy.storage.schema import browser_sessions

_log = structlog.get_logger(__name__)


class StoredSessions:
    """Reads and writes browser sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(self) -> Sequence[BrowserSession]:
        query = select(browser_sessions).order_by(
            browser_sessions.c.created_at, browser_sessions.c.id
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [BrowserSession(**row._mapping) for row in rows]  # noqa: SLF001

    async def add_session(self, session: BrowserSession) -> None:
        row = {name: getattr(session, name) for name in browser_sessions.c.keys()}  # noqa: SIM118
        async with self._database.writing() as connection:
            await connection.execute(insert(browser_sessions).values(row))

    async def remove_sessions(self, session_ids: Collection[str]) -> None:
        statement = delete(browser_sessions).where(browser_sessions.c.id == bindparam("session"))
        async with self._database.writing() as connection:
            await connection.execute(statement, [{"session": id_} for id_ in session_ids])

    async def note_session_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep when sessions were last used, if the database can be written just now."""
        statement = (
            update(browser_sessions)
            .where(browser_sessions.c.id == bindparam("session"))
            .values(last_used_at=bindparam("at"))
        )
        rows = [{"session": session_id, "at": at} for session_id, at in uses.items()]
        try:
            async with self._database.writing() as connection:
                await connection.execute(statement, rows)
        except (SQLAlchemyError, TimeoutError) as error:  # nobody waits for it, and it may pass
            _log.warning("session uses not written", cause=type(error).__name__)

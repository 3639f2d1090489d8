"""All by which people and programs sign in, read once at the start, and written now and then.

When something was last used and what guessing has come to is not written when it happens, or who
signs in often would wear out the disk: it is written every few seconds, and at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from xoproxy.auth import (
    Accounts,
    BrowserSessions,
    Directory,
    Lifetime,
    Passwords,
    Throttle,
    Tokens,
)
from xoproxy.settings import AccountsSettings
from xoproxy.storage import Storage

_TOKEN_USES_S = 5.0
_ROUNDS = 12
"""Of token uses to one of the rest: a minute."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who there is, and how he proves it."""

    storage: Storage
    directory: Directory
    passwords: Passwords
    tokens: Tokens
    sessions: BrowserSessions
    throttle: Throttle
    accounts: Accounts

    async def keep(self, in_use: Callable[[], Collection[str]]) -> None:
        """Write what has changed, for ever.

        Args:
            in_use: returns the credentials of open connections.
        """
        while True:
            for _ in range(_ROUNDS):
                await asyncio.sleep(_TOKEN_USES_S)
                await self.tokens.note_uses()
            await self.write(in_use())

    async def write(self, in_use: Collection[str] = ()) -> None:
        """Write what has changed, if the database can be written just now."""
        await self.tokens.note_uses()
        try:
            await self.sessions.tidy(in_use)
            notes = self.throttle.notes()
            if notes is not None:
                await self.storage.sign_ins.write(notes)
        except (SQLAlchemyError, TimeoutError) as error:  # nobody waits for it, and it may pass
            self.throttle.not_written()
            _log.warning("sign-ins not written", cause=type(error).__name__)


@asynccontextmanager
async def credentials(storage: Storage, settings: AccountsSettings) -> AsyncIterator[Credentials]:
    """Read what there is."""
    passwords = Passwords()
    try:
        directory = Directory(await storage.directory.contents())
        tokens = Tokens(storage.tokens, await storage.tokens.tokens())
        lifetime = Lifetime(
            timedelta(seconds=settings.session_idle_s), timedelta(seconds=settings.session_s)
        )
        sessions = BrowserSessions(
            storage.sessions, directory, tokens, lifetime, await storage.sessions.sessions()
        )
        throttle = Throttle(storage.signing_key, await storage.sign_ins.notes())
        accounts = Accounts(directory, storage.directory, tokens, sessions, passwords, throttle)
        yield Credentials(storage, directory, passwords, tokens, sessions, throttle, accounts)
    finally:
        passwords.close()

"""Browser sessions: what a cookie stands for, from signing in to signing out.

Each sign-in makes a new session with a secret of its own (auth/secret_texts.py): nobody can have
known it before, and nothing that a browser brings along is ever taken over. A session goes on as
long as it is used, but not for ever, and never longer than what it was opened with: it ends when
its account is disabled or removed, with a new password if one opened it, and with its API token.

All are held in memory, so that a request costs no statement. That an account's sessions are over is
one number in the account (`Account.generation`): true at once and after a crash, whatever has been
cleaned up by then.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from xoproxy.auth import secret_texts
from xoproxy.auth.directory import Directory
from xoproxy.auth.identity import (
    Identity,
    password_credential,
    session_credential,
    token_credential,
)
from xoproxy.auth.tokens import Tokens
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized

USER_AGENT_LENGTH = 200
_KIND = "xos"
_USE_NOTED_EVERY = timedelta(minutes=1)
_PER_ACCOUNT = 100
"""Sessions that one account may have; the one that was not used for longest ends first."""
_AT_ONCE = 1000
"""Sessions looked at before the rest of the proxy has its turn."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a session lasts.

    Args:
        idle: without any use.
        longest: however much it is used.
    """

    idle: timedelta = timedelta(days=1)
    longest: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """What is kept of a session.

    Args:
        token_id: of the API token that opened it; "" if a password did.
        generation: of the account, when it began.
        address: where it was opened from.
        user_agent: what the browser called itself then.
    """

    id: str
    account_id: str
    secret_digest: bytes = field(repr=False)
    token_id: str
    generation: int
    address: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime


class SessionOver(Unauthorized):
    """What a cookie holds is no session, or none any more: the browser should forget it."""


class SessionStore(Protocol):
    """Where sessions last."""

    async def sessions(self) -> Sequence[BrowserSession]:
        """Return all, oldest first."""
        ...

    async def add_session(self, session: BrowserSession) -> None: ...

    async def remove_sessions(self, session_ids: Collection[str]) -> None: ...

    async def note_session_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep when sessions were last used."""


class BrowserSessions:
    """Opens, verifies and ends browser sessions.

    Args:
        store: where they last.
        directory: the accounts that they are of.
        tokens: that may have opened them.
        lifetime: how long they last.
        sessions: those that there are.
    """

    def __init__(
        self,
        store: SessionStore,
        directory: Directory,
        tokens: Tokens,
        lifetime: Lifetime = Lifetime(),
        sessions: Iterable[BrowserSession] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._directory = directory
        self._tokens = tokens
        self._lifetime = lifetime
        self._now = now
        self._sessions: dict[str, BrowserSession] = {}
        self._of: dict[str, dict[str, None]] = {}
        """Ids by account, oldest first."""
        self._uses: dict[str, datetime] = {}
        self._tell: Callable[[str], None] = lambda _credential: None
        for session in sessions:
            self._put(session)

    def when_ended(self, tell: Callable[[str], None]) -> None:
        """Have the credential of each session told that ends: what it opened shall close."""
        self._tell = tell

    async def open(
        self, identity: Identity, address: str, user_agent: str
    ) -> tuple[BrowserSession, str]:
        """Open a session for somebody who has just signed in.

        Args:
            identity: by password or by API token.
            address: where he is.
            user_agent: as his browser sent it: cut, and made printable.

        Returns:
            What is kept, and the secret, for the cookie only.

        Raises:
            RequestRefused: FORBIDDEN, a session does not open another one.
            Unauthorized: the account is no more.
        """
        account = self._directory.accounts.get(identity.account_id)
        if account is None:
            raise Unauthorized("the account is disabled")
        token_id = identity.credential.removeprefix(token_credential(""))
        if identity.credential == password_credential(identity.account_id):
            token_id = ""
        elif token_id == identity.credential:
            text = "sign in with user name and password, or with an API token"
            raise RequestRefused(ErrorCode.FORBIDDEN, text)
        made = secret_texts.make(_KIND)
        now = self._now()
        session = BrowserSession(
            id=made.id,
            account_id=identity.account_id,
            secret_digest=made.digest,
            token_id=token_id,
            # before anything is waited for: a password that changes meanwhile ends this one, too
            generation=account.generation,
            address=address[:64],
            user_agent=_printable(user_agent),
            created_at=now,
            last_used_at=now,
        )
        await self._store.add_session(session)
        self._put(session)
        own = [self._sessions[id_] for id_ in self._of[session.account_id]]
        await self._end(sorted(own, key=lambda one: one.last_used_at)[:-_PER_ACCOUNT])
        return session, made.text

    def verify(self, text: str) -> tuple[BrowserSession, Identity]:
        """Return the session whose secret somebody presents, and who he is.

        Raises:
            SessionOver: there is none, or it is over.
        """
        shown = secret_texts.read(_KIND, text)
        session = self._sessions.get(shown.id) if shown else None
        now = self._now()
        if shown is None or session is None or not shown.fits(session.secret_digest):
            raise SessionOver("there is no such browser session: sign in")
        if self._is_over(session, now):
            raise SessionOver("the browser session is over: sign in again")
        self._used(session, now)
        return session, self._identity(session)

    def list(self, account_id: str | None = None) -> Sequence[BrowserSession]:
        """Return those that are not over, oldest first; all, or those of an account."""
        now = self._now()
        ids = self._sessions if account_id is None else self._of.get(account_id, {})
        found = (self._sessions[id_] for id_ in ids)
        return [session for session in found if not self._is_over(session, now)]

    def ends_at(self, session: BrowserSession) -> datetime:
        """Return when a session is over in any case."""
        ends_at = session.created_at + self._lifetime.longest
        token = self._tokens.get(session.token_id) if session.token_id else None
        if token is not None and token.expires_at is not None:
            return min(ends_at, token.expires_at)
        return ends_at

    async def end(self, session_id: str) -> None:
        """End a session, and have closed what it opened.

        Raises:
            RequestRefused: NOT_FOUND.
        """
        session = self._sessions.get(session_id)
        if session is None or self._is_over(session, self._now()):
            text = f"there is no browser session {session_id!r}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        await self._end([session])

    async def tidy(self, in_use: Collection[str] = ()) -> None:
        """Note which sessions were used, and forget those that are over.

        Args:
            in_use: credentials of open connections: a page that is open is in use, even if it is
                only looked at.
        """
        now = self._now()
        over = []
        for number, id_ in enumerate([*self._sessions], 1):
            session = self._sessions.get(id_)
            if session is None:  # it was ended meanwhile
                continue
            if self._is_over(session, now):
                over.append(session)
            elif session_credential(id_) in in_use:
                self._used(session, now)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._end(over)
        uses, self._uses = self._uses, {}
        if kept := {id_: at for id_, at in uses.items() if id_ in self._sessions}:
            await self._store.note_session_uses(kept)

    async def _end(self, sessions: Sequence[BrowserSession]) -> None:
        if not sessions:
            return
        await self._store.remove_sessions([session.id for session in sessions])
        for session in sessions:
            if self._sessions.pop(session.id, None) is not None:
                del self._of[session.account_id][session.id]
            self._tell(session_credential(session.id))

    def _put(self, session: BrowserSession) -> None:
        self._sessions[session.id] = session
        self._of.setdefault(session.account_id, {})[session.id] = None

    def _used(self, session: BrowserSession, now: datetime) -> None:
        # to the minute is enough for "is it still in use?"
        if now - session.last_used_at >= _USE_NOTED_EVERY:
            self._sessions[session.id] = replace(session, last_used_at=now)
            self._uses[session.id] = now

    def _is_over(self, session: BrowserSession, now: datetime) -> bool:
        account = self._directory.accounts.get(session.account_id)
        if account is None or not account.enabled:
            return True
        if session.token_id:
            opened_by_good = self._tokens.get(session.token_id) is not None
        else:
            opened_by_good = session.generation == account.generation
        return (
            not opened_by_good
            or now >= session.created_at + self._lifetime.longest
            or now >= session.last_used_at + self._lifetime.idle
        )

    def _identity(self, session: BrowserSession) -> Identity:
        account = self._directory.accounts[session.account_id]
        token = self._tokens.get(session.token_id) if session.token_id else None
        return Identity(
            account.id,
            account.name,
            account.role,
            session_credential(session.id),
            self.ends_at(session).timestamp(),
            within=token.role if token else "",
            origin=token_credential(token.id) if token else password_credential(account.id),
        )


def _printable(text: str) -> str:
    cut = text[:USER_AGENT_LENGTH]
    return "".join(letter if letter.isprintable() else "?" for letter in cut)

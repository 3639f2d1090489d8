"""Browser sessions: signing in for a cookie, signing out, and the list of one's devices."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import structlog
from pydantic import Field, SecretStr, StringConstraints

from xoproxy.auth import Accounts, BrowserSession, BrowserSessions, Directory, Identity
from xoproxy.auth.identity import password_credential, session_credential, token_credential
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.names import found_account
from xoproxy.rest.operations import (
    Answer,
    Body,
    Moment,
    Name,
    Operation,
    Request,
    Who,
    WithCookie,
)

_log = structlog.get_logger(__name__)


class SessionInfo(Answer):
    """A browser session. What its cookie holds is never told."""

    id: str
    user: str
    token: str | None = Field(description="Id of the API token that opened it; null: a password")
    address: str = Field(description="Where it was opened from")
    user_agent: str = Field(description="What the browser called itself")
    created_at: Moment
    last_used_at: Moment = Field(description="To the minute")
    ends_at: Moment = Field(description="However much it is used")
    current: bool = Field(description="Whether it made this request")


class SignedIn(SessionInfo):
    """The session just opened; its secret is in the cookie only."""

    must_change: bool = Field(
        description="He may do nothing before he has changed his password (PUT /me/password)"
    )


class SignIn(Body):
    """User name and password; nothing, if a header signs in."""

    username: Annotated[str, StringConstraints(max_length=1024)] | None = None
    password: Annotated[SecretStr, Field(max_length=4096)] | None = None


class SessionsWanted(Body):
    """Which sessions to list."""

    user: Name | None = Field(None, description="Only those of this user, by name or id")


async def reopened(sessions: BrowserSessions, request: Request) -> WithCookie | None:
    """Open a new session for a browser whose own one has ended with its password.

    Returns:
        Its cookie, and no answer; None: no cookie that a password opened made this request.
    """
    identity = request.identity
    if identity.origin != password_credential(identity.account_id):
        return None
    proved = replace(identity, credential=identity.origin, origin="", expires_at_s=None)
    session, secret = await sessions.open(proved, request.peer, request.user_agent)
    return WithCookie(None, secret, sessions.ends_at(session))


class Sessions:
    """The operations on browser sessions.

    Args:
        accounts: signs people in.
        directory: who there is.
        sessions: what is operated on.
    """

    def __init__(self, accounts: Accounts, directory: Directory, sessions: BrowserSessions) -> None:
        self._accounts = accounts
        self._directory = directory
        self._sessions = sessions

    def operations(self) -> Sequence[Operation]:
        missing = HTTPStatus.NOT_FOUND
        return (
            Operation(
                "signIn",
                "POST",
                "/session",
                "Sign in by user name and password, or by a token, for a cookie",
                self._open,
                Who.NEWCOMERS,
                body=SignIn,
                answer=SignedIn,
                sign_in=self._sign_in,
            ),
            Operation(
                "signOut",
                "DELETE",
                "/session",
                "Sign out: end the session of the cookie, and close what it opened",
                self._close,
                Who.NEWCOMERS,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing,),
            ),
            Operation(
                "listSessions",
                "GET",
                "/sessions",
                "List browser sessions: one's own, or all if an administrator asks",
                self._list,
                Who.EVERYBODY,
                query=SessionsWanted,
                answer=list[SessionInfo],
                refusals=(missing,),
            ),
            Operation(
                "endSession",
                "DELETE",
                "/sessions/{id}",
                "End a browser session of one's own, or any if an administrator asks; close what "
                "it opened",
                self._end,
                Who.EVERYBODY,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing,),
            ),
        )

    async def _sign_in(self, body: SignIn, peer: str) -> Identity:
        if body.username is None or body.password is None:
            text = "give username and password, or send an Authorization header"
            raise RequestRefused(ErrorCode.BAD_MESSAGE, text)
        password = body.password.get_secret_value()
        return await self._accounts.login_password(body.username, password, peer)

    async def _open(self, request: Request) -> WithCookie:
        session, secret = await self._sessions.open(
            request.identity, request.peer, request.user_agent
        )
        _log.info("signed in", user=request.identity.name, session=session.id, remote=request.peer)
        info = self._info(session, session_credential(session.id))
        must_change = self._directory.must_change(request.identity)
        answer = SignedIn(**dict(info), must_change=must_change)
        return WithCookie(answer, secret, info.ends_at)

    async def _close(self, request: Request) -> WithCookie:
        for session in self._sessions.list(request.identity.account_id):
            if session_credential(session.id) == request.identity.credential:
                await self._sessions.end(session.id)
                _log.info("signed out", user=request.identity.name, session=session.id)
                return WithCookie(None, "", session.created_at)
        text = "no cookie signed this request in: there is nothing to sign out of"
        raise RequestRefused(ErrorCode.NOT_FOUND, text)

    async def _list(self, request: Request) -> Sequence[SessionInfo]:
        wanted: SessionsWanted = request.query
        own = request.identity
        found = self._sessions_for(request)
        if wanted.user is not None:
            if not request.administers and wanted.user not in {own.name, own.account_id}:
                text = "only an administrator sees the sessions of others"
                raise RequestRefused(ErrorCode.FORBIDDEN, text)
            account_id = found_account(self._directory, wanted.user).id
            found = (session for session in found if session.account_id == account_id)
        return [self._info(session, own.credential) for session in found]

    async def _end(self, request: Request) -> None:
        session_id = request.path["id"]
        if session_id not in {session.id for session in self._sessions_for(request)}:
            text = f"there is no browser session {session_id!r}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        await self._sessions.end(session_id)
        _log.info("browser session ended", session=session_id, user=request.identity.name)

    def _sessions_for(self, request: Request) -> Iterator[BrowserSession]:
        """Name the sessions that somebody may see and end.

        A token that is bound by a role has those that it opened itself.
        """
        own = request.identity
        if request.administers:
            yield from self._sessions.list()
            return
        for session in self._sessions.list(own.account_id):
            if not own.within or own.depends_on(token_credential(session.token_id)):
                yield session

    def _info(self, session: BrowserSession, current: str) -> SessionInfo:
        return SessionInfo(
            id=session.id,
            user=self._directory.accounts[session.account_id].name,
            token=session.token_id or None,
            address=session.address,
            user_agent=session.user_agent,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            ends_at=self._sessions.ends_at(session),
            current=session_credential(session.id) == current,
        )

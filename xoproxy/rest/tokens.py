"""API tokens: for programs, and to be revoked one by one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import structlog
from pydantic import Field

from xoproxy.auth import Account, ApiToken, Directory, Tokens
from xoproxy.auth.identity import token_credential
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.names import found_account
from xoproxy.rest.operations import Answer, Body, Moment, Name, Operation, Request, Who

_log = structlog.get_logger(__name__)
_TEN_YEARS_S = 10 * 366 * 86_400

Revoked = Callable[[str], None]
"""Told which credential (`Identity.credential`) is no longer good: what it opened shall end."""


class TokenInfo(Answer):
    """An API token, without its secret."""

    id: str
    name: str
    user: str = Field(description="Whose rights it has")
    role: str | None = Field(description="Of these, only what this role has; null: all of them")
    created_at: Moment
    last_used_at: Moment | None = Field(description="To the minute")
    expires_at: Moment | None


class NewToken(TokenInfo):
    """A token just made. `token` is shown this once and is stored nowhere."""

    token: str


class TokenAdd(Body):
    """A token to be made."""

    name: Name
    user: Name | None = Field(
        None, description="Whose rights it shall have, if an administrator asks; else one's own"
    )
    role: Name | None = Field(
        None, description="Give it no more than this role has; without, it has all your rights"
    )
    expires_in_s: Annotated[int, Field(ge=60, le=_TEN_YEARS_S)] | None = None


class TokenOperations:
    """The operations on API tokens."""

    def __init__(self, directory: Directory, tokens: Tokens, revoked: Revoked) -> None:
        self._directory = directory
        self._tokens = tokens
        self._revoked = revoked

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                "listTokens",
                "GET",
                "/tokens",
                "List API tokens: one's own, or all if an administrator asks",
                self._list,
                Who.EVERYBODY,
                answer=list[TokenInfo],
            ),
            Operation(
                "addToken",
                "POST",
                "/tokens",
                "Make an API token",
                self._add,
                Who.EVERYBODY,
                body=TokenAdd,
                answer=NewToken,
                status=HTTPStatus.CREATED,
                refusals=(HTTPStatus.NOT_FOUND,),
            ),
            Operation(
                "revokeToken",
                "DELETE",
                "/tokens/{id}",
                "Revoke an API token of one's own, or any if an administrator asks; close what it "
                "opened",
                self._revoke,
                Who.EVERYBODY,
                status=HTTPStatus.NO_CONTENT,
                refusals=(HTTPStatus.NOT_FOUND,),
            ),
        )

    async def _list(self, request: Request) -> Iterator[TokenInfo]:
        return (_info(token, account.name) for token, account in self._tokens_for(request))

    async def _add(self, request: Request) -> NewToken:
        new: TokenAdd = request.body
        account, role = self._owner(request, new.user), self._bound(request, new.role)
        lifetime = timedelta(seconds=new.expires_in_s) if new.expires_in_s else None
        token, text = await self._tokens.issue(account.id, new.name, lifetime, role)
        _log.info("api token made", id=token.id, account=account.name, user=request.identity.name)
        return NewToken(**dict(_info(token, account.name)), token=text)

    async def _revoke(self, request: Request) -> None:
        token_id = request.path["id"]
        if token_id not in {token.id for token, _ in self._tokens_for(request)}:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no API token {token_id!r}")
        self._revoked(await self._tokens.revoke(token_id))
        _log.info("api token revoked", id=token_id, user=request.identity.name)

    def _tokens_for(self, request: Request) -> Iterator[tuple[ApiToken, Account]]:
        """Name the tokens that somebody may see and revoke, with their owners.

        A token that is bound by a role has only itself: who steals it cannot revoke the others.
        """
        identity = request.identity
        for token in self._tokens.list():
            account = self._directory.accounts.get(token.account_id)
            is_own = token.account_id == identity.account_id and (
                not identity.within or identity.depends_on(token_credential(token.id))
            )
            if account is not None and (is_own or request.administers):
                yield token, account

    def _owner(self, request: Request, wanted: str | None) -> Account:
        own = found_account(self._directory, request.identity.account_id)
        if wanted is None or wanted in {own.id, own.name}:
            return own
        if not request.administers:
            text = "only an administrator makes tokens for others"
            raise RequestRefused(ErrorCode.FORBIDDEN, text)
        return found_account(self._directory, wanted)

    def _bound(self, request: Request, wanted: str | None) -> str:
        if request.identity.within:
            text = "a token that is bound by a role makes no others"
            raise RequestRefused(ErrorCode.FORBIDDEN, text)
        if wanted is not None and wanted not in self._directory.roles:
            known = ", ".join(sorted(self._directory.roles))
            text = f"there is no role {wanted!r}; there are {known}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        return wanted or ""


def _info(token: ApiToken, user: str) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.name,
        user=user,
        role=token.role or None,
        created_at=token.created_at,
        last_used_at=token.last_used_at,
        expires_at=token.expires_at,
    )

"""API tokens: for programs, and to be revoked one by one."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import structlog
from pydantic import Field

from xoproxy.auth import ApiToken, Directory, Tokens
from xoproxy.rest.operations import Answer, Body, Moment, Name, Operation, Request

_log = structlog.get_logger(__name__)
_TEN_YEARS_S = 10 * 366 * 86_400

Revoked = Callable[[str], None]
"""Told which credential (`Identity.credential`) is no longer good: what it opened shall end."""


class TokenInfo(Answer):
    """An API token, without its secret."""

    id: str
    name: str
    user: str = Field(description="Whose rights it has")
    created_at: Moment
    last_used_at: Moment | None = Field(description="To the minute")
    expires_at: Moment | None


class NewToken(TokenInfo):
    """A token just made. `token` is shown this once and is stored nowhere."""

    token: str


class TokenAdd(Body):
    """A token to be made, for the account that asks."""

    name: Name
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
                "List API tokens",
                self._list,
                answer=list[TokenInfo],
            ),
            Operation(
                "addToken",
                "POST",
                "/tokens",
                "Make an API token",
                self._add,
                body=TokenAdd,
                answer=NewToken,
                status=HTTPStatus.CREATED,
            ),
            Operation(
                "revokeToken",
                "DELETE",
                "/tokens/{id}",
                "Revoke an API token and close what it opened",
                self._revoke,
                status=HTTPStatus.NO_CONTENT,
                refusals=(HTTPStatus.NOT_FOUND,),
            ),
        )

    async def _list(self, _request: Request) -> Sequence[TokenInfo]:
        accounts = self._directory.accounts
        return [_info(token, accounts[token.account_id].name) for token in self._tokens.list()]

    async def _add(self, request: Request) -> NewToken:
        new: TokenAdd = request.body
        lifetime = timedelta(seconds=new.expires_in_s) if new.expires_in_s else None
        token, text = await self._tokens.issue(request.identity.account_id, new.name, lifetime)
        _log.info("api token made", id=token.id, user=request.identity.name)
        info = _info(token, request.identity.name)
        return NewToken(**info.model_dump(), token=text)

    async def _revoke(self, request: Request) -> None:
        token_id = request.path["id"]
        self._revoked(await self._tokens.revoke(token_id))
        _log.info("api token revoked", id=token_id, user=request.identity.name)


def _info(token: ApiToken, user: str) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.name,
        user=user,
        created_at=token.created_at,
        last_used_at=token.last_used_at,
        expires_at=token.expires_at,
    )

"""Sign-ins, calls, and grants that the proxy makes, each noted in the audit log.

Of a call are told the method and the names of its parameters, as XAPI's data model knows them, and
the object, if the proxy knows it: what somebody typed is never taken over.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from xoproxy.app.identities import Principal
from xoproxy.app.ownership import Grants
from xoproxy.auth import KeptGrant, Scope
from xoproxy.auth.audit import SIGN_IN, Action
from xoproxy.cache.index import uuid_of
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, PoolError, RequestRefused, Unauthorized, XapiFailure
from xoproxy.model import PoolId, Ref
from xoproxy.pool.methods import parameters
from xoproxy.ws import connection

_UNKNOWN_METHOD = "call"
_GIVEN_UP = "cancelled"


class Audit(Protocol):
    """Takes down what happened; must not block or raise."""

    def note(self, action: Action) -> None: ...


class SignIns(Protocol):
    """Signs clients in; see `app.identities.Authenticator`."""

    async def by_password(
        self, username: str, password: str, otp: str | None, remote: str
    ) -> Principal: ...

    async def by_token(self, token: str, remote: str) -> Principal: ...

    async def by_cookie(self, secret: str, remote: str) -> Principal: ...


class AuditedSignIns:
    """Signs clients in (fits `ws.connection.Authenticator`)."""

    def __init__(self, sign_ins: SignIns, audit: Audit) -> None:
        self._sign_ins = sign_ins
        self._audit = audit

    async def by_password(
        self, username: str, password: str, otp: str | None, remote: str
    ) -> Principal:
        tried = Action(SIGN_IN, user=username, credential="password", peer=remote)
        return await self._noted(tried, self._sign_ins.by_password(username, password, otp, remote))

    async def by_token(self, token: str, remote: str) -> Principal:
        tried = Action(SIGN_IN, credential="token", peer=remote)
        return await self._noted(tried, self._sign_ins.by_token(token, remote))

    async def by_cookie(self, secret: str, remote: str) -> Principal:
        tried = Action(SIGN_IN, credential="session", peer=remote)
        return await self._noted(tried, self._sign_ins.by_cookie(secret, remote))

    async def _noted(self, tried: Action, signing_in: Awaitable[Principal]) -> Principal:
        try:
            principal = await signing_in
        except Unauthorized as error:
            self._audit.note(replace(tried, result=error.code))
            raise
        self._audit.note(tried.by(principal.identity))
        return principal


class AuditedGrants:
    """Changes grants by itself: nobody asked for that (fits `app.ownership.Grants`)."""

    def __init__(self, grants: Grants, audit: Audit) -> None:
        self._grants = grants
        self._audit = audit

    async def add_grant(self, role: str, scope: Scope, *, account_id: str) -> KeptGrant:
        grant = await self._grants.add_grant(role, scope, account_id=account_id)
        details = {"role": role, "scope": str(scope), "account": account_id}
        self._audit.note(Action("addGrant", about=f"/grants/{grant.id}", details=details))
        return grant

    async def remove_grant(self, grant_id: str) -> None:
        await self._grants.remove_grant(grant_id)
        self._audit.note(Action("removeGrant", about=f"/grants/{grant_id}"))


class AuditedCalls:
    """Runs clients' calls (fits `ws.connection.Caller`).

    Args:
        caller: runs them.
        pools: knows objects by their references.
        audit: is told.
    """

    def __init__(
        self, caller: connection.Caller, pools: Mapping[PoolId, Store], audit: Audit
    ) -> None:
        self._caller = caller
        self._pools = pools
        self._audit = audit

    async def call(
        self, principal: connection.Principal, pool: PoolId, method: str, params: Mapping[str, Any]
    ) -> Any:  # noqa: ANN401 - any JSON value
        action = self._action(principal, pool, method, params)
        ended = replace(action, result=ErrorCode.INTERNAL)
        try:
            result = await self._caller.call(principal, pool, method, params)
        except RequestRefused as refused:
            ended = replace(action, result=refused.code)
            raise
        except XapiFailure as failure:
            details = {"code": failure.code}  # its parameters may be anything
            ended = replace(action, result=ErrorCode.XAPI_FAILURE, details=details)
            raise
        except PoolError:
            ended = replace(action, result=ErrorCode.POOL_UNAVAILABLE)
            raise
        except asyncio.CancelledError:  # the client went; what it began may go on
            ended = replace(action, result=_GIVEN_UP)
            raise
        else:
            ended = action
            return result
        finally:
            self._audit.note(ended)

    def _action(
        self, principal: connection.Principal, pool: PoolId, method: str, params: Mapping[str, Any]
    ) -> Action:
        known = parameters(method)
        return Action(
            _UNKNOWN_METHOD if known is None else method,
            user=principal.name,
            account_id=principal.account_id,
            credential=principal.credential,
            peer=principal.peer,
            pool=pool if pool in self._pools else "",
            about=self._object(pool, params),
            parameters=tuple(name for name in params if name in (known or ())),
        )

    def _object(self, pool: PoolId, params: Mapping[str, Any]) -> str:
        """Name the object of a call: the first one that is named; before it may be destroyed."""
        store = self._pools.get(pool)
        for value in params.values():
            entry = store.get(Ref(value)) if store is not None and isinstance(value, str) else None
            if entry is not None:
                return f"{entry.cls} {uuid_of(entry) or entry.ref}"
        return ""

"""Grants: who may see and do what, and why."""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

import structlog

from xoproxy.auth import Administration, Directory, KeptGrant, Kind, Scope, by_filter
from xoproxy.auth.permissions import checked
from xoproxy.cache.state import State
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import Entry, PoolId
from xoproxy.rest.grant_models import (
    Explanation,
    GrantAdd,
    GrantInfo,
    GrantsWanted,
    ScopeGiven,
    WhyAsked,
)
from xoproxy.rest.names import Named, found_account, found_group
from xoproxy.rest.operations import Operation, Request
from xoproxy.rest.why import explanation, scope_info

_log = structlog.get_logger(__name__)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Objects(Protocol):
    """Knows the pools and what they hold."""

    async def pools(self) -> Mapping[PoolId, str]:
        """Return the names of all pools."""
        ...

    async def find(self, pool: PoolId, uuid: str) -> tuple[State, Entry]:
        """Return an object, and its pool as it is in the same moment.

        Raises:
            RequestRefused: NOT_FOUND; POOL_UNAVAILABLE, the pool was never listed.
        """


class Grants:
    """The operations on grants."""

    def __init__(
        self, directory: Directory, administration: Administration, objects: Objects
    ) -> None:
        self._directory = directory
        self._administration = administration
        self._objects = objects

    def operations(self) -> Sequence[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        return (
            Operation(
                "listGrants",
                "GET",
                "/grants",
                "List grants",
                self._list,
                query=GrantsWanted,
                answer=list[GrantInfo],
                refusals=(missing,),
            ),
            Operation(
                "addGrant",
                "POST",
                "/grants",
                "Give a user or a group a role on something, or take it away",
                self._add,
                body=GrantAdd,
                answer=GrantInfo,
                status=HTTPStatus.CREATED,
                refusals=(missing, taken),
            ),
            Operation(
                "explainRights",
                "GET",
                "/grants/why",
                "Explain why a user may, or may not, do something to an object",
                self._why,
                query=WhyAsked,
                answer=Explanation,
                refusals=(missing, HTTPStatus.SERVICE_UNAVAILABLE),
            ),
            Operation(
                "getGrant",
                "GET",
                "/grants/{id}",
                "Show one grant",
                self._get,
                answer=GrantInfo,
                refusals=(missing,),
            ),
            Operation(
                "removeGrant",
                "DELETE",
                "/grants/{id}",
                "Take a grant back",
                self._remove,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing,),
            ),
        )

    async def _list(self, request: Request) -> Iterator[GrantInfo]:
        wanted: GrantsWanted = request.query
        grants = list(self._directory.grants.values())
        if wanted.user is not None:
            account_id = found_account(self._directory, wanted.user).id
            groups = {group.id for group in self._directory.groups_of(account_id)}
            grants = [g for g in grants if g.account_id == account_id or g.group_id in groups]
        if wanted.group is not None:
            group_id = found_group(self._directory, wanted.group).id
            grants = [g for g in grants if g.group_id == group_id]
        pools = await self._objects.pools()
        return (self._info(grant, pools) for grant in grants)

    async def _get(self, request: Request) -> GrantInfo:
        pools = await self._objects.pools()
        grant = self._directory.grants.get(request.path["id"])
        if grant is None:
            text = f"there is no grant {request.path['id']!r}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        return self._info(grant, pools)

    async def _add(self, request: Request) -> GrantInfo:
        new: GrantAdd = request.body
        account_id = group_id = ""
        if new.user is not None:
            account_id = found_account(self._directory, new.user).id
        if new.group is not None:
            group_id = found_group(self._directory, new.group).id
        pools = await self._objects.pools()
        scope = await self._scope(new.scope, pools)
        grant = await self._administration.add_grant(
            new.role, scope, account_id=account_id, group_id=group_id, deny=new.deny
        )
        info = self._info(grant, pools)
        _log.info(
            "grant added",
            id=grant.id,
            to=(new.user or new.group),
            role=grant.role,
            scope=str(scope),
            deny=grant.deny,
            user=request.identity.name,
        )
        return info

    async def _remove(self, request: Request) -> None:
        await self._administration.remove_grant(request.path["id"])
        _log.info("grant removed", id=request.path["id"], user=request.identity.name)

    async def _why(self, request: Request) -> Explanation:
        asked: WhyAsked = request.query
        checked([asked.permission])
        found_account(self._directory, asked.user)  # before anything is looked for
        pools = await self._objects.pools()
        state, entry = await self._objects.find(_pool(pools, asked.pool), asked.object)
        # no wait from here on: the state, the account and its rights are of one moment
        account = found_account(self._directory, asked.user)
        rights = self._directory.rights(account.id)
        return explanation(account, rights, asked.permission, state, entry, pools)

    async def _scope(self, given: ScopeGiven, pools: Mapping[PoolId, str]) -> Scope:
        pool = None if given.pool is None else _pool(pools, given.pool)
        value = given.value or ""
        if given.kind is Kind.FILTER:
            return by_filter(value)
        if given.kind is Kind.OBJECT and pool is not None:
            await self._check_object(pool, value)
        return Scope(given.kind, pool, value)

    async def _check_object(self, pool: PoolId, uuid: str) -> None:
        """Refuse a uuid that names nothing, unless the pool has not told yet what it holds."""
        if _UUID.fullmatch(uuid) is None:
            raise RequestRefused(ErrorCode.BAD_MESSAGE, f"{uuid!r} is no object's uuid")
        try:
            await self._objects.find(pool, uuid)
        except RequestRefused as refused:
            if refused.code is not ErrorCode.POOL_UNAVAILABLE:
                raise

    def _info(self, grant: KeptGrant, pools: Mapping[PoolId, str]) -> GrantInfo:
        account = self._directory.accounts.get(grant.account_id)
        group = self._directory.groups.get(grant.group_id)
        return GrantInfo(
            id=grant.id,
            user=Named(id=account.id, name=account.name) if account else None,
            group=Named(id=group.id, name=group.name) if group else None,
            role=grant.role,
            scope=scope_info(grant.scope, pools),
            deny=grant.deny,
            created_at=grant.created_at,
        )


def _pool(pools: Mapping[PoolId, str], wanted: str) -> PoolId:
    """Return the pool with this id, else with this name."""
    if PoolId(wanted) in pools:
        return PoolId(wanted)
    for pool, name in pools.items():
        if name == wanted:
            return pool
    raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {wanted!r}")

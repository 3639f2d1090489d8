"""Pools: which there are, how to reach them, and how their links are."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

import structlog

from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.rest.operations import Operation, Request
from xoproxy.rest.pool_models import (
    CheckReport,
    HostCertificate,
    PoolAccept,
    PoolAdd,
    PoolChange,
    PoolInfo,
    PoolLookAt,
)

_log = structlog.get_logger(__name__)


class Registry(Protocol):
    """The configured pools. Methods raise `RequestRefused`.

    NOT_FOUND: there is no such pool. CONFLICT: the name is taken. CERTIFICATE: nobody vouches for
    what a host shows; `data` holds it, so that it can be compared and accepted.
    """

    async def list(self) -> Sequence[PoolInfo]: ...

    async def add(
        self, name: str, url: str, username: str, password: str, fingerprint: str | None = None
    ) -> PoolInfo: ...

    async def change(self, pool_id: PoolId, change: PoolChange) -> PoolInfo: ...

    async def remove(self, pool_id: PoolId) -> None: ...

    async def check_new(self, new: PoolLookAt) -> CheckReport: ...

    async def check(self, pool_id: PoolId) -> CheckReport: ...

    async def reconnect(self, pool_id: PoolId) -> PoolInfo: ...

    async def certificates(self, pool_id: PoolId) -> Sequence[HostCertificate]: ...

    async def accept(self, pool_id: PoolId, fingerprint: str) -> PoolInfo: ...


class Pools:
    """The operations on pools."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def operations(self) -> Sequence[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        one = "/pools/{id}"
        return (
            Operation(
                "listPools", "GET", "/pools", "List pools", self._list, answer=list[PoolInfo]
            ),
            Operation(
                "addPool",
                "POST",
                "/pools",
                "Add a pool and connect to it",
                self._add,
                body=PoolAdd,
                answer=PoolInfo,
                status=HTTPStatus.CREATED,
                refusals=(taken,),
            ),
            Operation(
                "getPool",
                "GET",
                one,
                "Show one pool",
                self._get,
                answer=PoolInfo,
                refusals=(missing,),
            ),
            Operation(
                "changePool",
                "PATCH",
                one,
                "Change a pool's name, address or credentials, enable or disable it",
                self._change,
                body=PoolChange,
                answer=PoolInfo,
                refusals=(missing, taken),
            ),
            Operation(
                "removePool",
                "DELETE",
                one,
                "Forget a pool and its credentials",
                self._remove,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing,),
            ),
            Operation(
                "checkNewPool",
                "POST",
                "/pools/check",
                "Look at a pool before it is added: each step, and what to do when it fails",
                self._check_new,
                body=PoolLookAt,
                answer=CheckReport,
            ),
            Operation(
                "checkPool",
                "POST",
                f"{one}/check",
                "Look at a pool as the proxy reaches it",
                self._check,
                answer=CheckReport,
                refusals=(missing,),
            ),
            Operation(
                "reconnectPool",
                "POST",
                f"{one}/reconnect",
                "Try now instead of at the next attempt",
                self._reconnect,
                answer=PoolInfo,
                refusals=(missing,),
            ),
            Operation(
                "listCertificates",
                "GET",
                f"{one}/certificates",
                "List what the hosts show, and what was accepted",
                self._certificates,
                answer=list[HostCertificate],
                refusals=(missing,),
            ),
            Operation(
                "acceptCertificate",
                "POST",
                f"{one}/accept",
                "Accept a certificate for each host of the pool that shows it",
                self._accept,
                body=PoolAccept,
                answer=PoolInfo,
                refusals=(missing, taken),
            ),
        )

    async def _list(self, _request: Request) -> Sequence[PoolInfo]:
        return await self._registry.list()

    async def _get(self, request: Request) -> PoolInfo:
        for pool in await self._registry.list():
            if pool.id == request.path["id"]:
                return pool
        raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {request.path['id']!r}")

    async def _add(self, request: Request) -> PoolInfo:
        new: PoolAdd = request.body
        password = new.password.get_secret_value()
        pool = await self._registry.add(new.name, new.url, new.username, password, new.fingerprint)
        _log.info("pool added", pool=pool.id, user=request.identity.name)
        return pool

    async def _change(self, request: Request) -> PoolInfo:
        pool = await self._registry.change(PoolId(request.path["id"]), request.body)
        changed = sorted(request.body.model_fields_set)
        _log.info("pool changed", pool=pool.id, user=request.identity.name, changed=changed)
        return pool

    async def _remove(self, request: Request) -> None:
        pool_id = PoolId(request.path["id"])
        await self._registry.remove(pool_id)
        _log.info("pool removed", pool=pool_id, user=request.identity.name)

    async def _check_new(self, request: Request) -> CheckReport:
        return await self._registry.check_new(request.body)

    async def _check(self, request: Request) -> CheckReport:
        return await self._registry.check(PoolId(request.path["id"]))

    async def _reconnect(self, request: Request) -> PoolInfo:
        return await self._registry.reconnect(PoolId(request.path["id"]))

    async def _certificates(self, request: Request) -> Sequence[HostCertificate]:
        return await self._registry.certificates(PoolId(request.path["id"]))

    async def _accept(self, request: Request) -> PoolInfo:
        accepted: PoolAccept = request.body
        pool = await self._registry.accept(PoolId(request.path["id"]), accepted.fingerprint)
        shown = accepted.fingerprint
        _log.info("certificate accepted", pool=pool.id, user=request.identity.name, sha256=shown)
        return pool

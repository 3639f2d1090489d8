"""Pools: which there are, how to reach them, and how their links are."""

import ipaddress
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Literal, Protocol, Self
from urllib.parse import urlsplit

import structlog
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.rest.operations import Answer, Body, Moment, Name, Operation, Request

_log = structlog.get_logger(__name__)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")
_URL_SHAPE = "must look like https://xcp1.example.com or http://192.0.2.7:8080"


class PoolProblem(Answer):
    """Why a link is not live: a code, and a sentence without addresses or credentials."""

    code: str
    message: str


class PoolInfo(Answer):
    """A configured pool and the state of its link. Its password is never told."""

    id: str
    name: str
    url: str
    username: str
    enabled: bool
    state: Literal["connecting", "live", "stale", "disabled", "error"]
    since: Moment = Field(description="When the link came into this state")
    error: PoolProblem | None = Field(description="Of the last failed attempt")
    objects: int = Field(description="Objects that the proxy holds of the pool")
    created_at: Moment


class Registry(Protocol):
    """The configured pools. Methods raise `RequestRefused`: NOT_FOUND, or CONFLICT on a name."""

    async def list(self) -> Sequence[PoolInfo]: ...

    async def add(self, name: str, url: str, username: str, password: str) -> PoolInfo: ...

    async def rename(self, pool_id: PoolId, name: str) -> PoolInfo: ...

    async def set_enabled(self, pool_id: PoolId, *, enabled: bool) -> PoolInfo: ...

    async def remove(self, pool_id: PoolId) -> None: ...


def pool_url(text: str) -> str:
    """Return the address of a pool in its one written form, "https://host[:port]".

    Raises:
        ValueError: it is none. The text is not repeated: it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port  # raises for a port that is none
    except ValueError:
        raise ValueError(_URL_SHAPE) from None
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials; give username and password by themselves")
    if parts.scheme not in {"http", "https"} or not _is_host(parts.hostname or ""):
        raise ValueError(_URL_SHAPE)
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError(f"must not hold a path, query or fragment; it {_URL_SHAPE}")
    if port == 0:
        raise ValueError("must not name port 0")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


class PoolAdd(Body):
    """A pool to be added. The proxy signs in to it with this user, who should be a pool admin."""

    name: Name
    url: Annotated[str, StringConstraints(max_length=500), AfterValidator(pool_url)]
    username: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class PoolChange(Body):
    """What shall change; at least one member."""

    name: Name | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.name is None and self.enabled is None:
            raise ValueError("give name, enabled, or both")
        return self


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
                "Rename, enable or disable a pool",
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
        pool = await self._registry.add(new.name, new.url, new.username, password)
        _log.info("pool added", pool=pool.id, user=request.identity.name)
        return pool

    async def _change(self, request: Request) -> PoolInfo:
        change: PoolChange = request.body
        pool = await self._get(request)
        pool_id = PoolId(pool.id)
        # the name first: it may be refused, and then nothing has changed
        if change.name is not None and change.name != pool.name:
            pool = await self._registry.rename(pool_id, change.name)
        if change.enabled is not None and change.enabled != pool.enabled:
            pool = await self._registry.set_enabled(pool_id, enabled=change.enabled)
        _log.info("pool changed", pool=pool.id, user=request.identity.name, enabled=pool.enabled)
        return pool

    async def _remove(self, request: Request) -> None:
        pool_id = PoolId(request.path["id"])
        await self._registry.remove(pool_id)
        _log.info("pool removed", pool=pool_id, user=request.identity.name)

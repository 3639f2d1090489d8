"""Roles: names for some permissions; and which permissions there are."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import structlog
from pydantic import Field

from xoproxy.auth import PERMISSIONS, Administration, Directory, Role
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.names import NONE
from xoproxy.rest.operations import Answer, Body, Name, Operation, Request

_log = structlog.get_logger(__name__)
_PERMISSIONS = 200


class RoleInfo(Answer):
    """A name for some permissions."""

    name: str
    permissions: list[str] = Field(description='Each covers all below it; "*" is everything')
    built_in: bool = Field(description="It cannot be changed or removed")


class RolePut(Body):
    """What a role shall be made of."""

    permissions: Annotated[list[Name], Field(min_length=1, max_length=_PERMISSIONS)]


class PermissionInfo(Answer):
    """Something that may be granted. Names above it ("vm.power", "vm") grant all below them."""

    name: str
    purpose: str


class Roles:
    """The operations on roles."""

    def __init__(self, directory: Directory, administration: Administration) -> None:
        self._directory = directory
        self._administration = administration

    def operations(self) -> Sequence[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        one = "/roles/{role}"
        return (
            Operation(
                "listRoles", "GET", "/roles", "List roles", self._list, answer=list[RoleInfo]
            ),
            Operation(
                "getRole",
                "GET",
                one,
                "Show one role",
                self._get,
                answer=RoleInfo,
                refusals=(missing,),
            ),
            Operation(
                "putRole",
                "PUT",
                one,
                "Make a role, or change what it is made of",
                self._put,
                body=RolePut,
                answer=RoleInfo,
                refusals=(taken,),
            ),
            Operation(
                "removeRole",
                "DELETE",
                one,
                "Forget a role that nobody has",
                self._remove,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing, taken),
            ),
            Operation(
                "listPermissions",
                "GET",
                "/permissions",
                "List what roles are made of",
                self._list_permissions,
                answer=list[PermissionInfo],
            ),
        )

    async def _list(self, _request: Request) -> Sequence[RoleInfo]:
        return [_info(role) for role in self._directory.roles.values()]

    async def _get(self, request: Request) -> RoleInfo:
        role = self._directory.roles.get(request.path["role"])
        if role is None:
            text = f"there is no role {request.path['role']!r}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        return _info(role)

    async def _put(self, request: Request) -> RoleInfo:
        name, new = request.path["role"], request.body
        if name == NONE:
            raise RequestRefused(ErrorCode.CONFLICT, f"{NONE!r} means no role; choose a name")
        role = await self._administration.put_role(name, new.permissions)
        _log.info("role put", role=name, permissions=new.permissions, user=request.identity.name)
        return _info(role)

    async def _remove(self, request: Request) -> None:
        name = request.path["role"]
        await self._administration.remove_role(name)
        _log.info("role removed", role=name, user=request.identity.name)

    async def _list_permissions(self, _request: Request) -> Sequence[PermissionInfo]:
        return [PermissionInfo(name=name, purpose=text) for name, text in PERMISSIONS.items()]


def _info(role: Role) -> RoleInfo:
    return RoleInfo(name=role.name, permissions=sorted(role.permissions), built_in=role.built_in)

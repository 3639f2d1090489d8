"""Groups: users, and other groups, that are granted something together."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Self

import structlog
from pydantic import Field, model_validator

from xoproxy.auth import Administration, Directory, Group
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.names import Named, found_account, found_group, named
from xoproxy.rest.operations import Answer, Body, Moment, Name, Operation, Request

_log = structlog.get_logger(__name__)
_MEMBERS = 1000

_Names = Annotated[list[Name], Field(max_length=_MEMBERS, description="Names or ids")]


class GroupInfo(Answer):
    """A group."""

    id: str
    name: str
    members: list[Named] = Field(description="Users in it by themselves")
    groups: list[Named] = Field(description="Groups whose members are members here, too")
    created_at: Moment


class GroupAdd(Body):
    """A group to be made."""

    name: Name
    members: _Names = Field(default_factory=list)
    groups: _Names = Field(default_factory=list)


class GroupChange(Body):
    """Who shall be in the group instead; at least one member."""

    members: _Names | None = None
    groups: _Names | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of members, groups")
        return self


class Groups:
    """The operations on groups."""

    def __init__(self, directory: Directory, administration: Administration) -> None:
        self._directory = directory
        self._administration = administration
        self._lock = asyncio.Lock()
        """One change of members at a time: who is added goes to those who are there by then."""

    def operations(self) -> Sequence[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        one = "/groups/{group}"
        return (
            Operation(
                "listGroups", "GET", "/groups", "List groups", self._list, answer=list[GroupInfo]
            ),
            Operation(
                "addGroup",
                "POST",
                "/groups",
                "Make a group",
                self._add,
                body=GroupAdd,
                answer=GroupInfo,
                status=HTTPStatus.CREATED,
                refusals=(missing, taken),
            ),
            Operation(
                "getGroup",
                "GET",
                one,
                "Show one group, by name or id",
                self._get,
                answer=GroupInfo,
                refusals=(missing,),
            ),
            Operation(
                "changeGroup",
                "PATCH",
                one,
                "Give a group other members",
                self._change,
                body=GroupChange,
                answer=GroupInfo,
                refusals=(missing, taken),
            ),
            Operation(
                "removeGroup",
                "DELETE",
                one,
                "Forget a group and its grants; its members stay",
                self._remove,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing,),
            ),
            *self._operations_on_members(one),
        )

    def _operations_on_members(self, one: str) -> Iterable[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        for id_, method, path, summary, run in (
            ("addMember", "PUT", "members/{user}", "Put a user into a group", self._add_member),
            (
                "removeMember",
                "DELETE",
                "members/{user}",
                "Take a user out of a group",
                self._remove_member,
            ),
            ("addInner", "PUT", "groups/{inner}", "Put a group into a group", self._add_inner),
            (
                "removeInner",
                "DELETE",
                "groups/{inner}",
                "Take a group out of a group",
                self._remove_inner,
            ),
        ):
            yield Operation(
                id_,
                method,
                f"{one}/{path}",
                summary,
                run,
                answer=GroupInfo,
                refusals=(missing, taken) if id_ == "addInner" else (missing,),
            )

    async def _list(self, _request: Request) -> Iterator[GroupInfo]:
        groups = sorted(self._directory.groups.values(), key=lambda group: group.name)
        return map(self._info, groups)

    async def _get(self, request: Request) -> GroupInfo:
        return self._info(self._found(request))

    async def _add(self, request: Request) -> GroupInfo:
        new: GroupAdd = request.body
        group = await self._administration.add_group(
            new.name, self._account_ids(new.members), self._group_ids(new.groups)
        )
        _log.info("group added", group=group.name, user=request.identity.name)
        return self._info(group)

    async def _change(self, request: Request) -> GroupInfo:
        change: GroupChange = request.body
        return await self._put(
            request,
            members=None if change.members is None else self._account_ids(change.members),
            groups=None if change.groups is None else self._group_ids(change.groups),
        )

    async def _remove(self, request: Request) -> None:
        group = self._found(request)
        await self._administration.remove_group(group.id)
        _log.info("group removed", group=group.name, user=request.identity.name)

    async def _add_member(self, request: Request) -> GroupInfo:
        async with self._lock:
            account = found_account(self._directory, request.path["user"])
            members = self._found(request).members | {account.id}
            return await self._put(request, members=members)

    async def _remove_member(self, request: Request) -> GroupInfo:
        async with self._lock:
            group = self._found(request)
            account = found_account(self._directory, request.path["user"])
            if account.id not in group.members:
                raise _not_in(f"user {account.name!r}", group)
            return await self._put(request, members=group.members - {account.id})

    async def _add_inner(self, request: Request) -> GroupInfo:
        async with self._lock:
            inner = found_group(self._directory, request.path["inner"])
            groups = self._found(request).groups | {inner.id}
            return await self._put(request, groups=groups)

    async def _remove_inner(self, request: Request) -> GroupInfo:
        async with self._lock:
            group = self._found(request)
            inner = found_group(self._directory, request.path["inner"])
            if inner.id not in group.groups:
                raise _not_in(f"group {inner.name!r}", group)
            return await self._put(request, groups=group.groups - {inner.id})

    async def _put(
        self,
        request: Request,
        *,
        members: Iterable[str] | None = None,
        groups: Iterable[str] | None = None,
    ) -> GroupInfo:
        group_id = self._found(request).id
        group = await self._administration.change_group(group_id, members=members, groups=groups)
        _log.info("group changed", group=group.name, user=request.identity.name)
        return self._info(group)

    def _found(self, request: Request) -> Group:
        return found_group(self._directory, request.path["group"])

    def _account_ids(self, wanted: Iterable[str]) -> list[str]:
        return [found_account(self._directory, name).id for name in wanted]

    def _group_ids(self, wanted: Iterable[str]) -> list[str]:
        return [found_group(self._directory, name).id for name in wanted]

    def _info(self, group: Group) -> GroupInfo:
        # one of a list that is being written may hold what was removed meanwhile
        accounts, groups = self._directory.accounts, self._directory.groups
        return GroupInfo(
            id=group.id,
            name=group.name,
            members=named(accounts[id_] for id_ in group.members if id_ in accounts),
            groups=named(groups[id_] for id_ in group.groups if id_ in groups),
            created_at=group.created_at,
        )


def _not_in(what: str, group: Group) -> RequestRefused:
    return RequestRefused(ErrorCode.NOT_FOUND, f"{what} is not in group {group.name!r}")

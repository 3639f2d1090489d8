"""Users: who may sign in, with which role on everything; and what each may do by himself."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Self

import structlog
from pydantic import Field, SecretStr, StringConstraints, model_validator

from xoproxy.auth import (
    Account,
    Accounts,
    Administration,
    BrowserSessions,
    Directory,
    Throttled,
    Tokens,
)
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized
from xoproxy.rest.names import NONE, Named, found_account, named, role_kept, role_shown
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
from xoproxy.rest.session import reopened

_log = structlog.get_logger(__name__)
_ROLE = 'That he has on everything; "none": only grants count'
_MUST_CHANGE = "Whether he has to choose another password before anything else"

Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
RoleName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class UserInfo(Answer):
    """Somebody who may sign in. His password is never told."""

    id: str
    name: str
    role: str = Field(description=_ROLE)
    enabled: bool
    must_change: bool = Field(description=_MUST_CHANGE)
    locked: bool = Field(
        description="Whether so many sign-ins failed that he has to wait, from where he never "
        "signed in before"
    )
    groups: list[Named] = Field(description="That he is in, by himself or through other groups")
    created_at: Moment


class Me(UserInfo):
    """Who asks."""

    administers: bool = Field(description="Whether he may do everything everywhere")
    bound_by: str | None = Field(
        description="The role beyond whose permissions he may nothing by the token that he used"
    )


class UserAdd(Body):
    """Somebody who shall be able to sign in."""

    name: Name
    password: Password
    role: RoleName = Field(NONE, description=_ROLE)
    must_change: bool = Field(default=False, description=_MUST_CHANGE)


class UserChange(Body):
    """What shall change; at least one member."""

    role: RoleName | None = Field(None, description=_ROLE)
    enabled: bool | None = None
    password: Password | None = None
    must_change: bool | None = Field(None, description=_MUST_CHANGE)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of role, enabled, password, must_change")
        return self


class PasswordChange(Body):
    """A new password for who asks."""

    old: Password = Field(description="The one that he has")
    new: Password


class Users:
    """The operations on users.

    Args:
        accounts: checks an old password, and knows who is locked out.
        directory: who there is.
        administration: changes it.
        tokens: forgets those of a user who was removed.
        sessions: of browsers.
    """

    def __init__(
        self,
        accounts: Accounts,
        directory: Directory,
        administration: Administration,
        tokens: Tokens,
        sessions: BrowserSessions,
    ) -> None:
        self._accounts = accounts
        self._directory = directory
        self._administration = administration
        self._tokens = tokens
        self._sessions = sessions

    def operations(self) -> Sequence[Operation]:
        missing, taken = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
        one = "/users/{user}"
        return (
            Operation(
                "listUsers", "GET", "/users", "List users", self._list, answer=list[UserInfo]
            ),
            Operation(
                "addUser",
                "POST",
                "/users",
                "Add a user",
                self._add,
                body=UserAdd,
                answer=UserInfo,
                status=HTTPStatus.CREATED,
                refusals=(missing, taken),
            ),
            Operation(
                "getUser",
                "GET",
                one,
                "Show one user, by name or id",
                self._get,
                answer=UserInfo,
                refusals=(missing,),
            ),
            Operation(
                "changeUser",
                "PATCH",
                one,
                "Give a user another role or password, enable or disable him",
                self._change,
                body=UserChange,
                answer=UserInfo,
                refusals=(missing, taken),
            ),
            Operation(
                "removeUser",
                "DELETE",
                one,
                "Forget a user with his tokens and grants, and close what he opened",
                self._remove,
                status=HTTPStatus.NO_CONTENT,
                refusals=(missing, taken),
            ),
            Operation(
                "unlockUser",
                "POST",
                f"{one}/unlock",
                "Forget the sign-ins of a user that failed: he need not wait any more",
                self._unlock,
                answer=UserInfo,
                refusals=(missing,),
            ),
            Operation("getMe", "GET", "/me", "Show who asks", self._me, Who.NEWCOMERS, answer=Me),
            Operation(
                "changeMyPassword",
                "PUT",
                "/me/password",
                "Change one's own password, and close what the old one opened",
                self._change_own_password,
                Who.NEWCOMERS,
                body=PasswordChange,
                status=HTTPStatus.NO_CONTENT,
            ),
        )

    async def _list(self, _request: Request) -> Iterator[UserInfo]:
        accounts = sorted(self._directory.accounts.values(), key=lambda account: account.name)
        return map(self._info, accounts)

    async def _get(self, request: Request) -> UserInfo:
        return self._info(self._found(request))

    async def _add(self, request: Request) -> UserInfo:
        new: UserAdd = request.body
        password = new.password.get_secret_value()
        account = await self._administration.add_account(
            new.name, password, role_kept(new.role), must_change=new.must_change
        )
        _log.info("user added", account=account.name, role=new.role, user=request.identity.name)
        return self._info(account)

    async def _change(self, request: Request) -> UserInfo:
        change: UserChange = request.body
        account = await self._administration.change_account(
            self._found(request).id,
            role=None if change.role is None else role_kept(change.role),
            enabled=change.enabled,
            password=change.password.get_secret_value() if change.password else None,
            must_change=change.must_change,
        )
        changed = sorted(change.model_fields_set)
        _log.info("user changed", account=account.name, changed=changed, user=request.identity.name)
        return self._info(account)

    async def _remove(self, request: Request) -> None:
        account = self._found(request)
        await self._administration.remove_account(account.id)
        self._tokens.forget(account.id)
        _log.info("user removed", account=account.name, user=request.identity.name)

    async def _unlock(self, request: Request) -> UserInfo:
        account = self._found(request)
        self._accounts.unlock(account.name)
        _log.info("user unlocked", account=account.name, user=request.identity.name)
        return self._info(account)

    async def _me(self, request: Request) -> Me:
        account = found_account(self._directory, request.identity.account_id)
        bound_by = request.identity.within or None
        return Me(**dict(self._info(account)), administers=request.administers, bound_by=bound_by)

    async def _change_own_password(self, request: Request) -> WithCookie | None:
        change: PasswordChange = request.body
        if change.new == change.old:
            text = "the new password is the old one: choose another one"
            raise RequestRefused(ErrorCode.BAD_MESSAGE, text)
        identity = request.identity
        old = change.old.get_secret_value()
        try:  # as a sign-in, so that guessing is slowed down
            await self._accounts.login_password(identity.name, old, request.peer)
        except Throttled:
            raise
        except Unauthorized as error:
            if error.code is not ErrorCode.UNAUTHORISED:
                raise
            text = "the old password is wrong"
            raise RequestRefused(ErrorCode.FORBIDDEN, text) from None
        new = change.new.get_secret_value()
        await self._administration.change_account(
            identity.account_id, password=new, must_change=False
        )
        _log.info("password changed", user=identity.name)
        return await reopened(self._sessions, request)

    def _found(self, request: Request) -> Account:
        return found_account(self._directory, request.path["user"])

    def _info(self, account: Account) -> UserInfo:
        return UserInfo(
            id=account.id,
            name=account.name,
            role=role_shown(account.role),
            enabled=account.enabled,
            must_change=account.must_change,
            locked=self._accounts.is_locked(account.name),
            groups=named(self._directory.groups_of(account.id)),
            created_at=account.created_at,
        )

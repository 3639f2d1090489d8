"""Changes of who there is and what is granted: checked, stored, in force, told; in this order.

One change at a time. What is in force is what was stored: a change that cannot be stored has not
happened. Whoever it concerns is told at once (`Told`): sessions judge anew by the rights that their
users have now, and what a disabled account or an old password opened is closed.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from xoproxy.auth.directory import Account, Directory, Group, KeptGrant
from xoproxy.auth.grants import Scope
from xoproxy.auth.identity import password_credential
from xoproxy.auth.password_policy import check_password
from xoproxy.auth.passwords import Passwords
from xoproxy.auth.permissions import BUILT_IN, Role, checked
from xoproxy.errors import ErrorCode, RequestRefused

NAME_LENGTH = 100


class DirectoryStore(Protocol):
    """Where it lasts; each call is on disk when it returns."""

    async def put_account(self, account: Account) -> None: ...

    async def remove_account(self, account_id: str) -> None: ...

    async def put_group(self, group: Group) -> None: ...

    async def remove_group(self, group_id: str) -> None: ...

    async def put_role(self, role: Role) -> None: ...

    async def remove_role(self, name: str) -> None: ...

    async def add_grant(self, grant: KeptGrant) -> None: ...

    async def remove_grant(self, grant_id: str) -> None: ...


class Told(Protocol):
    """Who carries changes to what is open; must not block or raise."""

    def rights_changed(self, account_ids: set[str]) -> None:
        """These accounts may have other rights now."""

    def account_ended(self, account_id: str) -> None:
        """An account was disabled or removed: whatever it opened shall close."""

    def revoked(self, credential: str) -> None:
        """A credential (`Identity.credential`) is good no more."""


class Administration:
    """Changes accounts, groups, roles and grants.

    Args:
        directory: what is in force.
        store: where it lasts.
        passwords: hashes them.
        told: hears of each change.
    """

    def __init__(
        self,
        directory: Directory,
        store: DirectoryStore,
        passwords: Passwords,
        told: Told,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._directory = directory
        self._store = store
        self._passwords = passwords
        self._told = told
        self._now = now
        self._lock = asyncio.Lock()

    # --- accounts ---------------------------------------------------------------------------------

    async def add_account(
        self, name: str, password: str, role: str = "", *, must_change: bool = False
    ) -> Account:
        """Make an account.

        Args:
            name: unique; at most 100 printable characters.
            password: in clear.
            role: what he has on everything; "" for nothing: then grants alone count.
            must_change: he has to choose another password before anything else.

        Raises:
            RequestRefused: CONFLICT, the name is taken; NOT_FOUND, no such role; BAD_MESSAGE, the
                name or the password is no good.
        """
        _check_name(name)
        check_password(password, name)
        password_hash = await self._passwords.hash(password)
        async with self._lock:
            self._check_role(role)
            if self._directory.account_named(name) is not None:
                raise _taken("user", name)
            account = Account(
                id=_new_id(),
                name=name,
                role=role,
                password_hash=password_hash,
                enabled=True,
                created_at=self._now(),
                must_change=must_change,
            )
            await self._store.put_account(account)
            self._told.rights_changed(self._directory.put_account(account))
            return account

    async def change_account(
        self,
        account_id: str,
        *,
        role: str | None = None,
        enabled: bool | None = None,
        password: str | None = None,
        must_change: bool | None = None,
    ) -> Account:
        """Change what is given. A new password closes what the old one opened.

        To disable an account ends its browser sessions for good; its API tokens are good again
        when it is enabled.

        Raises:
            RequestRefused: NOT_FOUND; CONFLICT, no administrator would be left; BAD_MESSAGE.
        """
        password_hash = None
        if password is not None:
            check_password(password, self._account(account_id).name)
            password_hash = await self._passwords.hash(password)
        async with self._lock:
            before = self._account(account_id)
            if role is not None:
                self._check_role(role)
            account = replace(
                before,
                role=before.role if role is None else role,
                enabled=before.enabled if enabled is None else enabled,
                password_hash=password_hash or before.password_hash,
                must_change=before.must_change if must_change is None else must_change,
            )
            if password is not None or (before.enabled and not account.enabled):
                account = replace(account, generation=before.generation + 1)
            self._check_administered(lambda trial: trial.put_account(account))
            await self._store.put_account(account)
            affected = self._directory.put_account(account)
            if before.enabled and not account.enabled:
                self._told.account_ended(account_id)
            elif password is not None:
                self._told.revoked(password_credential(account_id))
            self._told.rights_changed(affected)
            return account

    async def remove_account(self, account_id: str) -> None:
        """Forget an account, its tokens and its grants.

        Raises:
            RequestRefused: NOT_FOUND; CONFLICT, no administrator would be left.
        """
        async with self._lock:
            self._account(account_id)
            self._check_administered(lambda trial: trial.remove_account(account_id))
            await self._store.remove_account(account_id)
            affected = self._directory.remove_account(account_id)
            self._told.account_ended(account_id)
            self._told.rights_changed(affected)

    # --- groups -----------------------------------------------------------------------------------

    async def add_group(
        self, name: str, members: Iterable[str] = (), groups: Iterable[str] = ()
    ) -> Group:
        """Make a group of accounts and groups (ids).

        Raises:
            RequestRefused: CONFLICT, the name is taken; NOT_FOUND, one of them is not there.
        """
        _check_name(name)
        async with self._lock:
            if self._directory.group_named(name) is not None:
                raise _taken("group", name)
            made = Group(_new_id(), name, self._now(), frozenset(members), frozenset(groups))
            return await self._put_group(made)

    async def change_group(
        self,
        group_id: str,
        *,
        members: Iterable[str] | None = None,
        groups: Iterable[str] | None = None,
    ) -> Group:
        """Give a group other members.

        Raises:
            RequestRefused: NOT_FOUND; CONFLICT, the group would be in itself, or no administrator
                would be left.
        """
        async with self._lock:
            before = self._group(group_id)
            return await self._put_group(
                replace(
                    before,
                    members=before.members if members is None else frozenset(members),
                    groups=before.groups if groups is None else frozenset(groups),
                )
            )

    async def remove_group(self, group_id: str) -> None:
        """Forget a group and its grants; its members stay.

        Raises:
            RequestRefused: NOT_FOUND.
        """
        async with self._lock:
            self._group(group_id)
            self._check_administered(lambda trial: trial.remove_group(group_id))
            await self._store.remove_group(group_id)
            self._told.rights_changed(self._directory.remove_group(group_id))

    # --- roles ------------------------------------------------------------------------------------

    async def put_role(self, name: str, permissions: Iterable[str]) -> Role:
        """Make a role, or change one.

        Raises:
            RequestRefused: CONFLICT, it is built in; BAD_MESSAGE, there is no such permission.
        """
        _check_name(name)
        role = Role(name, checked(permissions))
        if name in BUILT_IN:
            raise RequestRefused(ErrorCode.CONFLICT, f"role {name!r} is built in; choose a name")
        async with self._lock:
            self._check_administered(lambda trial: trial.put_role(role))
            await self._store.put_role(role)
            self._told.rights_changed(self._directory.put_role(role))
            return role

    async def remove_role(self, name: str) -> None:
        """Forget a role that nobody has.

        Raises:
            RequestRefused: NOT_FOUND; CONFLICT, it is built in, or somebody has it.
        """
        async with self._lock:
            self._check_role(name)
            if name in BUILT_IN:
                raise RequestRefused(ErrorCode.CONFLICT, f"role {name!r} is built in")
            if self._directory.is_in_use(name):
                message = f"role {name!r} is in use; remove its grants first"
                raise RequestRefused(ErrorCode.CONFLICT, message)
            await self._store.remove_role(name)
            self._told.rights_changed(self._directory.remove_role(name))

    # --- grants -----------------------------------------------------------------------------------

    async def add_grant(
        self,
        role: str,
        scope: Scope,
        *,
        account_id: str = "",
        group_id: str = "",
        deny: bool = False,
    ) -> KeptGrant:
        """Give an account or a group a role's permissions on a scope, or take them away.

        Raises:
            RequestRefused: NOT_FOUND, no such account, group or role; CONFLICT, it has that.
        """
        async with self._lock:
            if account_id:
                self._account(account_id)
            else:
                self._group(group_id)
            self._check_role(role or "(none)")
            grant = KeptGrant(_new_id(), account_id, group_id, role, scope, deny, self._now())
            for known in self._directory.grants.values():
                if replace(known, id=grant.id, created_at=grant.created_at) == grant:
                    raise RequestRefused(ErrorCode.CONFLICT, f"that is granted already: {known.id}")
            self._check_administered(lambda trial: trial.put_grant(grant))
            await self._store.add_grant(grant)
            self._told.rights_changed(self._directory.put_grant(grant))
            return grant

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back.

        Raises:
            RequestRefused: NOT_FOUND.
        """
        async with self._lock:
            if grant_id not in self._directory.grants:
                raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no grant {grant_id!r}")
            self._check_administered(lambda trial: trial.remove_grant(grant_id))
            await self._store.remove_grant(grant_id)
            self._told.rights_changed(self._directory.remove_grant(grant_id))

    # --- checks -----------------------------------------------------------------------------------

    async def _put_group(self, group: Group) -> Group:
        for account_id in group.members:
            self._account(account_id)
        for group_id in group.groups:
            self._group(group_id)
        if self._directory.would_be_circular(group):
            raise RequestRefused(ErrorCode.CONFLICT, "a group cannot be in itself")
        self._check_administered(lambda trial: trial.put_group(group))
        await self._store.put_group(group)
        self._told.rights_changed(self._directory.put_group(group))
        return group

    def _account(self, account_id: str) -> Account:
        account = self._directory.accounts.get(account_id)
        if account is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no user {account_id!r}")
        return account

    def _group(self, group_id: str) -> Group:
        group = self._directory.groups.get(group_id)
        if group is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no group {group_id!r}")
        return group

    def _check_role(self, role: str) -> None:
        if role and role not in self._directory.roles:
            known = ", ".join(sorted(self._directory.roles))
            text = f"there is no role {role!r}; there are {known}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)

    def _check_administered(self, change: Callable[[Directory], object]) -> None:
        """Refuse a change that would lock everybody out for ever: a denial can, too."""
        trial = Directory(self._directory.contents)
        change(trial)
        if trial.is_administered or not self._directory.is_administered:
            return
        raise RequestRefused(
            ErrorCode.CONFLICT, "nobody would be left who may administer: make another one first"
        )


def _check_name(name: str) -> None:
    if not (0 < len(name) <= NAME_LENGTH and name.isprintable() and name == name.strip()):
        text = f"a name has 1 to {NAME_LENGTH} printable characters, and no space at its ends"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text)


def _taken(what: str, name: str) -> RequestRefused:
    return RequestRefused(ErrorCode.CONFLICT, f"there is already a {what} named {name!r}")


def _new_id() -> str:
    return secrets.token_hex(8)

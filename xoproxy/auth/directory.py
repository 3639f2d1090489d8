"""Who there is and what was granted, in memory: what sign-ins and sessions ask.

    accounts, groups (which hold accounts and groups), roles, grants  ->  Rights of an account

All of it is a few kilobytes, is read once at the start, and follows each change that was stored
(auth/administration.py). Nothing here does I/O. A change tells whose rights it may alter.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from xoproxy.auth.grants import EVERYTHING, Grant, Rights, Scope
from xoproxy.auth.identity import Identity
from xoproxy.auth.own_objects import Belongings, Follower
from xoproxy.auth.permissions import BUILT_IN, Role


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in.

    Args:
        role: name of the role that he has on everything; "" for none: then only grants count.
        must_change: whoever signs in with the password may do nothing but choose another one.
        generation: one more whenever all his browser sessions end at once; those of before are
            over, even if the proxy ends before it has forgotten them one by one.
    """

    id: str
    name: str
    role: str
    password_hash: str = field(repr=False)
    enabled: bool
    created_at: datetime
    must_change: bool = False
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Accounts, and other groups, that are granted something together.

    Args:
        members: ids of accounts.
        groups: ids of groups whose members are members here, too.
    """

    id: str
    name: str
    created_at: datetime
    members: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KeptGrant:
    """A grant as it is kept: by ids.

    Args:
        account_id: to whom; "" if it is to a group.
        group_id: or to which group; "" if it is to an account.
        role: a role's name.
    """

    id: str
    account_id: str
    group_id: str
    role: str
    scope: Scope
    deny: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a directory holds; `roles` without those that are built in."""

    accounts: tuple[Account, ...] = ()
    groups: tuple[Group, ...] = ()
    roles: tuple[Role, ...] = ()
    grants: tuple[KeptGrant, ...] = ()


_NOTHING = Rights(())


class Directory:
    """Who there is and what was granted."""

    def __init__(self, contents: Contents = Contents()) -> None:
        self._accounts = {account.id: account for account in contents.accounts}
        self._names = {account.name: account for account in contents.accounts}
        self._groups = {group.id: group for group in contents.groups}
        self._roles = {**BUILT_IN, **{role.name: role for role in contents.roles}}
        self._grants = {grant.id: grant for grant in contents.grants}
        self._rights: dict[str, dict[str, Rights]] = {}
        """By account, then by the role that bounds them ("" for none)."""
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """Tell somebody all that there is, and each change from now on."""
        self._followers.append(follower)
        parts = (self._accounts, self._groups, self._roles, self._grants)
        follower.changed([item for part in parts for item in part.values()], ())

    @property
    def accounts(self) -> Mapping[str, Account]:
        return self._accounts

    @property
    def groups(self) -> Mapping[str, Group]:
        return self._groups

    @property
    def roles(self) -> Mapping[str, Role]:
        """All roles by name, those that are built in, too."""
        return self._roles

    @property
    def grants(self) -> Mapping[str, KeptGrant]:
        return self._grants

    @property
    def contents(self) -> Contents:
        """Return all that it holds, to make another one of it."""
        return Contents(
            tuple(self._accounts.values()),
            tuple(self._groups.values()),
            tuple(role for role in self._roles.values() if not role.built_in),
            tuple(self._grants.values()),
        )

    @property
    def is_administered(self) -> bool:
        """Whether there is somebody who may administer."""
        return any(self.rights(account_id).administers for account_id in self._accounts)

    def account_named(self, name: str) -> Account | None:
        return self._names.get(name)

    def group_named(self, name: str) -> Group | None:
        return next((group for group in self._groups.values() if group.name == name), None)

    def groups_of(self, account_id: str) -> Iterator[Group]:
        """Name the groups that an account is in, by itself or through other groups."""
        queue = [group for group in self._groups.values() if account_id in group.members]
        found = {group.id for group in queue}
        while queue:
            inner = queue.pop()
            yield inner
            for group in self._groups.values():
                if inner.id in group.groups and group.id not in found:
                    found.add(group.id)
                    queue.append(group)

    def members_of(self, group_id: str) -> set[str]:
        """Return the ids of all accounts in a group, by itself or through other groups."""
        groups = [self._groups[id_] for id_ in self._inner([group_id]) if id_ in self._groups]
        return set().union(*(group.members for group in groups))

    def rights(self, account_id: str, within: str = "") -> Rights:
        """Return what an account may; nothing if there is none, or it is disabled.

        Args:
            account_id: whose.
            within: name of a role: no more than its permissions; nothing if there is no such role.
        """
        account = self._accounts.get(account_id)
        if account is None or not account.enabled:
            return _NOTHING
        known = self._rights.setdefault(account_id, {})
        if within not in known:
            bound = self._roles.get(within)
            known[within] = (
                _NOTHING if within and bound is None else self._rights_of(account, bound)
            )
        return known[within]

    def rights_of(self, identity: Identity) -> Rights:
        """Return what somebody may by the credential that he came with."""
        if self.must_change(identity):
            return _NOTHING
        return self.rights(identity.account_id, identity.within)

    def must_change(self, identity: Identity) -> bool:
        """Tell whether somebody has to choose another password before anything else."""
        account = self._accounts.get(identity.account_id)
        return account is not None and account.must_change and identity.by_password

    # --- changes: each returns the ids of the accounts whose rights may be others now -----------

    def put_account(self, account: Account) -> set[str]:
        before = self._accounts.get(account.id)
        if before is not None:
            del self._names[before.name]
        self._accounts[account.id] = account
        self._names[account.name] = account
        self._tell(account)
        same = before is not None and before == replace(
            account, password_hash=before.password_hash, generation=before.generation
        )
        return set() if same else self._changed({account.id})

    def remove_account(self, account_id: str) -> set[str]:
        account = self._accounts.pop(account_id)
        del self._names[account.name]
        without = [
            replace(group, members=group.members - {account_id})
            for group in self._groups.values()
            if account_id in group.members
        ]
        self._groups.update((group.id, group) for group in without)
        grants = self._drop_grants(g for g in self._grants.values() if g.account_id == account_id)
        self._tell(*without, removed=[account, *grants])
        return self._changed({account_id})

    def put_group(self, group: Group) -> set[str]:
        before = self.members_of(group.id)
        self._groups[group.id] = group
        self._tell(group)
        return self._changed(before | self.members_of(group.id))

    def remove_group(self, group_id: str) -> set[str]:
        members = self.members_of(group_id)
        removed = self._groups.pop(group_id)
        without = [
            replace(group, groups=group.groups - {group_id})
            for group in self._groups.values()
            if group_id in group.groups
        ]
        self._groups.update((group.id, group) for group in without)
        grants = self._drop_grants(g for g in self._grants.values() if g.group_id == group_id)
        self._tell(*without, removed=[removed, *grants])
        return self._changed(members)

    def put_role(self, role: Role) -> set[str]:
        self._roles[role.name] = role
        self._tell(role)
        return self._changed(self._holders(role.name))

    def remove_role(self, name: str) -> set[str]:
        """Forget a role that nobody has (see `is_in_use`); what is bound by it may nothing now."""
        self._tell(removed=[self._roles.pop(name)])
        return self._changed(self._holders(name))

    def is_in_use(self, role: str) -> bool:
        return any(account.role == role for account in self._accounts.values()) or any(
            grant.role == role for grant in self._grants.values()
        )

    def put_grant(self, grant: KeptGrant) -> set[str]:
        self._grants[grant.id] = grant
        self._tell(grant)
        return self._changed(self._concerned(grant))

    def remove_grant(self, grant_id: str) -> set[str]:
        grant = self._grants.pop(grant_id)
        self._tell(removed=[grant])
        return self._changed(self._concerned(grant))

    def would_be_circular(self, group: Group) -> bool:
        """Tell whether a group would be in itself if it held these groups."""
        return group.id in self._inner(group.groups)

    def _inner(self, group_ids: Iterable[str]) -> set[str]:
        """Return these groups and all that are in them, by themselves or through others."""
        queue = list(group_ids)
        seen = set(queue)
        while queue:
            group = self._groups.get(queue.pop())
            if group is not None:
                queue += group.groups - seen
                seen |= group.groups
        return seen

    def _rights_of(self, account: Account, bound: Role | None) -> Rights:
        groups = {group.id: f"group {group.name}" for group in self.groups_of(account.id)}
        grants = tuple(self._grants_of(account, groups))
        ids = frozenset(grant.id for grant in grants if grant.id)
        return Rights(grants, bound, Belongings(account.id, frozenset(groups), ids))

    def _grants_of(self, account: Account, groups: Mapping[str, str]) -> Iterator[Grant]:
        """Name what an account has, by itself or by its groups (id -> whom a grant is to)."""
        user = f"user {account.name}"
        if account.role in self._roles:
            yield Grant("", user, self._roles[account.role], EVERYTHING)
        for grant in self._grants.values():
            to = user if grant.account_id == account.id else groups.get(grant.group_id)
            if to is not None:
                yield Grant(grant.id, to, self._roles[grant.role], grant.scope, grant.deny)

    def _concerned(self, grant: KeptGrant) -> set[str]:
        return {grant.account_id} if grant.account_id else self.members_of(grant.group_id)

    def _holders(self, role: str) -> set[str]:
        found = {account.id for account in self._accounts.values() if account.role == role}
        found |= {account_id for account_id, known in self._rights.items() if role in known}
        for grant in self._grants.values():
            if grant.role == role:
                found |= self._concerned(grant)
        return found

    def _drop_grants(self, grants: Iterable[KeptGrant]) -> list[KeptGrant]:
        dropped = list(grants)
        for grant in dropped:
            del self._grants[grant.id]
        return dropped

    def _tell(self, *put: object, removed: Iterable[object] = ()) -> None:
        for follower in self._followers:
            follower.changed(put, removed)

    def _changed(self, account_ids: set[str]) -> set[str]:
        for account_id in account_ids:
            self._rights.pop(account_id, None)
        return account_ids

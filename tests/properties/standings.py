"""Who may see what, once more in plain Python: accounts, groups, roles and grants that change.

`Change`s are drawn and played on a real `Directory`. What it says then is judged by `may_see` and
`sees_secrets`, which go through its plain contents, grant by grant, and use nothing of auth/grants.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.properties import world
from xoproxy.auth.directory import Account, Contents, Directory, Group, KeptGrant
from xoproxy.auth.grants import EVERYTHING, Kind, Scope, by_filter
from xoproxy.auth.permissions import SECRETS, VIEW, Role
from xoproxy.cache.view import Visibility
from xoproxy.model import PoolId

_T = TypeVar("_T")
Pick = Callable[[Sequence[_T]], _T]

ACCOUNTS = ("ann", "bob", "cid", "eve")
GROUPS = ("inner", "outer", "third")
_GRANTS = ("1", "2", "3", "4", "5", "6", "7", "8")
_MADE = "made"
"""A role whose permissions change."""
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PERMISSIONS = ([VIEW], [VIEW], [VIEW, SECRETS], [SECRETS], ["vm.power"], ["*"])
_ROLES = ("viewer", "viewer", "operator", "administrator", _MADE, _MADE)
SCOPES = (
    EVERYTHING,
    Scope(Kind.POOL, PoolId("p")),
    Scope(Kind.POOL, PoolId("q")),
    *(Scope(Kind.OBJECT, PoolId("p"), world.uuid_of(n)) for n in ("vm-a", "vdi-a", "host-a")),
    Scope(Kind.OBJECT, PoolId("q"), world.uuid_of("vm-b")),
    *(Scope(Kind.TAG, value=text) for text in ("red", "red", "blue", "green")),
    *map(by_filter, world.FILTERS),
)


@dataclass(frozen=True)
class Change:
    """What an administrator does; `name` is of an account, a group or a grant."""

    kind: str
    name: str
    value: Any = None


ALL_ARE_VIEWERS = [Change("account", name, ("viewer", True)) for name in ACCOUNTS]


def _made(pick: Pick[Any]) -> Change:
    kind = pick(["grant"] * 6 + ["ungrant"] * 3 + ["group"] * 3 + ["role", "account", "remove"])
    match kind:
        case "grant":
            to = pick([*ACCOUNTS, *GROUPS])
            deny = pick([False, False, False, True])
            return Change(kind, pick(_GRANTS), (to, pick(_ROLES), pick(SCOPES), deny))
        case "ungrant":
            return Change(kind, pick(_GRANTS))
        case "group":
            members = frozenset(pick([(), ("ann",), ("bob", "cid"), ("eve",), ACCOUNTS]))
            return Change(kind, pick(GROUPS), (members, frozenset(pick([(), (), *_one(GROUPS)]))))
        case "role":
            return Change(kind, _MADE, frozenset(pick(_PERMISSIONS)))
        case "account":
            role = pick(["", "", "", "viewer", "administrator", _MADE])
            return Change(kind, pick(ACCOUNTS), (role, pick([True, True, True, False])))
        case _:
            return Change(kind, pick(GROUPS))


def _one(names: Sequence[str]) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


@st.composite
def _drawn(draw: st.DrawFn) -> Change:
    return _made(lambda choices: draw(st.sampled_from(choices)))


changes = _drawn()


def random_change(rng: random.Random) -> Change:
    return _made(rng.choice)


def new_directory() -> Directory:
    """Return one with accounts, groups and a role, in which nothing is granted."""
    return Directory(
        Contents(
            accounts=tuple(_account(name, "", enabled=True) for name in ACCOUNTS),
            groups=tuple(Group(name, name, _NOW) for name in GROUPS),
            roles=(Role(_MADE, frozenset({VIEW})),),
        )
    )


def play(directory: Directory, change: Change) -> set[str]:  # noqa: PLR0911 - one a kind
    """Play a change; return whom the directory says that it concerns."""
    name, value = change.name, change.value
    match change.kind:
        case "grant" | "ungrant":
            concerned = directory.remove_grant(name) if name in directory.grants else set()
            if change.kind == "ungrant" or (
                value[0] in GROUPS and value[0] not in directory.groups
            ):
                return concerned
            to, role, scope, deny = value
            account, group = (to, "") if to in ACCOUNTS else ("", to)
            kept = KeptGrant(name, account, group, role, scope, deny, _NOW)
            return concerned | directory.put_grant(kept)
        case "group":
            group = Group(name, name, _NOW, *value)
            held = frozenset(g for g in group.groups if g in directory.groups)
            group = replace(group, groups=held)
            if directory.would_be_circular(group):
                return set()
            return directory.put_group(group)
        case "role":
            return directory.put_role(Role(name, value))
        case "account":
            role, enabled = value
            return directory.put_account(_account(name, role, enabled=enabled))
        case _:
            return directory.remove_group(name) if name in directory.groups else set()


def seen_by_all(directory: Directory, pools: Sequence[str]) -> dict[str, list[Visibility | None]]:
    """Return what each account sees of some pools, as the directory says."""
    return {
        name: [directory.rights(name).visibility(PoolId(pool)) for pool in pools]
        for name in ACCOUNTS
    }


def _account(name: str, role: str, *, enabled: bool) -> Account:
    return Account(name, name, role, "$h", enabled, _NOW)


# --- the oracle -----------------------------------------------------------------------------------

Held = list[tuple[frozenset[str], Scope, bool]]
"""Permissions, on what, and whether they are taken away."""


def held_by(directory: Directory, name: str) -> Held:
    """Say what an account was given and denied."""
    account = directory.accounts[name]
    if not account.enabled:
        return []
    roles = {role.name: role.permissions for role in directory.roles.values()}
    inside = {name}
    while True:
        more = {g.id for g in directory.groups.values() if inside & (g.members | g.groups)} - inside
        if not more:
            break
        inside |= more
    held = [(roles[account.role], EVERYTHING, False)] if account.role else []
    return held + [
        (roles[grant.role], grant.scope, grant.deny)
        for grant in directory.grants.values()
        if {grant.account_id, grant.group_id} & inside
    ]


def may_see(held: Held, pool_id: str, pool: world.Pool, reference: str) -> bool:
    """Say whether an object may be seen by who holds this."""
    given = [scope for permissions, scope, deny in held if _has(permissions, VIEW) and not deny]
    taken = [scope for permissions, scope, deny in held if _has(permissions, VIEW) and deny]

    def reached(scopes: list[Scope], target: str) -> bool:
        return any(_reaches(scope, pool_id, pool, target) for scope in scopes)

    def is_denied(target: str, above: tuple[str, ...]) -> bool:
        owners = [o for o in world.owners_of(pool, target) if o not in above]
        return reached(taken, target) or (
            bool(owners) and all(is_denied(o, (*above, target)) for o in owners)
        )

    def is_allowed(target: str, above: tuple[str, ...]) -> bool:
        if is_denied(target, ()):
            return False
        owners = [o for o in world.owners_of(pool, target) if o not in above]
        return reached(given, target) or any(is_allowed(o, (*above, target)) for o in owners)

    return is_allowed(reference, ())


def sees_secrets(held: Held, pool_id: str) -> bool:
    """Say whether secrets are shown: given on the whole pool, and denied nowhere in it."""
    there = [
        (scope.kind, deny)
        for permissions, scope, deny in held
        if _has(permissions, SECRETS) and scope.pool in (None, pool_id)
    ]
    whole = {Kind.EVERYTHING, Kind.POOL}
    return any(kind in whole and not deny for kind, deny in there) and not any(d for _, d in there)


def _has(permissions: frozenset[str], wanted: str) -> bool:
    return any(p in ("*", wanted) or wanted.startswith(f"{p}.") for p in permissions)


def _reaches(scope: Scope, pool_id: str, pool: world.Pool, reference: str) -> bool:
    record = pool[reference]
    if scope.pool not in (None, pool_id):
        return False
    match scope.kind:
        case Kind.OBJECT:
            return bool(record["uuid"] == scope.value)
        case Kind.TAG:
            return scope.value in record.get("tags", ())
        case Kind.FILTER:
            return world.FILTERS[scope.value](world.class_of(reference), record)
        case _:
            return True

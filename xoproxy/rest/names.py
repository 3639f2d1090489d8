"""Accounts and groups as people write them: by name, or by id."""

from collections.abc import Iterable

from xoproxy.auth import Account, Directory, Group
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.operations import Answer

NONE = "none"
"""How "no role on everything" is written."""


class Named(Answer):
    """Something with an id, and the name by which people call it."""

    id: str
    name: str


def found_account(directory: Directory, wanted: str) -> Account:
    """Return the account with this id, else with this name.

    Raises:
        RequestRefused: NOT_FOUND.
    """
    account = directory.accounts.get(wanted) or directory.account_named(wanted)
    if account is None:
        raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no user {wanted!r}")
    return account


def found_group(directory: Directory, wanted: str) -> Group:
    """Return the group with this id, else with this name.

    Raises:
        RequestRefused: NOT_FOUND.
    """
    group = directory.groups.get(wanted) or directory.group_named(wanted)
    if group is None:
        raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no group {wanted!r}")
    return group


def named(things: Iterable[Account | Group]) -> list[Named]:
    """Return ids and names, in the order of the names."""
    return sorted((Named(id=t.id, name=t.name) for t in things), key=lambda one: one.name)


def role_shown(role: str) -> str:
    return role or NONE


def role_kept(role: str) -> str:
    return "" if role == NONE else role

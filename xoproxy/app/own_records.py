"""Accounts, groups, roles, grants, API tokens and pools, as records of the proxy's own objects.

Members are named one by one: what is added to an account one day is not shown by accident. No hash,
digest or credential is ever among them.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from xoproxy.auth import Account, ApiToken, Group, KeptGrant, Role
from xoproxy.auth.own_objects import (
    GRANT,
    GROUP,
    POOL_CONFIG,
    POOL_LINK,
    ROLE,
    TOKEN,
    USER,
    own_ref,
)
from xoproxy.model import NULL_REF, Ref, Upsert, XapiClass
from xoproxy.storage import PoolConfig

_NO_ROLE = "none"


def ref_of(item: object) -> Ref:
    """Name the object that stands for something of ours.

    Raises:
        TypeError: nothing does.
    """
    match item:
        case Account():
            return own_ref(USER, item.id)
        case Group():
            return own_ref(GROUP, item.id)
        case Role():
            # its name may be any text
            return own_ref(ROLE, hashlib.sha256(item.name.encode()).hexdigest()[:16])
        case KeptGrant():
            return own_ref(GRANT, item.id)
        case ApiToken():
            return own_ref(TOKEN, item.id)
        case PoolConfig():
            return own_ref(POOL_CONFIG, item.id)
        case _:
            raise TypeError(f"{type(item).__name__} is no object of the proxy")


def upsert(item: object) -> Upsert:
    """Write the object that stands for something of ours."""
    cls, record = _record(item)
    return Upsert(cls, ref_of(item), msgspec.json.encode(record))


def _record(item: object) -> tuple[XapiClass, dict[str, object]]:
    match item:
        case Account():
            return USER, _user(item)
        case Group():
            return GROUP, _group(item)
        case Role():
            return ROLE, _role(item)
        case KeptGrant():
            return GRANT, _grant(item)
        case ApiToken():
            return TOKEN, _token(item)
        case PoolConfig():
            return POOL_CONFIG, _pool(item)
        case _:
            raise TypeError(f"{type(item).__name__} is no object of the proxy")


def _user(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "role": account.role or _NO_ROLE,
        "enabled": account.enabled,
        "must_change": account.must_change,
        "created_at": _date(account.created_at),
    }


def _group(group: Group) -> dict[str, object]:
    return {
        "id": group.id,
        "name": group.name,
        "users": _refs(USER, group.members),
        "groups": _refs(GROUP, group.groups),
        "created_at": _date(group.created_at),
    }


def _role(role: Role) -> dict[str, object]:
    return {
        "name": role.name,
        "permissions": sorted(role.permissions),
        "built_in": role.built_in,
    }


def _token(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "user": own_ref(USER, token.account_id),
        "name": token.name,
        "role": token.role,
        "created_at": _date(token.created_at),
        "last_used_at": _date(token.last_used_at),
        "expires_at": _date(token.expires_at),
    }


def _pool(pool: PoolConfig) -> dict[str, object]:
    return {
        "id": pool.id,
        "name": pool.name,
        "url": pool.url,
        "enabled": pool.enabled,
        "uuid": pool.uuid,
        "created_at": _date(pool.created_at),
        "link": own_ref(POOL_LINK, pool.id),
    }


def _grant(grant: KeptGrant) -> dict[str, object]:
    return {
        "id": grant.id,
        "user": own_ref(USER, grant.account_id) if grant.account_id else NULL_REF,
        "group": own_ref(GROUP, grant.group_id) if grant.group_id else NULL_REF,
        "role": grant.role,
        "scope": grant.scope.kind,
        "pool": grant.scope.pool or "",
        "value": grant.scope.value,
        "deny": grant.deny,
        "created_at": _date(grant.created_at),
    }


def _refs(cls: XapiClass, ids: Iterable[str]) -> list[Ref]:
    return [own_ref(cls, id_) for id_ in sorted(ids)]


def _date(at: datetime | None) -> str | None:
    """Write a moment as XAPI does, "20240131T12:00:00Z"."""
    return None if at is None else at.astimezone(UTC).strftime("%Y%m%dT%H:%M:%SZ")

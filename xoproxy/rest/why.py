"""Why somebody may, or may not, do something to an object: the grants that decide."""

from collections.abc import Iterator, Mapping

import msgspec

from xoproxy.auth import Account, Grant, Kind, Rights, Scope
from xoproxy.cache.diff import split
from xoproxy.cache.index import uuid_of
from xoproxy.cache.state import State
from xoproxy.model import Entry, PoolId
from xoproxy.rest.grant_models import Explanation, ObjectInfo, Reason, ScopeInfo
from xoproxy.rest.names import Named

_decode = msgspec.json.Decoder(str).decode


def explanation(
    account: Account,
    rights: Rights,
    permission: str,
    state: State,
    entry: Entry,
    pools: Mapping[PoolId, str],
) -> Explanation:
    """Explain what an account may do to an object.

    Args:
        account: whose rights they are.
        rights: that it has now.
        permission: what it wants to do.
        state: the pool as it is; `entry` is its.
        entry: to what.
        pools: names of pools by id.
    """
    allowed = rights.allows(permission, state, entry)
    because = [
        _reason(grant, through, state, pools)
        for grant, through in _deciding(rights, permission, state, entry, allowed=allowed)
    ]
    about = _object_info(state, entry)
    return Explanation(
        allowed=allowed,
        user=Named(id=account.id, name=account.name),
        permission=permission,
        object=about,
        because=because,
        text=_sentence(account, permission, about, because, allowed=allowed),
    )


def scope_info(scope: Scope, pools: Mapping[PoolId, str]) -> ScopeInfo:
    """Return a scope as it is told, a pool that is gone by its id."""
    text = str(scope)
    if scope.pool is not None and (pool := pools.get(scope.pool)):
        text = f"pool {pool}" if scope.kind is Kind.POOL else f"object {pool}/{scope.value}"
    return ScopeInfo(kind=scope.kind, pool=scope.pool, value=scope.value or None, text=text)


def _deciding(
    rights: Rights, permission: str, state: State, entry: Entry, *, allowed: bool
) -> Iterator[tuple[Grant, Entry]]:
    """Find the grants that decide; not those beside them which change nothing.

    A grant decides when it would allow by itself, against all denials. Denials decide when it would
    be allowed without them.
    """
    denials = [grant for grant in rights.grants if grant.deny]
    others = [grant for grant in rights.grants if not grant.deny]
    if not allowed and not Rights(others).allows(permission, state, entry):
        return
    for grant, through in rights.why(permission, state, entry):
        if grant.deny is allowed:
            continue
        if grant.deny or Rights([grant, *denials]).allows(permission, state, entry):
            yield grant, through


def _reason(grant: Grant, through: Entry, state: State, pools: Mapping[PoolId, str]) -> Reason:
    return Reason(
        grant=grant.id or None,
        to=grant.to,
        role=grant.role.name,
        deny=grant.deny,
        scope=scope_info(grant.scope, pools),
        through=_object_info(state, through),
    )


def _object_info(state: State, entry: Entry) -> ObjectInfo:
    name = split(entry.raw).get("name_label")
    return ObjectInfo(
        pool=state.pool,
        cls=entry.cls,
        uuid=uuid_of(entry),
        name="" if name is None else _decode(name),
    )


def _sentence(
    account: Account,
    permission: str,
    about: ObjectInfo,
    because: list[Reason],
    *,
    allowed: bool,
) -> str:
    what = f"{permission!r} on {_shown(about)}"
    if not account.enabled:
        return f"{account.name} may not {what}: the account is disabled"
    if not because:
        return f"{account.name} may not {what}: nothing that he was granted gives it"
    first = because[0]
    verb = "denied" if first.deny else "given"
    text = f"{account.name} {'may' if allowed else 'may not'} {what}: role {first.role} "
    text += f"is {verb} to {first.to} on {first.scope.text}"
    if first.through != about:
        text += f", through {_shown(first.through)}"
    return text + (f", and {len(because) - 1} more" if len(because) > 1 else "")


def _shown(about: ObjectInfo) -> str:
    return f"{about.cls} {about.name or about.uuid or 'without a name'}"

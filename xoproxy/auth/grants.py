"""Who may see and do what: grants, and what they come to on one pool.

Theory of operation. A grant gives (or takes away) a role's permissions on a *scope*: everything, a
pool, an object, what bears a tag, or what a filter finds. What somebody has one permission on is
the *reach* of the grants that give it, less the reach of those that deny it. With an object goes
what belongs to it (cache/derivation.py): a VM's disks, devices and metrics, messages about it.

    denied(o)  : o is in the denied reach, or it goes with others and all of them are denied
    allowed(o) : not denied(o), and o is in the reach or goes with something that is allowed

So a deny always wins, and a disk that two VMs share is seen by who sees one of them.

Scopes are judged on the record as the pool has it, not as somebody sees it: what a tag or a field
says decides, whoever may read it. Nobody is given a way to ask what a scope reads (`View`: his own
filters see the projection only).

A `Sight` is what `view` comes to: frozen, and equal for all who see the same, so that they share
their views. Nothing here does I/O.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

import msgspec

from xoproxy.auth.own_objects import Belongings, OwnSight, Pools
from xoproxy.auth.permissions import ALL, SECRETS, VIEW, Role
from xoproxy.cache.derivation import anchors, dependents, with_anchors, with_dependents
from xoproxy.cache.diff import split
from xoproxy.cache.filter import Filter, FilterError, parse_filter
from xoproxy.cache.filter_syntax import terms_of
from xoproxy.cache.index import uuid_of
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.state import State
from xoproxy.cache.terms import ANY, Conditions, Equals, conditions_of
from xoproxy.cache.view import Everything, Visibility
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PROXY_POOL, Entry, PoolId, Ref, XapiClass

_NOT_NAMED = PoolId("")
"""Stands for a pool that no grant names."""
_TAGS = "tags"
_decode = msgspec.json.Decoder().decode

_SECRET_KEY = re.compile(r"passw|secret|chap|token|private|credential|api_?key", re.IGNORECASE)
_SECRET_FIELDS = frozenset(
    {
        ("PBD", "device_config"),
        ("VM", "xenstore_data"),
        ("VM", "NVRAM"),
        ("VM", "last_booted_record"),
        ("VM", "snapshot_metadata"),
        ("host", "external_auth_configuration"),
        ("Cluster", "cluster_token"),
    }
)
"""What records tell that opens doors: an iSCSI target's password, a guest's UEFI keys."""


class Kind(StrEnum):
    """What a scope is made of."""

    EVERYTHING = "everything"
    POOL = "pool"
    OBJECT = "object"
    TAG = "tag"
    FILTER = "filter"


@dataclass(frozen=True, slots=True)
class Scope:
    """On what a grant is.

    Args:
        pool: of a pool or an object, None otherwise.
        value: an object's uuid, a tag, or a filter's canonical text; "" otherwise.
    """

    kind: Kind
    pool: PoolId | None = None
    value: str = ""

    def __str__(self) -> str:
        match self.kind:
            case Kind.EVERYTHING:
                return "everything"
            case Kind.POOL:
                return f"pool {self.pool}"
            case Kind.OBJECT:
                return f"object {self.pool}/{self.value}"
            case Kind.TAG | Kind.FILTER:
                return f"{self.kind} {self.value}"


EVERYTHING = Scope(Kind.EVERYTHING)


def by_filter(text: str) -> Scope:
    """Return the scope of what a filter finds.

    It is about objects of the classes that have all fields which it names: what denies a VM's flag
    says nothing of networks.

    Raises:
        RequestRefused: BAD_QUERY, it is none, names no field, or follows references (what one may
            see shall not depend on an object that is far away).
    """
    try:
        expression = parse_filter(text, SCHEMA.event_classes)
    except FilterError as error:
        raise RequestRefused(ErrorCode.BAD_QUERY, error.message, error.data) from error
    if expression.follows:
        message = "the filter of a grant cannot follow references"
        raise RequestRefused(ErrorCode.BAD_QUERY, message)
    if not _classes_of(expression):
        message = "the filter of a grant names a field in each term, and all of them in one class"
        raise RequestRefused(ErrorCode.BAD_QUERY, message)
    return Scope(Kind.FILTER, value=expression.text)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role's permissions on a scope, given or (`deny`) taken away.

    Args:
        id: "" for what an account's own role gives.
        to: whom it was given to, as people call him: "user bob", "group staff".
    """

    id: str
    to: str
    role: Role
    scope: Scope
    deny: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """Some objects of one pool.

    Args:
        all: every one; the rest is empty then.
        uuids: these.
        tags: those that bear one of these.
        filters: those that one of these finds; canonical texts.
    """

    all: bool = False
    uuids: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.all or bool(self.uuids or self.tags or self.filters)

    @classmethod
    def of(cls, scopes: Iterable[Scope], pool: PoolId) -> "Reach":
        """Return what scopes reach in a pool."""
        found: dict[Kind, set[str]] = {kind: set() for kind in Kind}
        for scope in scopes:
            if scope.pool in (None, pool):
                found[scope.kind].add(scope.value)
        if found[Kind.EVERYTHING] or found[Kind.POOL]:
            return cls(all=True)
        uuids, tags, filters = (frozenset(found[k]) for k in (Kind.OBJECT, Kind.TAG, Kind.FILTER))
        return cls(uuids=uuids, tags=tags, filters=filters)

    def has(self, entry: Entry) -> bool:
        """Tell whether an object is in reach by itself."""
        if self.all:
            return True
        if self.uuids and uuid_of(entry) in self.uuids:
            return True
        if not (self.tags or self.filters):
            return False
        fields = split(entry.raw)
        tags = _decode(fields[_TAGS]) if self.tags and _TAGS in fields else None
        if isinstance(tags, list) and not self.tags.isdisjoint(tags):
            return True
        return any(
            entry.cls in classes and expression.matches(entry.cls, fields, _nowhere)
            for expression, classes in map(_understood, self.filters)
        )

    @property
    def conditions(self) -> Conditions | None:
        """Return what must hold for an object that is in reach by itself; None: nothing need."""
        if self.all:
            return None
        classes: set[XapiClass] = set()
        equal = {Equals(ANY, _TAGS, tag) for tag in self.tags}
        equal |= {Equals(ANY, "uuid", uuid) for uuid in self.uuids}
        for expression, among in map(_understood, self.filters):
            found = conditions_of(expression, among)
            classes |= found.classes
            equal |= found.terms
        return Conditions(frozenset(classes), frozenset(equal))

    def __str__(self) -> str:
        parts = (sorted(self.uuids), sorted(self.tags), sorted(self.filters))
        return "all" if self.all else msgspec.json.encode(parts).decode()


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see of a pool (fits `cache.view.Visibility`).

    Args:
        allowed: by what is granted.
        denied: by what is denied.
        secrets: whether secrets are shown, too.
    """

    allowed: Reach
    denied: Reach = Reach()
    secrets: bool = False

    @property
    def scope(self) -> str:
        text = f"{self.allowed}\n{self.denied}\n{self.secrets}"
        return "sight:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def everything(self) -> bool:
        return self.all_objects and self.secrets

    @property
    def all_objects(self) -> bool:
        return self.allowed.all and not self.denied

    @property
    def conditions(self) -> Conditions | None:
        # A denial of something that is far away may let an object go with it that is in reach.
        return None if self.denied else self.allowed.conditions

    def among(self, classes: tuple[XapiClass, ...]) -> Visibility:  # noqa: ARG002
        return self

    def sees(self, state: State, entry: Entry) -> bool:
        return self.all_objects or _Judgement(self.allowed, self.denied, state).allows(entry)

    def dependents(self, state: State, entry: Entry) -> Iterable[Ref]:
        if self.denied:  # what goes with something denied is denied, seen or not what lies between
            return with_dependents(state, entry)
        return () if self.all_objects else dependents(state, entry)

    def shows(self, cls: XapiClass, field: str) -> bool:
        return self.secrets or (cls, field) not in _SECRET_FIELDS

    def shows_key(self, cls: XapiClass, field: str, key: str) -> bool:  # noqa: ARG002
        return self.secrets or _SECRET_KEY.search(key) is None


class _Judgement:
    """Judges objects of one state; a chain of what goes with what is walked once."""

    def __init__(self, allowed: Reach, denied: Reach, state: State) -> None:
        self._allowed = allowed
        self._denied = denied
        self._state = state
        self._anchors: dict[Ref, list[Entry]] = {}

    def allows(self, entry: Entry) -> bool:
        return self._is_allowed(entry, set())

    def _is_allowed(self, entry: Entry, above: set[Ref]) -> bool:
        if self._denied and self._is_denied(entry, set()):
            return False
        if self._allowed.has(entry):
            return True
        return any(
            self._is_allowed(anchor, above | {entry.ref})
            for anchor in self._anchors_of(entry)
            if anchor.ref not in above
        )

    def _is_denied(self, entry: Entry, above: set[Ref]) -> bool:
        if self._denied.has(entry):
            return True
        found = [anchor for anchor in self._anchors_of(entry) if anchor.ref not in above]
        return bool(found) and all(self._is_denied(a, above | {entry.ref}) for a in found)

    def _anchors_of(self, entry: Entry) -> list[Entry]:
        found = self._anchors.get(entry.ref)
        if found is None:
            found = self._anchors[entry.ref] = list(anchors(self._state, entry))
        return found


class Rights:
    """What some grants come to. Made anew when one of them changes; remembers what it found.

    Args:
        grants: all that somebody has, by himself or by his groups.
        bound: a role beyond whose permissions he may nothing; None: no such bound.
        his: what is his own among what the proxy owns; None: he is nobody (any more).
    """

    def __init__(
        self,
        grants: Iterable[Grant],
        bound: Role | None = None,
        his: Belongings | None = None,
    ) -> None:
        self.grants = tuple(grants)
        self._bound = bound
        self._his = his
        self._sights: dict[PoolId, Visibility | None] = {}
        self._reached: dict[tuple[str, PoolId], tuple[Reach, Reach]] = {}

    def visibility(self, pool: PoolId) -> Visibility | None:
        """Return what may be seen of a pool; None when nothing in it can be: there is none then."""
        if pool not in self._sights:
            self._sights[pool] = self._visibility(pool)
        return self._sights[pool]

    def allows(self, permission: str, state: State, entry: Entry) -> bool:
        """Tell whether something may be done to an object (see `permissions.PERMISSIONS`)."""
        allowed, denied = self._reaches(permission, state.pool)
        return bool(allowed) and _Judgement(allowed, denied, state).allows(entry)

    @cached_property
    def administers(self) -> bool:
        """Whether everything may be done everywhere: by who may change what others may.

        Any denial at all ends that: it would be none for somebody who can take it back.
        """
        return self.allows_everywhere(ALL) and not any(grant.deny for grant in self.grants)

    def allows_everywhere(self, permission: str) -> bool:
        """Tell whether a permission is given on everything, and denied on nothing."""
        concerned = self._about(permission)
        given = [g for g in concerned if g.scope.kind is Kind.EVERYTHING and not g.deny]
        return bool(given) and not any(grant.deny for grant in concerned)

    def why(self, permission: str, state: State, entry: Entry) -> Iterator[tuple[Grant, Entry]]:
        """Name the grants that decide about an object, denials first, each with what it is on."""
        for deny in (True, False):
            for grant in self._about(permission):
                if grant.deny is deny:
                    reach = Reach.of([grant.scope], state.pool)
                    on = next(filter(reach.has, with_anchors(state, entry.ref)), None)
                    if on is not None:
                        yield grant, on

    def _about(self, permission: str) -> list[Grant]:
        """Return the grants that say something about a permission; none if it is out of bound."""
        if self._bound is not None and not self._bound.has(permission):
            return []
        return [grant for grant in self.grants if grant.role.has(permission)]

    def _visibility(self, pool: PoolId) -> Visibility | None:
        if pool == PROXY_POOL:
            return self._own_visibility()
        allowed, denied = self._reaches(VIEW, pool)
        if not allowed or denied.all:
            return None
        secret, hidden = self._reaches(SECRETS, pool)
        sight = Sight(allowed, denied, secret.all and not hidden)
        return Everything() if sight.everything else sight

    def _own_visibility(self) -> Visibility | None:
        """Return what may be seen of what the proxy owns; scopes of grants are no matter there."""
        if self._his is None:
            return None
        if self.administers:
            return Everything()
        named = {grant.scope.pool for grant in self.grants if grant.scope.pool is not None}
        others = self.visibility(_NOT_NAMED) is not None
        excepted = {p for p in named if (self.visibility(p) is not None) is not others}
        return OwnSight(self._his, Pools(frozenset(excepted), all_but=others))

    def _reaches(self, permission: str, pool: PoolId) -> tuple[Reach, Reach]:
        found = self._reached.get((permission, pool))
        if found is None:
            concerned = self._about(permission)
            allowed = Reach.of((grant.scope for grant in concerned if not grant.deny), pool)
            denied = Reach.of((grant.scope for grant in concerned if grant.deny), pool)
            found = self._reached[permission, pool] = allowed, denied
        return found


def _nowhere(ref: Ref) -> tuple[XapiClass, Mapping[str, msgspec.Raw]] | None:  # noqa: ARG001
    return None


@lru_cache(1024)
def _understood(text: str) -> tuple[Filter, frozenset[XapiClass]]:
    """Return a filter, and the classes that it is about."""
    expression = parse_filter(text, SCHEMA.event_classes)
    return expression, _classes_of(expression)


def _classes_of(expression: Filter) -> frozenset[XapiClass]:
    """Return the classes that have all fields which a filter names; none if a term names none."""
    named = {term.path[0] if term.path else None for term in terms_of(expression.tree)}
    return frozenset(cls for cls in SCHEMA.event_classes if named <= SCHEMA.fields(cls).keys())

"""What a client asked for, checked: classes, pools, a filter and fields.

A query from the wire is plain data (`parse_query`); a `Query` is frozen and hashable, so that equal
questions share one view. What later versions of the protocol offer is refused by name, and so is a
misspelt member: a query that silently ignored `flter` would send everything.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

import msgspec

from xoproxy.cache.filter import Filter, FilterError, parse_filter
from xoproxy.cache.schema import SCHEMA, Schema
from xoproxy.errors import ClientError
from xoproxy.model import PoolId, XapiClass

ALL = (XapiClass("*"),)
"""`Query.classes` of a query for every class that a pool has."""

MAX_CLASSES = 100
MAX_FIELDS = 1000
MAX_POOLS = 1000

_MEMBERS = ("classes", "pools", "filter", "fields")
_LATER = ("order", "window", "facets", "rate")


class QueryError(ClientError):
    """The query cannot be understood; all of it may be shown to the client.

    Args:
        message: one sentence.
        position: where in the filter, in characters; None when it is not about the filter.
        hint: what to write instead, if we have an idea.
    """

    def __init__(self, message: str, position: int | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Query:
    """A client's question.

    Args:
        classes: sorted, or `ALL`.
        pools: sorted; None for all that the user may see.
        filter: which objects; None for all.
        masks: the fields asked for per class, sorted; a class that is missing here has all.
    """

    classes: tuple[XapiClass, ...]
    pools: tuple[PoolId, ...] | None = None
    filter: Filter | None = None
    masks: tuple[tuple[XapiClass, frozenset[str]], ...] = ()

    @property
    def view_key(self) -> bytes:
        """Everything that decides a view's content, but for pool, rights and encoding.

        The same over restarts and versions of Python; resume tokens are bound to it.
        """
        return msgspec.json.encode(
            [
                self.classes,
                self.filter.text if self.filter else None,
                [[cls, sorted(names)] for cls, names in self.masks],
            ]
        )

    def for_classes(self, pool_classes: Collection[XapiClass]) -> tuple[XapiClass, ...]:
        """Return the classes of a pool that are asked for, sorted."""
        asked = pool_classes if self.classes == ALL else set(self.classes) & set(pool_classes)
        return tuple(sorted(asked))

    def mask(self, cls: XapiClass) -> frozenset[str] | None:
        """Return the fields of the class that are asked for; None for all."""
        for masked, names in self.masks:
            if masked == cls:
                return names
        return None


def parse_query(value: object, schema: Schema = SCHEMA) -> Query:
    """Check a query from the wire.

    Args:
        value: the message's `query`, decoded.
        schema: the classes and fields that there are.

    Raises:
        QueryError: it is not a query, or asks for what there is not.
    """
    if not isinstance(value, dict):
        raise QueryError("query must be a map")
    for member in value:
        if member in _LATER:
            raise QueryError(f"{member} is not supported yet")
        if member not in _MEMBERS:
            raise QueryError(f"a query has no {member!r}", hint=_close(member, _MEMBERS))
    classes = _classes(value.get("classes"), schema)
    asked = schema.classes if classes == ALL else classes
    return Query(
        classes,
        _pools(value.get("pools")),
        _filter(value.get("filter"), asked, schema),
        _masks(value.get("fields"), asked, schema),
    )


def _close(word: object, known: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(str(word).lower(), by_lower, n=1)
    return f"did you mean {by_lower[found[0]]}?" if found else None


def _texts(value: object, what: str, limit: int) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise QueryError(f"{what} must be a list of texts")
    if len(value) > limit:
        raise QueryError(f"{what}: at most {limit}")
    return list(value)


def _classes(value: object, schema: Schema) -> tuple[XapiClass, ...]:
    if value is None:
        raise QueryError("classes is missing", hint='["VM", "host"], or ["*"] for all')
    names = _texts(value, "classes", MAX_CLASSES)
    if not names:
        raise QueryError("classes is empty", hint='["VM", "host"], or ["*"] for all')
    if names == ["*"]:
        return ALL
    for name in names:
        _known_class(name, schema)
    return tuple(sorted(set(map(XapiClass, names))))


def _known_class(name: object, schema: Schema) -> None:
    if name == "*":
        raise QueryError('"*" stands alone in classes')
    if name not in schema.classes:
        raise QueryError(f"there is no class {name!r}", hint=_close(name, schema.classes))


def _pools(value: object) -> tuple[PoolId, ...] | None:
    if value is None:
        return None
    pools = _texts(value, "pools", MAX_POOLS)
    if not pools:
        raise QueryError("pools is empty", hint="leave it out for all pools")
    return tuple(sorted(set(map(PoolId, pools))))


def _filter(value: object, classes: Collection[XapiClass], schema: Schema) -> Filter | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise QueryError("filter must be text")
    if not value.strip():  # an empty search box asks for everything
        return None
    try:
        return parse_filter(value, classes, schema)
    except FilterError as error:
        raise QueryError(error.message, error.position, error.hint) from error


def _masks(
    value: object, classes: Collection[XapiClass], schema: Schema
) -> tuple[tuple[XapiClass, frozenset[str]], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise QueryError("fields must be a map of classes to lists of fields")
    masks = {}
    for cls, names in value.items():
        _known_class(cls, schema)
        if cls not in classes:
            raise QueryError(f"fields: class {cls} is not asked for")
        masks[XapiClass(cls)] = frozenset(_texts(names, f"fields of {cls}", MAX_FIELDS))
        for name in sorted(masks[XapiClass(cls)]):
            if name not in schema.fields(XapiClass(cls)):
                _refuse_field(name, XapiClass(cls), schema)
    if sum(map(len, masks.values())) > MAX_FIELDS:
        raise QueryError(f"fields: at most {MAX_FIELDS}")
    return tuple(sorted(masks.items()))


def _refuse_field(name: str, cls: XapiClass, schema: Schema) -> NoReturn:
    if name.startswith("$"):
        raise QueryError(f"fields of {cls}: {name} always comes", hint="leave it out")
    raise QueryError(f"{cls} has no field {name!r}", hint=_close(name, schema.fields(cls)))

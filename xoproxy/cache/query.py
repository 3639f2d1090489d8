"""What a client asked for, checked: classes, pools, a filter, fields, and how often.

A query from the wire is plain data (`parse_query`); a `Query` is frozen and hashable, so that equal
questions share one view. A misspelt member is refused: a query that silently ignored `flter` would
send everything.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from xoproxy.cache.fields import Mask, field_path
from xoproxy.cache.filter import Filter, parse_filter
from xoproxy.cache.query_error import QueryError, quoted
from xoproxy.cache.schema import SCHEMA, Schema
from xoproxy.cache.suggest import did_you_mean
from xoproxy.cache.window_query import Window, parse_window
from xoproxy.model import PoolId, XapiClass

__all__ = ["ALL", "Query", "QueryError", "parse_query"]

ALL = (XapiClass("*"),)
"""`Query.classes` of a query for every class that a pool has."""

MAX_CLASSES = 100
MAX_FIELDS = 1000
MAX_POOLS = 1000
MIN_RATE, MAX_RATE = 0.01, 100.0

_MEMBERS = ("classes", "pools", "filter", "fields", "rate", "sets", "order", "window", "facets")


@dataclass(frozen=True, slots=True)
class Query:
    """A client's question.

    Args:
        classes: sorted, or `ALL`.
        pools: sorted; None for all that the user may see.
        filter: which objects; None for all.
        masks: the fields asked for per class, sorted; a class that is missing here has all.
        rate: at most so many patches a second; None for as many as there are.
        window: the order, and what is shown; None for everything.
        sets_by_member: whether patches may change single members of sets.
    """

    classes: tuple[XapiClass, ...]
    pools: tuple[PoolId, ...] | None = None
    filter: Filter | None = None
    masks: tuple[tuple[XapiClass, Mask], ...] = ()
    rate: float | None = None
    window: Window | None = None
    sets_by_member: bool = False

    @property
    def view_key(self) -> bytes:
        """Everything that decides a view's content, but for pool, rights and encoding.

        The same over restarts and versions of Python; resume tokens are bound to it.
        """
        return msgspec.json.encode(
            [
                self.classes,
                self.filter.text if self.filter else None,
                [[cls, mask.texts] for cls, mask in self.masks],
            ]
        )

    def for_classes(self, pool_classes: Collection[XapiClass]) -> tuple[XapiClass, ...]:
        """Return the classes of a pool that are asked for, sorted."""
        asked = pool_classes if self.classes == ALL else set(self.classes) & set(pool_classes)
        return tuple(sorted(asked))

    def mask(self, cls: XapiClass) -> Mask | None:
        """Return the fields of the class that are asked for; None for all."""
        return dict(self.masks).get(cls)


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
        if member not in _MEMBERS:
            raise QueryError(
                f"a query has no {quoted(member)}", hint=did_you_mean(member, _MEMBERS)
            )
    classes = _classes(value.get("classes"), schema)
    asked = schema.classes if classes == ALL else classes
    return Query(
        classes,
        _pools(value.get("pools")),
        _filter(value.get("filter"), asked, schema),
        _masks(value.get("fields"), asked, schema),
        _rate(value.get("rate")),
        parse_window(value, classes, schema),
        _sets_by_member(value.get("sets")),
    )


def _texts(value: object, what: str, limit: int, at: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise QueryError(f"{what} must be a list of texts", at=at)
    if len(value) > limit:
        raise QueryError(f"{what}: at most {limit}", at=at)
    return list(value)


def _classes(value: object, schema: Schema) -> tuple[XapiClass, ...]:
    if value is None or value == []:
        what = "missing" if value is None else "empty"
        raise QueryError(
            f"classes is {what}", hint='["VM", "host"], or ["*"] for all', at="/classes"
        )
    names = _texts(value, "classes", MAX_CLASSES, "/classes")
    if names == ["*"]:
        return ALL
    for number, name in enumerate(names):
        _known_class(name, schema, f"/classes/{number}")
    return tuple(sorted(set(map(XapiClass, names))))


def _known_class(name: object, schema: Schema, at: str) -> XapiClass:
    if name == "*":
        raise QueryError('"*" stands alone in classes', at=at)
    if not isinstance(name, str) or name not in schema.classes:
        hint = did_you_mean(name, schema.classes)
        raise QueryError(f"there is no class {quoted(name)}", hint=hint, at=at)
    return XapiClass(name)


def _pools(value: object) -> tuple[PoolId, ...] | None:
    if value is None:
        return None
    pools = _texts(value, "pools", MAX_POOLS, "/pools")
    if not pools:
        raise QueryError("pools is empty", hint="leave it out for all pools", at="/pools")
    return tuple(sorted(set(map(PoolId, pools))))


def _filter(value: object, classes: Collection[XapiClass], schema: Schema) -> Filter | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise QueryError("filter must be text", at="/filter")
    if not value.strip():  # an empty search box asks for everything
        return None
    return parse_filter(value, classes, schema)


def _masks(
    value: object, classes: Collection[XapiClass], schema: Schema
) -> tuple[tuple[XapiClass, Mask], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise QueryError("fields must be a map of classes to lists of fields", at="/fields")
    masks: dict[XapiClass, Mask] = {}
    room = MAX_FIELDS
    for name, fields in value.items():
        at = f"/fields/{name}"
        cls = _known_class(name, schema, "/fields")
        if cls not in classes:
            raise QueryError(f"fields: class {cls} is not asked for", at=at)
        texts = _texts(fields, f"fields of {cls}", MAX_FIELDS, at)
        masks[cls] = _mask(texts, cls, schema, at)
        room -= len(set(texts))
    if room < 0:
        raise QueryError(f"fields: at most {MAX_FIELDS}", at="/fields")
    return tuple(sorted(masks.items(), key=itemgetter(0)))


def _mask(texts: list[str], cls: XapiClass, schema: Schema, at: str) -> Mask:
    paths = []
    for number, text in enumerate(texts):
        try:
            paths.append(field_path(text, cls, schema))
        except QueryError as error:
            error.at = f"{at}/{number}"
            raise
    return Mask.of(paths)


def _rate(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QueryError(
            "rate must be a number", hint="patches a second, for example 1", at="/rate"
        )
    if not MIN_RATE <= value <= MAX_RATE:  # which NaN fails, too
        raise QueryError(f"rate is from {MIN_RATE} to {MAX_RATE:.0f} patches a second", at="/rate")
    return round(float(value), 2)  # so that there are not more beats than that


def _sets_by_member(value: object) -> bool:
    if value is not None and not (isinstance(value, str) and value in {"whole", "members"}):
        raise QueryError('sets must be "whole" or "members"', at="/sets")
    return value == "members"

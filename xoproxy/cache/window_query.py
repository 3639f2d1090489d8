"""The part of a query that makes it a live window: order, the span that is shown, facets.

Checked here, against the schema; `cache/query.py` puts it beside the rest of the query.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xoproxy.cache.fields import FieldPath, field_path
from xoproxy.cache.query_error import QueryError
from xoproxy.cache.schema import FieldType, Schema
from xoproxy.model import XapiClass

MAX_COUNT = 1_000
MAX_ORDER = 4
MAX_FACETS = 8

_MAX_OFFSET = 2**53
_NAMES = ("name_label", "name")


@dataclass(frozen=True, slots=True)
class Span:
    """What is shown of a list: `count` objects from place `offset` on."""

    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class OrderField:
    """One field to order by.

    Args:
        path: the field, or a key of a map.
        descending: the greatest first.
        is_date: whether its texts are dates, which are spelt in two ways.
    """

    path: FieldPath
    descending: bool = False
    is_date: bool = False


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a list is put in order, and what is counted in it: the same for all its windows.

    Args:
        order: the fields to order by, the name last.
        facets: the fields whose values are counted.
    """

    order: tuple[OrderField, ...]
    facets: tuple[FieldPath, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """All fields that decide an object's place and what is counted."""
        return frozenset(p.field for p in (*(o.path for o in self.order), *self.facets))


@dataclass(frozen=True, slots=True)
class Window:
    """A query's list, and what is shown of it (at first: the client may move it)."""

    arrangement: Arrangement
    span: Span


def parse_window(
    query: Mapping[str, object], classes: tuple[XapiClass, ...], schema: Schema
) -> Window | None:
    """Check `window`, `order` and `facets`; None for a query without them.

    Args:
        query: from the wire; its classes were checked.
        classes: those.
        schema: the classes and fields that there are.

    Raises:
        QueryError: they make no sense.
    """
    if query.get("window") is None:
        for member in ("order", "facets"):
            if query.get(member) is not None:
                raise QueryError(
                    f"{member} needs a window", hint='"window": [0, 50]', at=f"/{member}"
                )
        return None
    if len(classes) != 1 or classes[0] not in schema.classes:
        raise QueryError(
            "a window shows one class", hint="subscribe once for each class", at="/classes"
        )
    (cls,) = classes
    order = _order(_texts(query.get("order"), "order", MAX_ORDER), cls, schema)
    facets = _facets(_texts(query.get("facets"), "facets", MAX_FACETS), cls, schema)
    return Window(Arrangement(order, facets), parse_span(query["window"]))


def parse_span(value: object) -> Span:
    """Check a window's `[offset, count]`.

    Raises:
        QueryError: it is something else, or too much.
    """
    hint = "[offset, count], for example [0, 50]"
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004
        raise QueryError("window must be a list of two numbers", hint=hint, at="/window")
    offset, count = value
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        raise QueryError("window must be a list of two whole numbers", hint=hint, at="/window")
    if not 0 <= offset <= _MAX_OFFSET or count < 0:
        raise QueryError("window: offset and count are not negative", hint=hint, at="/window")
    if count > MAX_COUNT:
        raise QueryError(
            f"window: at most {MAX_COUNT} objects are shown at once",
            hint="move the window, or subscribe without one for all objects",
            at="/window",
        )
    return Span(offset, count)


def _texts(value: object, member: str, limit: int) -> list[str]:
    if value is None:
        return []
    at = f"/{member}"
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise QueryError(f"{member} must be a list of texts", at=at)
    if len(value) > limit:
        raise QueryError(f"{member}: at most {limit} fields", at=at)
    return list(value)


def _order(texts: list[str], cls: XapiClass, schema: Schema) -> tuple[OrderField, ...]:
    order: dict[FieldPath, OrderField] = {}
    for number, text in enumerate(texts):
        at = f"/order/{number}"
        descending = text.startswith("-")
        path, kind = _path(text.removeprefix("-"), cls, schema, at, int(descending))
        if kind.kind in ("set", "map"):
            raise QueryError(
                f"{path} is a {kind.kind}, which has no order", hint=_key_hint(path, kind), at=at
            )
        # A field that is named again decides nothing any more.
        order.setdefault(path, OrderField(path, descending, kind.kind == "datetime"))
    known = schema.fields(cls)
    name = next((FieldPath(name) for name in _NAMES if name in known), None)
    if name is not None:
        order.setdefault(name, OrderField(name))
    return tuple(order.values())


def _facets(texts: list[str], cls: XapiClass, schema: Schema) -> tuple[FieldPath, ...]:
    paths: dict[FieldPath, None] = {}
    for number, text in enumerate(texts):
        at = f"/facets/{number}"
        path, kind = _path(text, cls, schema, at, 0)
        if kind.kind == "map":
            raise QueryError(f"{path} is a map: name a key", hint=_key_hint(path, kind), at=at)
        paths[path] = None
    return tuple(paths)


def _path(
    text: str, cls: XapiClass, schema: Schema, at: str, shift: int
) -> tuple[FieldPath, FieldType]:
    """Return a path and the type of the values that stand there."""
    try:
        path = field_path(text, cls, schema)
    except QueryError as error:
        error.at = at
        if error.position is not None:
            error.position += shift
        raise
    kind = schema.fields(cls)[path.field]
    return path, kind if path.key is None else FieldType(kind.of or "string")


def _key_hint(path: FieldPath, kind: FieldType) -> str | None:
    return f"{path}.key orders or counts by one key" if kind.kind == "map" else None

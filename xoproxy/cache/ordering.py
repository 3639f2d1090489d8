"""Where an object stands in a list: its sort key, a tuple that Python compares by itself.

Theory of operation. For each field the key has a rank and a value: ranks keep apart what cannot be
compared (`false` and `true`, numbers, texts), and put what is absent last in either direction. What
shall descend is turned into a value that ascends: a number into its negative, a text into the
characters as far from the other end of Unicode, with an end mark so that a shorter text still comes
after a longer one. So keys are plain tuples of numbers and texts, and comparing them runs no code
of ours.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from xoproxy.cache.diff import Fields
from xoproxy.cache.fields import FieldPath
from xoproxy.cache.window_query import OrderField

SortKey = tuple[Any, ...]
"""A rank and a value for each field; the caller adds what makes it unique."""

COMPARED_CHARACTERS = 256
"""Texts are ordered by so many characters: a list shall not hold novels."""

_ABSENT = (9, 0)
_BOOL, _NUMBER, _TEXT = 0, 1, 2
_LAST = 0x10FFFF

_decode = msgspec.json.Decoder().decode


def value_at(fields: Fields, path: FieldPath) -> Any:  # noqa: ANN401 - any JSON value
    """Return what stands at a path of a record; None if nothing does."""
    raw = fields.get(path.field)
    value = None if raw is None else _decode(raw)
    if path.key is None:
        return value
    return value.get(path.key) if isinstance(value, dict) else None


class Ordering:
    """Makes sort keys.

    Args:
        order: the fields, the first one counts most.
    """

    def __init__(self, order: tuple[OrderField, ...]) -> None:
        self._parts = [(o.path, _part(o)) for o in order]

    def key(self, fields: Fields) -> SortKey:
        """Return an object's sort key, from its record as the user may see it."""
        key: list[Any] = []
        for path, part in self._parts:
            key += part(value_at(fields, path))
        return tuple(key)


def _part(order: OrderField) -> Callable[[Any], tuple[int, Any]]:
    def ascending(value: Any) -> tuple[int, Any]:  # noqa: ANN401
        match value:
            case bool():
                return _BOOL, value
            case int() | float():
                return _NUMBER, value
            case str():
                text = value.replace("-", "") if order.is_date else value
                return _TEXT, text[:COMPARED_CHARACTERS].casefold()
            case _:
                return _ABSENT

    def descending(value: Any) -> tuple[int, Any]:  # noqa: ANN401
        rank, ascends = ascending(value)
        if (rank, ascends) == _ABSENT:
            return _ABSENT
        return -rank, _inverted(ascends) if rank == _TEXT else -ascends

    return descending if order.descending else ascending


class _Inverse(dict[int, int]):
    """Maps each character to the one as far from the other end; learns them one by one."""

    def __missing__(self, code: int) -> int:
        inverse = self[code] = _LAST - 1 - code if code < _LAST else 0
        return inverse


_INVERSE = _Inverse()


def _inverted(text: str) -> str:
    return text.translate(_INVERSE) + chr(_LAST)

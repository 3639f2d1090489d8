"""How many objects of a list have which values of a field, kept by difference.

When there are more values than are shown, they are ranked by how many have them, so that the most
frequent ones are at hand: a change costs O(log of the number of values).
"""

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any

import msgspec

from xoproxy.cache.diff import Fields
from xoproxy.cache.fields import FieldPath
from xoproxy.cache.ordered_list import OrderedList
from xoproxy.cache.ordering import value_at

MAX_VALUES = 200
"""Of a field, shown."""
VALUE_CHARACTERS = 200
"""Longer values are counted by their beginning."""

FacetValues = tuple[tuple[str, ...], ...]
"""An object's values of each field that is counted."""

Shown = Mapping[str, Mapping[str, int]]
"""Field -> value -> how many objects have it."""


def facet_values(fields: Fields, paths: Iterable[FieldPath]) -> FacetValues:
    """Return what an object counts for, from its record as the user may see it."""
    return tuple(_texts(value_at(fields, path)) for path in paths)


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
    match value:
        case None | dict():
            return ()
        case str():
            return (intern(value[:VALUE_CHARACTERS]),)
        case list():
            return tuple(dict.fromkeys(text for member in value for text in _texts(member)))
        case _:  # a boolean or a number, as JSON writes it
            return (msgspec.json.encode(value).decode(),)


class Facet:
    """The values of one field, and how many objects have each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._ranked: OrderedList[tuple[int, str]] | None = None
        """All values, the most frequent first; only while there are too many to show."""

    def count(self, value: str, more: int) -> None:
        """Note that one object more (1) or less (-1) has a value."""
        before = self._counts.get(value, 0)
        after = before + more
        if after:
            self._counts[value] = after
        else:
            del self._counts[value]
        if self._ranked is not None:
            if before:
                self._ranked.remove((-before, value))
            if after:
                self._ranked.add((-after, value))
            if len(self._counts) < MAX_VALUES // 2:
                self._ranked = None
        elif len(self._counts) > MAX_VALUES:  # now, while they are few: later it would take long
            self._ranked = OrderedList((-count, text) for text, count in self._counts.items())

    def most_frequent(self) -> dict[str, int]:
        """Return the values that most objects have, and how many; among equals the least first."""
        if self._ranked is None:
            return dict(self._counts)
        return {value: -count for count, value in self._ranked.slice(0, MAX_VALUES)}


class Facets:
    """All that is counted of one list.

    Args:
        paths: the fields.
    """

    def __init__(self, paths: tuple[FieldPath, ...]) -> None:
        self._facets = {str(path): Facet() for path in paths}
        self._shown: Shown | None = None

    def replace(self, before: FacetValues, after: FacetValues) -> None:
        """Count an object's values of now, not those of before; () where it was or is not there."""
        if before == after:
            return
        self._shown = None
        for number, facet in enumerate(self._facets.values()):
            old = before[number] if before else ()
            new = after[number] if after else ()
            if old != new:
                for text in old:
                    facet.count(text, -1)
                for text in new:
                    facet.count(text, 1)

    @property
    def shown(self) -> Shown:
        """The most frequent values of each field: the same object until something changes."""
        if self._shown is None:
            self._shown = {name: facet.most_frequent() for name, facet in self._facets.items()}
        return self._shown

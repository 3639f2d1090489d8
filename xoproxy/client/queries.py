"""Queries as the protocol writes them (docs/protocol.md, sections 3 and 11)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def query_of(
    classes: str | Collection[str],
    filter_: str | None,
    fields: Mapping[str, Collection[str]] | None,
    pools: Collection[str] | None,
    *,
    rate: float | None,
) -> dict[str, Any]:
    """Leave out what was not asked for; sets change by members, which we can follow."""
    names = [classes] if isinstance(classes, str) else list(classes)
    query: dict[str, Any] = {"classes": names, "sets": "members"}
    if filter_ is not None:
        query["filter"] = filter_
    if fields is not None:
        query["fields"] = {cls: list(names) for cls, names in fields.items()}
    if pools is not None:
        query["pools"] = list(pools)
    if rate is not None:
        query["rate"] = rate
    return query


def window_of(
    order: Sequence[str], offset: int, count: int, facets: Collection[str]
) -> dict[str, Any]:
    """Return the members that make a query a window."""
    members: dict[str, Any] = {"window": [offset, count]}
    if order:
        members["order"] = list(order)
    if facets:
        members["facets"] = list(facets)
    return members

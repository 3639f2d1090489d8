"""What a live window is, said once more in plain Python: filter, sort, slice, count."""

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from hypothesis import strategies as st

from tests.properties import world
from xoproxy.cache.view import Visibility

Span = tuple[int, int]
Pools = Mapping[str, world.Pool]
Shown = list[tuple[str, str, world.Record]]
"""(pool, reference, record), in order."""


@dataclass(frozen=True)
class WindowQuestion:
    """A query for a window, but for which part of the list it shows."""

    cls: str
    condition: world.Condition | None = None
    mask: tuple[str, ...] | None = None
    order: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    rate: float | None = None

    def query(self, span: Span, pools: list[str] | None = None) -> dict[str, Any]:
        query: dict[str, Any] = {"classes": [self.cls], "window": list(span)}
        if self.condition is not None:
            query["filter"] = self.condition.text
        if self.mask is not None:
            query["fields"] = {self.cls: list(self.mask)}
        if self.order:
            query["order"] = list(self.order)
        if self.facets:
            query["facets"] = list(self.facets)
        if pools is not None:
            query["pools"] = pools
        return query

    def matching(self, pools: Pools, rights: Mapping[str, Visibility]) -> Shown:
        """Return all that is found, in order, every field; rights are those on each pool."""
        question = world.Question((self.cls,), self.condition)
        found = [
            (pool, reference, record)
            for pool, state in pools.items()
            for reference, record in question.project(state, rights[pool])[self.cls].items()
        ]
        order = [*self.order, "name_label"]

        def compare(a: tuple[str, str, world.Record], b: tuple[str, str, world.Record]) -> int:
            for field in order:
                way = _compare(
                    value(a[2], field.removeprefix("-")),
                    value(b[2], field.removeprefix("-")),
                    descending=field.startswith("-"),
                )
                if way:
                    return way
            return -1 if a[:2] < b[:2] else 1

        return sorted(found, key=cmp_to_key(compare))

    def document(self, matching: Shown, span: Span) -> dict[str, Any]:
        """Return what a client must hold, its objects in order."""
        shown = [
            (pool, ref, {n: v for n, v in record.items() if self.mask is None or n in self.mask})
            for pool, ref, record in matching[span[0] : span[0] + span[1]]
        ]
        document: dict[str, Any] = {"rows": shown, "total": len(matching)}
        if self.facets:
            document["facets"] = {
                facet: dict(Counter(t for *_, r in matching for t in _texts(value(r, facet))))
                for facet in self.facets
            }
        return document


def value(record: world.Record, path: str) -> Any:
    field, _, key = path.partition(".")
    found = record.get(field)
    return found if not key else found.get(key) if isinstance(found, dict) else None


def _compare(a: Any, b: Any, *, descending: bool) -> int:
    """Compare two values; texts without case, what is absent last either way."""
    kinds = [_kind(a), _kind(b)]
    if None in kinds:
        return (kinds[0] is None) - (kinds[1] is None)
    if kinds[0] == kinds[1]:
        a, b = (v.casefold() if isinstance(v, str) else v for v in (a, b))
    else:
        a, b = kinds
    way = (a > b) - (a < b)
    return -way if descending else way


def _kind(found: Any) -> int | None:
    if isinstance(found, bool):
        return 0
    if isinstance(found, int | float):
        return 1
    return 2 if isinstance(found, str) else None


def _texts(found: Any) -> set[str]:
    match found:
        case None:
            return set()
        case str():
            return {found}
        case list():
            return set(found)
        case _:
            return {json.dumps(found)}


_ORDERS = {
    "VM": [
        "power_state",
        "name_label",
        "VCPUs_max",
        "other_config.k",
        "resident_on",
        "name_description",
    ],
    "host": ["enabled", "name_label", "other_config.k"],
    "VBD": ["empty", "VM"],
}
_FACETS = {
    "VM": ["power_state", "tags", "VCPUs_max", "other_config.k", "resident_on"],
    "host": ["enabled", "tags", "resident_VMs"],
    "VBD": ["empty", "VDI"],
}
_MASKS: dict[str, list[tuple[str, ...] | None]] = {
    "VM": [None, (), ("name_label", "power_state"), ("tags", "resident_on")],
    "host": [None, ("resident_VMs", "enabled")],
    "VBD": [None, ("VM",)],
}
SPANS = [(0, 2), (0, 2), (0, 2), (0, 2), (1, 2), (1, 2), (0, 50), (0, 1), (2, 3), (0, 0), (30, 5)]
"""Some more often, so that they are shared."""


def random_question(rng: random.Random) -> WindowQuestion:
    cls = rng.choice(["VM", "VM", "VM", "host", "VBD"])
    fitting = [c for c in world.CONDITIONS if cls in c.classes]
    order = rng.sample(_ORDERS[cls], rng.randrange(min(4, len(_ORDERS[cls]) + 1)))
    return WindowQuestion(
        cls,
        rng.choice(fitting) if rng.random() < 0.5 else None,
        rng.choice(_MASKS[cls]),
        tuple(rng.choice(["", "-"]) + field for field in order),
        tuple(rng.sample(_FACETS[cls], rng.randrange(3))),
    )


questions = st.randoms(use_true_random=False).map(random_question)
spans = st.sampled_from(SPANS)

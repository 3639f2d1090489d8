"""What sampled replicas ask, and what plain Python says that the answer is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Listing = dict[str, dict[str, Record]]
"""Class -> reference -> record, as the pool lists them."""

_NULL = "OpaqueRef:NULL"
_FLEETING = {"task", "message"}
"""Our own calls make tasks come and go; of messages the proxy keeps the newest thousand."""


def _always(record: Record) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True)
class Question:
    """A query and its meaning.

    Args:
        name: for the report.
        query: as it is sent.
        passes: whether a record of the first class is found.
        window: [offset, count] of names in order; None for a view of everything that passes.
    """

    name: str
    query: dict[str, Any]
    passes: Callable[[Record], bool] = field(default=_always)
    window: tuple[int, int] | None = None

    def expected(self, listing: Listing, classes: list[str]) -> dict[str, Any]:
        """Return what a document must hold, by reference; what is missing is not compared."""
        shown = {cls: self._shown(listing, cls) for cls in classes if cls not in _FLEETING}
        return shown if self.window is None else self._windowed(listing, shown, classes[0])

    def _shown(self, listing: Listing, cls: str) -> dict[str, Record]:
        mask = self.query.get("fields", {}).get(cls)
        return {
            ref: _masked(record, mask)
            for ref, record in listing[cls].items()
            if self.passes(record)
        }

    def _windowed(
        self, listing: Listing, shown: dict[str, dict[str, Record]], cls: str
    ) -> dict[str, Any]:
        assert self.window is not None
        records = {ref: listing[cls][ref] for ref in shown[cls]}
        names = {ref: record["name_label"] for ref, record in records.items()}
        in_order = sorted(names, key=lambda ref: (names[ref].lower(), names[ref], ref))
        offset, count = self.window
        inside = in_order[offset : offset + count]
        states = Counter(record["power_state"] for record in records.values())
        return {
            cls: {ref: shown[cls][ref] for ref in inside},
            "order": inside,
            "total": len(records),
            "facets": {"power_state": dict(states)},
        }


def _masked(record: Record, mask: list[str] | None) -> Record:
    if mask is None:
        return dict(record)
    found = {name: value for name, value in record.items() if name in mask}
    for path in mask:
        name, dot, key = path.partition(".")
        if dot:
            value = found.setdefault(name, {})
            if key in record[name]:
                value[key] = record[name][key]
    return found


def _is_machine(record: Record) -> bool:
    return not (record["is_a_template"] or record["is_a_snapshot"] or record["is_control_domain"])


_MACHINES = "!is_a_template !is_a_snapshot !is_control_domain"
_BOARD = ["name_label", "power_state", "resident_on", "tags", "other_config.folder"]

QUESTIONS = (
    Question("everything", {"classes": ["*"]}),
    Question("board", {"classes": ["VM", "host"], "fields": {"VM": _BOARD, "host": ["enabled"]}}),
    Question(
        "running",
        {"classes": ["VM"], "filter": "power_state:Running"},
        lambda record: record["power_state"] == "Running",
    ),
    Question(
        "slow board",
        {"classes": ["VM"], "filter": _MACHINES, "fields": {"VM": _BOARD}, "rate": 1},
        _is_machine,
    ),
    Question(
        "nowhere",
        {"classes": ["VM"], "filter": f"resident_on:null {_MACHINES}", "rate": 5},
        lambda record: record["resident_on"] == _NULL and _is_machine(record),
    ),
    Question(
        "window",
        {
            "classes": ["VM"],
            "filter": _MACHINES,
            "fields": {"VM": ["name_label", "power_state"]},
            "order": ["name_label"],
            "window": [5, 20],
            "facets": ["power_state"],
        },
        _is_machine,
        (5, 20),
    ),
    Question(
        "free discs",
        {"classes": ["VDI", "SR"], "filter": "VBDs:null"},
        lambda record: record.get("VBDs") == [],
    ),
)

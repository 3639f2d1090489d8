"""Rows, and the tables that hold them in the order of their changes."""

from collections import OrderedDict
from dataclasses import dataclass, field

from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.wiretypes import Json


class RowMissingError(LookupError):
    """A reference that names no row of its class."""

    def __init__(self, cls: str, ref: str) -> None:
        super().__init__(cls, ref)
        self.cls = cls
        self.ref = ref


class Row:
    """One object; `wire` caches its encodings (by codec name) until it changes."""

    __slots__ = ("created", "fields", "modified", "ref", "wire")

    def __init__(self, ref: str, fields: dict[str, Json], created: int, modified: int) -> None:
        self.ref = ref
        self.fields = fields
        self.created = created
        self.modified = modified
        self.wire: dict[str, bytes] = {}

    def copy(self) -> "Row":
        twin = Row(self.ref, dict(self.fields), self.created, self.modified)
        twin.wire = dict(self.wire)
        return twin


@dataclass(frozen=True, slots=True)
class Tombstone:
    ref: str
    created: int
    deleted: int


@dataclass(slots=True)
class Table:
    """The rows of one class, ordered by their last change (latest last)."""

    model: ClassModel
    keep_below: int = 512  # at this length the list of tombstones is cut...
    keep_newest: int = 257  # ...to so many
    rows: OrderedDict[str, Row] = field(default_factory=OrderedDict)
    by_uuid: dict[str, str] = field(default_factory=dict)
    tombstones: list[Tombstone] = field(default_factory=list)

    def row(self, ref: str) -> Row:
        try:
            return self.rows[ref]
        except KeyError:
            raise RowMissingError(self.model.name, ref) from None

    def insert(self, row: Row) -> None:
        self.rows[row.ref] = row
        self.by_uuid[row.fields.get("uuid", "")] = row.ref

    def remove(self, row: Row) -> None:
        del self.rows[row.ref]
        self.by_uuid.pop(row.fields.get("uuid", ""), None)

    def bury(self, row: Row, generation: int) -> None:
        self.tombstones.append(Tombstone(row.ref, row.created, generation))
        if len(self.tombstones) >= self.keep_below:
            del self.tombstones[: -self.keep_newest]

    def copy(self) -> "Table":
        twin = Table(self.model, self.keep_below, self.keep_newest)
        for row in self.rows.values():
            twin.insert(row.copy())
        twin.tombstones = list(self.tombstones)
        return twin

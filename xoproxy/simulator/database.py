"""The in-memory database behind the simulated pool, with the manners that clients of XAPI see.

- One global generation counter. A write stamps the row with the counter's value, then raises it
  by one. Writing an equal value does nothing at all.
- A row carries when it was created and last modified. A deleted row leaves a tombstone in a list
  that is cut when it is full, so that late readers of events miss deletions.
- A reference in a relation is kept on both sides: writing it also changes (and stamps) the row
  that it points at, and the one that it pointed at before. Destroying the row that is pointed
  at leaves the reference dangling.
- Class `message` is no table: its rows give `add` and `del` events only and count as nothing.

Values are never changed in place, so rows and snapshots may share them. Not for threads.
"""

import re
import time
import uuid as uuids
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.datamodel import ClassModel, DataModel, Link
from xoproxy.simulator.site import Site
from xoproxy.simulator.tables import Row, RowMissingError, Table
from xoproxy.simulator.wiretypes import Json

__all__ = [
    "Database",
    "Row",
    "RowMissingError",
    "Snapshot",
    "Table",
    "Write",
    "cut_for_xml",
]

UNDO_LIMIT: Final = 10_000
MESSAGE_LIMIT: Final = 10_000

# A database of XML text cuts a string at the first character that XML cannot hold.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Write:
    """What an observer is told of each write: op is add, mod or del."""

    op: str
    cls: str
    row: Row


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole database at one moment."""

    generation: int
    tables: dict[str, Table]


# How to take one step of a change back; the steps of a change are undone last first.
_Undo = Callable[[], None]


class Database:
    """All rows of a pool. `changed` callbacks run after every change; keep them short."""

    def __init__(self, model: DataModel) -> None:
        self.model = model
        self.generation = 1
        self.site = Site()  # of the URLs in records
        self.clock_skew_s = 0.0  # by which the pool's clocks are ahead of ours
        self.tables = _empty_tables(model)
        self.changed: list[Callable[[], None]] = []
        self.observers: list[Callable[[Write], None]] = []
        self._undo: deque[tuple[int, list[_Undo]]] = deque(maxlen=UNDO_LIMIT)
        self._steps: list[_Undo] = []

    # -- loading ---------------------------------------------------------------------------

    def load(
        self,
        estate: Mapping[str, Mapping[str, Mapping[str, Json]]],
        stamps: Mapping[str, tuple[int, int]] | None = None,
        generation: int = 1,
    ) -> None:
        """Replace everything by an estate: {class: {ref: record}}.

        Args:
            estate: records in JSON form. Classes and fields that the model lacks are ignored;
                fields that a record lacks take the model's defaults; derived sides of
                relations are made anew.
            stamps: {ref: (created, modified)}; a row without is as old as `generation`.
            generation: of the database that was stored.
        """
        stamps = stamps or {}
        self.tables = _empty_tables(self.model)
        newest = generation
        for cls, records in estate.items():
            if cls not in self.tables:
                continue
            table = self.tables[cls]
            rows = []
            for ref, record in records.items():
                created, modified = stamps.get(ref, (generation, generation))
                newest = max(newest, modified)
                rows.append(Row(ref, _filled(table.model, record), created, modified))
            for row in sorted(rows, key=lambda r: r.modified):
                table.insert(row)
        self._derive_relations()
        self.generation = newest + 1
        self._undo.clear()
        self._notify()

    def _derive_relations(self) -> None:
        for table in self.tables.values():
            for name, links in table.model.links.items():
                for link in links:
                    self._derive(table, name, link)

    def _derive(self, table: Table, name: str, link: Link) -> None:
        """Set the other side of a relation, in the order that its records already had."""
        pointing: dict[str, dict[str, None]] = {}
        for row in table.rows.values():
            for target in _targets(row.fields[name]):
                pointing.setdefault(target, {})[row.ref] = None
        derived = link.field in self.tables[link.cls].model.derived
        for row in self.tables[link.cls].rows.values():
            found = pointing.get(row.ref, {})
            given = row.fields[link.field]
            kept = [ref for ref in given if ref in found or not derived]
            row.fields[link.field] = list(dict.fromkeys([*kept, *found]))

    # -- reading ---------------------------------------------------------------------------

    def get(self, cls: str, ref: str, field: str) -> Json:
        return self.tables[cls].row(ref).fields[field]

    def row(self, cls: str, ref: str) -> Row:
        """Return the row itself; not to be changed. Raises RowMissingError."""
        return self.tables[cls].row(ref)

    def record(self, cls: str, ref: str) -> dict[str, Json]:
        return dict(self.tables[cls].row(ref).fields)

    def refs(self, cls: str) -> list[str]:
        return list(self.tables[cls].rows)

    def exists(self, cls: str, ref: str) -> bool:
        return ref in self.tables[cls].rows

    def count(self, cls: str) -> int:
        return len(self.tables[cls].rows)

    def by_uuid(self, cls: str, uuid: str) -> str | None:
        return self.tables[cls].by_uuid.get(uuid)

    def time(self) -> float:
        """Return the time as the pool's clocks have it, in seconds since 1970."""
        return time.time() + self.clock_skew_s

    def now(self) -> str:
        """Return the time as the pool's clocks have it, as XAPI writes it."""
        return time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime(self.time()))

    # -- writing ---------------------------------------------------------------------------

    def create(self, cls: str, record: Mapping[str, Json], ref: str | None = None) -> str:
        """Add a row; absent fields take their defaults, an absent uuid is made up."""
        table = self.tables[cls]
        fields = _filled(table.model, record)
        for name in table.model.derived:
            fields[name] = []
        ref = ref or f"OpaqueRef:{uuids.uuid4()}"
        if ref in table.rows:
            raise ValueError(f"{cls} {ref} exists already")
        row = Row(ref, fields, self.generation, self.generation)
        table.insert(row)
        self._steps.append(lambda: table.remove(row))
        others: list[tuple[str, Row]] = []
        for name in table.model.links:
            others += self._relink(table.model, ref, name, [], _targets(fields[name]))
        self._commit(Write("add", cls, row), others)
        return ref

    def write(self, cls: str, ref: str, field: str, value: Json) -> bool:
        """Set a field; False, and no trace of it, when it has that value already."""
        table = self.tables[cls]
        row = table.row(ref)
        if field in table.model.derived:
            raise ValueError(f"{cls}.{field} follows from the other side of its relation")
        old = row.fields[field]
        if isinstance(value, str):
            value = cut_for_xml(value)
        if old == value and type(old) is type(value):
            return False
        if field in table.model.hidden_fields:  # the release does not have it: no change to see
            row.fields[field] = value
            return False
        others = []
        if field in table.model.links:
            before, after = _targets(old), _targets(value)
            others = self._relink(table.model, ref, field, before, after)
        self._set(table, row, field, value)
        self._commit(Write("mod", cls, row), others)
        return True

    def destroy(self, cls: str, ref: str) -> None:
        """Delete a row. References to it stay; sets that are derived from its own lose it."""
        table = self.tables[cls]
        row = table.row(ref)
        others: list[tuple[str, Row]] = []
        for name in table.model.links:
            others += self._relink(table.model, ref, name, _targets(row.fields[name]), [])
        table.remove(row)
        table.bury(row, self.generation)
        self._steps.append(lambda: table.insert(row))
        self._commit(Write("del", cls, row), others)

    def touch(self, cls: str, ref: str) -> None:
        """Stamp a row as modified without a change (costs two generations, as in XAPI)."""
        table = self.tables[cls]
        row = table.row(ref)
        self._stamp(table, row)
        self._commit(Write("mod", cls, row), [])
        self.generation += 1

    def correct(self, cls: str, ref: str, field: str, value: Json) -> None:
        """Set a field as if the database had been stored so: no stamp, and nobody is told."""
        table = self.tables[cls]
        if field in table.model.links or field in table.model.derived or field == "uuid":
            raise ValueError(f"{cls}.{field} cannot be corrected: others follow from it")
        row = table.row(ref)
        row.fields[field] = value
        row.wire.clear()

    def message_create(
        self,
        name: str,
        priority: int,
        cls: str,
        obj_uuid: str,
        body: str,
        *,
        timestamp: str | None = None,
        ref: str | None = None,
    ) -> str:
        """Store an alert message; beyond the limit the oldest go."""
        record = {
            "name": name,
            "priority": priority,
            "cls": cls,
            "obj_uuid": obj_uuid,
            "body": body,
            "timestamp": timestamp or self.now(),
        }
        made = self.create("message", record, ref)
        table = self.tables["message"]
        while len(table.rows) > MESSAGE_LIMIT:
            self.destroy("message", next(iter(table.rows)))
        return made

    # -- the whole of it -------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        return Snapshot(self.generation, {c: t.copy() for c, t in self.tables.items()})

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, its generation included."""
        self.tables = {c: t.copy() for c, t in snapshot.tables.items()}
        self.generation = snapshot.generation
        self._undo.clear()
        self._notify()

    def rewind(self, changes: int) -> int:
        """Take back the newest changes and the generation; returns how many (some are kept)."""
        undone = 0
        while self._undo and undone < changes:
            generation, steps = self._undo.pop()
            for step in reversed(steps):
                step()
            self.generation = generation
            undone += 1
        for table in self.tables.values():  # events rely on the order of changes
            table.rows = OrderedDict(sorted(table.rows.items(), key=lambda kv: kv[1].modified))
        self._notify()
        return undone

    def reindex(self) -> None:
        """What a restart of xapi does to a stored database.

        Rows that do not persist are gone, so are all tombstones, and each row of a class with a
        derived field is stamped as created just now.
        """
        for table in self.tables.values():
            table.tombstones.clear()
            if not table.model.persist and table.model.in_db:
                for ref in list(table.rows):
                    self.destroy(table.model.name, ref)
                table.tombstones.clear()
            if table.model.derived:
                for row in table.rows.values():
                    row.created = row.modified = self.generation
        self.generation += 1
        self._undo.clear()
        self._notify()

    # -- within ----------------------------------------------------------------------------

    def _relink(
        self, model: ClassModel, ref: str, name: str, before: list[str], after: list[str]
    ) -> list[tuple[str, Row]]:
        """Follow a reference's change on the other side; returns the rows that it touched."""
        touched: list[tuple[str, Row]] = []
        gone = [t for t in before if t not in after]
        come = [t for t in after if t not in before]
        for link in model.links[name]:
            table = self.tables[link.cls]
            for target in gone + come:
                other = table.rows.get(target)
                if other is None:  # XAPI does not check references
                    continue
                listed: list[str] = other.fields[link.field]
                if target in gone:
                    listed = [r for r in listed if r != ref]
                elif ref not in listed:
                    listed = [ref, *listed]
                if link.field in table.model.hidden_fields:
                    other.fields[link.field] = listed
                    continue
                self._set(table, other, link.field, listed)
                touched.append((link.cls, other))
        return touched

    def _set(self, table: Table, row: Row, name: str, value: Json) -> None:
        old = row.fields[name]
        self._stamp(table, row)

        def undo() -> None:
            row.fields[name] = old
            if name == "uuid":
                table.insert(row)

        self._steps.append(undo)
        row.fields[name] = value
        if name == "uuid":
            table.by_uuid.pop(old, None)
            table.by_uuid[value] = row.ref

    def _stamp(self, table: Table, row: Row) -> None:
        modified = row.modified

        def undo() -> None:
            row.modified = modified
            row.wire.clear()

        self._steps.append(undo)
        row.modified = self.generation
        row.wire.clear()
        if row.ref in table.rows:
            table.rows.move_to_end(row.ref)

    def _commit(self, write: Write, others: Iterable[tuple[str, Row]]) -> None:
        self._undo.append((self.generation, self._steps))
        self._steps = []
        self.generation += 1
        if self.observers:
            for observer in self.observers:
                observer(write)
                for cls, row in others:
                    observer(Write("mod", cls, row))
        self._notify()

    def _notify(self) -> None:
        for callback in self.changed:
            callback()


def _empty_tables(model: DataModel) -> dict[str, Table]:
    tables = {c.name: Table(c) for c in model.classes.values() if c.in_db}
    tables["message"] = Table(model.classes["message"], keep_below=1025, keep_newest=512)
    return tables


def _filled(model: ClassModel, record: Mapping[str, Json]) -> dict[str, Json]:
    """Return a full record in the model's order, with the fields that the model knows."""
    fields = {}
    for name, known in model.fields.items():
        value = record.get(name, known.default)
        fields[name] = cut_for_xml(value) if type(value) is str else value
    for name in model.floats:
        fields[name] = float(fields[name])
    if not fields.get("uuid", "-"):
        fields["uuid"] = str(uuids.uuid4())
    return fields


def _targets(value: Json) -> list[str]:
    """List what a reference field, single or set, points at."""
    return value if isinstance(value, list) else [value]


def cut_for_xml(text: str) -> str:
    """Return the text up to the first character that XML cannot hold."""
    if text.isascii() and text.isprintable():
        return text
    found = _NO_XML.search(text)
    return text[: found.start()] if found else text

"""Estates from files: XAPI's own database dumps, and estate files `{class: {ref: record}}` (JSON).

A dump (`xapi-db.xml`, `state.db`) holds one `<row>` per object with all its fields as attributes,
typed by the data model alone. Old releases are welcome: fields that a dump lacks take the model's
defaults when the database loads the estate, tables and fields that the model lacks are left out.
What does not survive a restart of XAPI (sessions, tasks) is left out too.
"""

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xoproxy.simulator import sexpr
from xoproxy.simulator.datamodel import ClassModel, DataModel
from xoproxy.simulator.estate import Estate
from xoproxy.simulator.wiretypes import (
    BoolType,
    EnumType,
    MapType,
    SetType,
    StringType,
    WireType,
    WrongTypeError,
)

_NO_FIELDS = frozenset({"ref", "_ref", "__ctime", "__mtime"})
_BOOLS = {"true": True, "false": False}


class EstateError(Exception):
    """A file that is no estate; the text is one line, for the operator."""


@dataclass(slots=True)
class LoadedEstate:
    """An estate with what its file tells of its history.

    `stamps` are `{ref: (created, modified)}` of the rows that have them. `warnings` name values
    that were read although something is wrong with them.
    """

    estate: Estate
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    generation: int = 1
    warnings: list[str] = field(default_factory=list)


def load_estate(path: Path, model: DataModel | None = None) -> LoadedEstate:
    """Read a database dump or an estate file, whichever it is.

    Raises:
        EstateError: the file cannot be read, is neither, or holds a value of a wrong type.
    """
    model = model or DataModel.load()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EstateError(f"cannot read {path}: {error.strerror}") from error
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    try:
        if start == b"<":
            return _Dump(model).read(content)
        if start == b"{":
            return _read_estate(content, model)
    except EstateError as error:
        raise EstateError(f"{path}: {error}") from error
    raise EstateError(f"{path} is neither a XAPI database dump (XML) nor an estate file (JSON)")


# -- estate files --------------------------------------------------------------------------


def _read_estate(content: bytes, model: DataModel) -> LoadedEstate:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EstateError(f"no JSON: {error}") from error
    loaded = LoadedEstate({})
    for name, records in data.items():
        cls = model.classes.get(name)
        if cls is None:
            loaded.warnings.append(f"class {name} is unknown and left out")
        elif not isinstance(records, dict):
            raise EstateError(f"class {name}: expected {{ref: record}}")
        elif name != "session":
            loaded.estate[name] = {ref: _record(cls, ref, r) for ref, r in records.items()}
    if not any(loaded.estate.values()):
        raise EstateError("no object of any known class in it; expected {class: {ref: record}}")
    return loaded


def _record(cls: ClassModel, ref: str, record: object) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise EstateError(f"class {cls.name}, {ref}: expected a record")
    values = {}
    for name, value in record.items():
        known = cls.fields.get(name)
        if known is not None:
            try:
                values[name] = _any_member(known.type).accept(value)
            except WrongTypeError as error:
                raise EstateError(f"class {cls.name}, {ref}, field {name}: {error}") from error
    return values


def _any_member(kind: WireType) -> WireType:
    """Relax a type: another release's members of an enum are welcome, as the wire showed them."""
    match kind:
        case EnumType():
            return StringType()
        case SetType(item):
            return SetType(_any_member(item))
        case MapType(key, value):
            return MapType(_any_member(key), _any_member(value))
        case _:
            return kind


# -- dumps ---------------------------------------------------------------------------------


class _Dump:
    """One reading of a dump."""

    def __init__(self, model: DataModel) -> None:
        self._model = model
        # The spelling of a table may differ from the class's ("Secret"), never more.
        self._classes = {name.lower(): cls for name, cls in model.classes.items()}
        self._loaded = LoadedEstate({})

    def read(self, content: bytes) -> LoadedEstate:
        try:
            root = ET.fromstring(content)  # noqa: S314  (see the import)
        except ET.ParseError as error:
            raise EstateError(f"no XML: {error}") from error
        if root.tag != "database":
            raise EstateError(f"a XAPI database begins with <database>, this with <{root.tag}>")
        for table in root.iterfind("table"):
            cls = self._classes.get(table.get("name", "").lower())
            if cls is not None and (cls.persist or cls.name == "message"):
                self._table(cls, table)
        if not any(self._loaded.estate.values()):
            raise EstateError("a database without any object")
        self._loaded.generation = max(self._generation(root), 1)
        return self._loaded

    def _generation(self, root: ET.Element) -> int:
        for pair in root.iterfind("manifest/pair"):
            if pair.get("key") == "generation_count":
                return _number("the manifest's generation_count", pair.get("value", ""))
        return max((modified for _, modified in self._loaded.stamps.values()), default=1)

    def _table(self, cls: ClassModel, table: ET.Element) -> None:
        records = self._loaded.estate.setdefault(cls.name, {})
        for row in table.iterfind("row"):
            ref = row.get("ref", "")
            if not ref or ref in records:
                what = f"a second row {ref}" if ref else "a row without a reference"
                raise EstateError(f"table {cls.name}: {what}")
            records[ref] = self._row(cls, ref, row)
            if (modified := row.get("__mtime")) is not None:
                where = f"table {cls.name}, row {ref}, stamp"
                created = _number(where, row.get("__ctime", "0"))  # -1 occurs
                # A row without a modification would show in no event.
                self._loaded.stamps[ref] = created, max(_number(where, modified), 1)

    def _row(self, cls: ClassModel, ref: str, row: ET.Element) -> dict[str, Any]:
        record = {}
        for attribute, text in row.items():
            # "__" is how nested names (name.label) were written: name__label is name_label.
            known = cls.fields.get(attribute.replace("__", "_"))
            if known is None or attribute in _NO_FIELDS:
                continue
            where = f"table {cls.name}, row {ref}, field {known.name}"
            try:
                record[known.name] = self._value(where, known.type, sexpr.unprotect(text))
            except (sexpr.SexprError, ValueError, WrongTypeError) as error:
                raise EstateError(f"{where}: {_short(text)} is broken ({error})") from error
        return record

    def _value(self, where: str, kind: WireType, node: sexpr.Sexpr) -> Any:  # noqa: ANN401
        if isinstance(kind, SetType | MapType) and isinstance(node, str):
            try:
                node = sexpr.parse(node)
            except sexpr.UnclosedError as error:
                # Dumps that people cut have such values; what is there is whole.
                self._loaded.warnings.append(f"{where}: {error}")
                node = error.value
        match kind:
            case SetType():
                return self._set(where, kind, _list(node))
            case MapType():
                pairs = [_pair(member) for member in _list(node)]
                values = {str(key): self._value(where, kind.value, value) for key, value in pairs}
                return kind.accept(values)
            case BoolType():
                if not isinstance(node, str) or node not in _BOOLS:
                    raise ValueError("neither true nor false")
                return _BOOLS[node]
            case _:
                return kind.accept(node)

    def _set(self, where: str, kind: SetType, members: list[sexpr.Sexpr]) -> list[Any]:
        if isinstance(kind.item, EnumType):
            # Operations come and go with releases; a set without them is still right.
            for member in members:
                if member not in kind.item.values:
                    self._loaded.warnings.append(f"{where}: {member} is unknown and left out")
            members = [member for member in members if member in kind.item.values]
        return [self._value(where, kind.item, member) for member in members]


def _list(node: sexpr.Sexpr) -> list[sexpr.Sexpr]:
    if isinstance(node, str):
        raise ValueError("not a list")  # noqa: TRY004  (a wrong value, not a wrong argument)
    return node


def _pair(node: sexpr.Sexpr) -> tuple[sexpr.Sexpr, sexpr.Sexpr]:
    members = _list(node)
    if len(members) != 2 or not isinstance(members[0], str):  # noqa: PLR2004
        raise ValueError("a map's member is not a pair")
    return members[0], members[1]


def _number(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EstateError(f"{where}: {text!r} is no number") from None


def _short(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")

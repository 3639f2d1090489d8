"""The three ways to call XAPI, spelled out byte by byte: JSON-RPC 1.0 and 2.0, and XML-RPC.

Replies are read by the rules of the types that the data model gives them, and strictly: an int is
a JSON number, and in XML text without a tag; an envelope has exactly its members. So all three
give the same plain values, or say where the encoding is wrong.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import ClientSession

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.wiretypes import (
    BoolType,
    DateType,
    EnumType,
    FloatType,
    IntType,
    Json,
    MapType,
    OptionType,
    RecordType,
    RefType,
    SetType,
    StringType,
    VoidType,
    WireType,
)

_BATCH = ["events", "valid_ref_counts", "token"]
_DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d)?")
_DROPPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # control characters, in XML


@dataclass(frozen=True)
class Text:
    """A number to be sent as text, which XAPI accepts in both protocols."""

    text: str


@dataclass(frozen=True)
class Date:
    """A date, which has a tag of its own in XML."""

    text: str


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its value, or why it failed, or that there was an HTML page."""

    value: Json = None
    error: tuple[str, ...] | None = None
    page: int | None = None
    early: bool = False


class EncodingError(AssertionError):
    """A reply is not encoded as its type demands."""


class Wire(Protocol):
    name: str

    async def call(self, method: str, params: list[Json], kind: WireType) -> Outcome:
        """Call and decode the value as a type's; raises EncodingError."""


def _expect(condition: bool, what: str, value: object) -> None:  # noqa: FBT001 - like assert
    if not condition:
        raise EncodingError(f"{what}: {value!r}"[:500])


class Reader:
    """Checks values as JSON-RPC shows them; `record` types go by their class."""

    def __init__(self, model: DataModel) -> None:
        self._model = model
        self._tables = {c.table: c.name for c in model.classes.values()}

    def json(self, kind: WireType, value: Json) -> Json:  # noqa: C901, PLR0911 - by type
        """Return a decoded JSON value as it is, once it is found right."""
        match kind:
            case StringType() | EnumType() | RefType() | VoidType():
                _expect(isinstance(value, str), "no string", value)
                _expect(not isinstance(kind, VoidType) or value == "", "void is not empty", value)
            case IntType():
                _expect(type(value) is int, "no int", value)
            case FloatType():
                _expect(type(value) in {int, float}, "no number", value)
                return float(value)
            case BoolType():
                _expect(isinstance(value, bool), "no bool", value)
            case DateType():
                _expect(isinstance(value, str) and bool(_DATE.fullmatch(value)), "no date", value)
            case SetType():
                _expect(isinstance(value, list), "no array", value)
                return [self.json(kind.item, item) for item in value]
            case MapType():
                _expect(isinstance(value, dict), "no object", value)
                return {key: self.json(kind.value, item) for key, item in value.items()}
            case RecordType(cls="event"):
                return self._json_batch(value)
            case RecordType():
                _expect(isinstance(value, dict), "no object", value)
                members = self._members(kind.cls, value)
                return {name: self.json(members[name], item) for name, item in value.items()}
            case OptionType():
                return self.json(kind.item, value)
        return value

    def xml(self, kind: WireType, value: ET.Element) -> Json:  # noqa: C901, PLR0911 - by type
        """Decode a `<value>` element strictly as its type is written."""
        _expect(value.tag == "value", "no value element", value.tag)
        match kind:
            case StringType() | EnumType() | RefType():
                return self._untyped(value)
            case VoidType():
                _expect(self._untyped(value) == "", "void is not empty", value.text)
                return ""
            case IntType():
                text = self._untyped(value)
                _expect(bool(re.fullmatch(r"-?\d+", text)), "no decimal int", text)
                return int(text)
            case FloatType():
                return float(self._tagged(value, "double"))
            case BoolType():
                text = self._tagged(value, "boolean")
                _expect(text in {"0", "1"}, "no boolean", text)
                return text == "1"
            case DateType():
                text = self._tagged(value, "dateTime.iso8601")
                _expect(bool(_DATE.fullmatch(text)), "no date", text)
                return text
            case SetType():
                return [self.xml(kind.item, item) for item in self._items(value)]
            case MapType():
                return {k: self.xml(kind.value, v) for k, v in self._struct(value).items()}
            case RecordType(cls="event"):
                return self._xml_batch(value)
            case RecordType():
                struct = self._struct(value)
                members = self._members(kind.cls, struct)
                return {name: self.xml(members[name], item) for name, item in struct.items()}
            case OptionType():
                return self.xml(kind.item, value)
        raise TypeError(kind)

    def _members(self, cls: str, found: Mapping[str, object]) -> dict[str, WireType]:
        """Return the types of a record's members, which must be all of the class's."""
        model = self._model.classes[cls]
        fields = {n: f for n, f in model.fields.items() if n not in model.hidden_fields}
        optional = {name for name, f in fields.items() if isinstance(f.type, OptionType)}
        missing = set(fields) - set(found) - optional
        _expect(not missing and set(found) <= set(fields), f"members of {cls}", missing)
        return {name: f.type for name, f in fields.items()}

    def _json_batch(self, batch: Json) -> Json:
        """Check an answer of event.from."""
        _expect(list(batch) == _BATCH, "members of a batch", list(batch))
        self.json(MapType(StringType(), IntType()), batch["valid_ref_counts"])
        self.json(StringType(), batch["token"])
        for event in batch["events"]:
            kinds = self._event(list(event), event["class"], event["operation"])
            for name, member in event.items():
                self.json(kinds[name], member)
        return batch

    def _xml_batch(self, value: ET.Element) -> Json:
        """Decode an answer of event.from, which has the only ints with a tag."""
        batch = self._struct(value)
        _expect(list(batch) == _BATCH, "members of a batch", list(batch))
        counts = self._struct(batch["valid_ref_counts"])
        events = []
        for item in self._items(batch["events"]):
            event = self._struct(item)
            about = (self._untyped(event[name]) for name in ("class", "operation"))
            kinds = self._event(list(event), *about)
            events.append({name: self.xml(kinds[name], member) for name, member in event.items()})
        return {
            "events": events,
            "valid_ref_counts": {k: int(self._tagged(v, "i4")) for k, v in counts.items()},
            "token": self._untyped(batch["token"]),
        }

    def _event(self, members: list[str], table: str, operation: str) -> dict[str, WireType]:
        """Return the types of an event's members."""
        texts = ["id", "timestamp", "class", "operation", "ref"]
        expected = texts if operation == "del" else [*texts, "snapshot"]
        _expect(members == expected, f"members of an event ({operation})", members)
        record = RecordType(self._tables[table])
        return {"snapshot": record, **dict.fromkeys(texts, StringType())}

    def _untyped(self, value: ET.Element) -> str:
        _expect(len(value) == 0, "a tag inside an untyped value", value[0].tag if len(value) else 0)
        return value.text or ""

    def _tagged(self, value: ET.Element, tag: str) -> str:
        _expect([child.tag for child in value] == [tag], f"no <{tag}>", ET.tostring(value))
        return value[0].text or ""

    def _items(self, value: ET.Element) -> list[ET.Element]:
        _expect([child.tag for child in value] == ["array"], "no array", ET.tostring(value))
        _expect([child.tag for child in value[0]] == ["data"], "no data", ET.tostring(value))
        return list(value[0][0])

    def _struct(self, value: ET.Element) -> dict[str, ET.Element]:
        _expect([child.tag for child in value] == ["struct"], "no struct", ET.tostring(value))
        members = {}
        for member in value[0]:
            _expect([child.tag for child in member] == ["name", "value"], "a member", member.tag)
            members[member[0].text or ""] = member[1]
        return members


# -- JSON ----------------------------------------------------------------------------------


class JsonWire:
    """JSON-RPC 1.0 (no `jsonrpc` member) or 2.0. Old pools take no `text_ids`."""

    def __init__(
        self, http: ClientSession, url: str, reader: Reader, version: int, *, text_ids: bool = True
    ) -> None:
        self.name = f"JSON-RPC {version}.0"
        self._http = http
        self._url = f"{url}/jsonrpc"
        self._reader = reader
        self._version = version
        self._text_ids = text_ids
        self._next_id = 0

    async def call(self, method: str, params: list[Json], kind: WireType) -> Outcome:
        self._next_id += 1
        in_text = self._text_ids and self._next_id % 2
        request_id = f"id {self._next_id}" if in_text else self._next_id
        body: dict[str, Json] = {"method": method, "params": plain(params), "id": request_id}
        if self._version > 1:
            body["jsonrpc"] = "2.0"
        async with self._http.post(self._url, data=json.dumps(body)) as reply:
            if reply.status != 200:
                return Outcome(page=reply.status)
            _expect(reply.headers["Content-Type"] == "application/json", "type", reply.headers)
            answer = json.loads(await reply.read())
        early = answer["id"] == 0
        _expect(early or answer["id"] == request_id, "id", answer["id"])
        error = self._error(answer, early=early)
        if error is not None:
            return Outcome(error=error, early=early)
        return Outcome(value=self._reader.json(kind, answer["result"]))

    def _error(self, answer: dict[str, Json], *, early: bool) -> tuple[str, ...] | None:
        """Check the envelope; return why the call failed, if it did."""
        if early:  # always like this, whatever version was asked
            _expect(list(answer) == ["jsonrpc", "error", "id"], "envelope", answer)
            return tuple(answer["error"])
        if self._version == 1:
            _expect(list(answer) == ["result", "error", "id"], "envelope", list(answer))
            _expect(answer["error"] is None or answer["result"] is None, "envelope", answer)
            return None if answer["error"] is None else tuple(answer["error"])
        outcome = "error" if "error" in answer else "result"
        _expect(list(answer) == ["jsonrpc", outcome, "id"], "envelope", list(answer))
        if outcome == "result":
            return None
        error = answer["error"]
        _expect(list(error) == ["code", "message", "data"] and error["code"] == 1, "error", error)
        return (error["message"], *error["data"])


def plain(value: Json) -> Json:
    """Return a value with its numbers-as-text and dates as texts."""
    match value:
        case Text() | Date():
            return value.text
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


# -- XML -----------------------------------------------------------------------------------


class XmlWire:
    """XML-RPC."""

    name = "XML-RPC"

    def __init__(self, http: ClientSession, url: str, reader: Reader) -> None:
        self._http = http
        self._url = url
        self._reader = reader

    async def call(self, method: str, params: list[Json], kind: WireType) -> Outcome:
        values = "".join(f"<param>{_written(param)}</param>" for param in params)
        body = (
            '<?xml version="1.0"?><methodCall>'
            f"<methodName>{_escaped(method)}</methodName><params>{values}</params></methodCall>"
        )
        async with self._http.post(self._url, data=body.encode()) as reply:
            if reply.status != 200:
                return Outcome(page=reply.status)
            _expect(reply.headers["Content-Type"] == "text/xml", "type", reply.headers)
            text = await reply.read()
        _expect(text.startswith(b'<?xml version="1.0"?><methodResponse>'), "head", text[:60])
        _expect(not re.search(rb">\s+<(?!/)", text), "white space between tags", text[:200])
        root = ET.fromstring(text)  # noqa: S314  (our own simulator's)
        (value,) = root.findall("params/param/value")
        if method == "system.listMethods":
            return Outcome(value=self._reader.xml(kind, value))
        struct = self._reader._struct(value)
        if self._reader._untyped(struct["Status"]) == "Success":
            _expect(list(struct) == ["Status", "Value"], "envelope", list(struct))
            return Outcome(value=self._reader.xml(kind, struct["Value"]))
        _expect(list(struct) == ["Status", "ErrorDescription"], "envelope", list(struct))
        texts = self._reader.xml(SetType(StringType()), struct["ErrorDescription"])
        return Outcome(error=tuple(texts))


def _written(value: Json) -> str:
    """Write a parameter as clients do, numbers with their tag."""
    match value:
        case None:
            inner = "<nil/>"
        case bool():
            inner = f"<boolean>{int(value)}</boolean>"
        case int():
            inner = f"<i8>{value}</i8>" if abs(value) >= 1 << 31 else f"<int>{value}</int>"
        case float():
            inner = f"<double>{value!r}</double>"
        case list():
            inner = f"<array><data>{''.join(map(_written, value))}</data></array>"
        case dict():
            members = (
                f"<member><name>{_escaped(name)}</name>{_written(item)}</member>"
                for name, item in value.items()
            )
            inner = f"<struct>{''.join(members)}</struct>"
        case Text():
            inner = value.text
        case Date():
            inner = f"<dateTime.iso8601>{value.text}</dateTime.iso8601>"
        case _:
            inner = f"<string>{_escaped(value)}</string>"
    return f"<value>{inner}</value>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_in_xml(value: Json) -> Json:
    """Return a value as XML can tell it: control characters gone, floats in 16 digits."""
    match value:
        case str():
            return _DROPPED.sub("", value)
        case float():
            return float(f"{value:.16g}")
        case list():
            return [as_in_xml(item) for item in value]
        case dict():
            return {as_in_xml(key): as_in_xml(item) for key, item in value.items()}
        case _:
            return value

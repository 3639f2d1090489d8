"""XML-RPC as XAPI speaks it (POST on any path but the JSON ones).

Answers hold no white space between tags, because clients choke on it. Ints and strings are
untyped values; only valid_ref_counts are `<i4>`. A failure is a normal answer whose struct says
so; a `<fault>` was only ever sent for what is no XML, and by old releases.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable

from xoproxy.simulator.database import Row
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.rpc import MalformedError, Request
from xoproxy.simulator.wiretypes import (
    BoolType,
    DateType,
    FloatType,
    Json,
    MapType,
    OptionType,
    RecordType,
    SetType,
    StringType,
    TaggedDate,
    WireType,
)

_TEXT = StringType()
_HEAD = b'<?xml version="1.0"?><methodResponse><params><param>'
_TAIL = b"</param></params></methodResponse>"

_FAULT = (
    b'<?xml version="1.0"?><methodResponse><fault><value><struct>'
    b"<member><name>faultCode</name><value><int>1</int></value></member>"
    b"<member><name>faultString</name><value>Failed to parse supplied XML</value></member>"
    b"</struct></value></fault></methodResponse>"
)

_SPECIAL = re.compile('[<>&"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]')
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}


def escape(text: str) -> str:
    """Escape the four characters that XAPI escapes; control characters are dropped."""
    return _SPECIAL.sub(lambda m: _ENTITIES.get(m[0], ""), text)


def render(kind: WireType, value: Json) -> str:
    """Write a value of a known type as a `<value>` element."""
    match kind:
        case BoolType():
            inner = f"<boolean>{int(value)}</boolean>"
        case FloatType():
            inner = f"<double>{value:.16g}</double>"
        case DateType():
            inner = f"<dateTime.iso8601>{value}</dateTime.iso8601>"
        case SetType():
            items = "".join([render(kind.item, item) for item in value])
            inner = f"<array><data>{items}</data></array>"
        case MapType():
            inner = _struct((k, render(kind.value, v)) for k, v in value.items())
        case OptionType():
            return render(kind.item, value)
        case RecordType():
            raise TypeError("a record is encoded by its class")
        case _:  # strings, ints, enums, references, void: untyped text
            inner = escape(str(value))
    return f"<value>{inner}</value>"


def _struct(members: Iterable[tuple[str, str]]) -> str:
    body = "".join([f"<member><name>{escape(n)}</name>{v}</member>" for n, v in members])
    return f"<struct>{body}</struct>"


class XmlCodec:
    def value(self, kind: WireType, value: Json) -> bytes:
        return render(kind, value).encode()

    def count(self, number: int) -> bytes:
        return b"<value><i4>%d</i4></value>" % number

    def record(self, model: ClassModel, row: Row) -> bytes:
        cached = row.wire.get("xml")
        if cached is None:
            members = (
                (name, render(model.fields[name].type, value))
                for name, value in model.record(row.fields).items()
            )
            cached = row.wire["xml"] = f"<value>{_struct(members)}</value>".encode()
        return cached

    def struct(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        parts = [
            b"<member><name>%b</name>%b</member>" % (escape(n).encode(), v) for n, v in members
        ]
        return b"<value><struct>" + b"".join(parts) + b"</struct></value>"

    def array(self, items: Iterable[bytes]) -> bytes:
        return b"<value><array><data>" + b"".join(items) + b"</data></array></value>"


class XmlRpc:
    """XML-RPC. `faults`: as before clearwater, what is no XML is answered by a fault."""

    content_type = "text/xml"

    def __init__(self, *, faults: bool = False) -> None:
        self.codec = XmlCodec()
        self._faults = faults

    def parse(self, body: bytes) -> Request:
        try:
            root = ET.fromstring(body)  # noqa: S314  (a simulator; expat bounds entity expansion)
        except (ET.ParseError, ValueError, LookupError) as error:
            raise MalformedError(f"no XML: {error}", _FAULT if self._faults else None) from error
        method = root.find("methodName")
        if root.tag != "methodCall" or method is None:
            raise MalformedError("no methodCall")
        values = [_only(param) for param in root.iterfind("params/param")]
        return Request((method.text or "").strip(), [_read(value) for value in values])

    def success(self, request: Request, payload: bytes) -> bytes:
        if request.method != "system.listMethods":  # this one goes without an envelope
            members = [("Status", self.codec.value(_TEXT, "Success")), ("Value", payload)]
            payload = self.codec.struct(members)
        return _HEAD + payload + _TAIL

    def failure(self, request: Request, description: list[str]) -> bytes:
        del request
        status = self.codec.value(_TEXT, "Failure")
        reasons = self.codec.array(self.codec.value(_TEXT, text) for text in description)
        struct = self.codec.struct([("Status", status), ("ErrorDescription", reasons)])
        return _HEAD + struct + _TAIL

    def early_failure(self, description: list[str]) -> bytes:
        return self.failure(Request("", []), description)


def _only(element: ET.Element) -> ET.Element:
    """Return the single child, which must be a value."""
    if len(element) != 1 or element[0].tag != "value":
        raise MalformedError(f"<{element.tag}> does not hold one value")
    return element[0]


def _read(value: ET.Element) -> Json:
    """Read a `<value>`; one without a type is a string."""
    if len(value) == 0:
        return value.text or ""
    kind = value[0]
    reader = _READERS.get(kind.tag)
    if reader is None:
        raise MalformedError(f"unknown type <{kind.tag}>")
    try:
        return reader(kind)
    except (ValueError, KeyError) as error:
        raise MalformedError(f"bad <{kind.tag}>: {kind.text!r}") from error


def _text(element: ET.Element) -> str:
    return element.text or ""


def _read_array(element: ET.Element) -> list[Json]:
    data = element.find("data")
    if data is None:
        raise MalformedError("an array without data")
    return [_read(value) for value in data.iterfind("value")]


def _read_struct(element: ET.Element) -> dict[str, Json]:
    struct = {}
    for member in element.iterfind("member"):
        name, value = member.find("name"), member.find("value")
        if name is None or value is None:
            raise MalformedError("a member without name or value")
        struct[name.text or ""] = _read(value)
    return struct


_READERS: dict[str, Callable[[ET.Element], Json]] = {
    "string": _text,
    "int": lambda e: int(_text(e)),
    "i4": lambda e: int(_text(e)),
    "i8": lambda e: int(_text(e)),
    "double": lambda e: float(_text(e)),
    "boolean": lambda e: {"0": False, "1": True}[_text(e)],
    "dateTime.iso8601": lambda e: TaggedDate(_text(e)),
    "array": _read_array,
    "struct": _read_struct,
    "nil": lambda _: None,
}

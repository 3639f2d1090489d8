"""The result of a XAPI task: XML-RPC text of one value, whatever protocol the call came by."""

from xml.etree import ElementTree as ET

import msgspec


def decoded(text: str) -> object:
    """Read "<value>OpaqueRef:...</value>"; what is not such a text is returned as it is."""
    # XAPI never writes declarations; refusing them leaves no entities to expand
    if not text.startswith("<value") or "<!" in text:
        return text
    try:
        return _value(ET.fromstring(text))  # noqa: S314 - see above
    except (ET.ParseError, ValueError):
        return text


def encoded(text: str) -> msgspec.Raw:
    """Read a result and write it as JSON."""
    return msgspec.Raw(msgspec.json.encode(decoded(text)))


def _value(value: ET.Element) -> object:  # noqa: PLR0911 - one per type
    if len(value) == 0:
        return value.text or ""
    typed = value[0]
    match typed.tag:
        case "array":
            return [_value(item) for item in typed.iterfind("data/value")]
        case "struct":
            return {
                member.findtext("name", ""): _value(found)
                for member in typed.iterfind("member")
                if (found := member.find("value")) is not None
            }
        case "int" | "i4" | "i8":
            return int(typed.text or "")
        case "double":
            return float(typed.text or "")
        case "boolean":
            return typed.text == "1"
        case "nil":
            return None
        case _:
            return typed.text or ""

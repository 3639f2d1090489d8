"""What `watch` shows of each class, and how values read in a terminal.

Names come from guests and from people: whatever could steer a terminal is replaced before it is
printed.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from xoproxy.cache.schema import SCHEMA, FieldType
from xoproxy.model import NULL_REF, XapiClass

Names = Callable[[str], str | None]
"""Looks up the name of an object by its reference."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "VM": (
        "name_label",
        "power_state",
        "resident_on",
        "VCPUs_at_startup",
        "memory_dynamic_max",
        "tags",
    ),
    "host": ("name_label", "enabled", "address", "edition", "resident_VMs"),
    "pool": ("name_label", "master", "ha_enabled"),
    "SR": ("name_label", "type", "shared", "physical_utilisation", "physical_size"),
    "VDI": ("name_label", "SR", "virtual_size", "physical_utilisation"),
    "VBD": ("device", "VM", "VDI", "type", "currently_attached"),
    "VIF": ("device", "VM", "network", "MAC", "currently_attached"),
    "PBD": ("SR", "host", "currently_attached"),
    "PIF": ("device", "host", "network", "IP", "currently_attached"),
    "network": ("name_label", "bridge", "MTU", "tags"),
    "task": ("name_label", "status", "progress", "created", "resident_on"),
    "message": ("name", "cls", "priority", "timestamp"),
    "VM_metrics": ("VCPUs_number", "memory_actual", "start_time"),
    "host_metrics": ("live", "memory_free", "memory_total"),
    "pool_link": ("name", "state", "since", "objects", "error"),
    "user": ("name", "role", "enabled", "created_at"),
    "group": ("name", "users", "groups"),
    "grant": ("id", "user", "group", "role", "scope", "pool", "value", "deny"),
    "api_token": ("name", "user", "role", "last_used_at", "expires_at"),
}
"""class -> fields; the first one names the object and orders the table."""

_HEADERS = {
    "name_label": "name",
    "power_state": "power",
    "resident_on": "host",
    "VCPUs_at_startup": "vCPUs",
    "VCPUs_number": "vCPUs",
    "memory_dynamic_max": "memory",
    "physical_size": "size",
    "physical_utilisation": "used",
    "virtual_size": "size",
    "currently_attached": "attached",
    "resident_VMs": "VMs",
}
_STYLES = {
    "Running": "green",
    "Halted": "dim",
    "Paused": "yellow",
    "Suspended": "blue",
    "live": "green",
    "success": "green",
    "stale": "yellow",
    "connecting": "yellow",
    "pending": "yellow",
    "error": "bold red",
    "failure": "bold red",
    "disabled": "dim",
}
_SIZES = re.compile(r"memory_\w+|\w*(physical|virtual)_(size|utilisation|allocation)")
_COUNTED = frozenset({"resident_VMs"})
_DIGITS = re.compile(r"(\d+)")
_REF = "OpaqueRef:"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_FEW = 4
_GUESSED = 4


def columns(cls: str, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the fields to show of a class: those asked for that it has, or the usual ones."""
    known = SCHEMA.fields(XapiClass(cls))
    if asked:
        return tuple(name for name in asked if name in known)
    if cls in COLUMNS:
        return COLUMNS[cls]
    names = [name for name in ("name_label", "uuid") if name in known]
    plain = (n for n, t in known.items() if t.kind in {"enum", "bool", "ref"})
    return tuple((names + [name for name in plain if name not in names])[:_GUESSED])


def header(name: str) -> str:
    return _HEADERS.get(name, name)


def targets(cls: str, names: Sequence[str]) -> frozenset[str]:
    """Return the classes that the columns refer to and whose objects have a name to show."""
    fields = SCHEMA.fields(XapiClass(cls))
    found = {fields[n].target for n in names if n in fields and fields[n].kind == "ref"}
    return frozenset(t for t in found if t and "name_label" in SCHEMA.fields(t))


def cell(cls: str, name: str, value: Any, find: Names) -> Text:  # noqa: ANN401 - any JSON value
    """Write one value."""
    type_ = SCHEMA.fields(XapiClass(cls)).get(name)
    text = _text(name, type_, value, find)
    style = _STYLES.get(text, "") if type_ is not None and type_.kind == "enum" else ""
    return Text(harmless(text), style=style, no_wrap=True, overflow="ellipsis")


def harmless(text: str) -> str:
    """Replace control characters and what turns the direction of writing."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c
        for c in text
    )


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key by which "web-2" comes before "web-10"."""
    parts = _DIGITS.split(text.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def size(number_of_bytes: float) -> str:
    """Write a size in the largest unit that keeps it above one."""
    power = 0
    while abs(number_of_bytes) >= _STEP and power < len(_UNITS) - 1:
        number_of_bytes /= _STEP
        power += 1
    digits = 0 if abs(number_of_bytes) >= 100 or not power else 1  # noqa: PLR2004
    return f"{number_of_bytes:.{digits}f}".removesuffix(".0") + f" {_UNITS[power]}"


def age(seconds: float) -> str:
    """Write how long ago something was, in one unit."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(max(seconds, 0))} s"


def moment(text: str) -> datetime | None:
    """Read XAPI's date, "20240131T12:00:00Z"; None for its beginning of time or no date."""
    try:
        found = datetime.strptime(text, "%Y%m%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None
    return found if found.timestamp() > 0 else None


def _text(name: str, type_: FieldType | None, value: Any, find: Names) -> str:  # noqa: ANN401
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(name, value)
        case list() | dict():
            return _several(name, value, find)
        case _ if type_ is not None and type_.kind == "datetime":
            at = moment(value)
            return f"{at.astimezone():%d %b %H:%M:%S}" if at else ""
        case _:
            return _word(str(value), find)


def _number(name: str, value: float) -> str:
    if _SIZES.fullmatch(name):
        return size(value) if value >= 0 else ""  # XAPI's -1: not known
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _several(name: str, value: Any, find: Names) -> str:  # noqa: ANN401
    match value:
        case {"code": code, "message": message}:
            return f"{code}: {message}"
        case dict():
            return ", ".join(f"{k}={_text(name, None, v, find)}" for k, v in value.items())
        case _ if name in _COUNTED:
            return str(len(value))
        case _:
            shown = ", ".join(_text(name, None, item, find) for item in value[:_FEW])
            return f"{shown}, +{len(value) - _FEW}" if len(value) > _FEW else shown


def _word(value: str, find: Names) -> str:
    if value == NULL_REF:
        return ""
    if value.startswith(_REF):
        return find(value) or value.removeprefix(_REF)[:8]
    return value

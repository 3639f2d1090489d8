"""What we know of XAPI's classes: names, fields and types, read once from `schema.json`.

The schema informs, it does not police: a newer pool has classes and fields that are not here, and
their records pass like any others. It serves to understand what a client asks for (a misspelt
field, the type of a value) and to restore a class's own case from the lower case of events.

`schema.json` is made by `tools/make_schema.py` from XAPI's data model. Classes without events are
not in it, so class `secret`, which must never be cached, cannot be asked for.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec

from xoproxy.model import XapiClass

Kind = Literal["string", "enum", "int", "float", "bool", "datetime", "ref", "set", "map"]

_SCALARS = frozenset({"string", "int", "float", "bool", "datetime"})
_MAP = re.compile(r"\((?P<key>.+) -> (?P<value>.+)\) map")

_PROXY_CLASSES: dict[str, dict[str, str]] = {
    "pool_link": {
        "pool": "enum",  # an identifier: whole, like an enum
        "name": "string",
        "uuid": "string",
        "state": "enum pool_link_state",
        "phase": "enum pool_link_phase",
        "cause": "enum pool_link_cause",  # or null
        "since": "datetime",
        "error": "(string -> string) map",  # or null
        "master": "enum",  # a reference, but of another pool: not to be followed
        "last_event_at": "datetime",
        "objects": "int",
    },
    "pool_config": {
        "id": "enum",
        "name": "string",
        "url": "string",
        "enabled": "bool",
        "uuid": "string",
        "created_at": "datetime",
        "link": "pool_link ref",
    },
    "user": {
        "id": "enum",
        "name": "string",
        "role": "enum",  # the name of one
        "enabled": "bool",
        "must_change": "bool",
        "created_at": "datetime",
    },
    "group": {
        "id": "enum",
        "name": "string",
        "users": "user ref set",
        "groups": "group ref set",
        "created_at": "datetime",
    },
    "user_role": {
        "name": "string",
        "permissions": "string set",
        "built_in": "bool",
    },
    "grant": {
        "id": "enum",
        "user": "user ref",
        "group": "group ref",
        "role": "enum",  # the name of one
        "scope": "enum grant_scope",
        "pool": "enum",  # an identifier
        "value": "string",
        "deny": "bool",
        "created_at": "datetime",
    },
    "api_token": {
        "id": "enum",
        "user": "user ref",
        "name": "string",
        "role": "enum",  # the name of one
        "created_at": "datetime",
        "last_used_at": "datetime",  # or null
        "expires_at": "datetime",  # or null
    },
}
"""Classes of pseudo pool `proxy` (docs/protocol.md)."""

_PROXY_ENUMS = {
    "grant_scope": ("everything", "pool", "object", "tag", "filter"),
    "pool_link_state": ("connecting", "live", "stale", "disabled", "error"),
    "pool_link_phase": (
        "disabled",
        "probing",
        "authenticating",
        "listing",
        "live",
        "stale",
        "error",
    ),
    "pool_link_cause": (
        "enabled",
        "disabled",
        "retry",
        "found",
        "logged_in",
        "same",
        "caught_up",
        "lost",
        "refused",
    ),
}


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of one field.

    Args:
        kind: what the JSON value is; datetimes, enums and references are strings.
        of: for a set its members' kind, for a map its values'.
        target: the class that a reference (or a set of them, or a map to them) points at.
        values: the known values of an enum (or of its members); newer pools may have more.
    """

    kind: Kind
    of: Kind | None = None
    target: XapiClass | None = None
    values: frozenset[str] = frozenset()


class Schema:
    """XAPI's classes with events, and the proxy's own classes.

    Args:
        classes: class -> field -> type, in XAPI's notation ("VM ref set").
        proxy_classes: likewise, the classes of pseudo pool `proxy`.
        enums: name -> known values.
    """

    def __init__(
        self,
        classes: Mapping[str, Mapping[str, str]],
        proxy_classes: Mapping[str, Mapping[str, str]],
        enums: Mapping[str, Iterable[str]],
    ) -> None:
        values = {name: frozenset(members) for name, members in enums.items()}
        self._fields: dict[XapiClass, Mapping[str, FieldType]] = {
            XapiClass(cls): MappingProxyType(
                {name: _field_type(text, values) for name, text in fields.items()}
            )
            for cls, fields in (*classes.items(), *proxy_classes.items())
        }
        self.event_classes = frozenset(map(XapiClass, classes))
        """The classes that a XAPI pool has events of, as far as we know; never `secret`."""
        self.proxy_classes = frozenset(map(XapiClass, proxy_classes))
        self._proper_case = {cls.lower(): cls for cls in self.event_classes}

    @property
    def classes(self) -> frozenset[XapiClass]:
        """All classes that can be asked for."""
        return self.event_classes | self.proxy_classes

    def proper_case(self, lower: str) -> XapiClass | None:
        """Restore a class's own case from that of events: "vm_metrics" -> "VM_metrics"."""
        return self._proper_case.get(lower)

    def fields(self, cls: XapiClass) -> Mapping[str, FieldType]:
        """Return the known fields of a class; none for a class that we do not know."""
        return self._fields.get(cls, _NO_FIELDS)

    def classes_with(self, field: str) -> Iterator[XapiClass]:
        return (cls for cls, fields in self._fields.items() if field in fields)


_NO_FIELDS: Mapping[str, FieldType] = MappingProxyType({})


def _field_type(text: str, enums: Mapping[str, frozenset[str]]) -> FieldType:
    """Understand XAPI's notation of types: "VM ref set", "(string -> enum x) map"."""
    if found := _MAP.fullmatch(text):
        value = _field_type(found["value"], enums)
        return FieldType("map", value.kind, value.target, value.values)
    if text.endswith(" set"):
        member = _field_type(text.removesuffix(" set"), enums)
        return FieldType("set", member.kind, member.target, member.values)
    if text.endswith(" ref"):
        return FieldType("ref", target=XapiClass(text.removesuffix(" ref")))
    if text.startswith("enum"):
        return FieldType("enum", values=enums.get(text.removeprefix("enum "), frozenset()))
    if text not in _SCALARS:
        raise ValueError(f"schema.json: unknown type {text!r}")
    return FieldType(cast("Kind", text))


def _load() -> Schema:
    data: dict[str, Any] = msgspec.json.decode(
        files(__package__).joinpath("schema.json").read_bytes()
    )
    return Schema(data["classes"], _PROXY_CLASSES, data["enums"] | _PROXY_ENUMS)


SCHEMA = _load()

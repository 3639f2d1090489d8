"""XAPI's data model: classes, fields, messages and relations, read once from datamodel.json."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from xoproxy.simulator.wiretypes import FloatType, Json, SetType, WireType, parse

Qualifier = Literal["RW", "SRO", "DRO"]

# Tables of XAPI's database that are no classes of its API: they occur in valid_ref_counts only.
HIDDEN_TABLES = ("diagnostics",)


@dataclass(frozen=True, slots=True)
class Field:
    """A field; `required` when X.create fails without it."""

    name: str
    type: WireType
    qualifier: Qualifier
    default: Json
    required: bool
    since: str


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a message; an optional one (always trailing) has a default."""

    name: str
    type: WireType
    optional: bool = False
    default: Json = None


@dataclass(frozen=True, slots=True)
class Message:
    """A call; `params` does not count the session."""

    cls: str
    name: str
    result: WireType
    params: tuple[Param, ...]
    has_session: bool
    has_async: bool
    implicit: bool
    removed: bool
    since: str

    @property
    def wire_name(self) -> str:
        return f"{self.cls}.{self.name}"


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a relation: a write of our field changes `field` of rows of `cls`."""

    cls: str
    field: str


@dataclass(frozen=True, slots=True, eq=False)
class ClassModel:
    """A class. `links` go by field name; `derived` fields are written by the database alone."""

    name: str
    gen_events: bool
    in_db: bool
    persist: bool
    since: str
    fields: Mapping[str, Field]
    messages: Mapping[str, Message]
    floats: tuple[str, ...]
    links: dict[str, list[Link]] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)

    @property
    def table(self) -> str:
        """The name in events and in valid_ref_counts."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, eq=False)
class DataModel:
    classes: Mapping[str, ClassModel]
    enums: Mapping[str, tuple[str, ...]]
    errors: frozenset[str]
    releases: tuple[str, ...]

    @staticmethod
    @functools.cache
    def load() -> "DataModel":
        """Return the model that lies beside this module."""
        text = resources.files(__package__).joinpath("datamodel.json").read_text("utf-8")
        return _model_of(json.loads(text))


def _model_of(data: dict[str, Any]) -> DataModel:
    enums = {name: tuple(values) for name, values in data["enums"].items()}
    classes = {name: _class_of(name, c, enums) for name, c in data["classes"].items()}
    for relation in data["relations"]:
        _relate(classes, *relation)
    return DataModel(classes, enums, frozenset(data["errors"]), tuple(data["releases"]))


def _class_of(name: str, data: dict[str, Any], enums: Mapping[str, tuple[str, ...]]) -> ClassModel:
    fields = {n: _field_of(n, f, enums) for n, f in data["fields"].items()}
    return ClassModel(
        name=name,
        gen_events=data["gen_events"],
        in_db=data["in_db"],
        persist=data["persist"],
        since=data["since"],
        fields=fields,
        messages={n: _message_of(name, n, m, enums) for n, m in data["messages"].items()},
        floats=tuple(n for n, f in fields.items() if isinstance(f.type, FloatType)),
    )


def _field_of(name: str, data: dict[str, Any], enums: Mapping[str, tuple[str, ...]]) -> Field:
    kind = parse(data["type"], enums)
    has_default = "default" in data
    return Field(
        name=name,
        type=kind,
        qualifier=data["q"],
        default=kind.accept(data["default"]) if has_default else kind.zero,
        required=not has_default and data["q"] != "DRO",
        since=data["since"],
    )


def _message_of(
    cls: str, name: str, data: dict[str, Any], enums: Mapping[str, tuple[str, ...]]
) -> Message:
    return Message(
        cls=cls,
        name=name,
        result=parse(data["result"], enums),
        params=tuple(_param_of(p, enums) for p in data["params"]),
        has_session="no_session" not in data,
        has_async="async" in data,
        implicit="implicit" in data,
        removed="removed" in data,
        since=data["since"],
    )


def _param_of(data: list[Any], enums: Mapping[str, tuple[str, ...]]) -> Param:
    name, type_text, *default = data
    kind = parse(type_text, enums)
    return Param(name, kind, bool(default), kind.accept(default[0]) if default else None)


def _relate(classes: dict[str, ClassModel], a: str, field_a: str, b: str, field_b: str) -> None:
    """Enter a relation: field_a of class a points at rows of b, whose field_b lists them.

    Left out are relations over fields that only XAPI's database knows (task.session), and those
    of a field with itself (role.subroles), which have no other side.
    """
    one, other = classes[a], classes[b]
    if field_a not in one.fields or field_b not in other.fields or (a, field_a) == (b, field_b):
        return
    one.links.setdefault(field_a, []).append(Link(b, field_b))
    if isinstance(one.fields[field_a].type, SetType):
        other.links.setdefault(field_b, []).append(Link(a, field_a))
    else:
        other.derived.add(field_b)

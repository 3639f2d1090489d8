"""XAPI's data model: classes, fields, messages and relations, read once from datamodel.json.

The model of an older release has every class and field too, so that the simulator's own code need
not ask for them; those that the release lacks are hidden: they make no events, stand in no record
and have no calls. What was removed later is still there.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Literal

from xoproxy.simulator.releases import Release, Timeline
from xoproxy.simulator.wiretypes import EnumType, FloatType, Json, SetType, WireType, parse

Qualifier = Literal["RW", "SRO", "DRO"]

# Tables of XAPI's database that are no classes of its API: they occur in valid_ref_counts only.
HIDDEN_TABLES = ("diagnostics",)

_Enums = Mapping[str, tuple[str, ...]]
_Exists = Callable[[str], bool]  # whether a release's things are there in the model's release


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
    """A call; `params` does not count the session. The release lacks the last `hidden_params`.

    `roles` are those that may make it; none for the local root user alone.
    """

    cls: str
    name: str
    result: WireType
    params: tuple[Param, ...]
    has_session: bool
    has_async: bool
    implicit: bool
    removed: bool
    since: str
    hidden_params: int = 0
    roles: tuple[str, ...] = ()

    @property
    def accepts(self) -> int:
        """The number of parameters that may be given."""
        return len(self.params) - self.hidden_params

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
    """A class. `links` go by field name; `derived` fields are written by the database alone.

    `hidden_fields` are newer than the release; `trims` names newer values of its enum sets.
    """

    name: str
    gen_events: bool
    in_db: bool
    persist: bool
    since: str
    fields: Mapping[str, Field]
    messages: Mapping[str, Message]
    floats: tuple[str, ...]
    hidden: bool = False
    hidden_fields: frozenset[str] = frozenset()
    trims: dict[str, frozenset[str]] = field(default_factory=dict)
    links: dict[str, list[Link]] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)

    @property
    def table(self) -> str:
        """The name in events and in valid_ref_counts."""
        return self.name.lower()

    def shown(self, name: str, value: Json) -> Json:
        """Return a field's value without what is newer than the release."""
        newer = self.trims.get(name)
        return [item for item in value if item not in newer] if newer else value

    def record(self, fields: Mapping[str, Json]) -> dict[str, Json]:
        """Return what clients see of a row: without what is absent or hidden."""
        record = {n: v for n, v in fields.items() if v is not None and n not in self.hidden_fields}
        for name in self.trims:
            record[name] = self.shown(name, record[name])
        return record


@dataclass(frozen=True, slots=True, eq=False)
class DataModel:
    """The model at a release; `release` is None for the newest, which the file describes."""

    classes: Mapping[str, ClassModel]
    enums: _Enums
    errors: frozenset[str]
    releases: Timeline
    release: Release | None

    @staticmethod
    def load(release: str | None = None) -> "DataModel":
        """Return the model that lies beside this module, as it was at a release.

        Args:
            release: a name of the data model ("ely"), a product's version ("7.6", "8.3") or a
                version of XAPI ("24.19.2"); None is the newest.

        Raises:
            UnknownReleaseError: no release is called so.
        """
        return _load(release)

    @property
    def json_rpc(self) -> int:
        """The version of JSON-RPC that the release answers in, 0 when it has none.

        It came with clearwater (xen-api pull request 954, December 2012) in version 1 only,
        whatever was asked (issue 2265); version 2 with inverness (xenadmin, Session.cs).
        """
        if self.release is None:
            return 2
        place = self.releases.place(self.release.name)
        return sum(place >= self.releases.place(first) for first in ("clearwater", "inverness"))


@functools.cache
def _raw() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("datamodel.json").read_text("utf-8")
    raw: dict[str, Any] = json.loads(text)
    return raw


@functools.cache
def _load(release: str | None) -> DataModel:
    data = _raw()
    timeline = Timeline(data["releases"])
    if release is None:
        return _model_of(data, timeline, None, lambda _: True)
    found = timeline.find(release)
    if release != found.name:
        return _load(found.name)
    last = timeline.place(found.name)
    return _model_of(data, timeline, found, lambda since: timeline.place(since) <= last)


def _model_of(
    data: dict[str, Any], timeline: Timeline, release: Release | None, exists: _Exists
) -> DataModel:
    enums = {name: tuple(values) for name, values in data["enums"].items()}
    newer = {name: _newer_values(name, data, exists) for name in enums}
    shown = {name: tuple(v for v in enums[name] if v not in newer[name]) for name in enums}
    role_sets = [tuple(roles) for roles in data["role_sets"]]
    classes = {
        name: _class_of(name, c, shown, role_sets, exists) for name, c in data["classes"].items()
    }
    for model in classes.values():
        model.trims.update(_trims(model, newer))
    for relation in data["relations"]:
        _relate(classes, *relation)
    return DataModel(classes, shown, frozenset(data["errors"]), timeline, release)


def _newer_values(enum: str, data: dict[str, Any], exists: _Exists) -> frozenset[str]:
    """Name the values of an enum that came later, as far as the model dates them.

    It does where values are names of classes (enum cls) or of calls: a class's allowed
    operations.
    """
    classes = data["classes"]
    if enum == "cls":
        dated = {name: c["since"] for name, c in classes.items()}
    else:
        operations = (
            c["messages"]
            for c in classes.values()
            if c["fields"].get("allowed_operations", {}).get("type") == f"enum {enum} set"
        )
        dated = {name: m["since"] for messages in operations for name, m in messages.items()}
    return frozenset(v for v in data["enums"][enum] if v in dated and not exists(dated[v]))


def _trims(model: ClassModel, newer: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {
        name: newer[known.type.item.name]
        for name, known in model.fields.items()
        if isinstance(known.type, SetType)
        and isinstance(known.type.item, EnumType)
        and newer[known.type.item.name]
        and name not in model.hidden_fields
    }


def _class_of(
    name: str,
    data: dict[str, Any],
    enums: _Enums,
    role_sets: Sequence[tuple[str, ...]],
    exists: _Exists,
) -> ClassModel:
    fields = {n: _field_of(n, f, enums) for n, f in data["fields"].items()}
    hidden = not exists(data["since"])
    return ClassModel(
        name=name,
        gen_events=data["gen_events"] and not hidden,
        in_db=data["in_db"],
        persist=data["persist"],
        since=data["since"],
        fields=fields,
        messages={
            n: replace(_message_of(name, n, m, enums, exists), roles=role_sets[m["roles"]])
            for n, m in data["messages"].items()
            if not hidden and exists(m["since"])
        },
        floats=tuple(n for n, f in fields.items() if isinstance(f.type, FloatType)),
        hidden=hidden,
        hidden_fields=frozenset(n for n, f in fields.items() if not exists(f.since)),
    )


def _field_of(name: str, data: dict[str, Any], enums: _Enums) -> Field:
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
    cls: str, name: str, data: dict[str, Any], enums: _Enums, exists: _Exists
) -> Message:
    params_since = data.get("params_since", {})
    return Message(
        cls=cls,
        name=name,
        result=parse(data["result"], enums),
        params=tuple(_param_of(p, enums) for p in data["params"]),
        has_session="no_session" not in data,
        has_async="async" in data,
        implicit="implicit" in data,
        removed="removed" in data and exists(data["removed"]),
        since=data["since"],
        hidden_params=sum(not exists(since) for since in params_since.values()),
    )


def _param_of(data: list[Any], enums: _Enums) -> Param:
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

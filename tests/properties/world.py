"""What a pool is, what may be seen of it and what a query means, said once more in plain Python.

The model keeps every state of its pool as plain dicts, so that any position can be projected anew.
Nothing of the product's views, filters or diffs is used here; only the rights are handed to the
product: those of grants (auth/grants.py), and `Tagged`, that no grants make, for the port's sake.
"""

import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.properties.replica import references
from xoproxy.auth.grants import Reach, Sight
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything, Visibility
from xoproxy.model import Entry, Event, Ref, Removal, Upsert, XapiClass

NULL = "OpaqueRef:NULL"
OBJECTS = {
    "vm-a": "VM",
    "vm-b": "VM",
    "vm-c": "VM",
    "vbd-a": "VBD",
    "vbd-b": "VBD",
    "vdi-a": "VDI",
    "host-a": "host",
    "host-b": "host",
    "sr-a": "SR",
    "metrics-a": "VM_metrics",
    "message-a": "message",
    "task-a": "task",
}
CLASSES = frozenset(map(XapiClass, OBJECTS.values()))

Record = dict[str, Any]
Pool = dict[str, Record]
"""A pool's state: reference -> record."""


def ref(name: str) -> str:
    return f"OpaqueRef:{name}"


def uuid_of(name: str) -> str:
    return f"uuid-{name}"


def class_of(reference: str) -> str:
    return OBJECTS[reference.removeprefix("OpaqueRef:")]


# --- histories ------------------------------------------------------------------------------------

_MARK = "@"
"""Stands where a text gets a mark of its own when it is committed, so that it can be traced."""


def _refs(*prefixes: str) -> st.SearchStrategy[str]:
    names = [n for n in OBJECTS if n.split("-")[0] in prefixes]
    return st.sampled_from([NULL, "OpaqueRef:nowhere", *map(ref, names)])


_texts = st.sampled_from([f"n{_MARK}", f"n{_MARK}", "same", 'é\n"\\', ""])
_tags = st.sampled_from([["red"], ["red"], ["blue"], ["red", "blue"], [], ["green"], [f"t{_MARK}"]])
_KEYS = ["k", "a/b", "~", "", "secret-x", "my_secret", f"host_{ref('host-b')}"]
_DEEP = {"note": f"of {ref('vm-a')} and {ref('host-b')}", "deep": {"my_secret": f"m{_MARK}"}}
_maps = st.dictionaries(
    st.sampled_from(_KEYS),
    st.sampled_from(["v", "w", f"m{_MARK}"]),
    max_size=4,
)
_numbers = st.sampled_from([0, 1, 1.0, True, 2, 2**53 + 1, -1, 0.5, None])
_COMMON = {"name_label": _texts, "tags": _tags, "other_config": _maps, "name_description": _texts}
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "VM": _COMMON
    | {
        "power_state": st.sampled_from(["Running", "Halted", "Paused"]),
        "resident_on": _refs("host"),
        "snapshot_of": _refs("vm"),
        "metrics": _refs("metrics"),
        "VCPUs_max": _numbers,
        "xenstore_data": _maps,
        "current_operations": st.dictionaries(
            st.sampled_from(["task-1", ref("vbd-a"), ref("host-a"), ref("task-a"), ref("task-a")]),
            st.sampled_from(["start", ref("vm-b")]),
            max_size=2,
        ),
    },
    "VBD": {"VM": _refs("vm"), "VDI": _refs("vdi"), "empty": st.booleans(), "other_config": _maps},
    "VDI": _COMMON | {"VBDs": st.lists(_refs("vbd"), max_size=3, unique=True)},
    "host": _COMMON
    | {
        "enabled": st.booleans(),
        "suspend_image_sr": _refs("sr"),
        "resident_VMs": st.lists(_refs("vm"), max_size=3, unique=True),
    },
    "VM_metrics": {"start_time": _texts, "other_config": _maps},
    "message": {"name": _texts, "obj_uuid": st.sampled_from(["", *map(uuid_of, OBJECTS)])},
    "task": {"name_label": _texts, "progress": _numbers},
    "SR": _COMMON | {"sm_config": st.just(_DEEP)},
}

names = st.sampled_from(sorted(OBJECTS))


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Draw what happens to one object: removed, made anew, or some fields set or taken away."""
    name = draw(names)
    kind = draw(st.sampled_from(["set", "set", "set", "set", "all", "remove"]))
    if kind == "remove":
        return "remove", name, None
    fields = FIELDS[OBJECTS[name]]
    if kind == "all":
        return "all", name, draw(st.fixed_dictionaries(fields))
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True))
    gone = st.sampled_from([False] * 5 + [True])
    return "set", name, {f: None if draw(gone) else (draw(fields[f]),) for f in chosen}


batches = st.lists(edits(), min_size=1, max_size=5)


def random_value(rng: random.Random, field: str) -> Any:
    """Draw a field's value quickly, relations mostly as they would be."""

    def a_map(keys: list[str], values: list[str]) -> dict[str, str]:
        return {k: rng.choice(values) for k in rng.sample(keys, rng.randrange(len(keys)))}

    def named(prefix: str) -> list[str]:
        return [ref(n) for n in OBJECTS if n.startswith(prefix)]

    def some(prefix: str) -> list[str]:
        return rng.sample(named(prefix), rng.randrange(len(named(prefix))))

    texts = [f"n{_MARK}", f"n{_MARK}", "same", 'é\n"\\', ""]
    draw: dict[str, Callable[[], Any]] = {
        "name_label": lambda: rng.choice(texts),
        "name_description": lambda: rng.choice(texts),
        "tags": lambda: rng.choice(
            [["red"], ["red"], ["blue"], ["red", "blue"], [], [f"t{_MARK}"]]
        ),
        "other_config": lambda: a_map(_KEYS, ["v", "w", f"m{_MARK}"]),
        "xenstore_data": lambda: a_map(_KEYS, ["v", f"m{_MARK}"]),
        "power_state": lambda: rng.choice(["Running", "Halted"]),
        "VCPUs_max": lambda: rng.choice([0, 1, 1.0, True, 2, 2**53 + 1, -1, 0.5, None]),
        "current_operations": lambda: a_map(
            ["task-1", ref("vbd-a"), ref("host-a"), ref("task-a")], ["start", ref("vm-b")]
        ),
        "name": lambda: rng.choice(texts),
        "start_time": lambda: rng.choice(texts),
        "progress": lambda: rng.choice([0, 0.5, 1]),
        "obj_uuid": lambda: rng.choice(["", *map(uuid_of, OBJECTS)]),
        "enabled": lambda: rng.random() < 0.5,
        "empty": lambda: rng.random() < 0.5,
        "sm_config": lambda: _DEEP,
        "VBDs": lambda: some("vbd"),
        "resident_VMs": lambda: some("vm"),
    }
    if field in draw:
        return draw[field]()
    others = {"resident_on": "host", "suspend_image_sr": "sr", "snapshot_of": "vm"}
    prefix = others.get(field, field.lower())
    return rng.choice([NULL, "OpaqueRef:nowhere", *named(prefix), *named(prefix)])


def random_record(rng: random.Random, name: str) -> Record:
    return {f: random_value(rng, f) for f in FIELDS[OBJECTS[name]]}


def random_edit(rng: random.Random) -> tuple[str, str, Any]:
    """Draw what `edits` draws, a hundred times as fast, for histories that need no shrinking."""
    name = rng.choice(sorted(OBJECTS))
    cls = OBJECTS[name]
    what = rng.random()
    if what < 0.12:
        return "remove", name, None
    if what < 0.25:
        return "all", name, random_record(rng, name)
    fields = rng.sample(sorted(FIELDS[cls]), min(rng.randrange(1, 4), len(FIELDS[cls])))
    return (
        "set",
        name,
        {f: None if rng.random() < 0.1 else (random_value(rng, f),) for f in fields},
    )


@st.composite
def full_pools(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Draw a pool to begin with, in which relations mostly hold."""
    present = draw(st.lists(names, min_size=2, max_size=len(OBJECTS), unique=True))
    return [("all", name, draw(st.fixed_dictionaries(FIELDS[OBJECTS[name]]))) for name in present]


class Model:
    """A pool's whole past: what it was at every position that was the end of a batch."""

    def __init__(self, name: str = "") -> None:
        self.now: Pool = {}
        self.past: dict[int, Pool] = {0: {}}
        self._name = name
        self._mark_count = 0

    def apply(self, batch: Iterable[tuple[str, str, Any]]) -> list[Event]:
        """Change the present; return what a pool would say of it."""
        events: list[Event] = []
        after = dict(self.now)
        for kind, name, value in batch:
            reference = ref(name)
            record = after.get(reference)
            if kind == "remove":
                after.pop(reference, None)
                events.append(Removal(Ref(reference)))
                continue
            if kind == "all" or record is None:
                record = self._marked(value) if kind == "all" else {}
            if kind == "set":
                record = dict(record)
                for field, put in value.items():
                    record.pop(field, None)
                    if put is not None:
                        record[field] = self._marked(put[0])
            after[reference] = record = {**record, "uuid": uuid_of(name)}
            events.append(self._upsert(reference, record))
        self.now = after
        return events

    def listing(self, classes: set[str]) -> list[Upsert]:
        return [self._upsert(r, self.now[r]) for r in self.now if class_of(r) in classes]

    def committed(self, seq: int) -> None:
        self.past[seq] = self.now

    def _upsert(self, reference: str, record: Record) -> Upsert:
        members = list(record.items())
        spelling = random.Random(len(self.past))  # any order and any spacing mean the same
        if spelling.random() < 0.3:
            spelling.shuffle(members)
        indent = 1 if spelling.random() < 0.2 else None
        raw = json.dumps(dict(members), ensure_ascii=spelling.random() < 0.5, indent=indent)
        return Upsert(XapiClass(class_of(reference)), Ref(reference), raw.encode())

    def _marked(self, value: Any) -> Any:
        match value:
            case str() if _MARK in value:
                self._mark_count += 1
                return value.replace(_MARK, f"#{self._name}{self._mark_count}#")
            case list():
                return [self._marked(v) for v in value]
            case dict():
                return {k: self._marked(v) for k, v in value.items()}
            case _:
                return value


MARKS = re.compile(r"#[a-z]*\d+#")
_UUIDS = re.compile(r"uuid-[a-z]+-[a-z]\b")


def traces(text: str) -> set[str]:
    """Find everything in a text by which one can tell from which object it came."""
    return references(text) | set(MARKS.findall(text)) | set(_UUIDS.findall(text))


def play(store: Store, events: Iterable[Event]) -> Any:
    prepared = store.prepare(events)
    while prepared.step(3):
        pass
    return store.commit(prepared, store.seq)


# --- rights ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tagged:
    """The rights of somebody who sees what bears one of his tags, and what belongs to it.

    A VBD goes with its VM, a VDI with its VBDs (one that is seen is enough), a host with the VMs
    that run on it; a VM's description is hidden, and so are map keys that hold "secret".
    """

    tags: frozenset[str]
    everything: bool = False
    all_objects: bool = False
    conditions: None = None
    """A host goes with the VMs on it, which is no rule of cache/derivation.py."""

    @property
    def scope(self) -> str:
        return "tagged:" + ",".join(sorted(self.tags))

    def sees(self, state: State, entry: Entry) -> bool:
        record = json.loads(entry.raw)
        match entry.cls:
            case "VBD":
                return self._sees_ref(state, record.get("VM"))
            case "VDI":
                return any(
                    found is not None
                    and found.cls == "VBD"
                    and json.loads(found.raw).get("VDI") == entry.ref
                    and self.sees(state, found)
                    for found in map(state.get, list(state.referrers(entry.ref)))
                )
            case "host":
                return any(
                    found is not None
                    and found.cls == "VM"
                    and json.loads(found.raw).get("resident_on") == entry.ref
                    and self.sees(state, found)
                    for found in map(state.get, list(state.referrers(entry.ref)))
                )
        return not self.tags.isdisjoint(record.get("tags") or ())

    def _sees_ref(self, state: State, reference: str | None) -> bool:
        entry = state.get(Ref(reference)) if reference else None
        return entry is not None and entry.cls == "VM" and self.sees(state, entry)

    def dependents(self, state: State, entry: Entry) -> Iterable[Ref]:
        record = json.loads(entry.raw)
        if entry.cls == "VM":
            yield from (r for r in list(state.referrers(entry.ref)))
            if record.get("resident_on"):
                yield Ref(record["resident_on"])
        elif entry.cls == "VBD" and record.get("VDI"):
            yield Ref(record["VDI"])

    def among(self, classes: tuple[XapiClass, ...]) -> Visibility:  # noqa: ARG002
        return self

    def shows(self, cls: XapiClass, field: str) -> bool:
        return (cls, field) != ("VM", "name_description")

    def shows_key(self, cls: XapiClass, field: str, key: str) -> bool:  # noqa: ARG002
        return "secret" not in key


EVERYTHING = Everything()
_SECOND = frozenset({uuid_of("vm-b"), uuid_of("vbd-b")})
_RUNNING, _NOT_HALTED = 'power_state:"Running"', '!power_state:"Halted"'
RIGHTS: tuple[Visibility, ...] = (
    EVERYTHING,
    Tagged(frozenset({"red"})),
    Tagged(frozenset({"blue", "green"})),
    Sight(Reach(tags=frozenset({"red"}))),
    Sight(Reach(tags=frozenset({"blue"}), uuids=frozenset({uuid_of("vm-a"), uuid_of("host-b")}))),
    Sight(Reach(uuids=_SECOND)),
    Sight(Reach(filters=frozenset({_RUNNING}), tags=frozenset({"green"}))),
    Sight(Reach(filters=frozenset({_NOT_HALTED}))),
    Sight(Reach(all=True)),
    Sight(Reach(all=True), denied=Reach(tags=frozenset({"red"}))),
    Sight(Reach(all=True), denied=Reach(uuids=_SECOND), secrets=True),
    Sight(
        Reach(uuids=frozenset(map(uuid_of, ["vdi-a", "vm-a", "task-a", "message-a"]))),
        denied=Reach(filters=frozenset({_RUNNING}), tags=frozenset({"blue"})),
    ),
)
FILTERS: dict[str, Callable[[str, Record], bool]] = {
    _RUNNING: lambda cls, r: cls == "VM" and r.get("power_state") == "Running",
    _NOT_HALTED: lambda cls, r: cls == "VM" and r.get("power_state") != "Halted",
}


def sees(pool: Pool, rights: Visibility, reference: str) -> bool:
    """Say whether an object may be seen, from the plain dicts alone."""
    if reference not in pool:
        return False
    if isinstance(rights, Sight):
        return _is_allowed(pool, rights, reference, ())
    if not isinstance(rights, Tagged):
        return True
    record = pool[reference]
    match class_of(reference):
        case "VBD":
            vm = record.get("VM")
            return vm in pool and class_of(vm) == "VM" and sees(pool, rights, vm)
        case "VDI" | "host" as cls:
            owner, field = ("VBD", "VDI") if cls == "VDI" else ("VM", "resident_on")
            return any(
                class_of(other) == owner and r.get(field) == reference and sees(pool, rights, other)
                for other, r in pool.items()
            )
    return bool(rights.tags & set(record.get("tags") or ()))


def _is_allowed(pool: Pool, rights: Sight, reference: str, above: tuple[str, ...]) -> bool:
    """Say whether an object was granted, or one with which it goes, and none of that denied."""
    if _is_denied(pool, rights, reference, ()):
        return False
    owners = [o for o in owners_of(pool, reference) if o not in above]
    return _reaches(pool, rights.allowed, reference) or any(
        _is_allowed(pool, rights, owner, (*above, reference)) for owner in owners
    )


def _is_denied(pool: Pool, rights: Sight, reference: str, above: tuple[str, ...]) -> bool:
    owners = [o for o in owners_of(pool, reference) if o not in above]
    return _reaches(pool, rights.denied, reference) or (
        bool(owners)
        and all(_is_denied(pool, rights, owner, (*above, reference)) for owner in owners)
    )


def _reaches(pool: Pool, reach: Reach, reference: str) -> bool:
    record = pool[reference]
    return (
        reach.all
        or record["uuid"] in reach.uuids
        or bool(reach.tags & set(record.get("tags") or ()))
        or any(FILTERS[text](class_of(reference), record) for text in reach.filters)
    )


def owners_of(pool: Pool, reference: str) -> list[str]:
    """Name the objects with which one goes."""
    record = pool[reference]
    match class_of(reference):
        case "VM":
            owners = [record.get("snapshot_of")]
        case "VBD":
            owners = [record.get("VM")]
        case "VDI":
            owners = record.get("VBDs") or []
        case "VM_metrics":
            owners = [
                r for r in pool if class_of(r) == "VM" and pool[r].get("metrics") == reference
            ]
        case "message":
            owners = [r for r in pool if pool[r]["uuid"] == record.get("obj_uuid")]
        case "task":
            owners = [r for r in pool if reference in pool[r].get("current_operations", {})]
        case _:
            owners = []
    return [owner for owner in owners if owner in pool]


def _hides_secrets(rights: Visibility) -> bool:
    return not (isinstance(rights, Sight) and rights.secrets)


def _hides_key(rights: Visibility, key: str) -> bool:
    return _hides_secrets(rights) and "secret" in key


def _hides_field(rights: Visibility, cls: str, field: str) -> bool:
    hidden = "xenstore_data" if isinstance(rights, Sight) else "name_description"
    return _hides_secrets(rights) and (cls, field) == ("VM", hidden)


def permitted(pool: Pool, rights: Visibility, reference: str) -> Record | None:
    """Return an object as these rights show it."""
    if not sees(pool, rights, reference):
        return None
    record = pool[reference]
    if rights.everything:
        return record

    def hidden(text: Any) -> bool:
        return (
            isinstance(text, str)
            and text.startswith("OpaqueRef:")
            and text != NULL
            and not sees(pool, rights, text)
        )

    def cut(value: Any) -> Any:
        match value:
            case str():
                for found in references(value):
                    if hidden(found):
                        value = value.replace(found, NULL)
                return value
            case list():
                return [v for v in value if not hidden(v)]
            case dict():
                shown = {k: v for k, v in value.items() if not _hides_key(rights, k)}
                return {k: cut(v) for k, v in shown.items() if not any(map(hidden, references(k)))}
            case _:
                return value

    cls = class_of(reference)
    return {f: cut(v) for f, v in record.items() if not _hides_field(rights, cls, f)}


# --- queries --------------------------------------------------------------------------------------

Follow = Callable[[Any], Record | None]
Predicate = Callable[[Record, Follow], bool]
"""Judges a record of a class that has the field; `follow` finds what a reference points at."""


def _is_null(value: Any) -> bool:
    return value is None or value in (NULL, [], {})


def _target(field: str, test: Callable[[Record], bool]) -> Predicate:
    def judge(record: Record, follow: Follow) -> bool:
        reference = record.get(field)
        target = None if reference is None or reference == NULL else follow(reference)
        return target is not None and test(target)

    return judge


def _negated(predicate: Predicate) -> Predicate:
    return lambda record, follow: not predicate(record, follow)


_WITH_TAGS = frozenset({"VM", "VDI", "host", "SR"})


@dataclass(frozen=True)
class Condition:
    """A filter: its text, the classes that have the field, what it means there and elsewhere."""

    text: str
    classes: frozenset[str]
    judge: Predicate
    elsewhere: bool = False


CONDITIONS = [
    Condition(
        "power_state:Running", frozenset({"VM"}), lambda r, _: r.get("power_state") == "Running"
    ),
    Condition("tags:red", _WITH_TAGS, lambda r, _: "red" in r.get("tags", [])),
    Condition("!tags:red", _WITH_TAGS, lambda r, _: "red" not in r.get("tags", []), elsewhere=True),
    Condition(
        "resident_on:null",
        frozenset({"VM", "task"}),
        lambda r, _: _is_null(r.get("resident_on")),
    ),
    Condition(
        "resident_on.enabled:true",
        frozenset({"VM"}),
        _target("resident_on", lambda t: t.get("enabled") is True),
    ),
    Condition(
        "resident_on.suspend_image_sr:null",
        frozenset({"VM"}),
        _target("resident_on", lambda t: _is_null(t.get("suspend_image_sr"))),
    ),
    Condition(
        "VM.resident_on:null",
        frozenset({"VBD"}),
        _target("VM", lambda t: _is_null(t.get("resident_on"))),
    ),
    Condition(
        "!VM.power_state:Running",
        frozenset({"VBD"}),
        _negated(_target("VM", lambda t: t.get("power_state") == "Running")),
        elsewhere=True,
    ),
    Condition(
        "other_config.secret-x:v",
        CLASSES,
        lambda r, _: "v" in str(r.get("other_config", {}).get("secret-x", "")).casefold(),
    ),
    Condition("name_description:n", _WITH_TAGS, lambda r, _: "n" in r.get("name_description", "")),
    Condition(
        "VCPUs_max:>0.5",
        frozenset({"VM"}),
        lambda r, _: type(r.get("VCPUs_max")) in (int, float) and r["VCPUs_max"] > 0.5,
    ),
    Condition(
        "tags:(red | blue) power_state:Running",
        frozenset({"VM"}),
        lambda r, _: (
            bool({"red", "blue"} & set(r.get("tags", []))) and r.get("power_state") == "Running"
        ),
    ),
    Condition(
        "resident_on:OpaqueRef:host-a",
        frozenset({"VM"}),
        lambda r, _: r.get("resident_on") == ref("host-a"),
    ),
    Condition(
        "uuid:uuid-vm-a | uuid:uuid-vbd-a",
        CLASSES,
        lambda r, _: r.get("uuid") in ("uuid-vm-a", "uuid-vbd-a"),
    ),
    Condition(
        "tags:blue resident_on.enabled:true",
        frozenset({"VM"}),
        lambda r, follow: (
            "blue" in r.get("tags", [])
            and _target("resident_on", lambda t: t.get("enabled") is True)(r, follow)
        ),
    ),
    Condition("VBDs:null", frozenset({"VM", "VDI"}), lambda r, _: _is_null(r.get("VBDs"))),
]


def condition(text: str) -> Condition:
    return next(c for c in CONDITIONS if c.text == text)


@dataclass(frozen=True)
class Question:
    """A query, and what it means."""

    classes: tuple[str, ...]
    condition: Condition | None = None
    masks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rate: float | None = None
    sets: str | None = None

    def query(self, pools: list[str] | None = None) -> dict[str, Any]:
        query: dict[str, Any] = {"classes": list(self.classes)}
        if self.condition is not None:
            query["filter"] = self.condition.text
        if self.masks:
            query["fields"] = {cls: list(fields) for cls, fields in self.masks}
        if pools is not None:
            query["pools"] = pools
        if self.rate is not None:
            query["rate"] = self.rate
        if self.sets is not None:
            query["sets"] = self.sets
        return query

    @property
    def shown_classes(self) -> frozenset[str]:
        return frozenset(CLASSES if self.classes == ("*",) else self.classes)

    def project(self, pool: Pool, rights: Visibility) -> dict[str, dict[str, Record]]:
        """Say what a client that asks this under these rights must hold."""
        masks = dict(self.masks)
        shown: dict[str, dict[str, Record]] = {cls: {} for cls in self.shown_classes}
        for reference in pool:
            cls = class_of(reference)
            record = permitted(pool, rights, reference) if cls in shown else None
            if record is not None and self._matches(cls, record, pool, rights):
                mask = masks.get(cls)
                shown[cls][reference] = record if mask is None else _masked(record, mask)
        return shown

    def _matches(self, cls: str, record: Record, pool: Pool, rights: Visibility) -> bool:
        if self.condition is None:
            return True
        if cls not in self.condition.classes:
            return self.condition.elsewhere
        return self.condition.judge(record, lambda target: permitted(pool, rights, target))


def _masked(record: Record, mask: tuple[str, ...]) -> Record:
    """Show the fields that are named, and the keys of maps; docs/queries.md, "Fields"."""
    shown: Record = {f: v for f, v in record.items() if f in mask}
    for path in mask:
        field, dot, key = path.partition(".")
        if dot and field in record and field not in mask:
            key = json.loads(key) if key.startswith('"') else key
            kept = shown.setdefault(field, {})
            if key in record[field]:
                kept[key] = record[field][key]
    return shown


_RATES = [None, None, None, 5, 0.7]
_SETS = [None, "members"]
_ASKED = [("*",), ("VM",), ("VM", "host"), ("VBD",), ("VBD", "VDI"), ("VM", "SR"), ("*",)]
_ASKED += [("VM_metrics", "message", "task"), ("VM", "message")]
_MASKS = [
    ("VM", ("name_label", "power_state")),
    ("VM", ("tags", "other_config", "resident_on")),
    ("VM", ()),
    ("VM", ("other_config.k", 'other_config."a/b"', 'other_config.""', "power_state")),
    ("VM", ("current_operations.task-1", "other_config.secret-x")),
    ("VDI", ("other_config.k", "other_config", "tags")),
    ("SR", ('other_config."~"',)),
    ("VBD", ("VM",)),
    ("host", ("resident_VMs", "enabled")),
]


@st.composite
def questions(draw: st.DrawFn) -> Question:
    classes = draw(st.sampled_from(_ASKED))
    shown = CLASSES if classes == ("*",) else frozenset(classes)
    fitting = [c for c in CONDITIONS if c.classes & shown]
    condition = draw(st.sampled_from([None, None, *fitting]))
    masks = [mask for mask in _MASKS if mask[0] in shown]
    chosen = draw(st.sampled_from([(), *((mask,) for mask in masks)]))
    rate, sets = draw(st.sampled_from(_RATES)), draw(st.sampled_from(_SETS))
    return Question(classes, condition, chosen, rate, sets)


def random_question(rng: random.Random) -> Question:
    classes = rng.choice(_ASKED)
    shown = CLASSES if classes == ("*",) else frozenset(classes)
    fitting = [c for c in CONDITIONS if c.classes & shown]
    condition = rng.choice(fitting) if rng.random() < 0.5 else None
    masks = [mask for mask in _MASKS if mask[0] in shown]
    chosen = (rng.choice(masks),) if masks and rng.random() < 0.4 else ()
    return Question(classes, condition, chosen, rng.choice(_RATES), rng.choice(_SETS))


rights = st.sampled_from([EVERYTHING, *RIGHTS])

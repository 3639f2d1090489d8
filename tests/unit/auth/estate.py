"""A small pool to judge rights on, and grants in one line each."""

import json
from collections.abc import Iterable

from xoproxy.auth.grants import EVERYTHING, Grant, Kind, Rights, Scope
from xoproxy.auth.permissions import BUILT_IN, Role
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import Leave, View, changes_between, eyes_at, look_at_all
from xoproxy.model import Entry, PoolId, Ref, Upsert, XapiClass

POOL = PoolId("p")
NULL = "OpaqueRef:NULL"


def ref(name: str) -> Ref:
    return Ref(f"OpaqueRef:{name}")


def upsert(cls: str, name: str, **fields: object) -> Upsert:
    record = {"uuid": f"uuid-{name}", **fields}
    return Upsert(XapiClass(cls), ref(name), json.dumps(record).encode())


def commit(store: Store, *events: Upsert) -> list:
    prepared = store.prepare(events)
    while prepared.step():
        pass
    return list(store.commit(prepared, 0.0).changes)


def estate() -> Store:
    """Two VMs with a disk each and one that they share; a host; messages about both VMs."""
    store = Store(POOL, "epoch")
    commit(
        store,
        upsert("VM", "a", tags=["prod"], power_state="Running", resident_on=ref("host")),
        upsert("VM", "b", tags=["test"], power_state="Halted", resident_on=NULL),
        upsert("VM", "a-then", tags=[], power_state="Halted", snapshot_of=ref("a")),
        upsert("VBD", "a-disk", VM=ref("a"), VDI=ref("of-a")),
        upsert("VBD", "b-disk", VM=ref("b"), VDI=ref("of-b")),
        upsert("VBD", "a-shared", VM=ref("a"), VDI=ref("shared")),
        upsert("VBD", "b-shared", VM=ref("b"), VDI=ref("shared")),
        upsert("VDI", "of-a", VBDs=[ref("a-disk")], tags=[]),
        upsert("VDI", "of-b", VBDs=[ref("b-disk")], tags=[]),
        upsert("VDI", "shared", VBDs=[ref("a-shared"), ref("b-shared")], tags=[]),
        upsert("host", "host", tags=["rack"], other_config={"iscsi_password": "x", "k": "v"}),
        upsert("PBD", "pbd", host=ref("host"), device_config={"chapuser": "u"}),
        upsert("message", "said-of-a", obj_uuid="uuid-a"),
        upsert("message", "said-of-b", obj_uuid="uuid-b"),
        upsert("network", "net", tags=[]),
    )
    store.classes = frozenset(entry_cls for entry_cls in store.by_class.classes())
    for _ in store.index_references():
        pass
    return store


OF_A = {"a", "a-then", "a-disk", "a-shared", "of-a", "shared", "said-of-a"}
OF_B = {"b", "b-disk", "b-shared", "of-b", "shared", "said-of-b"}
THE_REST = {"host", "pbd", "net"}


def pool(name: str) -> Scope:
    return Scope(Kind.POOL, PoolId(name))


def machine(name: str) -> Scope:
    return Scope(Kind.OBJECT, POOL, f"uuid-{name}")


def tag(text: str) -> Scope:
    return Scope(Kind.TAG, value=text)


def given(scope: Scope = EVERYTHING, role: str | Role = "viewer") -> Grant:
    made = role if isinstance(role, Role) else BUILT_IN[role]
    return Grant(f"+{scope}", "user bob", made, scope)


def denied(scope: Scope = EVERYTHING, role: str | Role = "viewer") -> Grant:
    made = role if isinstance(role, Role) else BUILT_IN[role]
    return Grant(f"-{scope}", "user bob", made, scope, deny=True)


def entry(store: Store, name: str) -> Entry:
    found = State(store, store.seq).get(ref(name))
    assert found is not None
    return found


def rights(*grants: Grant) -> Rights:
    return Rights(grants)


def names(refs: Iterable[str]) -> set[str]:
    return {text.removeprefix("OpaqueRef:") for text in refs}


def view_of(store: Store, held: Rights) -> View | None:
    visibility = held.visibility(store.pool)
    if visibility is None:
        return None
    return View(tuple(sorted(store.classes)), None, (), visibility)


def seen(store: Store, held: Rights) -> set[str]:
    """Name what somebody is shown."""
    view = view_of(store, held)
    if view is None:
        return set()
    found = look_at_all(eyes_at(view, store, store.seq))
    return names(entry.ref for entry, _ in filter(None, found))


def shown(store: Store, held: Rights, name: str) -> dict:
    """Return a record as somebody is shown it."""
    view = view_of(store, held)
    assert view is not None
    fields = eyes_at(view, store, store.seq).look(entry(store, name))
    assert fields is not None
    return {field: json.loads(bytes(raw)) for field, raw in fields.items()}


def told(store: Store, held: Rights, *events: Upsert) -> set[str]:
    """Change the pool; name what looks different to somebody."""
    view = view_of(store, held)
    assert view is not None
    before = eyes_at(view, store, store.seq)
    changes = commit(store, *events)
    after = eyes_at(view, store, store.seq)
    said = [change for change in changes_between(before, after, changes) if change is not None]
    found = {change.key if isinstance(change, Leave) else change.entry.key for change in said}
    entries = (e for cls in store.classes for e in store.entries(cls))
    return names(e.ref for e in entries if e.key in found)

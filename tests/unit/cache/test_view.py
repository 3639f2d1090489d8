"""What a view shows of an object, and what it makes of a change.

Whole histories, at random, are in tests/properties/test_replica.py.
"""

import json

import msgspec
import pytest

from tests.properties.world import RIGHTS, Tagged
from xoproxy.cache.fields import FieldPath, Mask, field_path
from xoproxy.cache.filter import parse_filter
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import (
    Enter,
    Everything,
    Eyes,
    Leave,
    Update,
    View,
    changes_between,
    eyes_at,
    look_at_all,
)
from xoproxy.model import Key, PoolId, Ref, Removal, Upsert, XapiClass

VM, VBD, VDI, HOST = map(XapiClass, ["VM", "VBD", "VDI", "host"])
RED = Tagged(frozenset({"red"}))


def ref(name):
    return Ref(f"OpaqueRef:{name}")


def upsert(name, cls=VM, **fields):
    return Upsert(cls, ref(name), json.dumps(fields).encode())


def commit(store, *events):
    prepared = store.prepare(events)
    while prepared.step():
        pass
    return store.commit(prepared, 0)


def view(*classes, text=None, masks=(), rights=None):
    classes = classes or (VM,)
    expression = parse_filter(text, classes) if text else None
    frozen = tuple(
        (cls, Mask.of(field_path(n, cls) if "." in n else FieldPath(n) for n in names))
        for cls, names in masks
    )
    return View(tuple(sorted(classes)), expression, frozen, rights or Everything())


def plain(fields):
    return {name: json.loads(bytes(value)) for name, value in fields.items()}


def indexed(*events):
    store = Store(PoolId("p"), "epoch")
    commit(store, *events)
    for _ in store.index_references():
        pass
    return store


def shown(store, a_view):
    found = look_at_all(eyes_at(a_view, store, store.seq))
    return {entry.ref.removeprefix("OpaqueRef:"): plain(f) for entry, f in filter(None, found)}


def step(store, a_view, *events):
    """Commit; return what it means to the view, in plain words."""
    before = eyes_at(a_view, store, store.seq)
    changes = commit(store, *events).changes
    after = eyes_at(a_view, store, store.seq)
    said: list[tuple] = []
    for change in filter(None, changes_between(before, after, changes)):
        match change:
            case Enter(entry, fields):
                said.append(("enter", entry.key, plain(fields)))
            case Update(entry, old, new):
                said.append(("update", entry.key, plain(old), plain(new)))
            case Leave(cls, key):
                said.append(("leave", cls, key))
    return said


class TestLook:
    def test_an_administrator_sees_records_as_they_are(self):
        store = indexed(upsert("a", on=ref("nowhere"), other_config={"secret": ref("b")}))
        assert shown(store, view()) == {
            "a": {"on": "OpaqueRef:nowhere", "other_config": {"secret": "OpaqueRef:b"}}
        }

    def test_only_the_classes_asked_for(self):
        store = indexed(upsert("a"), upsert("h", HOST), upsert("s", XapiClass("SR")))
        assert set(shown(store, view(VM, HOST))) == {"a", "h"}

    def test_a_mask_takes_fields_of_its_class_only(self):
        store = indexed(upsert("a", x=1, y=2), upsert("h", HOST, x=1, y=2))
        assert shown(store, view(VM, HOST, masks=[(VM, ["x", "z"])])) == {
            "a": {"x": 1},
            "h": {"x": 1, "y": 2},
        }

    def test_a_filter_reads_fields_that_the_mask_leaves_out(self):
        store = indexed(upsert("a", power_state="Running"), upsert("b", power_state="Halted"))
        a_view = view(text="power_state:Running", masks=[(VM, [])])
        assert shown(store, a_view) == {"a": {}}

    def test_hidden_objects_fields_and_keys_are_absent(self):
        store = indexed(
            upsert("a", tags=["red"], name_description="x", other_config={"secret": 1, "k": 2}),
            upsert("b", tags=["blue"]),
        )
        assert shown(store, view(rights=RED)) == {"a": {"tags": ["red"], "other_config": {"k": 2}}}

    def test_a_hidden_field_cannot_be_found_by_a_filter(self):
        store = indexed(
            upsert("a", tags=["red"], name_description="x", other_config={"secret": "1"})
        )
        for text in ("name_description:x", "other_config.secret:1", "other_config:secret"):
            assert shown(store, view(text=text)) != {}
            assert shown(store, view(text=text, rights=RED)) == {}
            assert shown(store, view(text=f"!{text}", rights=RED)) != {}


class TestReferences:
    """To objects outside the rights: NULL when single, left out of sets and map keys."""

    @pytest.fixture
    def store(self):
        return indexed(
            upsert(
                "a",
                tags=["red"],
                snapshot_of=ref("b"),
                parent=ref("a"),
                affinity=ref("nowhere"),
                suspend_VDI="OpaqueRef:NULL",
                snapshots=[ref("b"), ref("a"), ref("nowhere"), "OpaqueRef:NULL"],
                blobs={"x": ref("b"), ref("b"): "y", ref("a"): ref("a")},
                deep=[[ref("b")], {"in": {"side": ref("b")}}],
                result=f"<value>{ref('b')}</value> and {ref('a')}",
            ),
            upsert("b", tags=["blue"]),
        )

    def test_are_cut(self, store):
        assert shown(store, view(rights=RED))["a"] == {
            "tags": ["red"],
            "snapshot_of": "OpaqueRef:NULL",
            "parent": "OpaqueRef:a",
            "affinity": "OpaqueRef:NULL",
            "suspend_VDI": "OpaqueRef:NULL",
            "snapshots": ["OpaqueRef:a", "OpaqueRef:NULL"],
            "blobs": {"x": "OpaqueRef:NULL", "OpaqueRef:a": "OpaqueRef:a"},
            "deep": [[], {"in": {"side": "OpaqueRef:NULL"}}],
            "result": "<value>OpaqueRef:NULL</value> and OpaqueRef:a",
        }

    def test_are_cut_where_they_stand_inside_a_map_key(self):
        keys = {f"host_{ref('b')}": "RW", f"host_{ref('a')}": "RO"}
        store = indexed(upsert("a", tags=["red"], sm_config=keys), upsert("b"))
        assert shown(store, view(rights=RED))["a"]["sm_config"] == {"host_OpaqueRef:a": "RO"}

    def test_and_secrets_are_cut_however_deep_a_map_stands(self):
        deep = [{"in": {"my_secret": "x", "k": "v"}}]
        store = indexed(upsert("a", tags=["red"], unheard_of=deep, other_config={"secret": "x"}))
        assert shown(store, view(rights=RED))["a"] == {
            "tags": ["red"],
            "unheard_of": [{"in": {"k": "v"}}],
            "other_config": {},
        }

    def test_what_needs_no_cutting_keeps_its_bytes(self):
        raw = b'{"tags":["red"],"n":1.50,"text":"\\u00e9","on":"OpaqueRef:a"}'
        store = indexed(Upsert(VM, ref("a"), raw))
        ((_, fields),) = filter(None, look_at_all(eyes_at(view(rights=RED), store, 1)))
        assert [bytes(value) for value in fields.values()] == [
            b'["red"]',
            b"1.50",
            b'"\\u00e9"',
            b'"OpaqueRef:a"',
        ]

    def test_change_when_the_target_comes_into_sight_or_leaves_it(self, store):
        said = step(store, view(rights=RED), upsert("b", tags=["red"]))
        assert ("enter", "1", {"tags": ["red"]}) in said
        (update,) = [s for s in said if s[0] == "update"]
        assert update[1] == "0"
        assert update[2]["snapshot_of"] == "OpaqueRef:NULL"
        assert update[3]["snapshot_of"] == "OpaqueRef:b"

        said = step(store, view(rights=RED), Removal(ref("b")))
        assert ("leave", VM, "1") in said
        (update,) = [s for s in said if s[0] == "update"]
        assert update[3]["snapshots"] == ["OpaqueRef:a", "OpaqueRef:NULL"]


class TestChanges:
    @pytest.fixture
    def store(self):
        return indexed(
            upsert("a", power_state="Running", n=1, tags=["red"]),
            upsert("b", power_state="Halted", n=1, tags=["blue"]),
            upsert("h", HOST, enabled=True),
        )

    def test_of_another_class_are_nothing(self, store):
        assert step(store, view(), upsert("h", HOST, enabled=False)) == []

    def test_show_the_changed_fields_only(self, store):
        said = step(store, view(), upsert("a", power_state="Running", n=2, tags=["red"]))
        assert said == [("update", "0", {"n": 1}, {"n": 2})]

    def test_of_fields_that_are_masked_or_hidden_are_nothing(self, store):
        a_view = view(masks=[(VM, ["power_state"])])
        change = upsert("a", power_state="Running", n=2, tags=["red"])
        assert step(store, a_view, change) == []
        change = upsert("a", power_state="Running", n=2, tags=["red"], name_description="x")
        assert step(store, view(rights=RED), change) == []

    def test_of_objects_outside_the_rights_are_nothing(self, store):
        change = upsert("b", power_state="Running", n=2, tags=["blue"])
        assert step(store, view(rights=RED), change) == []
        assert step(store, view(rights=RED), Removal(ref("b"))) == []

    def test_into_and_out_of_the_filter(self, store):
        a_view = view(text="power_state:Running")
        said = step(
            store,
            a_view,
            upsert("a", power_state="Halted", n=1, tags=["red"]),
            upsert("b", power_state="Running", n=1, tags=["blue"]),
        )
        assert said == [
            ("leave", VM, "0"),
            ("enter", "1", {"power_state": "Running", "n": 1, "tags": ["blue"]}),
        ]
        assert step(store, a_view, Removal(ref("a"))) == []

    def test_into_and_out_of_the_rights_are_full_objects_too(self, store):
        said = step(
            store,
            view(rights=RED),
            upsert("a", power_state="Running", n=1, tags=[]),
            upsert("b", power_state="Halted", n=1, tags=["red"]),
        )
        assert sorted(said, key=str) == [
            ("enter", "1", {"power_state": "Halted", "n": 1, "tags": ["red"]}),
            ("leave", VM, "0"),
        ]

    def test_through_a_reference_that_a_filter_follows(self, store):
        commit(store, upsert("a", resident_on=ref("h")))
        said = step(store, view(text="resident_on.enabled:true"), upsert("h", HOST, enabled=False))
        assert said == [("leave", VM, "0")]

    def test_of_what_belongs_to_an_object_that_comes_into_sight(self, store):
        commit(
            store,
            upsert("d", VBD, VM=ref("b"), VDI=ref("i")),
            upsert("i", VDI, VBDs=[ref("d")], tags=[]),
        )
        said = step(store, view(VBD, VDI, rights=RED), upsert("b", tags=["red"]))
        assert sorted(said, key=str) == [
            ("enter", "3", {"VM": "OpaqueRef:b", "VDI": "OpaqueRef:i"}),
            ("enter", "4", {"VBDs": ["OpaqueRef:d"], "tags": []}),
        ]

    def test_back_and_forth_between_two_positions_show_nothing(self, store):
        before = eyes_at(view(), store, store.seq)
        changes = list(commit(store, upsert("a", power_state="Paused", n=1, tags=["red"])).changes)
        changes += commit(store, upsert("a", power_state="Running", n=1, tags=["red"])).changes
        after = eyes_at(view(), store, store.seq)
        (update,) = filter(None, changes_between(before, after, changes))
        assert isinstance(update, Update)
        assert plain(update.before) == plain(update.after) == {"power_state": "Running"}


class TestView:
    def test_equal_views_are_one(self):
        masks = [(VM, ["x", "y"])]
        assert view(VM, HOST, text="tags:a  | tags:b", masks=masks) == view(
            HOST, VM, text="tags:a|tags:b", masks=[(VM, ["y", "x"])]
        )
        assert hash(view(rights=RIGHTS[1])) == hash(view(rights=Tagged(frozenset({"red"}))))

    def test_views_differ_by_each_part(self):
        views = {
            view(),
            view(HOST),
            view(text="tags:a"),
            view(masks=[(VM, [])]),
            view(rights=RED),
        }
        assert len(views) == 5

    def test_what_a_view_must_look_at(self):
        assert (view().shows_all, view().needs_references) == (True, False)
        filtered = view(text="tags:a")
        assert (filtered.shows_all, filtered.needs_references) == (False, False)
        following = view(text="resident_on.enabled:true")
        assert (following.shows_all, following.needs_references) == (False, True)
        restricted = view(rights=RED)
        assert (restricted.shows_all, restricted.needs_references) == (False, True)

    def test_eyes_remember_what_they_saw(self):
        calls = []

        class Counting(Tagged):
            def sees(self, state, entry):
                calls.append(entry.ref)
                return super().sees(state, entry)

        store = indexed(upsert("a", tags=["red"]))
        eyes = Eyes(view(rights=Counting(frozenset({"red"}))), State(store, 1))
        assert eyes.sees(ref("a"))
        assert eyes.sees(ref("a"))
        assert not eyes.sees(ref("nowhere"))
        assert calls == [ref("a")]


def test_keys_are_those_of_the_store():
    store = indexed(upsert("a"))
    assert step(store, view(), Removal(ref("a"))) == [("leave", VM, Key("0"))]
    assert step(store, view(), upsert("a")) == [("enter", Key("1"), {})]
    assert msgspec.json.decode(store.get(ref("a")).raw) == {}

"""What one view's frames hold, and when it moves."""

import json

import pytest

from tests.unit.sessions.wire import HOST, SECRET, VM, removal, upsert
from xoproxy.cache.journal import Expired, JournalBudget
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything, View
from xoproxy.model import Key, PoolId
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.group import Group
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import TokenSigner, view_hash
from xoproxy.ws.frames import SharedFraming


class Desk:
    """A pool and one group on it."""

    def __init__(self, *first, query=None, budget=None, **sizes):
        self.store = Store(PoolId("p"), "epoch", budget)
        self.store.classes = frozenset({VM, HOST})
        self.commit(*first)
        parsed = parse_query(query or {"classes": ["VM"]})
        view = View(
            parsed.for_classes(self.store.classes), parsed.filter, parsed.masks, Everything()
        )
        self.routing = Routing(self.store)
        hash_ = view_hash(parsed.view_key, "everything", view.classes)
        self.signer = TokenSigner(SECRET)
        self.group = Group(
            7, self.routing, view, hash_, Codec.JSON, SharedFraming(), self.signer, **sizes
        )
        self.routing.add(self.group)

    def commit(self, *events):
        prepared = self.store.prepare(events)
        while prepared.step():
            pass
        batch = self.store.commit(prepared, self.store.seq)
        if batch.changes and hasattr(self, "group"):
            self.routing.committed(batch)

    def advance(self):
        self.route()
        for _ in self.group.advance():
            pass

    def route(self):
        """Have what was committed touch the group, if it concerns it."""
        for _ in self.routing.route({}):
            pass

    def patch(self, *events):
        """Commit, and return the operations of the patch; None when the group did not move."""
        before = self.group.position
        self.commit(*events)
        self.advance()
        if self.group.position == before:
            return None
        (message,) = read(self.group.patch_from(before))
        assert (message["from"], message["to"]) == (before, self.group.position)
        return message["ops"]


def read(delivery):
    """Complete a delivery; return its messages."""
    while delivery.work is not None:
        delivery.step()
    return [json.loads(frame.payload) for frame in delivery.frames]


def vm(name, **fields):
    return upsert(name, **{"name_label": name, "power_state": "Running", **fields})


MANY_FIELDS = {f"field_{letter}": f"value {letter}" for letter in "abcdefghij"}


class TestNewsOfSeveralStretches:
    """A paced view reads late; what concerned it was judged for each stretch for itself."""

    @pytest.fixture
    def desk(self):
        query = {"classes": ["VM"], "filter": "power_state:Running"}
        return Desk(vm("a"), vm("b"), query=query)

    def told(self, desk, *stretches):
        before = desk.group.position
        for events in stretches:
            desk.commit(*events)
            desk.route()
        desk.advance()
        (message,) = read(desk.group.patch_from(before))
        return message["ops"]

    def test_what_changed_out_of_sight_is_told_when_it_comes_back(self, desk):
        ops = self.told(
            desk,
            [vm("a", power_state="Halted")],
            [vm("a", power_state="Halted", name_label="renamed")],
            [vm("a", name_label="renamed")],
        )
        assert ops == [{"op": "replace", "path": "/VM/0/name_label", "value": "renamed"}]

    def test_what_came_again_out_of_sight_comes_under_its_new_key(self, desk):
        ops = self.told(
            desk, [removal("a")], [vm("a", power_state="Halted")], [vm("a", power_state="Running")]
        )
        assert [(op["op"], op["path"]) for op in ops] == [("remove", "/VM/0"), ("add", "/VM/2")]


class TestPatch:
    def test_few_operations_are_sent_as_they_are(self):
        desk = Desk(vm("a", **MANY_FIELDS))
        ops = desk.patch(vm("a", **MANY_FIELDS | {"field_a": "x"}))
        assert ops == [{"op": "replace", "path": "/VM/0/field_a", "value": "x"}]

    def test_many_on_one_object_give_way_to_the_record(self):
        desk = Desk(vm("a", **MANY_FIELDS))
        changed = MANY_FIELDS | dict.fromkeys(list(MANY_FIELDS)[:8], "x")
        assert desk.patch(vm("a", **changed)) == [
            {
                "op": "replace",
                "path": "/VM/0",
                "value": {
                    "$ref": "OpaqueRef:a",
                    "name_label": "a",
                    "power_state": "Running",
                    **changed,
                },
            }
        ]

    def test_but_not_while_they_are_shorter_than_six_tenths_of_it(self):
        desk = Desk(vm("a", **MANY_FIELDS, text="x" * 1_000))
        changed = MANY_FIELDS | dict.fromkeys(list(MANY_FIELDS)[:8], "x")
        ops = desk.patch(vm("a", **changed, text="x" * 1_000))
        assert len(ops) == 8

    def test_the_record_is_measured_as_the_view_shows_it(self):
        fields = ["VCPUs_max", "start_delay", "order", "user_version"]
        desk = Desk(
            vm("a", **dict.fromkeys(fields, 1), text="x" * 1_000),
            query={"classes": ["VM"], "fields": {"VM": fields}},
        )
        ops = desk.patch(vm("a", **dict.fromkeys(fields, 2), text="x" * 1_000))
        assert ops == [
            {
                "op": "replace",
                "path": "/VM/0",
                "value": {"$ref": "OpaqueRef:a", **dict.fromkeys(fields, 2)},
            }
        ]

    def test_map_keys_are_single_operations_with_escaped_paths(self):
        desk = Desk(vm("a", other_config={"a/b": "1", "~": "2", "": "3"}))
        ops = desk.patch(vm("a", other_config={"a/b": "x", "": "3", "new": "4"}))
        assert ops == [
            {"op": "replace", "path": "/VM/0/other_config/a~1b", "value": "x"},
            {"op": "remove", "path": "/VM/0/other_config/~0"},
            {"op": "add", "path": "/VM/0/other_config/new", "value": "4"},
        ]

    def test_sets_are_replaced_whole(self):
        desk = Desk(vm("a", tags=["x", "y"]))
        assert desk.patch(vm("a", tags=["y"])) == [
            {"op": "replace", "path": "/VM/0/tags", "value": ["y"]}
        ]

    def test_a_field_that_appears_or_goes(self):
        desk = Desk(vm("a", old=1))
        assert desk.patch(vm("a", new=None)) == [
            {"op": "remove", "path": "/VM/0/old"},
            {"op": "add", "path": "/VM/0/new", "value": None},
        ]

    def test_one_that_is_deleted_and_added_again_is_another(self):
        desk = Desk(vm("a"))
        desk.commit(removal("a"))
        assert desk.patch(vm("a")) == [
            {"op": "remove", "path": "/VM/0"},
            {
                "op": "add",
                "path": "/VM/1",
                "value": {"$ref": "OpaqueRef:a", "name_label": "a", "power_state": "Running"},
            },
        ]

    def test_an_object_that_comes_to_match_is_added_and_one_that_ceases_to_is_removed(self):
        desk = Desk(
            vm("a"),
            vm("b", power_state="Halted"),
            query={
                "classes": ["VM"],
                "filter": "power_state:Running",
                "fields": {"VM": ["name_label"]},
            },
        )
        assert desk.patch(vm("a", power_state="Halted"), vm("b")) == [
            {"op": "remove", "path": "/VM/0"},
            {
                "op": "add",
                "path": "/VM/1",
                "value": {"$ref": "OpaqueRef:b", "name_label": "b"},
            },
        ]
        assert desk.patch(vm("a", power_state="Paused")) is None

    def test_what_the_mask_leaves_out_does_not_move_the_view(self):
        desk = Desk(vm("a"), query={"classes": ["VM"], "fields": {"VM": ["name_label"]}})
        assert desk.patch(vm("a", power_state="Halted")) is None
        assert (desk.group.position, desk.group.scanned) == (1, 2)

    def test_from_any_position_is_built_once(self):
        desk = Desk(vm("a"))
        for label in "xyz":
            desk.patch(vm("a", name_label=label))
        delivery = desk.group.patch_from(2)
        assert delivery is desk.group.patch_from(2)
        (message,) = read(delivery)
        assert (message["from"], message["to"]) == (2, 4)

    def test_only_some_are_remembered(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.group._PATCHES_KEPT", 2)
        desk = Desk(vm("a"))
        for label in "uvwxyz":
            desk.patch(vm("a", name_label=label))
        deliveries = [desk.group.patch_from(seq) for seq in range(1, 6)]
        assert len(desk.group._patches) == 2
        assert [read(d)[0]["from"] for d in deliveries] == [1, 2, 3, 4, 5]

    def test_beyond_the_history_is_refused(self):
        desk = Desk(vm("a"))
        desk.patch(vm("a", name_label="x"))
        desk.patch(vm("a", name_label="y"))
        desk.store.journal.drop_oldest()
        with pytest.raises(Expired):
            desk.group.patch_from(1)


class TestAdvance:
    def test_goes_as_far_as_the_pool_was_when_it_began(self, monkeypatch):
        """What is committed meanwhile is for the next time."""
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        desk = Desk(vm("a"), vm("b"))
        desk.commit(vm("a", name_label="x"), vm("b", name_label="x"))
        desk.route()
        steps = desk.group.advance()
        next(steps)
        desk.commit(vm("a", name_label="y"))
        for _ in steps:
            pass

        (message,) = read(desk.group.patch_from(2))
        assert (message["from"], message["to"]) == (2, 4)
        assert [op["value"] for op in message["ops"]] == ["x", "x"]
        assert [op["value"] for op in desk.patch()] == ["y"]
        assert not desk.group.is_dirty

    def test_shows_the_past_of_what_changes_meanwhile(self, monkeypatch):
        """An object of the batch is removed before its turn: the patch still shows it."""
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        monkeypatch.setattr("xoproxy.cache.view._SLICE", 1)
        desk = Desk(vm("z"))
        desk.commit(vm("a"), vm("b"))
        desk.route()
        steps = desk.group.advance()
        next(steps)
        desk.commit(removal("b"), vm("a", name_label="x"))
        for _ in steps:
            pass
        (message,) = read(desk.group.patch_from(1))
        assert [op["value"]["name_label"] for op in message["ops"]] == ["a", "b"]

    @pytest.mark.parametrize("expired", [False, True])
    def test_gives_up_when_the_view_begins_again_meanwhile(self, monkeypatch, expired):
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        budget = JournalBudget()
        desk = Desk(vm("a"), vm("b"), budget=budget)
        desk.commit(vm("a", name_label="x"), vm("b", name_label="x"))
        desk.route()
        steps = desk.group.advance()
        next(steps)
        if expired:
            budget.pool_bytes = 0
        desk.commit(vm("a", name_label="y"))
        desk.group.restart()
        position = desk.group.position
        for _ in steps:
            pass
        assert (desk.group.position, desk.group.scanned) == (position, position) == (5, 5)

    def test_says_when_the_history_is_gone(self):
        budget = JournalBudget(pool_bytes=0)
        desk = Desk(vm("a"), budget=budget)
        desk.commit(vm("a", name_label="x"))
        with pytest.raises(Expired):
            desk.advance()
        with pytest.raises(Expired):
            desk.group.snapshot()
        desk.group.restart()
        assert read(desk.group.snapshot())[0]["seq"] == 2

    def test_moves_to_a_position_that_somebody_was_told(self):
        desk = Desk(vm("a"))
        desk.commit(upsert("h", HOST))
        desk.group.must_reach = 2
        desk.advance()
        (message,) = read(desk.group.patch_from(1))
        assert (message["from"], message["to"], message["ops"]) == (1, 2, [])
        desk.commit(upsert("h", HOST, x=1))
        desk.advance()
        assert (desk.group.position, desk.group.scanned) == (2, 3)


class TestSnapshot:
    def test_is_columnar_with_one_class_and_one_field_list_a_message(self):
        desk = Desk(
            vm("a"),
            upsert("b", name_label="b"),
            upsert("h", HOST, name_label="h"),
            vm("c"),
            query={"classes": ["VM", "host"]},
        )
        *snapshots, bookmark = read(desk.group.snapshot())
        assert [(m["class"], m["fields"], m["keys"], m["last"]) for m in snapshots] == [
            ("VM", ["$ref", "name_label", "power_state"], ["0"], False),
            ("VM", ["$ref", "name_label"], ["1"], False),
            ("VM", ["$ref", "name_label", "power_state"], ["3"], False),
            ("host", ["$ref", "name_label"], ["2"], True),
        ]
        assert (bookmark["type"], bookmark["seq"]) == ("bookmark", 4)

    def test_messages_keep_to_the_chunk_unless_one_row_is_larger(self):
        texts = [10, 10, 10, 500, 10, 10]
        desk = Desk(
            *(upsert(f"n{n}", x="x" * size) for n, size in enumerate(texts)), chunk_bytes=100
        )
        *snapshots, _ = read(desk.group.snapshot())
        assert [len(m["rows"]) for m in snapshots] == [3, 1, 2]

    def test_is_pinned_and_shared(self):
        desk = Desk(vm("a"))
        assert desk.group.snapshot() is desk.group.snapshot()
        desk.commit(removal("a"))
        *snapshots, _ = read(desk.group.snapshot())
        assert [m["rows"] for m in snapshots] == [[["OpaqueRef:a", "a", "Running"]]]

    def test_is_another_one_after_the_view_moved(self):
        desk = Desk(vm("a"))
        first = desk.group.snapshot()
        desk.patch(vm("b"))
        assert desk.group.snapshot() is not first

    def test_of_a_long_past_is_what_was_there(self):
        desk = Desk(vm("a"), vm("b"))
        for number in range(300):
            desk.commit(
                vm("a", name_label=f"x{number}"), removal(f"n{number - 1}"), vm(f"n{number}")
            )
        *snapshots, _ = read(desk.group.snapshot())
        assert [row for m in snapshots for row in m["rows"]] == [
            ["OpaqueRef:b", "b", "Running"],
            ["OpaqueRef:a", "a", "Running"],
        ]


class TestBookmark:
    def test_stands_at_the_position_and_its_token_at_what_was_read(self):
        desk = Desk(vm("a"))
        desk.commit(upsert("h", HOST))
        desk.advance()
        bookmark = json.loads(desk.group.bookmark().payload)
        assert bookmark["seq"] == 1
        verified = desk.signer.verify(bookmark["resume"])
        assert verified is not None
        cursor, pool, view = verified
        assert (cursor.epoch, cursor.seq, pool, view) == ("epoch", 2, "p", desk.group.view_hash)

    def test_is_the_same_frame_until_something_was_read(self):
        desk = Desk(vm("a"))
        first = desk.group.bookmark()
        assert desk.group.bookmark() is first
        desk.commit(vm("a", power_state="Halted"))
        assert desk.group.bookmark() is first
        desk.advance()
        assert desk.group.bookmark() is not first

    def test_goes_on_with_what_does_not_concern_the_view(self):
        desk = Desk(vm("a"))
        first = desk.group.bookmark()
        desk.commit(upsert("h", HOST))
        assert desk.group.bookmark() is not first


def test_a_change_elsewhere_is_no_change_here():
    desk = Desk(vm("a"), vm("b"))
    desk.commit(vm("b", name_label="x"))
    assert not desk.group.has_changed(Key("0"), 2)
    assert desk.group.has_changed(Key("1"), 2)

"""Which groups read a change, and which are left alone."""

import pytest

from tests.unit.sessions.wire import HOST, VM, removal, upsert
from tests.unit.sessions.wire import ref as reference
from xoproxy.auth.grants import Reach, Sight
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything, View
from xoproxy.model import PoolId, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.group import Group
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import TokenSigner, view_hash
from xoproxy.sessions.view_writer import ViewWriter
from xoproxy.ws.frames import SharedFraming

VBD, METRICS, MESSAGE, TASK = map(XapiClass, ["VBD", "VM_metrics", "message", "task"])
CLASSES = frozenset({VM, HOST, VBD, METRICS, MESSAGE, TASK})
ALL = ["VM", "host", "VBD", "VM_metrics", "message", "task"]
RED = Sight(Reach(tags=frozenset({"red"})))


class Desk:
    """A pool and groups on it."""

    def __init__(self, *first, budget=None):
        self.store = Store(PoolId("p"), "epoch", budget)
        self.store.classes = CLASSES
        self.routing = Routing(self.store)
        self._commit(first)
        self.routing.loaded()

    def group(self, text=None, classes=("VM",), rights=None):
        query = parse_query({"classes": list(classes)} | ({"filter": text} if text else {}))
        rights = rights or Everything()
        view = View(query.for_classes(CLASSES), query.filter, query.masks, rights)
        hash_ = view_hash(query.view_key, rights.scope, view.classes)
        signer = TokenSigner(b"k" * 32)
        group = Group(1, self.routing, view, hash_, Codec.JSON, SharedFraming(), signer)
        self.routing.add(group)
        return group

    def _commit(self, events):
        prepared = self.store.prepare(events)
        while prepared.step():
            pass
        return self.store.commit(prepared, self.store.seq)

    def commit(self, *events):
        self.routing.committed(self._commit(events))

    def route(self):
        touched: dict[Group, None] = {}
        for _ in self.routing.route(touched):
            pass
        self.routing.rest()
        for group in touched:
            for _ in group.advance():
                pass
        assert self.routing.seq == self.store.seq
        return set(touched)

    def touched(self, *events):
        self.commit(*events)
        return self.route()


def vm(name="a", **fields):
    return upsert(name, uuid=f"uuid-{name}", **fields)


class TestFilters:
    def test_a_change_is_read_by_those_whose_terms_hold_before_or_after(self):
        desk = Desk(vm("a", tags=["red"], power_state="Running"), vm("b", tags=["blue"]))
        red, blue = desk.group("tags:red"), desk.group("tags:blue")
        green = desk.group("tags:green power_state:Running")
        assert desk.touched(vm("a", tags=["red"], power_state="Halted")) == {red}
        assert desk.touched(vm("a", tags=["blue"], power_state="Halted")) == {red, blue}
        assert desk.touched(removal("a")) == {blue}
        assert desk.touched(vm("a", tags=["green"])) == {green}

    @pytest.mark.parametrize("text", ["tags:(red | blue)", "uuid:uuid-a tags:red | tags:blue"])
    def test_every_branch_counts(self, text):
        desk = Desk(vm("a", tags=["red"]), vm("b", tags=["blue"]), vm("c", tags=["green"]))
        group = desk.group(text)
        assert desk.touched(vm("a", tags=["red"], x=1)) == {group}
        assert desk.touched(vm("b", tags=["blue"], x=1)) == {group}
        assert desk.touched(vm("c", tags=["green"], x=1)) == set()

    @pytest.mark.parametrize("text", ["!tags:red", "name_label:web", "web", "tags:red | web"])
    def test_what_makes_no_terms_reads_every_change_of_its_classes(self, text):
        desk = Desk(vm("a"))
        group = desk.group(text)
        assert desk.touched(vm("a", x=1)) == {group}
        assert desk.touched(upsert("h", HOST, x=1)) == set()

    def test_a_class_for_which_the_filter_is_never_true_is_not_read(self):
        desk = Desk(vm("a", power_state="Running"))
        group = desk.group("power_state:Running", ["VM", "host"])
        assert desk.touched(upsert("h", HOST, name_label="x")) == set()
        assert desk.touched(vm("a", power_state="Running", x=1)) == {group}

    def test_a_filter_that_follows_reads_changes_of_the_field_that_it_follows_to(self):
        desk = Desk(vm("a", resident_on=reference("h")), upsert("h", HOST, enabled=False))
        group = desk.group("resident_on.enabled:true tags:red")
        assert desk.touched(upsert("h", HOST, enabled=False, name_label="x")) == set()
        assert desk.touched(upsert("h", HOST, enabled=True, name_label="x")) == {group}
        assert desk.touched(removal("h")) == {group}
        assert desk.touched(vm("a", resident_on=reference("h"), x=1)) == set()


class TestRights:
    def test_what_goes_with_an_object_is_found_through_it(self):
        desk = Desk(
            vm("a", tags=["red"], metrics=reference("m")),
            vm("b", tags=["blue"], metrics=reference("n")),
            upsert("m", METRICS, uuid="uuid-m"),
            upsert("n", METRICS, uuid="uuid-n"),
        )
        group = desk.group(classes=ALL, rights=RED)
        assert desk.touched(upsert("m", METRICS, uuid="uuid-m", x=1)) == {group}
        assert desk.touched(upsert("n", METRICS, uuid="uuid-n", x=1)) == set()
        assert desk.touched(upsert("d", VBD, uuid="uuid-d", VM=reference("b"))) == set()
        assert desk.touched(upsert("d", VBD, uuid="uuid-d", VM=reference("a"))) == {group}
        assert desk.touched(upsert("d", VBD, uuid="uuid-d", VM=reference("b"))) == {group}

    def test_a_message_is_found_through_the_uuid_that_it_names(self):
        desk = Desk(vm("a", tags=["red"]), vm("b"))
        group = desk.group(classes=ALL, rights=RED)
        about_b = upsert("m", MESSAGE, uuid="uuid-m", obj_uuid="uuid-b")
        about_a = upsert("m", MESSAGE, uuid="uuid-m", obj_uuid="uuid-a")
        assert desk.touched(about_b) == set()
        assert desk.touched(about_a) == {group}
        assert desk.touched(about_b) == {group}

    def test_a_task_is_found_through_the_object_that_it_works_on(self):
        working = {"current_operations": {reference("t"): "start"}}
        desk = Desk(
            vm("a", tags=["red"], **working), upsert("t", TASK, uuid="uuid-t", progress=0.1)
        )
        group = desk.group(classes=ALL, rights=RED)
        assert desk.touched(upsert("t", TASK, uuid="uuid-t", progress=0.2)) == {group}
        assert desk.touched(vm("a", tags=["red"], current_operations={})) == {group}
        assert desk.touched(upsert("t", TASK, uuid="uuid-t", progress=0.3)) == set()

    def test_who_sees_all_objects_reads_what_his_filter_asks_for_and_what_it_refers_to(self):
        desk = Desk(vm("a", tags=["red"], resident_on=reference("h")), vm("b"))
        group = desk.group("tags:red", rights=Sight(Reach(all=True)))
        assert desk.touched(vm("b", x=1)) == set()
        assert desk.touched(upsert("h", HOST, uuid="uuid-h")) == {group}
        assert desk.touched(upsert("h", HOST, uuid="uuid-h", x=1)) == set()
        assert desk.touched(upsert("i", HOST, uuid="uuid-i")) == set()
        assert desk.touched(removal("h")) == {group}


class TestStretches:
    def test_what_is_between_the_ends_of_a_stretch_concerns_nobody(self):
        desk = Desk(vm("a", tags=["blue"]))
        red, blue = desk.group("tags:red"), desk.group("tags:blue")
        desk.commit(vm("a", tags=["red"]))
        desk.commit(vm("a", tags=["blue"]))
        assert desk.route() == {blue}
        assert red.position == 1

    def test_who_began_in_the_middle_of_a_stretch_reads_the_rest_of_it(self):
        desk = Desk(vm("a", tags=["blue"]))
        desk.group("tags:blue")
        desk.commit(vm("a", tags=["red"]))
        red = desk.group("tags:red")
        desk.commit(vm("a", tags=["blue"]))
        assert red in desk.route()
        assert (red.position, desk.store.seq) == (3, 3)

    def test_who_begins_while_a_stretch_is_routed_is_not_behind(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.routing._SLICE", 1)
        desk = Desk(vm("a", tags=["blue"]), vm("b"))
        desk.group("tags:blue")
        desk.commit(vm("a", tags=["red"]), vm("b", tags=["blue"]))
        steps = desk.routing.route(touched := {})
        next(steps)
        red = desk.group("tags:red")
        desk.commit(vm("a", tags=["blue"]))
        for _ in steps:
            pass
        assert red not in touched
        assert red in desk.route()
        assert red.position == desk.store.seq

    def test_what_changed_while_its_anchor_was_out_of_sight_is_read_when_that_comes_back(self):
        """A paced group reads late; it was not told of the disk, which nobody could see then."""
        disk = upsert("d", VBD, uuid="uuid-d", VM=reference("a"), bootable=False)
        changed = upsert("d", VBD, uuid="uuid-d", VM=reference("a"), bootable=True)
        desk = Desk(vm("a", tags=["red"]), disk)
        group = desk.group(classes=ALL, rights=RED)
        for event in (vm("a", tags=["blue"]), changed, vm("a", tags=["red"])):
            desk.commit(event)
            for _ in desk.routing.route({}):
                pass
        for _ in group.advance():
            pass
        (frame,) = group.patch_from(2).frames
        assert b'"/VBD/1/bootable"' in frame.wire(deflate=False)

    def test_a_group_reads_only_the_changes_that_concern_it(self, monkeypatch):
        desk = Desk(*(vm(f"n{n}", tags=[f"t{n}"]) for n in range(40)))
        group = desk.group("tags:t7")
        read = []
        original = ViewWriter.encode_between

        def encode_between(self, before, after, encoded, news=None):
            read.append(news)
            return original(self, before, after, encoded, news)

        monkeypatch.setattr(ViewWriter, "encode_between", encode_between)
        assert desk.touched(*(vm(f"n{n}", tags=[f"t{n}"], x=1) for n in range(40))) == {group}
        ((change,),) = read
        assert change.ref == reference("n7")

    def test_without_history_all_who_might_be_concerned_are_touched(self):
        desk = Desk(vm("a", tags=["blue"]), budget=JournalBudget(pool_bytes=0))
        red, hosts = desk.group("tags:red"), desk.group(classes=["host"])
        desk.commit(vm("a", tags=["green"]))
        touched: dict[Group, None] = {}
        for _ in desk.routing.route(touched):
            pass
        assert set(touched) == {red}
        assert not hosts.is_dirty

    def test_a_pool_of_which_nobody_asks_anything_has_nothing_to_route(self):
        desk = Desk(vm("a"))
        desk.group(classes=["host"])
        assert not desk.routing.committed(desk._commit([vm("a", x=1)]))
        assert not desk.routing.has_work

    def test_nothing_is_left_of_groups_that_are_gone(self):
        desk = Desk(vm("a"))
        groups = [
            desk.group("tags:red resident_on.enabled:true"),
            desk.group("web"),
            desk.group(rights=RED),
            desk.group("tags:red", rights=Sight(Reach(all=True))),
        ]
        for group in groups:
            desk.routing.remove(group)
        left = desk.routing
        assert not any((left._groups, left._own, left._derived, left._mentions, left._fields))

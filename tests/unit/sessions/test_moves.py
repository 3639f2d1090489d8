"""Rights that change while a client is connected, as it goes over the wire."""

import itertools

import pytest

from tests.unit.sessions.wire import HOST, POOL, VMS, Desk, Person, upsert
from xoproxy.auth.grants import Reach, Sight
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.view import Everything
from xoproxy.model import PoolId
from xoproxy.sessions import catch_up

RED = Sight(Reach(tags=frozenset({"red"})))
BLUE = Sight(Reach(tags=frozenset({"blue"})))


def vm(name, *tags, **fields):
    return upsert(name, uuid=f"uuid-{name}", tags=list(tags), **fields)


def begun(budget=None, **sizes):
    desk = Desk(budget, **sizes)
    desk.commit(vm("a", "red"), vm("b", "blue"), vm("c", "red", "blue"))
    return desk


def connected(desk, rights=RED, query=None, **members):
    """Return a client that has its snapshot, and the number of its view."""
    client = desk.connect(Person(rights))
    view = client.subscribes(1, query, **members)
    desk.flush()
    client.hears()
    return client, view["view"]


def change(client, rights, hidden=()):
    client.session.user.rights = rights
    client.session.user.hidden = set(hidden)
    client.session.rights_changed()


def types(messages):
    return [m["type"] for m in messages]


class TestMove:
    def test_a_patch_under_the_old_number_then_moved_then_a_bookmark(self):
        desk = begun()
        client, view = connected(desk)
        change(client, BLUE)
        desk.flush()

        patch, moved, bookmark = client.hears()
        assert (patch["type"], patch["view"], patch["from"], patch["to"]) == ("patch", view, 3, 3)
        assert {(op["op"], op["path"]) for op in patch["ops"]} == {
            ("remove", "/VM/0"),
            ("add", "/VM/1"),
        }
        assert moved == {"type": "moved", "view": view, "as": view + 1, "seq": 3}
        assert (bookmark["type"], bookmark["view"], bookmark["seq"]) == ("bookmark", view + 1, 3)

    def test_only_the_whole_of_it_leads_from_one_number_to_the_other(self):
        """A client cut off in between would resume the new content with a token of the old."""
        desk = begun(frame_bytes=400)
        desk.commit(*[vm(f"b{number}", "blue", name_label="x" * 100) for number in range(10)])
        client, _ = connected(desk)
        change(client, BLUE)
        desk.flush()
        frames = []
        for written in list(client.line.writes):
            client.line.writes = [written]
            frames.append(client.hears())
        assert len(frames) > 3
        assert all(types(frame) == ["patch"] and frame[0]["more"] for frame in frames[:-1])
        assert types(frames[-1]) == ["patch", "moved", "bookmark"]
        assert "more" not in frames[-1][0]

    def test_afterwards_news_come_under_the_new_number_and_its_token_resumes(self):
        desk = begun()
        client, _ = connected(desk)
        change(client, BLUE)
        desk.flush()
        bookmark = client.hears()[-1]
        desk.commit(vm("a", "red", x=1), vm("b", "blue", x=1))
        desk.flush()
        (patch,) = client.hears()
        assert (patch["view"], patch["from"], patch["to"]) == (bookmark["view"], 3, 5)
        assert [op["path"] for op in patch["ops"]] == ["/VM/1/x"]

        again = desk.connect(Person(BLUE))
        points = [{"token": bookmark["resume"], "seq": 5}]
        assert again.subscribes(1, resume=points)["mode"] == "resume"

    def test_equal_rights_are_no_move(self):
        desk = begun()
        client, _ = connected(desk)
        change(client, Sight(Reach(tags=frozenset({"red"}))))
        assert not desk.hub.has_work or desk.flush() is None
        assert client.hears() == []

    def test_those_who_go_the_same_way_share_the_bytes(self):
        desk = begun()
        clients = [connected(desk)[0] for _ in range(3)]
        for client in clients:
            change(client, BLUE)
        desk.flush()
        first, *others = [client.line.writes for client in clients]
        assert len(first) == 1
        for other in others:
            assert all(a is b for a, b in zip(first, other, strict=True))
        assert desk.hub.counters.moved == 3

    def test_a_position_never_becomes_less(self):
        """The target stood still since long ago: it moves on to where the client stands."""
        desk = begun()
        there, _ = connected(desk, BLUE)
        client, _ = connected(desk, RED)
        desk.commit(vm("a", "red", x=1))
        desk.flush()
        client.hears()
        change(client, BLUE)
        desk.flush()

        patch, moved, bookmark = client.hears()
        assert (patch["from"], patch["to"], moved["seq"], bookmark["seq"]) == (4, 4, 4, 4)
        (still,) = there.hears()
        assert (still["from"], still["to"], still["ops"]) == (3, 4, [])

    def test_the_same_as_a_view_that_the_connection_has_needs_no_patch(self):
        """Somebody subscribes under the new rights before his stalled view was moved."""
        desk = begun()
        client, view = connected(desk)
        client.stalls()
        change(client, BLUE)
        client.says("subscribe", id=2, query=VMS)
        (answer,) = client.hears()
        (info,) = answer["views"]
        assert info["mode"] == "snapshot"
        client.drains()
        desk.flush()

        messages = client.hears()
        (moved,) = [m for m in messages if m["type"] == "moved"]
        assert (moved["view"], moved["as"]) == (view, info["view"])
        assert "patch" not in types(messages)
        (member,) = client.client.members.values()
        assert set(member.subscriptions) == {1, 2}
        client.says("unsubscribe", id=2)
        client.hears()
        desk.commit(vm("b", "blue", x=1))
        desk.flush()
        assert [m["view"] for m in client.hears()] == [info["view"]]


class TestNothingOfTheOldRights:
    def test_a_stalled_client_gets_what_it_may_have_when_it_drains(self):
        desk = begun()
        client, view = connected(desk, Everything())
        client.stalls()
        desk.commit(vm("a", "red", secret="x"), vm("b", "blue", y=1))
        desk.flush()
        change(client, BLUE)
        desk.flush()
        assert client.line.writes == []
        client.drains()
        desk.flush()

        patch, moved, _ = client.hears()
        assert (patch["view"], patch["from"], patch["to"]) == (view, 3, 5)
        assert ("remove", "/VM/0") in {(op["op"], op["path"]) for op in patch["ops"]}
        assert "secret" not in str(patch)
        assert moved["seq"] == 5

    def test_what_waits_for_the_end_of_the_flush_is_taken_back(self):
        desk = begun(slice_clients=1)
        client = desk.connect(Person(RED))
        client.subscribes(1)
        client.subscribes(2, {"classes": ["VM"], "fields": {"VM": ["name_label"]}})
        other, _ = connected(desk)
        desk.flush()
        client.hears()
        desk.commit(vm("a", "red", name_label="only for red"))
        steps = desk.hub.flush()
        while not client.client.outbox:
            next(steps)
        change(client, BLUE)
        for _ in steps:
            pass
        desk.flush()

        assert "only for red" not in str(client.hears())
        assert "only for red" in str(other.hears())

    def test_in_the_middle_of_a_snapshot_it_begins_again_elsewhere(self):
        desk = begun(chunk_bytes=1)
        client = desk.connect(Person(RED))
        view = client.subscribes()
        client.line.room = 1
        desk.flush()
        assert types(client.hears()) == ["snapshot"]
        change(client, BLUE)
        client.drains()
        desk.flush()

        moved, reset, *rest = client.hears()
        assert (moved["type"], moved["view"]) == ("moved", view["view"])
        assert (reset["type"], reset["view"], reset["reason"]) == (
            "reset",
            moved["as"],
            "rights_changed",
        )
        assert types(rest) == ["snapshot", "snapshot", "bookmark"]
        assert [key for m in rest[:2] for key in m["keys"]] == ["1", "2"]

    def test_between_the_parts_of_a_patch_too(self):
        desk = begun(frame_bytes=200)
        client, view = connected(desk)
        desk.commit(vm("a", "red", p="x" * 90, q="y" * 90), vm("c", "red", p="z" * 90))
        client.line.room = 1
        desk.flush()
        (part,) = client.hears()
        assert part["more"] is True
        change(client, BLUE)
        client.drains()
        desk.flush()
        assert types(client.hears())[:3] == ["moved", "reset", "snapshot"]
        assert view not in client.client.members

    def test_without_history_it_begins_again_too(self):
        desk = begun(JournalBudget(pool_bytes=0))
        client, _ = connected(desk)
        client.stalls()
        desk.commit(vm("a", "red", x=1))
        desk.flush()
        change(client, BLUE)
        client.drains()
        desk.flush()
        moved, reset, *_ = client.hears()
        assert (moved["type"], reset["type"]) == ("moved", "reset")
        assert reset["reason"] == "journal_expired"

    def test_back_before_it_was_told_is_as_if_nothing_happened(self):
        desk = begun()
        client, view = connected(desk)
        connected(desk)  # keeps the old view alive
        client.stalls()
        change(client, BLUE)
        desk.commit(vm("a", "red", x=1))
        change(client, RED)
        client.drains()
        desk.flush()
        (patch,) = client.hears()
        assert (patch["type"], patch["view"], patch["from"], patch["to"]) == ("patch", view, 3, 4)

    def test_again_before_it_was_told_goes_straight_to_the_last(self):
        desk = begun()
        client, view = connected(desk)
        client.stalls()
        change(client, Everything())
        change(client, BLUE)
        assert len(desk.hub.groups) == 1
        client.drains()
        desk.flush()
        assert [(m["type"], m["view"]) for m in client.hears()[:2]] == [
            ("patch", view),
            ("moved", view),
        ]

    def test_what_it_expects_is_judged_by_the_new_rights(self):
        desk = begun()
        client, view = connected(desk)
        client.stalls()
        change(client, BLUE)
        expect = [{"view": view, "key": "0", "seq": 3}]
        client.says("call", id=9, pool=POOL, method="VM.start", params={}, expect=expect)
        (error,) = client.hears()
        assert error["code"] == "CONFLICT"


class TestPools:
    @pytest.fixture
    def desk(self):
        desk = begun()
        desk.commit(vm("z", "red"), store=desk.add_pool("q"))
        return desk

    def test_one_that_may_be_seen_no_more_is_gone(self, desk):
        client = desk.connect(Person(RED))
        client.says("subscribe", id=1, query=VMS)
        desk.flush()
        views = {v["pool"]: v["view"] for v in client.hears()[0]["views"]}
        client.stalls()
        change(client, RED, hidden=["q"])

        (gone,) = client.hears()
        assert (gone["type"], gone["view"], gone["gone"], gone["reason"]) == (
            "reset",
            views["q"],
            True,
            "pool_removed",
        )

    def test_one_that_may_be_seen_now_appears_to_those_who_asked_for_all(self, desk):
        client = desk.connect(Person(RED, hidden=["q"]))
        client.subscribes(1)
        client.subscribes(2, {"classes": ["VM"], "pools": [POOL]})
        desk.flush()
        client.hears()
        change(client, RED)
        desk.flush()
        answer, snapshot, _ = client.hears()
        assert (answer["type"], answer["id"], answer["views"][0]["pool"]) == (
            "subscribed",
            1,
            PoolId("q"),
        )
        assert snapshot["keys"] == ["0"]

    def test_a_pool_that_goes_while_a_stalled_view_is_to_move(self, desk):
        client = desk.connect(Person(RED))
        client.says("subscribe", id=1, query=VMS)
        desk.flush()
        views = {v["pool"]: v["view"] for v in client.hears()[0]["views"]}
        client.stalls()
        change(client, BLUE)
        desk.hub.remove_pool(PoolId("q"))
        (gone,) = client.hears()
        assert (gone["view"], gone["gone"]) == (views["q"], True)


def test_a_window_whose_rights_change_while_it_begins_again_begins_yet_again(monkeypatch):
    monkeypatch.setattr(catch_up, "_FRAMES_PER_TURN", 1)
    desk = begun()
    window = {"classes": ["VM"], "order": ["name_label"], "window": [0, 50]}
    client, _ = connected(desk, query=window)
    (member,) = client.client.members.values()

    change(client, BLUE)
    steps = itertools.chain.from_iterable(desk.hub.flush() for _ in range(5))
    while member.shown_as is None:
        next(steps)
    client.stalls()  # it has nothing yet of what leads there
    change(client, Everything())
    client.line.room = 0
    desk.hub.drained(client.client)
    desk.flush()
    assert types(client.hears()) == ["moved", "reset"]  # and its socket is full
    change(client, BLUE)
    client.drains()
    desk.flush()

    heard = client.hears()
    assert heard[-1]["type"] == "snapshot"
    assert heard[-1]["last"]
    assert heard[-1]["total"] == 2


def test_what_a_window_gets_of_a_pool_that_is_gone_is_taken_back_too():
    desk = begun(chunk_bytes=1)
    desk.commit(vm("z", "red"), store=desk.add_pool("q"))
    client = desk.connect(Person(RED))
    client.subscribes(1, {"classes": ["VM"], "order": ["uuid"], "window": [0, 50]})
    client.line.room = 1
    desk.flush()
    assert types(client.hears()) == ["snapshot"]  # the first of its parts
    desk.hub.remove_pool(PoolId("q"))
    change(client, RED, hidden=["q"])
    client.drains()
    desk.flush()

    heard = client.hears()
    assert "uuid-z" not in str(heard)
    assert types(heard) == ["moved", "reset", "snapshot", "snapshot"]
    assert heard[1]["reason"] == "rights_changed"
    assert heard[-1]["total"] == 2


def test_nothing_is_left_when_all_are_gone():
    desk = begun()
    client, _ = connected(desk)
    desk.commit(upsert("h", HOST, uuid="uuid-h"))
    client.stalls()
    change(client, BLUE)
    client.leaves()
    desk.flush()
    assert not desk.hub.groups
    assert not any(map(list, desk.hub._groups.routings.values()))

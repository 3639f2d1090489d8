"""Who gets what, and when: fan-out, parking, resuming, beginning again."""

import pytest

from tests.unit.sessions.wire import HOST, POOL, SECRET, VMS, Desk, loaded, removal, upsert
from xoproxy.cache.journal import JournalBudget
from xoproxy.model import Cursor
from xoproxy.sessions import group
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.tokens import TokenSigner


def vm(name, label):
    return upsert(name, name_label=label, power_state="Running")


def ready(desk, *clients):
    """Subscribe clients to all VMs and give them the present."""
    for client in clients or (desk.connect(),):
        client.subscribes()
    desk.flush()
    return [client.hears()[-1] for client in clients]


def spans(messages):
    return [(m["from"], m["to"]) for m in messages if m["type"] == "patch"]


def types(messages):
    return [m["type"] for m in messages]


def points(bookmark, seq=None):
    return [{"token": bookmark["resume"], "seq": bookmark["seq"] if seq is None else seq}]


class TestFanOut:
    def test_members_of_a_view_get_the_identical_bytes(self):
        desk = loaded()
        clients = [desk.connect() for _ in range(3)]
        ready(desk, *clients)
        for number in range(3):
            desk.commit(vm("a", f"x{number}"))
            desk.flush()

        first, *others = [client.line.writes for client in clients]
        assert len(first) == 3
        for other in others:
            assert all(a is b for a, b in zip(first, other, strict=True))

    def test_snapshots_and_patches_in_parts_are_shared_too(self):
        desk = loaded(frame_bytes=256, chunk_bytes=64)
        clients = [desk.connect() for _ in range(3)]
        for client in clients:
            client.subscribes()
        desk.commit(*(vm(f"n{n}", "x" * 50) for n in range(10)))
        desk.flush()
        desk.commit(*(vm(f"n{n}", "y" * 50) for n in range(10)))
        desk.flush()

        first, *others = [client.line.writes for client in clients]
        assert len(first) > 10
        for other in others:
            assert all(a is b for a, b in zip(first, other, strict=True))

    def test_a_client_of_several_views_gets_one_write_for_all(self):
        desk = loaded()
        client = desk.connect()
        client.subscribes(1)
        client.subscribes(2, {"classes": ["*"]})
        client.subscribes(3, {"classes": ["VM"], "filter": "name_label:web"})
        desk.flush()
        client.hears()

        desk.commit(vm("a", "web2"))
        desk.flush()

        assert len(client.line.writes) == 1
        assert [m["view"] for m in client.hears()] == [1, 2, 3]

    def test_several_batches_between_two_flushes_are_one_patch(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        desk.commit(vm("a", "x"))
        desk.commit(vm("a", "y"), vm("c", "new"))
        desk.commit(removal("c"))
        desk.flush()

        (patch,) = client.hears()
        assert (patch["from"], patch["to"]) == (3, 7)
        assert patch["ops"] == [{"op": "replace", "path": "/VM/0/name_label", "value": "y"}]

    def test_what_came_to_nothing_is_not_sent(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        desk.commit(vm("a", "x"))
        desk.commit(vm("a", "web"), vm("c", "new"))
        desk.commit(removal("c"))
        desk.flush()
        assert client.hears() == []

    def test_one_who_leaves_during_the_flush_gets_nothing_more(self):
        desk = loaded(slice_clients=1)
        first, second = desk.connect(), desk.connect()
        ready(desk, first, second)
        desk.commit(vm("a", "x"))
        for _ in desk.hub.flush():
            if first.line.writes:
                second.leaves()
        assert spans(first.hears()) == [(3, 4)]
        assert second.hears() == []

    def test_one_who_comes_during_the_flush_misses_nothing(self):
        """Wherever the flush stands when he comes, and whatever is committed meanwhile."""
        for step in range(12):
            desk = loaded(slice_clients=1)
            first, late = desk.connect(), desk.connect()
            ready(desk, first)
            desk.commit(vm("a", "x"))
            for number, _ in enumerate(desk.hub.flush()):
                if number == step:
                    desk.commit(vm("a", "y"))
                    late.subscribes()
                    desk.commit(vm("a", "z"))
            if step >= len(first.line.writes) and not late.client.members:
                late.subscribes()
            desk.flush()

            messages = late.hears()
            snapshot = messages[0]
            position = snapshot["seq"]
            label = dict(zip(snapshot["keys"], snapshot["rows"], strict=True))["0"][1]
            for patch in messages[2:]:
                assert patch["from"] == position
                position = patch["to"]
                label = patch["ops"][0]["value"]
            assert label == first_label(first)

    def test_nothing_is_done_for_views_that_a_batch_does_not_touch(self):
        desk = loaded()
        ready(desk)
        desk.commit(upsert("h", HOST, name_label="x"))
        assert not desk.hub.has_work


def first_label(client):
    return client.hears()[-1]["ops"][0]["value"]


class TestGathered:
    """Frames of several views leave in one write; nothing else may overtake them."""

    def mid_flush(self, desk, client, act):
        client.subscribes(1)
        client.subscribes(2, {"classes": ["*"]})
        desk.flush()
        client.hears()
        desk.commit(vm("a", "x"))
        acted = False
        for _ in desk.hub.flush():
            if client.client.outbox and not acted:
                acted = True
                act()
        assert acted
        return [(m["type"], m.get("view")) for m in client.hears()]

    def test_a_bookmark_stands_behind_the_patch_that_it_covers(self):
        desk = loaded(slice_clients=1)
        heard = self.mid_flush(desk, desk.connect(), desk.bookmarks)
        assert heard == [("patch", 1), ("bookmark", 1), ("patch", 2)]

    def test_the_bookmarks_at_the_end_of_a_connection_too(self):
        desk = loaded(slice_clients=1)
        client = desk.connect()
        heard = self.mid_flush(desk, client, lambda: desk.hub.bookmark(client.client))
        assert heard == [("patch", 1), ("bookmark", 1), ("patch", 2)]

    def test_a_view_that_ends_ends_behind_its_patch(self):
        desk = loaded(slice_clients=1)
        client = desk.connect()
        heard = self.mid_flush(desk, client, lambda: desk.hub.remove_pool(POOL))
        assert heard == [("patch", 1), ("reset", 1), ("reset", 2)]

    def test_nothing_is_written_to_one_who_is_gone(self):
        desk = loaded(slice_clients=1)
        client = desk.connect()
        assert self.mid_flush(desk, client, client.leaves) == []


class TestParking:
    def test_a_full_client_gets_nothing_then_one_patch_to_the_present(self):
        desk = loaded()
        slow, quick = desk.connect(), desk.connect()
        ready(desk, slow, quick)
        slow.stalls()
        for number in range(5):
            desk.commit(vm("a", f"x{number}"), vm(f"n{number}", "new"))
            desk.flush()
        assert slow.hears() == []
        assert len(spans(quick.hears())) == 5

        slow.drains()
        desk.flush()

        (patch,) = slow.hears()
        assert (patch["from"], patch["to"]) == (3, 13)
        assert [op["path"] for op in patch["ops"]] == [
            "/VM/0/name_label",
            *(f"/VM/{key}" for key in "34567"),
        ]
        desk.commit(vm("a", "y"))
        desk.flush()
        assert spans(slow.hears()) == [(13, 14)]

    def test_those_who_wait_at_the_same_position_share_a_patch(self):
        desk = loaded()
        clients = [desk.connect() for _ in range(2)]
        ready(desk, *clients)
        for client in clients:
            client.stalls()
        desk.commit(vm("a", "x"))
        desk.flush()
        desk.commit(vm("b", "x"))
        desk.flush()
        for client in clients:
            client.drains()
        desk.flush()

        (one,), (other,) = [client.line.writes for client in clients]
        assert one is other

    def test_it_gets_its_replies_meanwhile(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        client.stalls()
        desk.commit(vm("a", "x"))
        desk.flush()
        client.says("ping", id=1)
        client.says("unsubscribe", id=1)
        assert types(client.hears()) == ["pong", "result"]
        client.drains()
        desk.flush()
        assert client.hears() == []

    def test_it_can_subscribe_meanwhile_and_gets_the_content_later(self):
        desk = loaded()
        client = desk.connect()
        client.stalls()
        client.subscribes()
        desk.flush()
        assert client.hears() == []
        client.drains()
        desk.flush()
        assert types(client.hears()) == ["snapshot", "bookmark"]

    def test_nothing_grows_for_it(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client, desk.connect())
        client.stalls()
        for number in range(200):
            desk.commit(vm("a", f"x{number}"))
            desk.flush()
        (group,) = desk.hub.groups.values()
        assert len(group._patches) == 1
        assert client.client.outbox == []
        assert not desk.hub.has_work

    def test_no_patch_is_built_for_it_before_it_can_take_one(self):
        desk = loaded()
        client = desk.connect()
        client.stalls()
        client.subscribes()
        desk.flush()
        (member,) = client.client.members.values()
        assert member.delivery is not None
        assert member.delivery.frames == []

    def test_it_gets_no_bookmark_while_it_is_full(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        client.stalls()
        desk.bookmarks()
        assert client.hears() == []

    def test_one_that_drains_frame_by_frame_gets_all_parts_in_order(self):
        desk = loaded(frame_bytes=256, chunk_bytes=64)
        client = desk.connect()
        client.subscribes()
        client.line.room = 0
        heard = []
        for number in range(60):
            if number == 5:
                desk.commit(*(vm(f"n{n}", "y" * 50) for n in range(10)))
            desk.flush()
            heard += client.hears()
            desk.hub.drained(client.client)
            client.line.room = 0
        assert types(heard)[:3] == ["snapshot", "snapshot", "bookmark"]
        patches = heard[3:]
        assert {(m["from"], m["to"]) for m in patches} == {(3, 13)}
        assert [m.get("more", False) for m in patches] == [True] * (len(patches) - 1) + [False]
        assert len(patches) > 3
        assert sum(len(m["ops"]) for m in patches) == 10


class TestParts:
    def test_a_long_patch_comes_in_consecutive_parts(self):
        desk = loaded(frame_bytes=400)
        client = desk.connect()
        ready(desk, client)
        desk.commit(*(vm(f"n{n}", "x" * 50) for n in range(10)))
        desk.flush()
        desk.commit(vm("a", "y"))
        desk.flush()

        assert all(len(data) <= 400 for data in client.line.writes)
        heard = client.hears()
        assert spans(heard) == [(3, 13)] * (len(heard) - 1) + [(13, 14)]
        assert [m.get("more") for m in heard] == [True] * (len(heard) - 2) + [None, None]

    def test_one_object_may_be_larger_than_a_frame(self):
        desk = loaded(frame_bytes=400)
        client = desk.connect()
        ready(desk, client)
        desk.commit(vm("n1", "x"), vm("n2", "x" * 1_000), vm("n3", "x"))
        desk.flush()
        sizes = [len(data) for data in client.line.writes]
        heard = client.hears()
        assert [len(m["ops"]) for m in heard] == [1, 1, 1]
        assert sizes[1] > 1_000
        assert max(sizes[0], sizes[2]) < 400


class TestResume:
    def test_goes_on_where_the_client_stood(self):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        client.leaves()
        desk.commit(vm("a", "x"))
        desk.commit(vm("b", "x"))

        again = desk.connect()
        view = again.subscribes(resume=points(bookmark))
        assert (view["mode"], view["seq"]) == ("resume", 3)
        desk.flush()
        (patch,) = again.hears()
        assert (patch["from"], patch["to"]) == (3, 5)
        assert [op["path"] for op in patch["ops"]] == [
            "/VM/0/name_label",
            "/VM/1/name_label",
            "/VM/1/power_state",
        ]

    def test_of_a_quiet_view_brings_nothing(self):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        client.leaves()
        again = desk.connect()
        assert again.subscribes(resume=points(bookmark))["mode"] == "resume"
        desk.flush()
        assert again.hears() == []
        desk.commit(vm("a", "x"))
        desk.flush()
        assert spans(again.hears()) == [(3, 4)]

    def test_goes_on_from_the_greater_of_the_two(self):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        desk.commit(vm("a", "x"))
        desk.flush()
        (patch,) = client.hears()
        client.leaves()
        desk.commit(vm("b", "x"))

        again = desk.connect()
        assert again.subscribes(resume=points(bookmark, patch["to"]))["seq"] == 4
        desk.flush()
        assert spans(again.hears()) == [(4, 5)]
        behind = desk.connect()
        assert behind.subscribes(resume=points(bookmark, 1))["seq"] == 3

    def test_a_bookmark_reaches_over_changes_that_did_not_show(self):
        """So that a quiet view of a busy pool can resume when its last change is long forgotten."""
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        for number in range(3):
            desk.commit(upsert("h", HOST, name_label=f"x{number}"))
        desk.flush()
        desk.bookmarks()
        (bookmark,) = client.hears()
        assert bookmark["seq"] == 3
        client.leaves()
        desk.store.journal.drop_oldest()
        desk.store.journal.drop_oldest()

        again = desk.connect()
        assert again.subscribes(resume=points(bookmark))["mode"] == "resume"
        desk.commit(vm("a", "x"))
        desk.flush()
        assert len(spans(again.hears())) == 1

    @pytest.mark.parametrize("seq", [2**53, 10**30, 4])
    def test_a_position_in_the_future_begins_afresh(self, seq):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        again = desk.connect()
        assert again.subscribes(resume=points(bookmark, seq))["mode"] == "snapshot"

    @pytest.mark.parametrize("seq", [0, -1, -(10**30)])
    def test_a_position_in_the_far_past_is_outdone_by_the_token(self, seq):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        again = desk.connect()
        assert again.subscribes(resume=points(bookmark, seq))["seq"] == 3

    def test_beyond_the_history_begins_afresh(self):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        desk.commit(vm("a", "x"))
        desk.store.journal.drop_oldest()
        again = desk.connect()
        assert again.subscribes(resume=points(bookmark))["mode"] == "snapshot"

    def test_in_another_epoch_begins_afresh(self):
        desk = loaded()
        client = desk.connect()
        (bookmark,) = ready(desk, client)
        desk.hub.remove_pool(POOL)
        desk.store = desk.add_pool("p")
        desk.store.epoch = "another"
        desk.commit(vm("a", "x"), vm("b", "x"), vm("c", "x"))
        assert desk.connect().subscribes(resume=points(bookmark))["mode"] == "snapshot"

    @pytest.mark.parametrize(
        "query",
        [
            {"classes": ["VM", "host"]},
            {"classes": ["VM"], "filter": "name_label:web"},
            {"classes": ["VM"], "fields": {"VM": ["name_label"]}},
        ],
    )
    def test_of_another_query_is_ignored(self, query):
        desk = loaded()
        (bookmark,) = ready(desk, desk.connect())
        assert desk.connect().subscribes(1, query, resume=points(bookmark))["mode"] == "snapshot"

    def test_under_the_other_encoding_works(self):
        desk = loaded()
        (bookmark,) = ready(desk, desk.connect())
        again = desk.connect(codec=Codec.MSGPACK)
        assert again.subscribes(resume=points(bookmark))["mode"] == "resume"

    def test_forged_or_foreign_tokens_are_ignored_and_the_good_one_is_found(self):
        desk = loaded()
        (bookmark,) = ready(desk, desk.connect())
        token = bookmark["resume"]
        (group,) = desk.hub.groups.values()
        cursor = Cursor(desk.store.epoch, 3)
        foreign = TokenSigner(b"x" * 32).sign(cursor, POOL, group.view_hash)
        bad = ["", "AAAA", token[:-2], token[:10], "A" + token[1:], foreign, token * 50, "é"]
        points_ = [{"token": text, "seq": 3} for text in bad]
        assert desk.connect().subscribes(resume=points_)["mode"] == "snapshot"
        points_.append({"token": token, "seq": 3})
        assert desk.connect().subscribes(resume=points_)["mode"] == "resume"

    def test_survives_a_restart_with_the_same_key_only(self):
        signer = TokenSigner(SECRET)
        desk = loaded()
        (bookmark,) = ready(desk, desk.connect())
        assert signer.verify(bookmark["resume"]) is not None
        assert TokenSigner(SECRET[::-1]).verify(bookmark["resume"]) is None

    def test_ahead_of_what_the_view_has_read_makes_the_view_move(self):
        """Its token comes from a group that has read further than this one."""
        for query in (VMS, {"classes": ["VM"], "filter": "power_state:Running"}):
            desk = loaded()
            here, there = desk.connect(), desk.connect(codec=Codec.MSGPACK)
            here.subscribes(1, query)
            there.subscribes(1, query)
            desk.flush()
            there.hears()
            desk.commit(upsert("b", name_label="db", power_state="Halted", uuid="x"))
            steps = desk.hub.flush()
            for _ in steps:
                here_group, there_group = desk.hub.groups.values()
                if not here_group.is_dirty and there_group.is_dirty:
                    break
            desk.bookmarks()
            bookmark = here.hears()[-1]
            again = desk.connect(codec=Codec.MSGPACK)
            view = again.subscribes(1, query, resume=points(bookmark))
            assert view["mode"] == "resume"
            for _ in steps:
                pass
            desk.flush()
            desk.commit(vm("a", "x"))
            desk.flush()

            position = view["seq"]
            for start, end in spans(again.hears()):
                assert start == position
                position = end
            assert position == 5
            assert spans(there.hears())[-1][1] == 5

    def test_ahead_of_a_view_that_is_just_reading_ends(self):
        """It reads up to a position short of the token's: the next reading must go there."""
        query = {"classes": ["VM"], "filter": "power_state:Running"}
        desk = loaded()
        here, there = desk.connect(), desk.connect(codec=Codec.MSGPACK)
        there.subscribes(1, query)
        desk.flush()
        desk.commit(upsert("b", name_label="db", power_state="Halted", uuid="x"))
        steps = desk.hub.flush()
        next(steps)
        desk.commit(upsert("b", name_label="db", power_state="Halted", uuid="y"))
        here.subscribes(1, query)  # a group that begins at the present
        (group,) = [g for g in desk.hub.groups.values() if g.codec is Codec.JSON]
        token = desk.hub._signer.sign(
            Cursor(desk.store.epoch, desk.store.seq), POOL, group.view_hash
        )
        again = desk.connect(codec=Codec.MSGPACK)
        view = again.subscribes(1, query, resume=[{"token": token, "seq": 0}])
        assert (view["mode"], view["seq"]) == ("resume", 5)
        for _ in steps:
            pass
        desk.flush()

        assert again.client.members[view["view"]].group.position == 5
        desk.commit(vm("a", "x"))
        desk.flush()
        assert spans(again.hears()) == [(5, 6)]
        assert spans(there.hears()) == [(3, 5), (5, 6)]

    def test_where_this_view_never_stopped_because_it_came_to_nothing(self):
        """One group read both changes at once and saw none; the client of another saw the first."""
        desk = loaded()
        desk.hub.beat(0.0)
        here, there = desk.connect(), desk.connect(codec=Codec.MSGPACK)
        (bookmark,) = ready(desk, here)
        there.subscribes(1, {"classes": ["VM"], "rate": 0.01})
        desk.flush()
        there.hears()
        _, there_group = desk.hub.groups.values()
        desk.commit(vm("c", "passing"))
        desk.flush()
        assert spans(here.hears()) == [(3, 4)]
        desk.commit(removal("c"))
        desk.hub.beat(100.0)
        desk.flush()
        here.leaves()
        assert (there_group.position, there_group.scanned) == (3, 5)

        again = desk.connect(codec=Codec.MSGPACK)
        assert again.subscribes(resume=points(bookmark, 4))["seq"] == 4
        desk.flush()

        (patch,) = again.hears()
        assert (patch["from"], patch["to"]) == (4, 5)
        assert patch["ops"] == [{"op": "remove", "path": "/VM/3"}]
        desk.hub.beat(200.0)
        desk.flush()
        assert spans(there.hears()) == [(3, 5)]


class TestHistoryGone:
    """The journal does not reach back: a reset and a snapshot, never a hole, never a crash."""

    def test_a_full_client_begins_again_when_it_drains(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        client.stalls()
        for label in "xy":
            desk.commit(vm("a", label))
            desk.flush()
        desk.store.journal.drop_oldest()
        assert client.hears() == []

        client.drains()
        desk.flush()

        reset, snapshot, bookmark = client.hears()
        assert reset == {
            "type": "reset",
            "view": 1,
            "reason": "journal_expired",
            "epoch": "epoch-p",
            "seq": 5,
        }
        assert (snapshot["seq"], bookmark["seq"]) == (5, 5)

    def test_only_those_who_were_behind_begin_again(self):
        desk = loaded()
        slow, quick = desk.connect(), desk.connect()
        ready(desk, slow, quick)
        slow.stalls()
        for label in "xy":
            desk.commit(vm("a", label))
            desk.flush()
        desk.store.journal.drop_oldest()
        slow.drains()
        desk.flush()
        assert types(slow.hears()) == ["reset", "snapshot", "bookmark"]
        assert types(quick.hears()) == ["patch", "patch"]

    def test_resets_are_not_written_to_a_full_client_however_often_they_are_due(self):
        desk = Desk(JournalBudget(pool_bytes=0))
        desk.commit(vm("a", "web"))
        client = desk.connect()
        ready(desk, client)
        client.stalls()
        for number in range(10):
            desk.commit(vm("a", f"x{number}"))
            desk.flush()
        assert client.hears() == []

        client.drains()
        desk.flush()
        reset, snapshot, _ = client.hears()
        assert (reset["type"], reset["seq"], snapshot["rows"][0][1]) == ("reset", 11, "x9")

    def test_a_view_that_did_not_read_in_time_begins_again(self):
        desk = Desk(JournalBudget(pool_bytes=0))
        desk.commit(vm("a", "web"))
        client = desk.connect()
        ready(desk, client)
        desk.commit(vm("a", "x"))
        desk.flush()
        assert types(client.hears()) == ["reset", "snapshot", "bookmark"]

    def test_one_can_still_join_such_a_view(self):
        desk = Desk(JournalBudget(pool_bytes=0))
        desk.commit(vm("a", "web"))
        client, late = desk.connect(), desk.connect()
        ready(desk, client)
        desk.bookmarks()  # after which the snapshot is not kept any more
        client.hears()
        desk.commit(vm("a", "x"))
        view = late.subscribes()
        assert (view["mode"], view["seq"]) == ("snapshot", 2)
        desk.flush()
        assert types(client.hears()) == ["reset", "snapshot", "bookmark"]
        assert types(late.hears()) == ["snapshot", "bookmark"]

    def test_a_snapshot_in_the_making_begins_again(self, monkeypatch):
        """Only views that look at other objects need the past while a snapshot is built."""
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        desk = Desk(JournalBudget(pool_bytes=0), chunk_bytes=1)
        desk.commit(*(vm(name, "x") for name in "abcdef"))
        client = desk.connect()
        query = {"classes": ["VM"], "filter": "!resident_on.enabled:true"}
        client.subscribes(1, query)
        for _ in desk.hub.flush():
            if len(client.line.writes) == 2:
                desk.commit(vm("g", "y"))
        desk.flush()
        heard = client.hears()
        assert types(heard) == ["snapshot"] * 2 + ["reset"] + ["snapshot"] * 7 + ["bookmark"]
        assert heard[-1]["seq"] == 7
        assert not desk.hub._catch_up._waiting

    def test_a_snapshot_of_a_plain_view_does_not_need_it(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        desk = Desk(JournalBudget(pool_bytes=0), chunk_bytes=1)
        desk.commit(*(vm(name, "x") for name in "abcdef"))
        client = desk.connect()
        client.subscribes()
        for _ in desk.hub.flush():
            if len(client.line.writes) == 2:
                desk.commit(upsert("h", HOST))
        assert types(client.hears()) == ["snapshot"] * 6 + ["bookmark"]

    def test_a_patch_in_the_making_begins_again(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        monkeypatch.setattr("xoproxy.cache.view._SLICE", 1)
        desk = loaded()
        slow, quick = desk.connect(), desk.connect()
        ready(desk, slow, quick)
        slow.stalls()
        desk.commit(vm("a", "x"), vm("b", "x"), vm("c", "x"))
        desk.flush()
        slow.drains()
        steps = desk.hub.flush()
        (group,) = desk.hub.groups.values()
        group._patches.clear()
        next(steps)
        desk.budget.pool_bytes = 0
        desk.commit(upsert("h", HOST, name_label="x"))
        for _ in steps:
            pass
        desk.flush()
        assert types(slow.hears()) == ["reset", "snapshot", "bookmark"]
        assert types(quick.hears()) == ["patch"]


class TestLeaving:
    def test_a_view_without_members_is_forgotten(self):
        desk = loaded()
        client = desk.connect()
        client.subscribes(1)
        client.subscribes(2, {"classes": ["host"]})
        assert len(desk.hub.groups) == 2
        client.says("unsubscribe", id=1)
        assert len(desk.hub.groups) == 1
        client.leaves()
        assert not desk.hub.groups
        desk.flush()
        desk.commit(vm("a", "x"))
        assert not desk.hub.has_work

    def test_its_number_is_never_used_again(self):
        desk = loaded()
        client = desk.connect()
        first = client.subscribes()
        client.says("unsubscribe", id=1)
        client.hears()
        assert client.subscribes()["view"] != first["view"]

    def test_nobody_builds_what_nobody_waits_for(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.view_writer._SLICE", 1)
        desk = Desk(chunk_bytes=1)
        desk.commit(*(vm(f"n{n}", "x") for n in range(100)))
        client = desk.connect()
        client.subscribes()
        for _ in desk.hub.flush():
            if client.line.writes:
                client.leaves()
        assert len(client.hears()) < 10
        assert not desk.hub.has_work


class TestBookmarks:
    def test_come_to_everybody_who_is_up_to_date(self):
        desk = loaded()
        first, second, third = desk.connect(), desk.connect(), desk.connect()
        one, *_ = ready(desk, first, second)
        third.subscribes()
        desk.bookmarks()
        assert first.hears() == second.hears() == [one]
        assert third.hears() == []

    def test_wait_for_nobody_in_particular(self):
        desk = loaded(slice_clients=1)
        clients = [desk.connect() for _ in range(3)]
        ready(desk, *clients)
        steps = desk.hub.bookmarks()
        next(steps)
        clients[1].leaves()
        desk.commit(vm("a", "x"))
        desk.flush()
        for _ in steps:
            pass
        assert types(clients[0].hears()) == ["bookmark", "patch"]
        assert types(clients[2].hears()) == ["patch", "bookmark"]

    def test_do_not_come_to_those_whose_patch_is_not_written_yet(self, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.hub._ADVANCED_PER_STEP", 1)
        desk = loaded(slice_clients=1)
        first, second = desk.connect(), desk.connect()
        ready(desk, first, second)
        marking, flushing = desk.hub.bookmarks(), desk.hub.flush()
        next(marking)
        desk.commit(vm("a", "x"))
        next(flushing)
        for _ in (*marking, *flushing):
            pass
        assert types(first.hears()) == ["bookmark", "patch"]
        assert types(second.hears()) == ["patch"]

    def test_frames_that_nobody_needs_are_forgotten(self):
        desk = loaded()
        ready(desk, desk.connect())
        (group,) = desk.hub.groups.values()
        assert group._snapshot is not None
        desk.bookmarks()
        assert group._snapshot is None


def test_somebody_is_told_that_there_is_work():
    desk = loaded()
    assert desk.woken == 0
    client = desk.connect()
    client.subscribes()
    assert desk.woken == 1
    desk.flush()
    desk.commit(vm("a", "x"))
    assert desk.woken == 2
    client.stalls()
    desk.flush()
    client.drains()
    assert desk.woken == 3


def test_an_empty_batch_is_no_work():
    desk = loaded()
    ready(desk, desk.connect())
    desk.commit(vm("a", "web"))
    assert not desk.hub.has_work


def test_the_counters_count():
    desk = loaded()
    client, slow = desk.connect(), desk.connect()
    (bookmark, _) = ready(desk, client, slow)
    slow.stalls()
    client.hears()
    desk.commit(vm("a", "x"))
    desk.flush()
    desk.connect().subscribes(resume=points(bookmark))
    counters = desk.hub.counters
    assert (counters.snapshots, counters.resumed, counters.parked, counters.resets) == (2, 1, 1, 0)
    assert counters.frames == 2 * 2 + 1  # each a snapshot and its bookmark, one a patch


def test_news_of_one_view_do_not_wait_for_the_snapshot_of_another():
    desk = loaded(chunk_bytes=1)
    desk.commit(*(upsert(f"vm{number}", name_label="x" * 50) for number in range(50)))
    client = desk.connect()
    small = client.subscribes(1, {"classes": ["host"]})["view"]
    desk.flush()
    client.hears()
    bulk = client.subscribes(2)["view"]
    members = client.client.members
    members[small] = members.pop(small)  # whoever came first
    heard = []
    for _ in range(5):
        client.line.room = 0  # one frame, and it is full
        desk.hub.drained(client.client)
        desk.flush()
        heard += client.hears()
    assert {(m["type"], m["view"]) for m in heard} == {("snapshot", bulk)}
    desk.commit(upsert("h", HOST, name_label="changed"))
    desk.flush()
    assert client.hears() == []
    client.line.room = 0
    desk.hub.drained(client.client)
    desk.flush()

    (message,) = client.hears()
    assert (message["type"], message["view"]) == ("patch", small)


class TestWhoComesWhileTheViewChanges:
    def desk(self):
        desk = loaded(chunk_bytes=1)
        desk.commit(*(upsert(f"vm{number}", name_label="x" * 50) for number in range(20)))
        return desk

    def slow(self, desk):
        """Have somebody take a snapshot, and stop after its first frames."""
        client = desk.connect()
        client.line.room = 200
        position = client.subscribes(1)["seq"]
        desk.flush()
        return client, position

    def test_he_shares_the_snapshot_that_somebody_is_taking_and_gets_a_patch(self):
        desk = self.desk()
        first, position = self.slow(desk)
        desk.commit(upsert("vm3", name_label="changed"))
        desk.flush()
        late = desk.connect()
        assert late.subscribes(1)["seq"] == position
        desk.flush()

        told = late.hears()
        assert [m["seq"] for m in told if m["type"] == "snapshot"] == [position] * 22
        assert (told[-1]["type"], told[-1]["from"]) == ("patch", position)
        first.drains()
        desk.flush()
        assert first.hears()[-1] == told[-1]
        assert desk.hub.counters.snapshots == 2

    def test_a_snapshot_that_nobody_takes_any_more_is_not_used(self):
        desk = self.desk()
        first, position = self.slow(desk)
        first.leaves()
        desk.connect().subscribes(1)
        desk.commit(upsert("vm3", name_label="changed"))
        desk.flush()

        assert desk.connect().subscribes(1)["seq"] > position

    def test_a_snapshot_from_long_ago_is_not_used(self, monkeypatch):
        monkeypatch.setattr(group, "_NEAR", 3)
        desk = self.desk()
        _, position = self.slow(desk)
        for number in range(4):
            desk.commit(upsert("vm3", name_label=f"changed {number}"))
            desk.flush()

        assert desk.connect().subscribes(1)["seq"] > position

"""A client's documents follow docs/protocol.md, and it notices when the proxy does not."""

import pytest

from xoproxy.cli.replica import Replica, ReplicaFault

QUERY = {"classes": ["VM", "host"]}


def info(view=7, pool="p", epoch="e", seq=10, mode="snapshot"):
    classes = ["VM", "host"]
    return {
        "view": view, "pool": pool, "epoch": epoch, "seq": seq, "classes": classes, "mode": mode,
    }  # fmt: skip


def subscribed(*views, id_=1):
    return {"type": "subscribed", "id": id_, "views": list(views)}


def snapshot(rows=(), cls="VM", view=7, seq=10, *, last=True):
    return {
        "type": "snapshot",
        "view": view,
        "seq": seq,
        "last": last,
        "class": cls,
        "fields": ["$ref", "name_label"],
        "keys": [key for key, *_ in rows],
        "rows": [list(row) for _, *row in rows],
    }


def patch(from_, to, *ops, view=7, more=None):
    message = {"type": "patch", "view": view, "from": from_, "to": to, "ops": list(ops)}
    return message if more is None else message | {"more": more}


def rename(key, name):
    return {"op": "replace", "path": f"/VM/{key}/name_label", "value": name}


def bookmark(seq, token, view=7):
    return {"type": "bookmark", "view": view, "seq": seq, "resume": token}


def play(replica, *messages):
    applied = []
    for message in messages:
        applied += replica.receive(message)[1]
    return applied


@pytest.fixture
def replica():
    """At position 10, with VMs "a" (web) and "b" (db), and a token."""
    replica = Replica()
    play(
        replica,
        subscribed(info()),
        snapshot([("a", "R:a", "web")], last=False),
        snapshot([("b", "R:b", "db")]),
        bookmark(10, "token-10"),
    )
    return replica


def view(replica, pool="p", id_=1):
    return replica.views(id_)[pool]


class TestSnapshot:
    def test_its_rows_become_objects(self, replica):
        assert view(replica).document == {
            "VM": {
                "a": {"$ref": "R:a", "name_label": "web"},
                "b": {"$ref": "R:b", "name_label": "db"},
            },
            "host": {},
        }

    def test_the_document_is_complete_and_positioned_with_the_last_message(self):
        replica = Replica()
        play(replica, subscribed(info(seq=3)), snapshot([("a", "R:a", "web")], seq=4, last=False))
        assert not view(replica).complete
        play(replica, snapshot(seq=4))
        assert view(replica).complete
        assert view(replica).position == 4

    def test_one_that_nobody_announced_is_a_fault(self, replica):
        with pytest.raises(ReplicaFault, match="without being announced"):
            play(replica, snapshot([("c", "R:c", "new")]))

    def test_a_class_that_was_not_asked_for_is_a_fault(self):
        replica = Replica()
        play(replica, subscribed(info()))
        with pytest.raises(ReplicaFault, match="class SR"):
            play(replica, snapshot([("c", "R:c", "new")], cls="SR"))


class TestPatch:
    def test_moves_document_and_position(self, replica):
        applied = play(replica, patch(10, 12, rename("a", "web2")))
        assert view(replica).document["VM"]["a"]["name_label"] == "web2"
        assert view(replica).position == 12
        assert applied == [rename("a", "web2")]

    def test_paths_are_unescaped(self, replica):
        add = {"op": "add", "path": "/VM/a/other_config", "value": {}}
        odd = {"op": "add", "path": "/VM/a/other_config/x~1y~0z", "value": "1"}
        empty = {"op": "add", "path": "/VM/a/other_config/", "value": "2"}
        play(replica, patch(10, 11, add, odd, empty))
        assert view(replica).document["VM"]["a"]["other_config"] == {"x/y~z": "1", "": "2"}

    def test_parts_are_applied_together(self, replica):
        applied = play(replica, patch(10, 12, rename("a", "1"), more=True))
        assert applied == []
        assert view(replica).document["VM"]["a"]["name_label"] == "web"
        assert view(replica).position == 10
        applied = play(replica, patch(10, 12, rename("b", "2")))
        assert len(applied) == 2
        assert view(replica).position == 12

    def test_one_that_begins_elsewhere_is_a_fault(self, replica):
        with pytest.raises(ReplicaFault, match="from 9"):
            play(replica, patch(9, 12))

    def test_a_part_of_another_patch_is_a_fault(self, replica):
        play(replica, patch(10, 12, more=True))
        with pytest.raises(ReplicaFault):
            play(replica, patch(10, 13))

    def test_one_before_the_end_of_the_snapshot_is_a_fault(self):
        replica = Replica()
        play(replica, subscribed(info()))
        with pytest.raises(ReplicaFault):
            play(replica, patch(10, 11))

    def test_one_that_does_not_apply_is_a_fault(self, replica):
        with pytest.raises(ReplicaFault, match="does not apply"):
            play(replica, patch(10, 11, rename("zz", "x")))

    def test_after_a_fault_the_view_is_not_resumed(self, replica):
        with pytest.raises(ReplicaFault):
            play(replica, patch(9, 12))
        replica.disconnected()
        assert "resume" not in replica.subscription(1, QUERY)

    def test_of_an_unknown_view_is_a_fault(self, replica):
        with pytest.raises(ReplicaFault, match="view 8"):
            play(replica, patch(10, 11, view=8))


class TestReset:
    def test_forgets_document_parts_and_token(self, replica):
        reset = {"type": "reset", "view": 7, "reason": "loaded", "epoch": "f", "seq": 0}
        play(replica, patch(10, 12, rename("a", "1"), more=True), reset)
        assert view(replica).document == {"VM": {}, "host": {}}
        assert not view(replica).complete
        play(replica, snapshot([("c", "R:c", "new")], seq=3), patch(3, 4, rename("c", "newer")))
        assert view(replica).document["VM"] == {"c": {"$ref": "R:c", "name_label": "newer"}}
        assert view(replica).epoch == "f"
        replica.disconnected()
        assert "resume" not in replica.subscription(1, QUERY)

    def test_gone_ends_the_view_for_all_its_subscriptions(self, replica):
        play(replica, subscribed(info(mode="same"), id_=2))
        gone = {"type": "reset", "view": 7, "reason": "pool_removed", "epoch": "e", "seq": 10}
        play(replica, gone | {"gone": True})
        assert replica.views(1) == replica.views(2) == {}
        with pytest.raises(ReplicaFault):
            play(replica, patch(10, 11))


def test_moved_goes_on_under_another_number(replica):
    play(replica, {"type": "moved", "view": 7, "as": 31, "seq": 11})
    play(replica, patch(11, 12, rename("a", "web3"), view=31))
    assert view(replica).document["VM"]["a"]["name_label"] == "web3"


def test_subscriptions_with_the_same_view_share_its_document(replica):
    play(replica, subscribed(info(mode="same"), id_=2), patch(10, 11, rename("a", "once")))
    assert view(replica, id_=2) is view(replica)


def test_messages_about_no_view_are_left_alone(replica):
    for type_ in ("welcome", "result", "error", "pong", "something-later"):
        assert replica.receive({"type": type_}) == (None, ())


class TestResume:
    def test_offers_token_and_position(self, replica):
        play(replica, patch(10, 12, rename("a", "web2")))
        replica.disconnected()
        message = replica.subscription(1, QUERY)
        assert message["resume"] == [{"token": "token-10", "seq": 12}]
        assert message["query"] == QUERY

    def test_keeps_the_document_and_takes_the_new_position(self, replica):
        replica.disconnected()
        play(replica, subscribed(info(view=3, seq=15, mode="resume")))
        assert len(view(replica).document["VM"]) == 2
        play(replica, patch(15, 16, rename("b", "db2"), view=3))
        assert view(replica).document["VM"]["b"]["name_label"] == "db2"

    def test_a_snapshot_instead_begins_empty(self, replica):
        replica.disconnected()
        play(replica, subscribed(info(view=3, epoch="f")))
        assert view(replica).document == {"VM": {}, "host": {}}

    def test_drops_the_parts_of_an_incomplete_patch(self, replica):
        play(replica, patch(10, 12, rename("a", "half"), more=True))
        replica.disconnected()
        play(replica, subscribed(info(view=3, mode="resume")))
        play(replica, patch(10, 13, rename("a", "whole"), view=3))
        assert view(replica).document["VM"]["a"]["name_label"] == "whole"

    def test_is_not_asked_for_inside_a_snapshot(self):
        replica = Replica()
        play(replica, subscribed(info()), snapshot([("a", "R:a", "web")], last=False))
        replica.disconnected()
        assert "resume" not in replica.subscription(1, QUERY)

    def test_a_bookmark_of_another_position_is_not_kept(self, replica):
        play(replica, bookmark(11, "too-far"))
        replica.disconnected()
        assert replica.subscription(1, QUERY)["resume"] == [{"token": "token-10", "seq": 10}]

    def test_of_what_is_not_held_is_a_fault(self, replica):
        replica.disconnected()
        with pytest.raises(ReplicaFault, match="not held"):
            play(replica, subscribed(info(epoch="other", mode="resume")))

    def test_pools_that_are_gone_go(self, replica):
        play(replica, subscribed(info(view=8, pool="q")), snapshot(view=8))
        assert set(replica.views(1)) == {"p", "q"}  # the second answer names only the new pool
        replica.disconnected()
        play(replica, subscribed(info(view=1, pool="q")))
        assert set(replica.views(1)) == {"q"}

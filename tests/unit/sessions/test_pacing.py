"""Subscriptions with a rate: what they get, and when."""

import pytest

from tests.unit.sessions.wire import VMS, loaded, removal, upsert

SLOW = {"classes": ["VM"], "rate": 1}
QUICK = {"classes": ["VM"], "rate": 4}


@pytest.fixture
def desk():
    desk = loaded()
    desk.hub.beat(100.0)
    return desk


def change(desk, name="a", **fields):
    desk.commit(upsert(name, **{"name_label": "web", "power_state": "Running", **fields}))
    desk.flush()


def at(desk, now_s):
    desk.hub.beat(now_s)
    desk.flush()


def subscribed(desk, query):
    client = desk.connect()
    client.subscribes(1, query)
    desk.flush()
    client.hears()
    return client


def test_all_that_changed_since_the_last_beat_comes_in_one_patch(desk):
    client = subscribed(desk, SLOW)
    change(desk, VCPUs_max=1)
    change(desk, VCPUs_max=2)
    change(desk, "b", name_label="new", power_state="Halted")

    assert client.hears() == []
    assert desk.hub.next_beat_s == 101.0
    at(desk, 100.99)
    assert client.hears() == []
    at(desk, 101.0)

    (patch,) = client.hears()
    values = {op["path"].rpartition("/")[2]: op["value"] for op in patch["ops"] if "value" in op}
    assert values == {"VCPUs_max": 2, "name_label": "new"}
    assert desk.hub.next_beat_s is None


def test_what_came_and_went_between_two_beats_is_not_told(desk):
    client = subscribed(desk, SLOW)
    desk.commit(upsert("c", name_label="x"))
    desk.flush()
    desk.commit(removal("c"))
    desk.flush()
    at(desk, 101.0)

    assert client.hears() == []
    change(desk, VCPUs_max=3)
    at(desk, 102.0)
    assert [len(m["ops"]) for m in client.hears()] == [1]


def test_there_is_at_most_one_patch_a_beat(desk):
    client = subscribed(desk, QUICK)
    heard = []
    for step in range(1, 81):  # two seconds
        change(desk, VCPUs_max=step)
        at(desk, 100 + step / 40)
        heard += client.hears()

    assert len(heard) == 8
    assert heard[-1]["ops"][0]["value"] == 80


def test_members_of_a_group_and_rate_share_the_bytes(desk):
    clients = [subscribed(desk, SLOW) for _ in range(3)]
    change(desk, VCPUs_max=1)
    change(desk, VCPUs_max=2)
    at(desk, 101.0)

    writes = [client.line.writes for client in clients]
    assert [len(w) for w in writes] == [1, 1, 1]
    assert writes[0][0] is writes[1][0] is writes[2][0]


def test_those_without_a_rate_are_not_held_up_and_share_the_view(desk):
    slow, plain = subscribed(desk, SLOW), subscribed(desk, VMS)
    change(desk, VCPUs_max=1)
    change(desk, VCPUs_max=2)

    assert len(plain.hears()) == 2
    assert slow.hears() == []
    assert len(desk.hub.groups) == 1
    at(desk, 101.0)
    assert len(slow.hears()) == 1
    assert plain.hears() == []


def test_a_group_whose_members_all_wait_is_not_read_before_their_beat(desk):
    subscribed(desk, SLOW)
    (group,) = desk.hub.groups.values()
    here = group.position
    for number in range(5):
        change(desk, VCPUs_max=number)

    assert group.position == here
    assert not desk.hub.has_work
    at(desk, 101.0)
    assert group.position == desk.store.seq


def test_somebody_without_a_rate_who_joins_those_who_wait_gets_the_present(desk):
    subscribed(desk, SLOW)
    change(desk, VCPUs_max=7)
    late = desk.connect()
    late.subscribes(1, VMS)
    desk.flush()

    assert late.hears()[-1]["type"] == "patch"  # behind the snapshot of where the group stood
    change(desk, VCPUs_max=8)
    assert [m["type"] for m in late.hears()] == ["patch"]


def test_a_view_that_two_subscriptions_show_goes_at_the_faster_rate(desk):
    client = subscribed(desk, SLOW)
    client.says("subscribe", id=2, query=QUICK)
    assert client.hears()[0]["views"][0]["mode"] == "same"
    change(desk, VCPUs_max=1)
    at(desk, 100.25)
    assert [m["type"] for m in client.hears()] == ["patch"]

    client.says("unsubscribe", id=2)
    client.hears()
    change(desk, VCPUs_max=2)
    at(desk, 100.75)
    assert client.hears() == []
    at(desk, 101.0)
    assert [m["type"] for m in client.hears()] == ["patch"]


def test_who_waits_is_let_go_by_a_subscription_without_a_rate(desk):
    client = subscribed(desk, SLOW)
    change(desk, VCPUs_max=1)
    client.says("subscribe", id=2, query=VMS)
    client.hears()
    desk.flush()

    assert [m["type"] for m in client.hears()] == ["patch"]
    assert desk.hub.next_beat_s in (None, 101.0)
    client.says("unsubscribe", id=2)
    client.hears()
    change(desk, VCPUs_max=2)
    assert client.hears() == []
    at(desk, 101.0)
    assert [m["type"] for m in client.hears()] == ["patch"]


def test_a_client_that_was_full_at_its_beat_gets_its_patch_when_it_drains(desk):
    client = subscribed(desk, SLOW)
    change(desk, VCPUs_max=1)
    client.stalls()
    at(desk, 101.0)
    assert client.hears() == []
    change(desk, VCPUs_max=2)
    client.drains()
    desk.flush()

    (patch,) = client.hears()
    assert patch["ops"][0]["value"] == 2
    change(desk, VCPUs_max=3)
    assert client.hears() == []  # its next beat has not come


def test_a_client_that_drains_between_beats_still_waits(desk):
    client = subscribed(desk, SLOW)
    client.stalls()
    change(desk, VCPUs_max=1)
    client.drains()
    desk.flush()

    assert client.hears() == []
    at(desk, 101.0)
    assert [m["type"] for m in client.hears()] == ["patch"]


def test_snapshots_and_replies_are_not_slowed(desk):
    client = subscribed(desk, SLOW)
    change(desk, VCPUs_max=1)
    client.says("subscribe", id=2, query={"classes": ["host"], "rate": 0.01})
    desk.flush()
    client.says("ping", id=3)

    assert [m["type"] for m in client.hears()] == ["subscribed", "snapshot", "bookmark", "pong"]


def test_one_who_waits_gets_bookmarks_of_where_he_stands(desk):
    client = subscribed(desk, SLOW)
    position = next(iter(desk.hub.groups.values())).position
    change(desk, VCPUs_max=1)
    desk.bookmarks()

    (bookmark,) = client.hears()
    assert (bookmark["type"], bookmark["seq"]) == ("bookmark", position)
    client.leaves()
    again = desk.connect()
    point = {"token": bookmark["resume"], "seq": bookmark["seq"]}
    assert again.subscribes(1, VMS, resume=[point])["mode"] == "resume"
    desk.flush()
    assert [m["type"] for m in again.hears()] == ["patch"]


def test_one_who_is_up_to_date_gets_one_bookmark(desk):
    client = subscribed(desk, SLOW)
    desk.bookmarks()

    assert [m["type"] for m in client.hears()] == ["bookmark"]


def test_one_who_waits_and_is_looked_at_meanwhile_goes_on_waiting(desk):
    client = subscribed(desk, SLOW)
    change(desk, VCPUs_max=1)
    desk.hub._catch_up.add(client.client.members.values())  # as whoever drains or moves
    desk.flush()
    assert client.hears() == []
    at(desk, 101.0)

    assert [m["type"] for m in client.hears()] == ["patch"]
    assert desk.hub.next_beat_s is None


def test_those_who_leave_are_not_waited_for(desk):
    clients = [subscribed(desk, SLOW), subscribed(desk, QUICK)]
    change(desk, VCPUs_max=1)
    for client in clients:
        client.leaves()
    at(desk, 101.0)

    assert desk.hub.next_beat_s is None
    assert not desk.hub.groups
    assert not desk.hub.has_work


def test_beats_are_the_same_for_everybody_whenever_he_came(desk):
    early = subscribed(desk, QUICK)
    at(desk, 100.1)
    late = subscribed(desk, QUICK)
    change(desk, VCPUs_max=1)
    at(desk, 100.25)

    assert len(early.hears()) == len(late.hears()) == 1


def test_beats_of_odd_rates_always_lie_ahead():
    desk = loaded()
    client = subscribed(desk, {"classes": ["VM"], "rate": 0.7})
    now, heard = 0.0, 0
    for number in range(50):
        change(desk, VCPUs_max=number)
        beat_s = desk.hub.next_beat_s
        assert beat_s is not None
        assert beat_s > now
        now = beat_s
        at(desk, now)
        heard += len(client.hears())

    assert heard == 50
    assert now == pytest.approx(50 / 0.7)

"""Lanes through the hub: who is written to, and who is looked at first."""

from tests.unit.sessions.wire import VMS, loaded, upsert
from xoproxy.sessions.lanes import Lanes
from xoproxy.sessions.member import Member

HOSTS = {"classes": ["host"]}


def ready(desk, *clients):
    for client in clients:
        client.subscribes()
    desk.flush()
    for client in clients:
        client.hears()


def lane_of(client):
    (member,) = client.client.members.values()
    return member.lane


def is_swift(client):
    return set(client.client.members.values()) <= lane_of(client).swift.keys()


def change(desk, name):
    desk.commit(upsert("a", name_label=name))
    desk.flush()


def seqs(client):
    return [(m["from"], m["to"]) for m in client.hears_of("patch")]


class TestSwift:
    def test_members_of_a_view_are_written_to_without_a_look(self):
        desk = loaded()
        one, other = desk.connect(), desk.connect()
        ready(desk, one, other)
        assert lane_of(one) is lane_of(other)
        assert is_swift(one)
        assert is_swift(other)

    def test_who_stalls_is_looked_at_and_steps_out(self):
        desk = loaded()
        slow, quick = desk.connect(), desk.connect()
        ready(desk, slow, quick)
        slow.stalls()
        assert not is_swift(slow)
        change(desk, "x")
        assert lane_of(slow) is None
        assert seqs(slow) == []
        assert len(seqs(quick)) == 1

    def test_who_drained_in_time_is_swift_again_after_a_look(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        client.stalls()
        client.drains()
        change(desk, "x")
        assert len(seqs(client)) == 1
        assert is_swift(client)
        change(desk, "y")
        assert len(seqs(client)) == 1

    def test_a_frame_that_fills_a_socket_is_not_sent_twice(self):
        desk = loaded()
        client, other = desk.connect(), desk.connect()
        ready(desk, client, other)
        client.line.room = 0
        change(desk, "x")
        assert not is_swift(client)
        client.drains()
        desk.flush()
        change(desk, "y")
        assert seqs(client) == seqs(other) == [(3, 4), (4, 5)]

    def test_who_shows_two_views_is_looked_at_until_one_is_left(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        (member,) = client.client.members.values()
        lane = lane_of(client)
        client.subscribes(id_=2, query=HOSTS)
        desk.flush()
        client.hears()
        assert member in lane.others
        change(desk, "x")
        assert len(seqs(client)) == 1
        client.says("unsubscribe", id=2)
        change(desk, "y")
        assert len(seqs(client)) == 1
        assert is_swift(client)

    def test_frames_and_bytes_are_counted_whoever_gets_them(self):
        desk = loaded()
        swift, slow, busy = (desk.connect() for _ in range(3))
        ready(desk, swift, slow, busy)
        busy.subscribes(id_=2, query=HOSTS)
        desk.flush()
        slow.stalls()
        counters = desk.hub.counters
        frames, size = counters.frames, counters.bytes
        change(desk, "x")
        (written,) = {client.line.writes[-1] for client in (swift, busy)}
        assert counters.frames - frames == 2
        assert counters.bytes - size == 2 * (len(written) - written.index(b"{"))
        assert counters.parked == 1


class TestBetweenSlices:
    def between(self, act):
        """Have one of three, a lane each, act when the first was served; return all three."""
        desk = loaded(slice_clients=1)
        clients = [desk.connect() for _ in range(3)]
        ready(desk, *clients)
        desk.commit(upsert("a", name_label="x"))
        late = clients[-1]
        acted = False
        for _ in desk.hub.flush():
            if clients[0].line.writes and not acted:
                acted = True
                assert not late.line.writes
                act(late)
        assert acted
        desk.flush()
        return desk, late, clients[:-1]

    def test_who_waits_for_the_frame_stands_where_it_begins(self):
        def act(late):
            (member,) = late.client.members.values()
            assert member.lane is not None
            assert not member.is_current
            assert member.cursor == 3

        _, late, others = self.between(act)
        assert all(seqs(client) == [(3, 4)] for client in (late, *others))

    def test_who_stalls_before_it_gets_one_patch_later(self):
        desk, late, others = self.between(lambda late: late.stalls())
        assert seqs(late) == []
        change(desk, "y")
        late.drains()
        desk.flush()
        assert seqs(late) == [(3, 5)]
        assert all(seqs(client) == [(3, 4), (4, 5)] for client in others)

    def test_who_subscribes_anew_to_the_same_is_told_where_it_stands(self):
        views = []

        def act(late):
            late.says("subscribe", id=2, query=VMS)
            views.extend(late.hears_of("subscribed")[0]["views"])

        _, late, _ = self.between(act)
        assert [(v["mode"], v["seq"]) for v in views] == [("same", 3)]
        assert seqs(late) == [(3, 4)]


class TestRoom:
    def test_a_lane_has_so_many_members_and_no_more(self):
        desk = loaded(slice_clients=2)
        clients = [desk.connect() for _ in range(5)]
        ready(desk, *clients)
        assert sorted(len(lane) for lane in {lane_of(c) for c in clients}) == [1, 2, 2]
        change(desk, "x")
        assert all(seqs(client) == [(3, 4)] for client in clients)

    def test_the_place_of_one_who_left_is_taken(self):
        desk = loaded(slice_clients=2)
        clients = [desk.connect() for _ in range(4)]
        ready(desk, *clients)
        lane = lane_of(clients[0])
        clients[0].leaves()
        late = desk.connect()
        ready(desk, late)
        assert lane_of(late) is lane

    def test_an_empty_lane_is_used_again_at_another_position(self):
        desk = loaded()
        client = desk.connect()
        ready(desk, client)
        (member,) = client.client.members.values()
        lanes = Lanes(1)
        other = Member(client.client, member.group, 7)
        lanes.admit(other, 7)
        lane = other.lane
        assert [list(lanes.members_at(p)) for p in (7, 8)] == [[other], []]
        other.step_out()
        assert (other.cursor, lanes.at(7)) == (7, [])
        lanes.admit(other, 8)
        assert other.lane is lane
        assert lanes.release() == [other]
        assert (other.lane, other.cursor) == (None, 8)

"""Live windows as a client hears of them: the part that is shown, its changes, moves and counts."""

import pytest

from tests.properties.replica import Replica
from tests.unit.sessions.wire import HOST, POOL, Desk, Person, ref, removal, upsert
from xoproxy.auth.grants import Reach, Sight
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.view import Everything
from xoproxy.model import Upsert, XapiClass
from xoproxy.sessions import window_group
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.messages import Limits

NAMES = {"VM": ["name_label"]}


def vm(name, label=None, state="Running", **fields):
    return upsert(name, name_label=label or name, power_state=state, **fields)


def desk_of(*names, **sizes):
    desk = Desk(**sizes)
    desk.commit(*(vm(name) for name in names), upsert("h", HOST, name_label="host"))
    return desk


class Looker:
    """A client of one window, which says what it holds."""

    def __init__(self, desk, window, person=None, codec=Codec.JSON, **query):
        self.desk = desk
        self.client = desk.connect(person, codec=codec)
        self.replica = Replica(binary=codec.binary, deflate=False)
        self.subscribe(1, window, **query)

    def subscribe(self, id_, window, **query):
        query = {"classes": ["VM"], "fields": NAMES, "window": window} | query
        self.replica.will_subscribe(id_, query, [])
        self.client.says("subscribe", id=id_, query=query)
        self.hear()

    def moves(self, window, id_=1):
        self.client.says("window", id=id_, window=window)

    def hear(self):
        """Let the hub finish; return the types of the messages that came."""
        self.desk.flush()
        writes, self.client.line.writes = self.client.line.writes, []
        return [m["type"] for data in writes for m in self.replica.receive(data)]

    @property
    def last(self):
        return self.replica.messages[-1]

    def document(self, id_=1):
        return next(d for d in self.replica.documents.values() if id_ in d.subscriptions)

    def labels(self, id_=1):
        content = self.document(id_).content
        objects = content["VM"]
        assert sorted(objects) == sorted(content["order"])
        return [objects[key]["name_label"] for key in content["order"]]


class TestContent:
    def test_a_window_is_the_part_asked_for_and_the_counts(self):
        desk = desk_of("d", "a", "C", "b")
        looker = Looker(desk, [1, 2], facets=["power_state"])
        assert looker.labels() == ["b", "C"]
        document = looker.document()
        assert document.pool is None
        assert document.content["total"] == 4
        assert document.content["facets"] == {"power_state": {"Running": 4}}
        record = next(iter(document.content["VM"].values()))
        assert set(record) == {"$ref", "$pool", "name_label"}

    def test_counts_only(self):
        desk = desk_of("a", "b")
        looker = Looker(desk, [0, 0], facets=["power_state"])
        assert looker.labels() == []
        desk.commit(vm("a", state="Halted"))
        looker.hear()
        assert looker.document().content["facets"] == {"power_state": {"Running": 1, "Halted": 1}}
        assert [op["path"] for op in looker.last["ops"]] == ["/facets"]

    def test_a_window_beyond_the_end_is_empty(self):
        desk = desk_of("a")
        looker = Looker(desk, [5, 5])
        assert looker.labels() == []
        assert looker.document().content["total"] == 1

    def test_of_a_pool_that_was_never_listed_there_is_nothing_yet(self):
        desk = Desk()
        looker = Looker(desk, [0, 5])
        assert looker.document().content["total"] == 0
        desk.commit(vm("a"))
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["a"]

    def test_several_pools_are_one_list(self):
        desk = desk_of("a", "c")
        other = desk.add_pool("q")
        desk.commit(vm("b"), vm("a"), store=other)
        looker = Looker(desk, [0, 9])
        assert looker.labels() == ["a", "a", "b", "c"]
        records = looker.document().content["VM"].values()
        assert sorted(r["$pool"] for r in records) == ["p", "p", "q", "q"]

    def test_messagepack(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 2], codec=Codec.MSGPACK, facets=["power_state"])
        desk.commit(vm("d", "0"), vm("b", state="Halted"))
        looker.hear()
        assert looker.labels() == ["0", "a"]

    def test_large_windows_come_in_parts(self):
        names = [f"n{n:03}" for n in range(200)]
        desk = desk_of(*names, frame_bytes=400, chunk_bytes=200)
        looker = Looker(desk, [0, 150])
        assert looker.labels() == names[:150]
        desk.commit(*(vm(name, f"m{name}") for name in names))
        assert looker.hear().count("patch") > 10
        assert looker.labels() == [f"m{name}" for name in names[:150]]


class TestChanges:
    def test_what_does_not_show_is_not_told(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 2])
        desk.commit(vm("c", state="Halted"))
        desk.commit(vm("a", memory=5))
        desk.commit(upsert("h", HOST, name_label="other"))
        assert looker.hear() == []

    def test_an_object_that_moves_past_the_window_changes_its_ends(self):
        desk = desk_of("a", "b", "c", "d")
        looker = Looker(desk, [1, 2])
        desk.commit(vm("a", "z"))
        looker.hear()
        assert looker.labels() == ["c", "d"]
        assert [op["op"] for op in looker.last["ops"]] == ["remove", "add", "replace"]

    def test_a_field_that_is_shown_changes_alone(self):
        desk = desk_of("a", "b")
        looker = Looker(desk, [0, 2], fields={"VM": ["power_state"]})
        desk.commit(vm("b", state="Halted"))
        looker.hear()
        (operation,) = looker.last["ops"]
        assert operation["op"] == "replace"
        assert operation["path"].endswith("/power_state")

    def test_members_of_sets_one_by_one_for_who_asks_for_that(self):
        tags = [f"a-tag-that-is-long-{n}" for n in range(10, 60)]
        desk = desk_of("b")
        desk.commit(vm("a", tags=tags))
        lookers = [
            Looker(desk, [0, 1], fields={"VM": ["tags", "name_label"]}, sets="members"),
            Looker(desk, [0, 1], fields={"VM": ["tags", "name_label"]}),
        ]
        desk.commit(vm("a", tags=tags[1:]))
        paths = []
        for looker in lookers:
            looker.hear()
            paths.append(looker.last["ops"][0]["path"].split("/")[3:])
            (record,) = looker.document().content["VM"].values()
            assert sorted(record["tags"]) == tags[1:]
        assert paths == [["tags", "0"], ["tags"]]

    def test_what_is_made_anew_under_an_old_reference_has_another_key(self):
        desk = desk_of("a", "b")
        looker = Looker(desk, [0, 2])
        before = looker.document().content["order"]
        desk.commit(removal("a"))
        desk.commit(vm("a"))
        looker.hear()
        after = looker.document().content["order"]
        assert looker.labels() == ["a", "b"]
        assert before[0] != after[0]
        assert before[1] == after[1]

    def test_those_who_share_a_window_get_the_identical_bytes(self):
        desk = desk_of("a", "b", "c")
        lookers = [Looker(desk, [0, 2]) for _ in range(3)]
        other = Looker(desk, [1, 2])
        assert len(desk.hub.windows.listings) == 1
        assert len(desk.hub.windows.groups) == 2
        desk.commit(vm("b", "bb"))
        desk.flush()
        first, *others = [looker.client.line.writes for looker in lookers]
        assert len(first) == 1
        for writes in others:
            assert writes[0] is first[0]
        other.hear()
        assert other.labels() == ["bb", "c"]

    def test_a_client_that_reads_slowly_gets_one_patch_for_all(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 2])
        looker.client.stalls()
        for label in ("x", "y", "0"):
            desk.commit(vm("c", label))
            assert looker.hear() == []
        looker.client.drains()
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["0", "a"]

    def test_who_stalls_for_very_long_begins_again(self, monkeypatch):
        monkeypatch.setattr(window_group, "_CONTENTS_KEPT", 4)
        desk = desk_of("a", "b")
        lookers = [Looker(desk, [0, 2]) for _ in range(8)]
        for number, looker in enumerate(lookers):
            looker.hear()
            looker.client.stalls()
            desk.commit(vm("a", f"a{number}"))
            desk.flush()
        kinds = []
        for looker in lookers:
            looker.client.drains()
            kinds.append(looker.hear())
            assert looker.labels() == ["a7", "b"]
        assert kinds[0] == ["reset", "snapshot"]
        assert kinds[-1] == ["patch"]

    def test_a_pool_whose_history_is_gone_is_looked_at_again(self):
        desk = Desk(JournalBudget(pool_bytes=0))
        desk.commit(vm("a"), vm("b"), vm("c"))
        looker = Looker(desk, [0, 2])
        desk.commit(vm("a", "x"), removal("b"), vm("d"))
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["c", "d"]

    def test_rate(self):
        desk = desk_of("a", "b")
        looker = Looker(desk, [0, 1], rate=1)
        for label in ("0", "1", "2"):
            desk.commit(vm("b", label))
            assert looker.hear() == []
        assert desk.hub.next_beat_s is not None
        desk.hub.beat(desk.hub.next_beat_s)
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["2"]


class TestMoving:
    def test_a_patch_leads_to_the_other_window_and_then_it_has_moved(self):
        desk = desk_of("a", "b", "c", "d")
        looker = Looker(desk, [0, 2])
        looker.moves([1, 2])
        assert looker.hear() == ["patch", "moved"]
        assert looker.labels() == ["b", "c"]
        desk.commit(vm("b", "bb"))
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["bb", "c"]
        assert len(desk.hub.windows.groups) == 1

    def test_keys_stay_the_same(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 2])
        before = looker.document().content["order"]
        looker.moves([1, 2])
        looker.hear()
        assert before[1] == looker.document().content["order"][0]

    def test_moving_nowhere_is_answered_by_an_empty_patch(self):
        desk = desk_of("a")
        looker = Looker(desk, [0, 2])
        looker.moves([0, 2])
        assert looker.hear() == ["patch"]
        assert looker.last["ops"] == []
        desk.commit(vm("a", "x"))
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["x"]

    def test_coming_to_a_window_whose_position_lies_behind(self):
        """Those who were there already, and the one who came, get what is new without a reset."""
        desk = desk_of("a", "b", "c")
        there = Looker(desk, [0, 1])
        looker = Looker(desk, [2, 1])
        desk.commit(vm("c", "cc"))
        looker.hear()
        for window in ([0, 1], [2, 1], [0, 1]):
            looker.moves(window)
            assert looker.hear() == ["patch", "moved"]
        assert looker.document().view == there.document().view
        assert looker.document().position > there.document().position
        desk.commit(vm("a", "aa"))
        assert looker.hear() == ["patch"]
        assert there.hear() == ["patch"]
        assert looker.document().position == there.document().position
        desk.commit(vm("a", "aaa"))
        desk.flush()
        assert there.client.line.writes[0] is looker.client.line.writes[0]

    def test_who_scrolls_while_nothing_can_be_written_gets_to_the_last_place_at_once(self):
        desk = desk_of(*"abcdefgh")
        looker = Looker(desk, [0, 2])
        looker.client.stalls()
        for offset in (1, 2, 3, 4):
            looker.moves([offset, 2])
            assert looker.hear() == []
        looker.client.drains()
        assert looker.hear() == ["patch", "moved"]
        assert looker.labels() == ["e", "f"]
        assert len(desk.hub.windows.groups) == 1

    def test_a_move_between_the_writes_of_a_frame(self):
        desk = desk_of("a", "b", "c", slice_clients=1)
        lookers = [Looker(desk, [0, 2]) for _ in range(3)]
        desk.commit(vm("a", "x"))
        flushing = desk.hub.flush()
        while not lookers[0].client.line.writes:
            next(flushing)
        for looker in lookers:
            looker.moves([1, 2])
        for _ in flushing:
            pass
        for looker in lookers:
            looker.hear()
            assert looker.labels() == ["c", "x"]

    def test_what_a_client_still_knows_by_a_number_is_no_other_view_of_it(self):
        desk = desk_of("a", "b", "c", "d")
        others, looker = Looker(desk, [0, 2]), Looker(desk, [0, 2])
        (member,) = looker.client.client.members.values()
        looker.moves([2, 2])
        flushing = desk.hub.flush()
        while member.shown_as is None:
            next(flushing)
        looker.subscribe(2, [0, 2])
        for _ in flushing:
            pass
        looker.hear()
        assert looker.labels(1) == ["c", "d"]
        assert looker.labels(2) == others.labels() == ["a", "b"]

    def test_a_move_before_a_frame_is_taken_back(self):
        """One that waited for others of its client, whose rights changed before it left."""
        desk = desk_of("a", "b", "c", slice_clients=1)
        person = Person(Sight(Reach(all=True)))
        looker = Looker(desk, [0, 3], person)
        looker.subscribe(2, [0, 3], filter="power_state:Running")
        desk.commit(vm("a", "0"))
        flushing = desk.hub.flush()
        while not looker.client.client.outbox:
            next(flushing)
        looker.moves([0, 2])
        person.rights = Everything()
        looker.client.session.rights_changed()
        for _ in flushing:
            pass
        looker.hear()
        assert looker.labels(1) == ["0", "b"]
        assert looker.labels(2) == ["0", "b", "c"]

    def test_a_move_before_the_first_snapshot(self):
        desk = desk_of("a", "b", "c")
        looker = Looker.__new__(Looker)
        looker.desk, looker.client = desk, desk.connect()
        looker.replica = Replica(binary=False, deflate=False)
        query = {"classes": ["VM"], "window": [0, 1]}
        looker.replica.will_subscribe(1, query, [])
        looker.client.says("subscribe", id=1, query=query)
        looker.moves([1, 1])
        assert looker.hear() == ["subscribed", "snapshot", "patch", "moved"]
        assert looker.labels() == ["b"]

    def test_each_subscription_has_a_window_of_its_own(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 1])
        looker.subscribe(2, [0, 1])
        assert looker.document(1).view != looker.document(2).view
        looker.moves([1, 1], 2)
        looker.hear()
        assert (looker.labels(1), looker.labels(2)) == (["a"], ["b"])
        looker.moves([0, 1], 2)
        looker.hear()
        assert looker.labels(2) == ["a"]
        looker.replica.will_unsubscribe(1)
        looker.client.says("unsubscribe", id=1)
        looker.hear()
        desk.commit(vm("a", "aa"))
        looker.hear()
        assert looker.labels(2) == ["aa"]

    def test_leaving_on_the_way_leaves_nothing_behind(self):
        desk = desk_of("a", "b")
        looker = Looker(desk, [0, 1])
        looker.moves([1, 1])
        looker.client.leaves()
        assert not desk.hub.windows.groups
        assert not desk.hub.windows.listings
        desk.flush()


class TestLeaving:
    def _steps_of_two_windows(self, monkeypatch, desk):
        """Have two windows on one list, which take up news in steps of one row."""
        monkeypatch.setattr(window_group, "_SLICE", 1)
        lookers = [Looker(desk, [0, count], filter="power_state:Running") for count in (3, 2)]
        assert len(desk.hub.windows.listings) == 1
        return lookers

    def test_windows_that_go_while_news_are_taken_up(self, monkeypatch):
        """Nobody tells their list of what comes then: nothing may be cut from it any more."""
        desk = desk_of("a", "b", "c")
        lookers = self._steps_of_two_windows(monkeypatch, desk)
        desk.commit(vm("a", "A"), vm("b", "B"), vm("c", "C"))
        flushing = desk.hub.flush()
        while not any(listing.news for listing in desk.hub.windows.listings.values()):
            next(flushing)
        next(flushing)
        for looker in lookers:
            looker.client.leaves()
        desk.commit(*(vm(name, state="Halted") for name in "abc"))
        for _ in flushing:
            pass
        assert desk.hub.take_faults() == []
        assert not desk.hub.windows.listings

    def test_windows_that_go_while_they_look_for_the_first_time(self, monkeypatch):
        desk = desk_of("a", "b", "c")
        first = self._steps_of_two_windows(monkeypatch, desk)
        looked = []
        begin = window_group.WindowGroup.begin

        def noted(group):
            looked.append(group)
            yield from begin(group)

        monkeypatch.setattr(window_group.WindowGroup, "begin", noted)
        clients = [desk.connect() for _ in range(2)]
        for count, client in enumerate(clients, 4):
            query = {"classes": ["VM"], "filter": "power_state:Running", "window": [0, count]}
            client.says("subscribe", id=1, query=query)
        flushing = desk.hub.flush()
        while not looked:
            next(flushing)
        for client in (*clients, *(looker.client for looker in first)):
            client.leaves()
        desk.commit(*(vm(name, state="Halted") for name in "abc"))
        for _ in flushing:
            pass
        assert desk.hub.take_faults() == []
        assert not desk.hub.has_work


class TestPools:
    def test_windows_follow_the_pools(self):
        desk = desk_of("a", "c")
        looker = Looker(desk, [0, 2])
        other = desk.add_pool("q")
        looker.client.session.pool_added("q")
        assert looker.hear() == ["patch", "moved"]
        desk.commit(vm("b"), store=other)
        assert looker.hear() == ["patch"]
        assert looker.labels() == ["a", "b"]
        desk.hub.remove_pool(POOL)
        assert looker.hear() == ["patch", "moved"]
        assert looker.labels() == ["b"]
        assert looker.document().content["total"] == 1

    def test_a_pool_that_the_user_may_not_see_is_not_there(self):
        desk = desk_of("a")
        desk.commit(vm("b"), store=desk.add_pool("q"))
        looker = Looker(desk, [0, 9], person=Person(hidden=["q"]))
        assert looker.labels() == ["a"]
        desk.add_pool("r")
        looker.client.session.user.hidden.add("r")
        looker.client.session.pool_added("r")
        assert looker.hear() == []

    def test_pools_that_were_named_are_not_followed(self):
        desk = desk_of("a")
        looker = Looker(desk, [0, 9], pools=["p"])
        desk.commit(vm("b"), store=desk.add_pool("q"))
        looker.client.session.pool_added("q")
        assert looker.hear() == []

    def test_a_pool_that_comes_back_has_other_keys(self):
        desk = desk_of("a")
        looker = Looker(desk, [0, 9])
        before = looker.document().content["order"]
        desk.hub.remove_pool(POOL)
        looker.hear()
        store = desk.add_pool(POOL)
        looker.client.session.pool_added(POOL)
        desk.commit(vm("a"), store=store)
        looker.hear()
        assert looker.labels() == ["a"]
        assert before != looker.document().content["order"]


class TestRequests:
    def refused(self, client, code, text, **message):
        client.says(**message)
        (answer,) = client.hears_of("error")
        assert answer["code"] == code
        assert text in answer["message"]
        return answer

    @pytest.mark.parametrize(
        ("window", "code", "text"),
        [
            ([0, 1_001], "BAD_QUERY", "at most 1000"),
            ([-1, 5], "BAD_QUERY", "not negative"),
            ([0], "BAD_MESSAGE", "length 2"),
            ("0", "BAD_MESSAGE", "array"),
        ],
    )
    def test_a_wrong_window(self, window, code, text):
        looker = Looker(desk_of("a"), [0, 1])
        self.refused(looker.client, code, text, type_="window", id=1, window=window)
        looker.moves([0, 2])
        assert looker.hear() == ["patch", "moved"]

    def test_a_subscription_without_a_window_has_none(self):
        client = desk_of("a").connect()
        client.subscribes(1)
        self.refused(client, "BAD_MESSAGE", "no window", type_="window", id=1, window=[0, 1])
        self.refused(client, "NOT_FOUND", "subscription", type_="window", id=2, window=[0, 1])

    def test_a_window_that_was_lost(self):
        desk = desk_of("a")
        looker = Looker(desk, [0, 1])
        for member in list(looker.client.client.members.values()):
            desk.hub.windows.leave(member)
        looker.moves([0, 2])
        (error,) = looker.client.hears()
        assert (error["code"], error["id"]) == ("NOT_FOUND", 1)
        assert error["message"] == "the window of subscription 1 is gone: subscribe anew"
        desk.add_pool("q")
        looker.client.session.pool_added("q")
        assert not desk.hub.windows.groups

    def test_a_wrong_query_says_where_and_what_instead(self):
        client = desk_of("a").connect()
        query = {"classes": ["VM"], "window": [0, 1], "order": ["power_stat"]}
        answer = self.refused(client, "BAD_QUERY", "no field", type_="subscribe", id=1, query=query)
        assert answer["data"]["at"] == "/order/0"
        assert "power_state" in answer["data"]["hint"]

    def test_a_window_is_one_view(self):
        desk = desk_of("a")
        desk.add_pool("q")
        client = desk.connect(limits=Limits(views=1))
        client.subscribes(1, {"classes": ["VM"], "window": [0, 1]})
        query = {"classes": ["VM"], "window": [0, 1]}
        self.refused(client, "LIMIT", "views", type_="subscribe", id=2, query=query)

    def test_windows_have_no_bookmarks(self):
        desk = desk_of("a")
        looker = Looker(desk, [0, 1])
        desk.bookmarks()
        desk.hub.bookmark(looker.client.client)
        assert looker.hear() == []

    def test_a_call_that_expects_what_the_window_shows(self):
        desk = desk_of("a", "b", "c")
        looker = Looker(desk, [0, 2])
        document = looker.document()
        call = {"type_": "call", "pool": POOL, "method": "VM.start", "params": {}}

        def expect(key, seq):
            return {"expect": [{"view": looker.document().view, "key": key, "seq": seq}]}

        key, other = document.content["order"]
        seq = document.position
        assert looker.client.says(**call, id=7, **expect(key, seq)) is not None

        desk.commit(vm("a", memory=5))  # which it does not show
        assert looker.client.says(**call, id=8, **expect(key, seq)) is not None

        desk.commit(vm("b", "bb"))
        assert looker.client.says(**call, id=9, **expect(key, seq)) is not None
        self.refused(looker.client, "CONFLICT", "changed", **call, id=10, **expect(other, seq))
        looker.hear()
        self.refused(looker.client, "CONFLICT", "changed", **call, id=11, **expect(other, seq))
        seq = looker.document().position
        assert looker.client.says(**call, id=12, **expect(other, seq)) is not None

        desk.commit(removal("a"))
        desk.commit(vm("a"))
        self.refused(looker.client, "CONFLICT", "changed", **call, id=13, **expect(key, seq))
        self.refused(looker.client, "CONFLICT", "changed", **call, id=14, **expect("zz", seq))

    def test_objects_of_the_proxy_in_a_window(self):
        desk = desk_of("a")
        link = XapiClass("pool_link")
        store = desk.add_pool("proxy", classes=[link])
        desk.commit(Upsert(link, ref("l"), b'{"name": "one", "state": "live"}'), store=store)
        client = desk.connect()
        query = {"pools": ["proxy"], "classes": ["pool_link"], "order": ["state"]}
        client.subscribes(1, query | {"window": [0, 5]})
        desk.flush()
        (snapshot,) = client.hears()
        assert snapshot["total"] == 1


class TestBounds:
    def test_there_are_only_so_many_different_lists(self):
        desk = desk_of("a", "b", window_lists=1)
        looker = Looker(desk, [0, 1])
        looker.subscribe(2, [1, 1])  # the same list
        assert looker.labels(2) == ["b"]
        looker.client.says("subscribe", id=3, query={"classes": ["host"], "window": [0, 1]})
        (refused,) = looker.client.hears_of("error")
        assert (refused["code"], refused["id"]) == ("LIMIT", 3)
        assert "at most 1 different lists" in refused["message"]

        looker.client.says("unsubscribe", id=1)
        looker.client.says("unsubscribe", id=2)
        looker.client.says("subscribe", id=3, query={"classes": ["host"], "window": [0, 1]})
        desk.flush()
        assert "subscribed" in [m["type"] for m in looker.client.hears()]

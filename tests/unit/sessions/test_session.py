"""What each message of a client is answered by (docs/protocol.md)."""

import msgspec
import pytest

from tests.unit.sessions.wire import HOST, POOL, VM, VMS, Desk, Person, loaded, removal, upsert
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PROXY_POOL
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.session import Authenticate, RunCall


@pytest.fixture
def desk():
    return loaded()


@pytest.fixture
def client(desk):
    return desk.connect()


def error(client):
    """Return the only message, an error, without its text."""
    (answer,) = client.hears()
    assert answer.pop("type") == "error"
    assert answer.pop("message")
    return answer


def refused(code, id_=9, **more):
    return {"id": id_, "code": code, "retry": False, **more}


class TestWelcome:
    def test_says_who_we_are_who_he_is_and_what_he_may_use(self, client):
        client.session.welcome()

        assert client.hears() == [
            {
                "type": "welcome",
                "protocol": "xoproxy.v1",
                "server": "xoproxy/test",
                "session": "s1",
                "user": {"name": "ada", "role": "administrator"},
                "limits": {
                    "message_bytes": 262_144,
                    "subscriptions": 100,
                    "views": 2_000,
                    "frame_bytes": 65_536,
                    "calls": 32,
                },
            }
        ]

    def test_a_later_auth_is_for_the_endpoint_and_renews_the_user(self, client):
        effect = client.says("auth", token="xop_1")

        assert isinstance(effect, Authenticate)
        assert effect.auth.token == "xop_1"
        client.session.renewed(Person(hidden={"p"}))
        assert [m["type"] for m in client.hears()] == ["welcome"]
        client.says("call", id=9, pool="p", method="VM.start")
        assert error(client) == refused("NOT_FOUND")


class TestSubscribe:
    def test_is_answered_by_the_view_then_its_content_then_a_bookmark(self, desk, client):
        client.says("subscribe", id="mine", query={"classes": ["host", "VM"]})
        assert client.hears() == [
            {
                "type": "subscribed",
                "id": "mine",
                "views": [
                    {
                        "view": 1,
                        "pool": "p",
                        "epoch": "epoch-p",
                        "seq": 3,
                        "classes": ["VM", "host"],
                        "mode": "snapshot",
                    }
                ],
            }
        ]

        desk.flush()

        vms, hosts, bookmark = client.hears()
        assert vms == {
            "type": "snapshot",
            "view": 1,
            "seq": 3,
            "last": False,
            "class": "VM",
            "fields": ["$ref", "name_label", "power_state"],
            "keys": ["0", "1"],
            "rows": [["OpaqueRef:a", "web", "Running"], ["OpaqueRef:b", "db", "Halted"]],
        }
        assert hosts == {
            "type": "snapshot",
            "view": 1,
            "seq": 3,
            "last": True,
            "class": "host",
            "fields": ["$ref", "name_label"],
            "keys": ["2"],
            "rows": [["OpaqueRef:h", "host"]],
        }
        assert bookmark.pop("resume")
        assert bookmark == {"type": "bookmark", "view": 1, "seq": 3}

    def test_a_change_comes_as_a_patch(self, desk, client):
        client.subscribes()
        desk.flush()
        client.hears()

        desk.commit(
            upsert("a", name_label="web", power_state="Halted"), upsert("c", name_label="new")
        )
        desk.commit(removal("b"))
        desk.flush()

        assert client.hears() == [
            {
                "type": "patch",
                "view": 1,
                "from": 3,
                "to": 6,
                "ops": [
                    {"op": "replace", "path": "/VM/0/power_state", "value": "Halted"},
                    {
                        "op": "add",
                        "path": "/VM/3",
                        "value": {"$ref": "OpaqueRef:c", "name_label": "new"},
                    },
                    {"op": "remove", "path": "/VM/1"},
                ],
            }
        ]

    def test_what_is_outside_of_the_view_is_silent(self, desk, client):
        client.subscribes()
        desk.flush()
        client.hears()

        desk.commit(upsert("h", HOST, name_label="another"))
        desk.flush()

        assert client.hears() == []

    def test_an_equal_query_on_the_same_connection_is_the_same_view(self, desk, client):
        first = client.subscribes(1, {"classes": ["VM", "host"]})
        desk.flush()
        client.hears()

        second = client.subscribes(2, {"classes": ["host", "VM", "VM"], "pools": ["p"]})

        assert second == {**first, "mode": "same"}
        desk.flush()
        assert client.hears() == []
        client.says("unsubscribe", id=1)
        desk.commit(removal("b"))
        desk.flush()
        assert [m["type"] for m in client.hears()] == ["result", "patch"]
        client.says("unsubscribe", id=2)
        desk.commit(removal("a"))
        desk.flush()
        assert [m["type"] for m in client.hears()] == ["result"]

    def test_a_same_view_tells_where_this_client_stands_not_the_others(self, desk, client):
        other = desk.connect()
        other.subscribes()
        client.subscribes()
        desk.flush()
        client.hears()
        client.stalls()
        desk.commit(removal("b"))
        desk.flush()

        assert client.subscribes(2)["seq"] == 3

    def test_two_queries_are_two_views_and_both_change(self, desk, client):
        client.subscribes(1)
        client.subscribes(2, {"classes": ["VM"], "fields": {"VM": ["name_label"]}})
        desk.flush()
        client.hears()

        desk.commit(upsert("a", name_label="x", power_state="Running"))
        desk.flush()

        assert [(m["view"], m["from"], m["to"]) for m in client.hears()] == [(1, 3, 4), (2, 3, 4)]

    def test_a_filter_and_a_mask_apply(self, desk, client):
        client.subscribes(
            1, {"classes": ["VM"], "filter": "power_state:Running", "fields": {"VM": ["uuid"]}}
        )
        desk.flush()

        (snapshot,) = client.hears_of("snapshot")
        assert (snapshot["fields"], snapshot["rows"]) == (["$ref"], [["OpaqueRef:a"]])

    def test_an_empty_view_has_one_empty_snapshot(self, desk, client):
        client.subscribes(1, {"classes": ["VM"], "filter": "name_label:nothing"})
        desk.flush()

        (snapshot,) = client.hears_of("snapshot")
        assert (snapshot["last"], snapshot["keys"], snapshot["rows"]) == (True, [], [])

    def test_classes_are_those_asked_for_that_the_pool_has(self, client):
        assert client.subscribes(1, {"classes": ["VM", "VTPM"]})["classes"] == ["VM"]
        assert client.subscribes(2, {"classes": ["*"]})["classes"] == ["VM", "host"]

    def test_a_class_that_the_pool_lacks_gives_an_empty_document(self, desk, client):
        assert client.subscribes(1, {"classes": ["VTPM"]})["classes"] == []
        desk.flush()

        (snapshot,) = client.hears_of("snapshot")
        assert (snapshot["last"], snapshot["keys"]) == (True, [])

    @pytest.mark.parametrize(
        ("query", "data"),
        [
            ({}, ("/classes", None, '["VM", "host"], or ["*"] for all')),
            ({"classes": ["vm"]}, ("/classes/0", None, "did you mean VM?")),
            (
                {"classes": ["VM"], "filter": "name_label:x powr_state:Running"},
                ("/filter", 13, "did you mean power_state?"),
            ),
            (
                {"classes": ["VM"], "fields": {"VM": ["other_config.xo:id"]}},
                ("/fields/VM/0", 15, 'put the key in quotes: other_config."xo:id"'),
            ),
            ({"classes": ["VM"], "rate": 1000}, ("/rate", None, None)),
            ({"classes": ["secret"]}, ("/classes/0", None, "did you mean secret?")),
        ],
    )
    def test_a_query_that_cannot_be_understood_says_where_and_what_instead(
        self, client, query, data
    ):
        data = dict(zip(("at", "position", "hint"), data, strict=True))
        client.says("subscribe", id=9, query=query)

        answer = error(client)
        if query.get("classes") == ["secret"]:  # never asked for, whatever the hint
            answer["data"]["hint"] = data["hint"]
        assert answer == refused("BAD_QUERY", data=data)

    def test_an_id_in_use_is_refused_and_the_first_goes_on(self, client):
        client.subscribes(9)
        client.says("subscribe", id=9, query={"classes": ["host"]})
        assert error(client) == refused("ID_IN_USE")

        client.says("unsubscribe", id=9)
        assert client.hears() == [{"type": "result", "id": 9, "result": None}]
        client.subscribes(9)

    def test_a_refused_subscription_leaves_its_id_free(self, client):
        client.says("subscribe", id=9, query={})
        client.hears()
        client.subscribes(9)

    def test_numbers_and_texts_are_different_ids(self, client):
        client.subscribes(1)
        client.subscribes("1")

    def test_an_unknown_pool_and_a_forbidden_one_answer_alike(self, desk):
        desk.add_pool("hidden")
        client = desk.connect(Person(hidden=["hidden", "nowhere"]))
        answers = []
        for pool in ("nowhere", "hidden"):
            client.says("subscribe", id=9, query={**VMS, "pools": ["p", pool]})
            (answer,) = client.hears()
            answers.append(str(answer).replace(pool, "POOL"))
            client.says("call", id=9, pool=pool, method="VM.start")
            (answer,) = client.hears()
            answers.append(str(answer).replace(pool, "POOL"))
        assert answers[:2] == answers[2:]
        assert "NOT_FOUND" in answers[0]
        desk.flush()
        assert client.hears() == []

    def test_without_pools_come_all_that_he_may_see_but_not_the_proxys_own(self, desk):
        desk.add_pool("q")
        desk.add_pool("hidden")
        desk.add_pool(PROXY_POOL)
        client = desk.connect(Person(hidden=["hidden"]))

        client.says("subscribe", id=1, query=VMS)

        (answer,) = client.hears()
        assert [view["pool"] for view in answer["views"]] == ["p", "q"]

    def test_a_user_without_pools_has_no_views(self, desk):
        client = desk.connect(Person(hidden=["p"]))
        client.says("subscribe", id=1, query=VMS)
        assert client.hears() == [{"type": "subscribed", "id": 1, "views": []}]

    def test_the_limits_hold(self, desk):
        client = desk.connect(limits=Limits(subscriptions=1, views=5))
        client.subscribes()
        client.says("subscribe", id=9, query={"classes": ["host"]})
        assert error(client) == refused("LIMIT")

        desk.add_pool("q")
        desk.add_pool("hidden")
        client = desk.connect(Person(hidden=["hidden"]), limits=Limits(views=2))
        client.says("subscribe", id=1, query=VMS)
        assert [m["type"] for m in client.hears()] == ["subscribed"]
        client.says("subscribe", id=9, query={"classes": ["host"]})
        assert error(client) == refused("LIMIT")
        client.says("unsubscribe", id=1)
        client.hears()
        client.says("subscribe", id=9, query={"classes": ["host"]})
        assert [m["type"] for m in client.hears()] == ["subscribed"]


class TestUnsubscribe:
    def test_of_what_is_not_there(self, client):
        client.says("unsubscribe", id=9)
        assert error(client) == refused("NOT_FOUND")

    def test_nothing_names_the_view_after_the_result(self):
        """Not even what a flush had gathered for a client of several views."""
        desk = loaded(slice_clients=1)
        client = desk.connect()
        client.subscribes(1)
        client.subscribes(2, {"classes": ["*"]})
        desk.flush()
        client.hears()

        desk.commit(removal("b"))
        waiting = True
        for _ in desk.hub.flush():
            if waiting and client.client.outbox:
                waiting = False
                client.says("unsubscribe", id=1)

        assert [(m["type"], m.get("view")) for m in client.hears()] == [
            ("patch", 1),
            ("result", None),
            ("patch", 2),
        ]


class TestPools:
    def test_that_never_answered_are_empty_then_loaded(self):
        desk = Desk()
        client = desk.connect()
        for classes in ((), (VM, HOST)):
            desk.store.classes = frozenset(classes)
            assert client.subscribes(1, {"classes": ["VM", "host"]})["classes"] == ["VM", "host"]
            if classes:
                break
            client.says("unsubscribe", id=1)
            client.hears()
        desk.flush()
        (snapshot, bookmark) = client.hears()
        assert (snapshot["seq"], snapshot["last"], snapshot["rows"]) == (0, True, [])
        assert (bookmark["type"], bookmark["seq"]) == ("bookmark", 0)

        desk.commit(upsert("a", name_label="web"))
        desk.flush()

        reset, snapshot, bookmark = client.hears()
        assert reset == {
            "type": "reset",
            "view": snapshot["view"],
            "reason": "loaded",
            "epoch": "epoch-p",
            "seq": 1,
        }
        assert (snapshot["seq"], snapshot["last"]) == (1, True)
        assert snapshot["rows"] == [["OpaqueRef:a", "web"]]
        assert (bookmark["type"], bookmark["seq"]) == ("bookmark", 1)

    def test_whose_classes_were_not_known_when_it_was_asked_show_all_asked_for(self):
        """A client that is there before the link to a pool must not stay without classes."""
        desk = Desk()
        desk.store.classes = frozenset()
        client, everything = desk.connect(), desk.connect()
        assert client.subscribes()["classes"] == ["VM"]
        assert {"VM", "host", "SR"} <= set(everything.subscribes(1, {"classes": ["*"]})["classes"])

        desk.store.classes = frozenset({VM, HOST})
        desk.commit(upsert("a", name_label="web"))
        desk.flush()

        assert client.hears_of("snapshot")[-1]["rows"] == [["OpaqueRef:a", "web"]]
        assert everything.hears_of("snapshot")[-1]["rows"] == [["OpaqueRef:a", "web"]]

    def test_that_appear_come_under_the_same_id_with_only_the_new_view(self, desk, client):
        client.subscribes(1)
        client.says("subscribe", id=2, query={**VMS, "pools": ["p"]})
        desk.flush()
        client.hears()

        store = desk.add_pool("q")
        client.session.pool_added(store.pool)

        (answer,) = client.hears()
        assert (answer["type"], answer["id"]) == ("subscribed", 1)
        (view,) = answer["views"]
        assert (view["pool"], view["seq"], view["mode"]) == ("q", 0, "snapshot")

    def test_that_appear_are_not_told_to_those_who_may_not_see_them(self, desk):
        client = desk.connect(Person(hidden=["q"]))
        client.subscribes()
        desk.add_pool("q")
        client.session.pool_added(desk.add_pool("q").pool)
        client.session.pool_added(desk.add_pool(PROXY_POOL).pool)
        assert client.hears() == []

    def test_that_go_end_their_views(self, desk, client):
        client.subscribes(1)
        desk.flush()
        client.hears()

        desk.hub.remove_pool(POOL)
        desk.flush()

        assert client.hears() == [
            {
                "type": "reset",
                "view": 1,
                "reason": "pool_removed",
                "epoch": "epoch-p",
                "seq": 3,
                "gone": True,
            }
        ]
        assert not client.client.members
        client.says("subscribe", id=1, query=VMS)
        assert error(client) == refused("ID_IN_USE", 1)
        client.says("unsubscribe", id=1)
        assert client.hears() == [{"type": "result", "id": 1, "result": None}]


class TestCall:
    def test_is_run_by_the_endpoint_and_its_outcome_told(self, client):
        effect = client.says("call", id=1, pool="p", method="VM.start", params={"vm": "x", "n": 1})
        assert effect == RunCall(1, POOL, "VM.start", {"vm": "x", "n": 1})
        assert client.hears() == []

        client.session.call_ended(effect, {"a": [None, 1.5]})
        assert client.hears() == [{"type": "result", "id": 1, "result": {"a": [None, 1.5]}}]

        effect = client.says("call", id=1, pool="p", method="VM.start")
        assert effect.params == {}
        failure = RequestRefused(ErrorCode.XAPI_FAILURE, "no", ["VM_BAD_POWER_STATE", "x"])
        client.session.call_failed(effect, failure)
        assert error(client) == refused("XAPI_FAILURE", 1, data=["VM_BAD_POWER_STATE", "x"])

        effect = client.says("call", id=1, pool="p", method="VM.start")
        client.session.call_failed(effect, RequestRefused(ErrorCode.POOL_UNAVAILABLE, "later"))
        assert error(client) == {**refused("POOL_UNAVAILABLE", 1), "retry": True}

    def test_shares_its_ids_with_subscriptions_while_it_runs(self, client):
        client.subscribes(1)
        client.says("call", id=1, pool="p", method="VM.start")
        assert error(client) == refused("ID_IN_USE", 1)

        effect = client.says("call", id=2, pool="p", method="VM.start")
        client.says("subscribe", id=2, query=VMS)
        assert error(client) == refused("ID_IN_USE", 2)
        client.says("unsubscribe", id=2)
        assert error(client) == refused("NOT_FOUND", 2)
        client.session.call_ended(effect, None)
        client.hears()
        client.subscribes(2)

    def test_too_many_at_once_are_busy(self, desk):
        client = desk.connect(limits=Limits(calls=1))
        first = client.says("call", id=1, pool="p", method="VM.start")
        client.says("call", id=9, pool="p", method="VM.start")
        assert error(client) == {**refused("BUSY"), "retry": True}
        client.session.call_ended(first, None)
        client.hears()
        assert client.says("call", id=9, pool="p", method="VM.start")


class TestExpect:
    """`expect` refuses a call when what the client saw is not so any more."""

    def asks(self, client, view, key, seq):
        return client.says(
            "call",
            id=9,
            pool="p",
            method="VM.start",
            expect=[{"view": view, "key": key, "seq": seq}],
        )

    def test_what_stands_as_it_was_seen_is_called(self, desk, client):
        view = client.subscribes()["view"]
        desk.commit(upsert("b", name_label="x"))
        assert self.asks(client, view, "0", 3)

    def test_what_changed_since_is_a_conflict_also_when_the_client_was_not_told_yet(
        self, desk, client
    ):
        view = client.subscribes()["view"]
        desk.commit(upsert("a", name_label="x"))
        assert self.asks(client, view, "0", 3) is None
        assert error(client) == refused("CONFLICT")
        assert self.asks(client, view, "0", 4)

    def test_what_is_gone_or_was_never_there_is_a_conflict(self, desk, client):
        view = client.subscribes()["view"]
        desk.commit(removal("a"))
        for key in ("0", "nonsense", ""):
            self.asks(client, view, key, 4)
            assert error(client) == refused("CONFLICT")

    def test_what_stands_again_is_another_object(self, desk, client):
        view = client.subscribes()["view"]
        desk.commit(removal("a"))
        desk.commit(upsert("a", name_label="web", power_state="Running"))
        self.asks(client, view, "0", 5)
        assert error(client) == refused("CONFLICT")

    def test_what_left_the_view_is_a_conflict(self, desk, client):
        query = {"classes": ["VM"], "filter": "power_state:Running", "fields": {"VM": ["uuid"]}}
        view = client.subscribes(1, query)["view"]
        assert self.asks(client, view, "0", 3)
        client.session.call_ended(RunCall(9, POOL, "", {}), None)
        client.hears()
        desk.commit(upsert("a", name_label="web", power_state="Halted"))
        self.asks(client, view, "0", 4)
        assert error(client) == refused("CONFLICT")

    def test_changes_that_the_view_does_not_show_do_not_count(self, desk, client):
        """Its position does not move for them, so the client could never name a later one."""
        query = {"classes": ["VM"], "fields": {"VM": ["name_label"]}}
        view = client.subscribes(1, query)["view"]
        desk.commit(upsert("a", name_label="web", power_state="Halted"))
        desk.flush()
        assert self.asks(client, view, "0", 3)

    def test_what_changed_and_changed_back_is_no_conflict(self, desk, client):
        view = client.subscribes()["view"]
        desk.commit(upsert("a", name_label="x", power_state="Running"))
        desk.commit(upsert("a", name_label="web", power_state="Running"))
        assert self.asks(client, view, "0", 3)

    def test_where_the_history_ends_so_does_our_patience(self, desk, client):
        view = client.subscribes()["view"]
        desk.budget.pool_bytes = 0
        desk.commit(upsert("a", name_label="web", power_state="Paused"))
        self.asks(client, view, "0", 3)
        assert error(client) == refused("CONFLICT")

    def test_a_view_that_is_not_his_is_not_found(self, desk, client):
        other = desk.connect()
        view = other.subscribes()["view"]
        self.asks(client, view, "0", 3)
        assert error(client) == refused("NOT_FOUND")


class TestBadMessages:
    @pytest.mark.parametrize(
        "message",
        [
            {},
            {"type": "nonsense"},
            {"type": "subscribed", "views": []},
            {"type": 1},
            {"type": None},
            {"type": ["subscribe"]},
            {"type": "subscribe"},
            {"type": "subscribe", "query": []},
            {"type": "subscribe", "query": VMS, "resume": {}},
            {"type": "subscribe", "query": VMS, "resume": [{"token": "x"}]},
            {"type": "subscribe", "query": VMS, "resume": [{"token": "x", "seq": "1"}]},
            {"type": "subscribe", "query": VMS, "resume": [{"token": "x", "seq": 1.5}]},
            {"type": "subscribe", "query": VMS, "resume": [{"token": 1, "seq": 1}]},
            {"type": "call"},
            {"type": "call", "pool": "p"},
            {"type": "call", "pool": 1, "method": "VM.start"},
            {"type": "call", "pool": "p", "method": "VM.start", "params": []},
            {"type": "call", "pool": "p", "method": "VM.start", "params": {"a": b"x"}},
            {"type": "call", "pool": "p", "method": "VM.start", "params": {"a": [{1: 2}]}},
            {
                "type": "call",
                "pool": "p",
                "method": "VM.start",
                "params": {"a": msgspec.msgpack.Ext(5, b"x")},
            },
            {"type": "call", "pool": "p", "method": "VM.start", "expect": [{"view": 1}]},
            {"type": "window"},
            {"type": "window", "window": [0]},
            {"type": "window", "window": [0, 1.5]},
            {"type": "auth", "token": 1},
            {"type": "auth", "username": ["root"]},
        ],
    )
    def test_are_answered_and_the_connection_stays(self, client, message):
        assert client.session.receive({"id": 9, **message}) is None
        assert error(client) == refused("BAD_MESSAGE")
        client.says("ping", id=1)
        assert client.hears() == [{"type": "pong", "id": 1}]
        assert client.line.closed is None

    @pytest.mark.parametrize("id_", [None, True, 1.5, [], {}, b"x"])
    @pytest.mark.parametrize("type_", ["subscribe", "unsubscribe", "call", "ping", "window"])
    def test_an_id_that_is_none_is_not_repeated(self, client, type_, id_):
        members = {"query": VMS, "pool": "p", "method": "VM.start", "window": [0, 1]}
        client.says(type_, id=id_, **members)
        assert error(client) == {"code": "BAD_MESSAGE", "retry": False}

    def test_members_that_we_do_not_know_are_ignored(self, client):
        client.says("ping", id=1, colour="red")
        assert client.hears() == [{"type": "pong", "id": 1}]

    def test_a_ping_needs_no_id(self, client):
        client.says("ping")
        assert client.hears() == [{"type": "pong"}]

    def test_an_integer_of_any_size_is_an_id_in_json(self, client):
        client.says("ping", id=10**30)
        assert client.hears() == [{"type": "pong", "id": 10**30}]


def test_the_messages_are_the_same_in_messagepack(desk):
    json_client, client = desk.connect(), desk.connect(codec=Codec.MSGPACK)
    for each in (json_client, client):
        each.session.welcome()
        each.says("subscribe", id=1, query={"classes": ["*"]})
        each.says("subscribe", id=2, query={"classes": ["VM"], "filter": "("})
        each.says("ping")
    desk.flush()
    desk.commit(upsert("a", name_label="x", big=2**62, half=0.5, none=None, yes=True))
    desk.flush()

    def without_view(messages):
        for message in messages:
            for info in message.get("views", [message]):
                info.pop("view", None)
        return messages

    assert without_view(json_client.hears()) == without_view(client.hears())

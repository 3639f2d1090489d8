"""Resume by digests, as it goes over the wire (docs/protocol.md, section 6)."""

import json
from base64 import b64encode
from copy import deepcopy

import pytest

from tests.properties import digests
from tests.properties.test_digests import VECTORS
from tests.properties.world import Tagged
from tests.unit.sessions.wire import HOST, POOL, VM, VMS, Desk, Person, loaded, removal, upsert
from xoproxy.cache.store import SavedStore, Store
from xoproxy.model import Cursor, Entry, Key, PoolId, Ref
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import ViewDigests
from xoproxy.sessions.rows import make_row
from xoproxy.sessions.tokens import TokenSigner, view_hash

RED = Tagged(frozenset({"red"}))
ZEROS = "AAAAAAAAAAA="


class Back:
    """A client that was there, and comes back with what it held."""

    def __init__(self, desk, *, query=None, rights=None):
        self.desk = desk
        self.query = query or VMS
        self.document = {}
        self.bookmark = {}
        client = desk.connect(Person(rights))
        self.epoch = client.subscribes(1, self.query)["epoch"]
        desk.flush()
        self.put(client.hears())
        client.leaves()

    def put(self, messages):
        for message in messages:
            match message["type"]:
                case "snapshot":
                    objects = self.document.setdefault(message["class"], {})
                    for key, row in zip(message["keys"], message["rows"], strict=True):
                        assert key not in objects
                        objects[key] = dict(zip(message["fields"], row, strict=True))
                case "bookmark":
                    self.bookmark = message

    @property
    def point(self):
        return {"token": self.bookmark["resume"], "seq": self.bookmark["seq"], "compare": True}

    def returns(self, rights=None, codec=Codec.JSON, query=None, **point):
        """Subscribe again; return the client and its view."""
        client = self.desk.connect(Person(rights), codec=codec)
        view = client.subscribes(1, query or self.query, resume=[{**self.point, **point}])
        return client, view

    def says(self, client, view, buckets=8):
        said = digests.digests(self.document, buckets)
        client.says("digests", view=view["view"], buckets=buckets, digests=said)

    def repair(self, messages, buckets=8):
        digests.remove_buckets(self.document, buckets, messages[0]["buckets"])
        self.put(messages)


def forget_history(desk, store=None):
    journal = (store or desk.store).journal
    while journal.batch_count:
        journal.drop_oldest()


@pytest.fixture
def desk():
    return loaded()


@pytest.fixture
def back(desk):
    """Somebody who was away for longer than history reaches back."""
    back = Back(desk)
    desk.commit(upsert("a", name_label="web", power_state="Halted"), removal("b"))
    desk.commit(upsert("c", name_label="new", power_state="Running"))
    forget_history(desk)
    return back


def types(messages):
    return [message["type"] for message in messages]


class TestOffer:
    def test_history_that_does_not_reach_back(self, desk, back):
        client, view = back.returns()
        assert view["mode"] == "compare"
        desk.flush()
        assert client.hears() == []

        back.says(client, view)
        desk.flush()
        *snapshot, bookmark = messages = client.hears()
        back.repair(messages)
        assert types(messages) == ["snapshot", "bookmark"]
        assert bookmark["seq"] == snapshot[0]["seq"] == desk.store.seq
        labels = {record["$ref"]: record["power_state"] for record in back.document["VM"].values()}
        assert labels == {"OpaqueRef:a": "Halted", "OpaqueRef:c": "Running"}

        desk.commit(upsert("a", name_label="web", power_state="Paused"))
        desk.flush()
        (patch,) = client.hears()
        assert (patch["type"], patch["from"]) == ("patch", bookmark["seq"])

    def test_other_rights(self, desk):
        tagged = [
            upsert("r", name_label="seen", tags=["red"], name_description="hidden"),
            upsert("g", name_label="not seen", tags=["green"]),
        ]
        desk.commit(*tagged)
        back = Back(desk)
        client, view = back.returns(RED)
        assert view["mode"] == "compare"
        back.says(client, view)
        desk.flush()
        messages = client.hears()
        back.repair(messages)
        (seen,) = back.document["VM"].values()
        assert seen == {"$ref": "OpaqueRef:r", "name_label": "seen", "tags": ["red"]}
        assert "green" not in json.dumps(messages)
        assert "hidden" not in json.dumps(messages)

    def test_history_that_reaches_back_is_better(self, desk):
        client, view = Back(desk).returns()
        assert view["mode"] == "resume"
        client.says("digests", view=view["view"], buckets=1, digests=ZEROS)
        assert client.hears()[0]["code"] == "BAD_MESSAGE"

    def test_only_who_asks_is_compared(self, back):
        _, view = back.returns(compare=False)
        assert view["mode"] == "snapshot"

    @pytest.mark.parametrize(
        "query",
        [
            {"classes": ["VM"], "filter": "power_state:Running"},
            {"classes": ["VM"], "fields": {"VM": ["name_label"]}},
            {"classes": ["VM", "host"]},
        ],
    )
    def test_not_for_another_query(self, back, query):
        _, view = back.returns(query=query)
        assert view["mode"] == "snapshot"

    def test_not_for_another_epoch(self, desk, back):
        signer = desk.hub._signer
        _, _, hash_ = signer.verify(back.point["token"])
        token = signer.sign(Cursor("another", 1), POOL, hash_)
        _, view = back.returns(token=token)
        assert view["mode"] == "snapshot"

    def test_not_for_another_pool(self, desk, back):
        desk.add_pool("q")
        client = desk.connect()
        client.says("subscribe", id=1, query=VMS, resume=[back.point])
        (subscribed,) = client.hears()
        modes = {view["pool"]: view["mode"] for view in subscribed["views"]}
        assert modes == {"p": "compare", "q": "snapshot"}

    def test_not_when_the_pool_has_other_classes_now(self, desk):
        query = {"classes": ["*"]}
        back = Back(desk, query=query)
        desk.store.classes = frozenset({VM})
        forget_history(desk)
        _, view = back.returns(query=query)
        assert view["mode"] == "snapshot"

    def test_not_for_a_token_of_somebody_else(self, back):
        hash_ = view_hash(b"any", "everything", ("VM",))
        token = TokenSigner(b"another").sign(Cursor(back.epoch, 1), POOL, hash_)
        _, view = back.returns(token=token)
        assert view["mode"] == "snapshot"

    def test_it_is_counted(self, desk, back):
        back.returns()
        assert (desk.hub.counters.compared, desk.hub.counters.resumed) == (1, 0)


class TestWaiting:
    """Until the digests came, nothing is said about the view."""

    def test_neither_patches_nor_bookmarks(self, desk, back):
        client, view = back.returns()
        desk.commit(upsert("d", name_label="later"))
        desk.flush()
        desk.bookmarks()
        desk.hub.bookmark(client.client)
        assert client.hears() == []

        back.says(client, view)
        desk.flush()
        back.repair(client.hears())
        assert len(back.document["VM"]) == 3

    def test_history_that_goes_does_not_matter(self, desk, back):
        client, view = back.returns()
        desk.commit(upsert("d", name_label="later"))
        forget_history(desk)
        desk.flush()
        assert client.hears() == []

        desk.commit(upsert("e", name_label="later still"))
        forget_history(desk)
        back.says(client, view)  # before the group has noticed
        desk.flush()
        messages = client.hears()
        back.repair(messages)
        assert set(types(messages)) == {"snapshot", "bookmark"}
        assert len(back.document["VM"]) == 4

    def test_the_first_load_of_the_pool_does_not_matter(self, desk):
        store = desk.add_pool("q")
        query = {"classes": ["VM"], "pools": ["q"]}
        back = Back(desk, query=query)
        desk.commit(upsert("x"), store=store)
        client, view = back.returns()
        assert view["mode"] == "compare"
        back.says(client, view)
        desk.flush()
        back.repair(client.hears())
        assert len(back.document["VM"]) == 1

    def test_but_that_the_pool_is_gone(self, desk, back):
        client, view = back.returns()
        desk.hub.remove_pool(POOL)
        (reset,) = client.hears()
        assert (reset["type"], reset["gone"]) == ("reset", True)

        back.says(client, view)
        (error,) = client.hears()
        assert (error["code"], error["data"]) == ("NOT_FOUND", {"view": view["view"]})

    def test_it_may_unsubscribe_instead(self, desk, back):
        client, view = back.returns()
        client.says("unsubscribe", id=1)
        assert types(client.hears()) == ["result"]
        assert not desk.hub.groups
        back.says(client, view)
        assert client.hears()[0]["code"] == "NOT_FOUND"

    def test_another_subscription_of_the_same_waits_too(self, desk, back):
        client, view = back.returns()
        assert client.subscribes(2, VMS)["mode"] == "same"
        desk.flush()
        assert client.hears() == []
        back.says(client, view)
        desk.flush()
        assert types(client.hears()) == ["snapshot", "bookmark"]

    def test_it_disturbs_nobody(self, desk, back):
        other = desk.connect()
        other.subscribes()
        desk.flush()
        other.hears()
        back.returns()
        desk.commit(upsert("d", name_label="later"))
        desk.flush()
        assert types(other.hears()) == ["patch"]


class TestWrongDigests:
    @pytest.mark.parametrize(
        ("buckets", "said", "hint"),
        [
            (0, "", "power of two"),
            (-1, ZEROS, "power of two"),
            (3, ZEROS, "power of two"),
            (32_768, ZEROS, "16384"),
            (1, "", "8 bytes"),
            (2, ZEROS, "8 bytes"),
            (1, "AAAAAAAAAAA", "base64"),
            (1, "AAAAAAAAAA_=", "base64"),
            (1, "AAAA AAAAAAA=", "base64"),
            (1, "é", "base64"),
        ],
    )
    def test_an_error_then_a_reset_and_a_whole_snapshot(self, desk, back, buckets, said, hint):
        client, view = back.returns()
        client.says("digests", view=view["view"], buckets=buckets, digests=said)
        desk.flush()
        error, reset, snapshot, bookmark = client.hears()
        assert (error["type"], error["code"]) == ("error", "BAD_MESSAGE")
        assert error["data"] == {"view": view["view"]}
        assert hint in error["message"]
        assert (reset["type"], reset["reason"]) == ("reset", "bad_digests")
        assert "buckets" not in snapshot
        assert (len(snapshot["keys"]), bookmark["type"]) == (2, "bookmark")

    @pytest.mark.parametrize("wrong", [{"buckets": "1"}, {"digests": None}, {"buckets": 1.5}])
    def test_what_is_no_such_message_changes_nothing(self, desk, back, wrong):
        client, view = back.returns()
        client.says("digests", **{"view": view["view"], "buckets": 1, "digests": ZEROS, **wrong})
        (error,) = client.hears()
        assert error["code"] == "BAD_MESSAGE"
        desk.flush()
        assert client.hears() == []

        back.says(client, view)
        desk.flush()
        assert types(client.hears()) == ["snapshot", "bookmark"]

    def test_a_second_time_is_an_error_without_consequence(self, desk, back):
        client, view = back.returns()
        back.says(client, view)
        back.says(client, view)
        desk.flush()
        back.says(client, view)
        messages = client.hears()
        assert types(messages) == ["error", "snapshot", "bookmark", "error"]
        assert {m["code"] for m in messages if m["type"] == "error"} == {"BAD_MESSAGE"}

    def test_of_no_view_of_this_connection(self, desk, back):
        back.returns()
        client = desk.connect()
        client.says("digests", view=1, buckets=1, digests=ZEROS)
        (error,) = client.hears()
        assert (error["code"], error["data"]) == ("NOT_FOUND", {"view": 1})


def many(count, **fields):
    return [upsert(f"vm-{number}", name_label=f"{number}", **fields) for number in range(count)]


class TestAnswer:
    def test_nothing_differs(self, desk):
        back = Back(desk)
        forget_history(desk)
        desk.commit(upsert("h", HOST, name_label="renamed"))
        forget_history(desk)
        client, view = back.returns()
        back.says(client, view)
        desk.flush()
        snapshot, bookmark = client.hears()
        assert (snapshot["buckets"], snapshot["last"], snapshot["keys"]) == ([], True, [])
        assert bookmark["type"] == "bookmark"

    def test_another_subscription_behind_its_last_message_is_told_where_it_leads(self, desk):
        back = Back(desk)
        forget_history(desk)
        desk.commit(upsert("a", name_label="changed", power_state="Running"))
        forget_history(desk)
        client, view = back.returns()
        desk.commit(upsert("a", name_label="again", power_state="Running"))
        forget_history(desk)
        desk.flush()
        back.says(client, view)
        client.line.room = 0  # one frame, and it is full: the bookmark is still to come
        desk.flush()
        (last,) = client.hears()
        assert last["last"]
        client.says("subscribe", id=2, query=VMS)

        (answer,) = client.hears()
        assert [(v["mode"], v["seq"]) for v in answer["views"]] == [("same", last["seq"])]

    def test_only_what_differs_comes_in_chunks(self, desk):
        desk.commit(*many(500))
        back = Back(desk)
        desk.hub._chunk_bytes = 200
        desk.commit(*[upsert(f"vm-{n}", name_label="changed") for n in range(0, 50, 5)])
        forget_history(desk)
        client, view = back.returns()
        back.says(client, view, 1024)
        desk.flush()
        messages = client.hears()
        snapshots = messages[:-1]
        assert len(snapshots) > 1
        assert ["buckets" in s for s in snapshots] == [True] + [False] * (len(snapshots) - 1)
        assert [s["last"] for s in snapshots] == [False] * (len(snapshots) - 1) + [True]
        assert 10 <= sum(len(s["keys"]) for s in snapshots) < 30
        back.repair(messages, 1024)
        now = Back(desk)
        assert back.document == now.document

    def test_what_differs_greatly_is_a_whole_snapshot_for_all(self, desk):
        desk.commit(*many(200))
        back = Back(desk)
        desk.commit(*many(150, power_state="Running"))
        forget_history(desk)
        answers = []
        for _ in range(2):
            client, view = back.returns()
            back.says(client, view, 64)
            desk.flush()
            reset, snapshot, *_ = messages = client.hears()
            assert (reset["type"], reset["reason"]) == ("reset", "differs")
            assert "buckets" not in snapshot
            answers.append(messages)
        assert answers[0] == answers[1]

    def test_too_many_buckets_for_one_frame(self, desk):
        back = Back(desk)
        forget_history(desk)
        desk.commit(upsert("a", name_label="changed"))
        forget_history(desk)
        client, view = back.returns()
        nothing_like_it = b64encode(b"\x01" * 8 * 16_384).decode()
        client.says("digests", view=view["view"], buckets=16_384, digests=nothing_like_it)
        desk.flush()
        assert client.hears()[0]["reason"] == "differs"

    def test_objects_are_hashed_once_for_all_who_ask(self, desk, monkeypatch):
        hashed = []
        add = ViewDigests._add

        def counted(self, entry, fields):
            hashed.append(entry)
            add(self, entry, fields)

        monkeypatch.setattr(ViewDigests, "_add", counted)
        desk.commit(*many(100))
        back = Back(desk)
        desk.commit(upsert("vm-1", name_label="changed"))
        forget_history(desk)
        clients = [(back.returns(), buckets) for buckets in (1, 16, 16, 1024)]
        for (client, view), buckets in clients:
            back.says(client, view, buckets)
        desk.flush()
        desk.commit(upsert("vm-2", name_label="changed"))
        desk.flush()
        client, view = back.returns()  # they are good for a while
        back.says(client, view, 64)
        desk.flush()
        assert len(hashed) == 102
        *_, bookmark, patch = messages = client.hears()
        assert (
            patch["from"] == messages[0]["seq"] == bookmark["seq"] < patch["to"] == desk.store.seq
        )

    @pytest.mark.parametrize("rights", [None, RED])
    def test_what_comes_again_to_several_is_encoded_once(self, desk, monkeypatch, rights):
        desk.commit(*many(100, tags=["red"]))
        back = Back(desk, rights=rights)
        desk.commit(upsert("vm-1", name_label="changed", tags=["red"]), removal("vm-2"))
        forget_history(desk)
        encoded = []

        def counted(*args):
            encoded.append(args)
            return make_row(*args)

        monkeypatch.setattr("xoproxy.sessions.view_writer.make_row", counted)
        before = desk.framing.ledger.used_bytes
        answers = []
        for buckets in (1024, 1024, 512):
            client, view = back.returns(rights)
            back.says(client, view, buckets)
            desk.flush()
            answers.append(client.hears()[0])
        assert 1 <= len(encoded) <= 3
        assert answers[0] == answers[1]
        assert "OpaqueRef:vm-1" in [row[0] for row in answers[2]["rows"]]
        assert desk.framing.ledger.used_bytes > before
        desk.bookmarks()
        assert desk.framing.ledger.used_bytes < before + 1000

    def test_hashes_that_are_not_used_are_forgotten(self, desk, back):
        client, view = back.returns()
        back.says(client, view)
        desk.flush()
        (group,) = desk.hub.groups.values()
        assert group._digests is not None
        desk.bookmarks()
        assert group._digests is None

    def test_hashes_that_are_old_are_not_used(self, desk, back, monkeypatch):
        monkeypatch.setattr("xoproxy.sessions.compare._CHANGES_OUTLIVED", 1)
        first, view = back.returns()
        back.says(first, view)
        desk.flush()
        (group,) = desk.hub.groups.values()
        old = group._digests
        for name in "de":
            desk.commit(upsert(name, name_label="later"))
        second, view = back.returns()
        back.says(second, view)
        assert group._digests is not old

    def test_hashes_from_before_history_are_not_used(self, desk, back):
        first, view = back.returns()
        back.says(first, view)
        desk.flush()
        desk.commit(upsert("d", name_label="later"))
        desk.flush()
        forget_history(desk)
        second, view = back.returns()
        back.says(second, view)
        desk.flush()
        assert "reset" not in types(second.hears())

    def test_history_that_goes_while_hashes_are_made(self, desk):
        """Rights look at other objects: what they were like must be known to the end."""
        desk.commit(*many(100, tags=["red"]))
        back = Back(desk, rights=RED)
        forget_history(desk)
        desk.commit(upsert("vm-1", name_label="changed", tags=["red"]))
        forget_history(desk)
        client, view = back.returns(RED)
        back.says(client, view)
        steps = desk.hub.flush()
        for _ in range(4):
            next(steps)
        desk.commit(upsert("vm-2", name_label="changed", tags=["red"]))
        desk.commit(upsert("vm-3", name_label="changed", tags=["red"]))
        forget_history(desk)
        for _ in steps:
            pass
        desk.flush()
        reset, *rest = client.hears()
        assert (reset["type"], reset["reason"]) == ("reset", "journal_expired")
        assert sum(len(m["keys"]) for m in rest if m["type"] == "snapshot") == 100

    def test_a_slow_client_is_not_built_ahead_for(self, desk):
        desk.commit(*many(400))
        back = Back(desk)
        desk.hub._chunk_bytes = 500
        desk.commit(*[upsert(f"vm-{n}", name_label="changed") for n in range(0, 400, 8)])
        forget_history(desk)
        client, view = back.returns()
        client.line.room = 0
        back.says(client, view, 1024)
        for _ in range(1000):
            desk.flush()
            member = client.client.members.get(view["view"])
            if member.delivery is None:
                break
            assert client.client.paused
            assert len(member.delivery.frames) <= 2
            client.line.room = 0
            desk.hub.drained(client.client)
        messages = client.hears()
        assert len(messages) > 5
        back.repair(messages, 1024)
        assert back.document == Back(desk).document

    def test_what_a_client_said_is_weighed_until_it_is_answered(self, desk, back):
        client, view = back.returns()
        before = desk.framing.ledger.used_bytes
        back.says(client, view, 1024)
        assert desk.framing.ledger.used_bytes - before >= 8 * 1024
        desk.flush()
        client.leaves()
        assert desk.framing.ledger.used_bytes < before + 8 * 1024

    def test_another_encoding(self, desk, back):
        client, view = back.returns(codec=Codec.MSGPACK)
        assert view["mode"] == "compare"
        back.says(client, view)
        desk.flush()
        back.repair(client.hears())
        assert len(back.document["VM"]) == 2


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("vector", VECTORS["repairs"], ids=lambda v: v["name"])
def test_the_vectors(vector, codec):
    """What the vectors tell client authors is what we do."""
    entries = [
        Entry(Key(key), Ref(record["$ref"]), cls, 4713, _raw(record))
        for cls, objects in vector["document"].items()
        for key, record in objects.items()
    ]
    classes = frozenset({VM, HOST})
    saved = SavedStore(PoolId("v"), "epoch", 4713, 10**6, "", classes, entries)
    desk = Desk()
    desk.hub.add_pool(Store.restored(saved, []))
    query = {"classes": ["VM", "host"], "pools": ["v"]}
    client = desk.connect(codec=codec)
    view = client.subscribes(1, query)
    desk.flush()
    token = client.hears()[-1]["resume"]
    client.leaves()

    point = {"token": token, "seq": 5000, "compare": True}  # ahead of what we know
    client = desk.connect(codec=codec)
    view = client.subscribes(1, query, resume=[point])
    assert view["mode"] == "compare"
    buckets = vector["buckets"]
    client.says("digests", view=view["view"], buckets=buckets, digests=vector["digests"])
    desk.flush()
    *snapshots, bookmark = client.hears()
    assert bookmark["type"] == "bookmark"
    assert snapshots[0]["buckets"] == vector["snapshots"][0]["buckets"]
    document = deepcopy(vector["held"])
    digests.remove_buckets(document, buckets, snapshots[0]["buckets"])
    for message in snapshots:
        assert message["seq"] == 4713
        for key, row in zip(message["keys"], message["rows"], strict=True):
            document[message["class"]][key] = dict(zip(message["fields"], row, strict=True))
    assert document == vector["document"]


def _raw(record):
    return json.dumps({n: v for n, v in record.items() if n != "$ref"}).encode()

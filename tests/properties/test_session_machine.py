"""Whatever happens, in whatever order: every client holds exactly what it may see, and never more.

A state machine over a hub with two pools and clients of all kinds: fast, slow, stalled, dropped in
the middle of a frame, resuming under another encoding, with several views. Bytes leave through an
outlet that behaves like a transport, and reach a replica that shares nothing with the product
(replica.py); what it holds is compared, at every position it is told, with what plain Python says
of the pool as it was then (world.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.properties import world
from tests.properties.replica import Document, Fault, Replica, canonical
from xoproxy.cache import view
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.cache.view import Visibility
from xoproxy.model import PoolId, XapiClass
from xoproxy.sessions import group, hub
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.session import Session
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.frames import SharedFraming

POOLS = ("p", "q")
_DONE = object()
_SLICES = {
    group: ["_SLICE", "_PATCHES_KEPT"],
    view: ["_SLICE"],
    hub: ["_SERVED_PER_STEP", "_WORK_STEPS_PER_TURN", "_FRAMES_PER_TURN"],
}
_MANY = 5_000
"""More steps than any flush here can need."""


def _cut_slices(size: int) -> None:
    """Have long work stop as often as if there were thousands of objects and clients."""
    for module, names in _SLICES.items():
        for name in names:
            setattr(module, name, size)


@pytest.fixture(autouse=True)
def slices(monkeypatch):
    """Put the sizes of slices back."""
    for module, names in _SLICES.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))


class Outlet:
    """A transport with a buffer: it takes everything, and says so when more waits than it likes."""

    def __init__(self, room: int | None) -> None:
        self.client: Client
        self.room = room
        self.waiting: list[bytes] = []
        self.closed = False
        self.may_write_anyway = False
        """Set while replies to the client's own requests, or a view's end, are due."""

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert data
        assert not self.closed
        assert self.may_write_anyway or not self.client.paused, "written to a client that is full"
        self.waiting.append(data)
        if self.room is not None and sum(map(len, self.waiting)) > self.room:
            self.client.paused = True

    def close(self, code: int, reason: str) -> None:
        del code, reason
        self.closed = True


@dataclass
class User:
    rights: Visibility
    hidden_pools: frozenset[str] = frozenset()
    name: str = "somebody"
    role: str = "tester"
    may_call: bool = True

    def visibility(self, pool: PoolId) -> Visibility | None:
        return None if pool in self.hidden_pools else self.rights


@dataclass
class Pool:
    model: world.Model
    store: Store
    is_there: bool = True
    loads: int = 0


@dataclass(eq=False, repr=False)
class Peer:
    """One client: our end of it and the other."""

    session: Session
    outlet: Outlet
    replica: Replica
    rights: Visibility
    number: int
    asked: dict[int, world.Question] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"peer {self.number}"

    @property
    def client(self) -> Client:
        return self.outlet.client

    def request(self, **message: Any) -> None:
        """Send a message; whatever is written meanwhile is an answer to it."""
        self.outlet.may_write_anyway = True
        effect = self.session.receive(message)
        self.outlet.may_write_anyway = False
        assert effect is None

    def read(self) -> None:
        """Take all that waits, as a client with a quick socket does."""
        waiting, self.outlet.waiting = self.outlet.waiting, []
        for data in waiting:
            self.replica.receive(data)
        assert self.replica.is_between_frames


@dataclass(eq=False)
class Absent:
    """What a client that is gone remembers of one subscription."""

    question: world.Question
    rights: Visibility
    documents: list[Document]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pools: dict[str, Pool] = {}
        self.peers: list[Peer] = []
        self.absent: list[Absent] = []
        self.keys: dict[tuple[str, str, str], str] = {}
        self.seen_ever: dict[Visibility, set[str]] = {rights: set() for rights in world.RIGHTS}
        self.flushing: Iterator[None] | None = None
        self.marking: Iterator[None] | None = None
        self.woken = False
        self.epoch_count = self.peer_count = 0
        self.next_id = 1
        self.entries: list[tuple[Any, str]] = []

    @initialize(
        journal=st.sampled_from([0, 300, 1_500, 6_000, 1 << 20, 1 << 20]),
        frame_bytes=st.sampled_from([200, 400, 65_536]),
        chunk_bytes=st.sampled_from([1, 150, 32_768]),
        threshold=st.sampled_from([0, 100]),
        slice_clients=st.sampled_from([1, 2, 250]),
        slice_size=st.sampled_from([1, 2, 50]),
        first=world.full_pools(),
    )
    def begin(self, journal, frame_bytes, chunk_bytes, threshold, slice_clients, slice_size, first):
        _cut_slices(slice_size)
        self.budget = JournalBudget(total_bytes=2 * journal, pool_bytes=journal, age_s=1e9)
        self.framing = SharedFraming(threshold_bytes=threshold)
        self.hub = Hub(
            self.framing,
            TokenSigner(b"k" * 32),
            self._wake,
            frame_bytes=frame_bytes,
            chunk_bytes=chunk_bytes,
            slice_clients=slice_clients,
        )
        for pool in POOLS:
            self._add_pool(pool)
        self._commit("p", first)

    def _wake(self) -> None:
        self.woken = True

    # --- pools ---

    def _add_pool(self, name: str) -> None:
        self.epoch_count += 1
        store = Store(PoolId(name), f"epoch{self.epoch_count}", self.budget)
        self.pools[name] = Pool(world.Model(), store)
        self.hub.add_pool(store)

    def _commit(self, name: str, batch: Any, relisted: frozenset[str] | None = None) -> None:
        pool = self.pools[name]
        events = pool.model.apply(batch)
        store = pool.store
        if relisted is None:
            prepared = store.prepare(events)
        else:
            prepared = store.prepare_relist(
                sorted(map(XapiClass, relisted)), pool.model.listing(set(world.CLASSES))
            )
        while prepared.step(3):
            pass
        store.classes = world.CLASSES
        was_loaded = store.loaded
        committed = store.commit(prepared, store.seq)
        pool.model.committed(store.seq)
        for rights, seen in self.seen_ever.items():
            for reference in pool.model.now:
                record = world.permitted(pool.model.now, rights, reference)
                if record is not None:
                    seen.update(world.traces(reference + canonical(record)))
        for change in committed.changes:
            entry = store.get(change.ref)
            if entry is not None:
                self.entries.append((entry, repr(entry)))
        if was_loaded:
            self.hub.committed(committed)
        else:
            self.hub.loaded(store.pool)

    @rule(name=st.sampled_from("pppq"), batches=st.lists(world.batches, min_size=1, max_size=4))
    def commit(self, name, batches):
        if self.pools[name].is_there:
            for batch in batches:
                self._commit(name, batch)

    @rule(
        name=st.sampled_from("ppq"),
        batch=world.batches,
        classes=st.sets(st.sampled_from(sorted(world.CLASSES)), min_size=1),
    )
    def relist(self, name, batch, classes):
        """Commit through a list of some classes, as after a reconnect."""
        if self.pools[name].is_there:
            # what the list does not cover must not have changed, but for upserts
            batch = [e for e in batch if e[0] != "remove" or world.OBJECTS[e[1]] in classes]
            self._commit(name, batch, frozenset(classes))

    @rule()
    def remove_or_add_a_pool(self):
        pool = self.pools["q"]
        for peer in self.peers:
            peer.outlet.may_write_anyway = True
        if pool.is_there:
            pool.is_there = False
            self.hub.remove_pool(PoolId("q"))
            self.budget.release(pool.store.journal)
        else:
            self._add_pool("q")
            for peer in self.peers:
                peer.session.pool_added(PoolId("q"))
        for peer in self.peers:
            peer.outlet.may_write_anyway = False

    # --- clients ---

    @rule(
        binary=st.booleans(),
        deflate=st.booleans(),
        rights=world.rights,
        room=st.sampled_from([None, None, 0, 300]),
        question=world.questions(),
        only=st.sampled_from([None, None, ["p"]]),
    )
    def connect(self, binary, deflate, rights, room, question, only):
        if len(self.peers) < 5:
            peer = self._connect(binary, deflate, rights, room)
            self._subscribe(peer, question, only, [])

    def _connect(self, binary, deflate, rights, room) -> Peer:
        codec = Codec.MSGPACK if binary else Codec.JSON
        outlet = Outlet(room)
        outlet.client = Client(outlet, codec, self.framing, deflate=deflate)
        hidden = frozenset({"q"}) if rights == world.RIGHTS[2] else frozenset()
        user = User(rights, hidden)
        session = Session("s", self.hub, outlet.client, user, Limits(subscriptions=50), "server/0")
        replica = Replica(binary=binary, deflate=deflate, keys=self.keys)
        self.peer_count += 1
        peer = Peer(session, outlet, replica, rights, self.peer_count)
        replica.moved = lambda document: self._check(peer, document)
        outlet.may_write_anyway = True
        session.welcome()
        outlet.may_write_anyway = False
        self.peers.append(peer)
        return peer

    def _subscribe(self, peer, question, only, documents: list[Document], tokens=None) -> None:
        id_ = self.next_id
        self.next_id += 1
        resume = [p for d in documents if (p := d.resume_point) is not None]
        peer.asked[id_] = question
        peer.replica.will_subscribe(id_, question, documents)
        peer.request(type="subscribe", id=id_, query=question.query(only), resume=tokens or resume)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), question=world.questions(), only=st.sampled_from([None, ["p"]]))
    def subscribe(self, data, question, only):
        peer = data.draw(st.sampled_from(self.peers))
        if len(peer.asked) < 4:
            if peer.asked and data.draw(st.booleans()):
                question = data.draw(st.sampled_from(list(peer.asked.values())))
            self._subscribe(peer, question, only, [])

    @precondition(lambda self: any(peer.asked for peer in self.peers))
    @rule(data=st.data())
    def unsubscribe(self, data):
        peer = data.draw(st.sampled_from([p for p in self.peers if p.asked]))
        id_ = data.draw(st.sampled_from(list(peer.asked)))
        del peer.asked[id_]
        peer.replica.will_unsubscribe(id_)
        peer.request(type="unsubscribe", id=id_)

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def ping(self, data):
        data.draw(st.sampled_from(self.peers)).request(type="ping")

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), room=st.sampled_from([0, 200, None]))
    def drain(self, data, room):
        """Let a client take what waits; from then on it is slow, or quick."""
        self._drain(data.draw(st.sampled_from(self.peers)), room)

    def _drain(self, peer: Peer, room: int | None) -> None:
        peer.read()
        peer.outlet.room = room
        if peer.client.paused:
            self.hub.drained(peer.client)

    @precondition(lambda self: any(not p.client.paused for p in self.peers))
    @rule(data=st.data(), room=st.sampled_from([0, 0, 500]))
    def stall(self, data, room):
        """From now on a client takes nothing more than `room` bytes."""
        data.draw(
            st.sampled_from([p for p in self.peers if not p.client.paused])
        ).outlet.room = room

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), share=st.floats(0, 1), orderly=st.booleans())
    def drop(self, data, share, orderly):
        """Cut a connection: what was written may arrive in part, up to the middle of a frame."""
        peer = data.draw(st.sampled_from(self.peers))
        if orderly:
            peer.outlet.may_write_anyway = True
            self.hub.bookmark(peer.client)
            share = 1.0
        waiting = b"".join(peer.outlet.waiting)
        peer.replica.receive(waiting[: round(len(waiting) * share)])
        peer.client.close(1000, "")
        self.hub.disconnected(peer.client)
        self.peers.remove(peer)
        for id_, question in peer.asked.items():
            documents = [d for d in peer.replica.documents.values() if id_ in d.subscriptions]
            self.absent.append(Absent(question, peer.rights, documents))

    @precondition(lambda self: self.absent)
    @rule(
        data=st.data(),
        binary=st.booleans(),
        deflate=st.booleans(),
        room=st.sampled_from([None, None, 0, 300]),
    )
    def come_back(self, data, binary, deflate, room):
        absent = data.draw(st.sampled_from(self.absent))
        self.absent.remove(absent)
        if len(self.peers) < 6:
            peer = self._connect(binary, deflate, absent.rights, room)
            self._subscribe(peer, absent.question, None, absent.documents)

    @precondition(lambda self: self.absent and self.peers)
    @rule(data=st.data(), question=world.questions())
    def hand_in_what_belongs_to_another_view(self, data, question):
        """Tokens of other queries or rights, or forged ones, are ignored: a snapshot comes."""
        absent = data.draw(st.sampled_from(self.absent))
        peer = data.draw(st.sampled_from(self.peers))
        points = [d.resume_point for d in absent.documents if d.resume_point is not None]
        if not points or len(peer.asked) > 4:
            return
        if (question, peer.rights) == (absent.question, absent.rights):
            forged = data.draw(st.sampled_from(["", "x", "AAAA" * 20, points[0]["token"][:-2]]))
            points = [{"token": forged, "seq": points[0]["seq"]}]
        peer.read()
        modes = len(peer.replica.messages)
        self._subscribe(peer, question, None, [], points)
        peer.read()
        for message in peer.replica.messages[modes:]:
            if message["type"] == "subscribed":
                assert {info["mode"] for info in message["views"]} <= {"snapshot", "same"}

    # --- the driver ---

    @rule(count=st.integers(1, 12))
    def flush_a_little(self, count):
        self._flush(count)

    @rule(deliver=st.booleans())
    def flush_all(self, deliver):
        self._flush(_MANY)
        assert self.flushing is None
        assert not self.hub.has_work
        if deliver:
            self.check_the_quiet()

    def _flush(self, count: int) -> None:
        for _ in range(count):
            if self.flushing is None:
                if not self.hub.has_work:
                    self.woken = False
                    return
                self.flushing = self.hub.flush()
            if next(self.flushing, _DONE) is _DONE:
                self.flushing = None

    @rule(count=st.integers(1, 5))
    def send_bookmarks(self, count):
        for _ in range(count):
            if self.marking is None:
                self.marking = self.hub.bookmarks()
            if next(self.marking, _DONE) is _DONE:
                self.marking = None
                return

    # --- what must be true ---

    def _check(self, peer: Peer, document: Document) -> None:
        """A document stands at a position: it is the projection of the pool as it was there."""
        pool = self.pools[document.pool]
        if document.epoch != pool.store.epoch:
            return  # what still arrives of a pool that was taken away and added anew
        question: world.Question = document.query
        past = pool.model.past.get(document.position)
        if past is None:
            raise Fault(f"{document.position} is not the end of a batch")
        if not pool.store.loaded:
            past = {}
        shown = question.project(past, peer.rights)
        # Of a pool that had not answered yet, `*` gives every class that there is.
        assert shown.keys() <= set(document.classes)
        expected = {cls: shown.get(cls, {}) for cls in document.classes}
        held = document.by_ref()
        if canonical(expected) != canonical(held):
            raise Fault(f"{question} at {document.position}:\n{expected}\nbut {peer} holds\n{held}")
        leaked = world.traces(canonical(document.content)) - self.seen_ever[peer.rights]
        assert peer.rights == world.EVERYTHING or not leaked

    @invariant()
    def nothing_hidden_is_ever_written(self):
        for peer in self.peers:
            if peer.rights == world.EVERYTHING or not peer.outlet.waiting:
                continue
            probe = Replica(binary=peer.replica.binary, deflate=peer.client.deflate)
            seen = self.seen_ever[peer.rights]
            for data in peer.outlet.waiting:
                for payload in probe._reader.feed(data):
                    text = canonical(probe._decode(payload))
                    assert world.traces(text) <= seen, world.traces(text) - seen

    @invariant()
    def quick_clients_read_at_once(self):
        for peer in self.peers:
            if peer.outlet.room is None and not peer.client.paused:
                peer.read()

    @invariant()
    def work_is_announced(self):
        if self.flushing is None and hasattr(self, "hub") and self.hub.has_work:
            assert self.woken

    @invariant()
    def nothing_is_kept_for_a_client(self):
        for peer in self.peers:
            members = peer.client.members
            assert len(members) <= len(POOLS) * len(peer.asked)
            if self.flushing is None:
                assert not peer.client.outbox

    def check_the_quiet(self) -> None:
        """All was flushed: whoever is not full holds the present."""
        for peer in self.peers:
            was_full = peer.client.paused
            peer.read()
            if was_full:
                self.hub.drained(peer.client)
                continue
            for document in peer.replica.documents.values():
                pool = self.pools[document.pool]
                assert document.complete
                assert document.parts is None
                member = peer.client.members[document.view]
                assert document.position == member.group.position
                expected = document.query.project(pool.model.now, peer.rights)
                held = document.by_ref()
                if pool.store.loaded:
                    assert canonical({c: o for c, o in expected.items() if o}) == canonical(
                        {c: o for c, o in held.items() if o}
                    )
            self._check_views(peer)

    def _check_views(self, peer: Peer) -> None:
        """Every subscription has its views, one per pool, and no other view is there."""
        assert set(peer.replica.documents) == set(peer.client.members)
        subscriptions = {s for d in peer.replica.documents.values() for s in d.subscriptions}
        assert subscriptions <= set(peer.asked)
        for number, document in peer.replica.documents.items():
            assert document.subscriptions == peer.client.members[number].subscriptions

    def teardown(self):
        if not hasattr(self, "hub"):
            return
        for _ in range(_MANY):
            self._flush(_MANY)
            full = [p for p in self.peers if p.client.paused]
            for peer in full:
                self._drain(peer, None)
            if not full and not self.hub.has_work:
                break
        self._flush(_MANY)
        self.check_the_quiet()
        for peer in self.peers:
            self.hub.disconnected(peer.client)
        self._flush(_MANY)
        assert not self.hub.groups
        assert not self.hub.has_work
        assert not self.hub._waiting
        assert not any(self.hub._watching.values())
        assert all(repr(entry) == text for entry, text in self.entries)


@pytest.mark.slow
def test_every_client_holds_exactly_what_it_may_see():
    run_state_machine_as_test(Machine, settings=settings(settings.default, stateful_step_count=40))

"""A hub with two pools and clients of all kinds, and what must be true of them at any moment.

Some clients are given their rights as they are (`Tagged`, `Sight`); others have an account, and see
what a real `Directory` says, in which grants, groups and roles change (standings.py).

Bytes leave through an outlet that behaves like a transport, and reach a replica that shares nothing
with the product (replica.py). What it holds is compared, at every position it is told, with what
plain Python says of the pool as it was then (world.py).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from types import ModuleType
from typing import Any

from tests.properties import digests, standings, world
from tests.properties.replica import Document, Fault, Replica, canonical
from xoproxy.auth.directory import Directory
from xoproxy.cache import view
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.cache.view import Visibility
from xoproxy.model import PoolId, XapiClass
from xoproxy.sessions import catch_up, compare, group, hub, routing, view_writer
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.session import Session
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.frames import SharedFraming

POOLS = ("p", "q")
MANY = 5_000
"""More steps than any flush here can need."""
_STEP_S = 0.1
"""Virtual time that a step of the driver takes."""

_DONE = object()
SLICES: dict[ModuleType, list[str]] = {
    routing: ["_SLICE", "_NEWS_KEPT", "_SORTED_PER_STEP"],
    group: ["_PATCHES_KEPT"],
    view_writer: ["_SLICE"],
    compare: ["_SLICE", "_FOLDED_PER_STEP", "_CHANGES_OUTLIVED", "_FEW_OBJECTS"],
    view: ["_SLICE"],
    hub: ["_ADVANCED_PER_STEP"],
    catch_up: ["_SERVED_PER_STEP", "_WORK_STEPS_PER_TURN", "_FRAMES_PER_TURN", "_MADE_AT_ONCE"],
}


def cut_slices(size: int) -> None:
    """Have long work stop as often as if there were thousands of objects and clients."""
    for module, names in SLICES.items():
        for name in names:
            assert hasattr(module, name)
            setattr(module, name, size)


class Outlet:
    """A transport with a buffer: takes everything, and says so when more waits than it likes.

    Args:
        room: how many bytes may wait; None for a client that takes all at once.
    """

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
            self.client.pause()

    def close(self, code: int, reason: str) -> None:
        del code, reason
        self.closed = True


Held = Visibility | str
"""What somebody may see: rights as they are, or the account whose they are."""


@dataclass
class User:
    held: Held
    directory: Directory
    name: str = "somebody"
    role: str = "tester"

    def visibility(self, pool: PoolId) -> Visibility | None:
        if isinstance(self.held, str):
            return self.directory.rights(self.held).visibility(pool)
        return None if pool in _hidden_pools(self.held) else self.held


def _without_removals(message: dict[str, Any]) -> str:
    """Leave out what names things only to have them forgotten: it was shown under other rights."""
    if message["type"] == "patch":
        message = message | {"ops": [o for o in message["ops"] if o["op"] != "remove"]}
    return canonical(message)


def _hidden_pools(rights: Visibility) -> frozenset[str]:
    return frozenset({"q"}) if rights == world.RIGHTS[2] else frozenset()


@dataclass(eq=False)
class Pool:
    model: world.Model
    store: Store
    is_there: bool = True


@dataclass(eq=False, repr=False)
class Peer:
    """One client: our end of it and the other."""

    session: Session
    outlet: Outlet
    replica: Replica
    held: Held
    number: int
    asked: dict[int, Any] = field(default_factory=dict)
    asked_ever: dict[int, tuple[Any, float]] = field(default_factory=dict)
    """Every subscription that there was, and when it was made."""
    everywhere: set[int] = field(default_factory=set)
    """The subscriptions that are of all pools."""
    shown_by: dict[int, set[int]] = field(default_factory=dict)
    """View -> all the subscriptions that have shown it."""
    unread_rights: set[tuple[str, Visibility | None]] = field(default_factory=set)
    """Those on a pool under which something was written that was not read yet."""
    checked: int = 0
    """How many of the writes that wait were searched for what must not be in them."""

    def __repr__(self) -> str:
        return f"peer {self.number}"

    @property
    def client(self) -> Client:
        return self.outlet.client

    def rights(self, pool: str) -> Visibility | None:
        """Return what he may see of a pool now; None for nothing at all."""
        return self.session.user.visibility(PoolId(pool))

    def request(self, **message: Any) -> None:
        """Send a message; whatever is written meanwhile is an answer to it."""
        self.outlet.may_write_anyway = True
        effect = self.session.receive(message)
        self.outlet.may_write_anyway = False
        assert effect is None

    def read(self) -> None:
        """Take all that waits, as a client with a quick socket does."""
        waiting, self.outlet.waiting = self.outlet.waiting, []
        self.checked = 0
        for data in waiting:
            self.replica.receive(data)
        self.unread_rights.clear()
        assert self.replica.is_between_frames


@dataclass(eq=False)
class Absent:
    """What a client that is gone remembers of one subscription."""

    question: world.Question
    held: Held
    documents: list[Document]


class Scene:
    """All of it.

    Args:
        journal_bytes: bound of one pool's history; half of the bound of both.
        frame_bytes, chunk_bytes, slice_clients, frames_total_bytes: see `Hub`.
        slice_size: how many objects, frames or clients are one slice of anything.
        threshold_bytes: payloads shorter than this are not deflated.
    """

    def __init__(
        self,
        *,
        journal_bytes: int,
        frame_bytes: int,
        chunk_bytes: int,
        slice_clients: int,
        slice_size: int,
        threshold_bytes: int,
        frames_total_bytes: int = 1 << 28,
        idle_groups: int = 256,
    ) -> None:
        cut_slices(slice_size)
        self.budget = JournalBudget(2 * journal_bytes, journal_bytes, age_s=1e9)
        self.framing = SharedFraming(threshold_bytes=threshold_bytes)
        self.hub = Hub(
            self.framing,
            TokenSigner(b"k" * 32),
            self._wake,
            frame_bytes=frame_bytes,
            chunk_bytes=chunk_bytes,
            slice_clients=slice_clients,
            frames_total_bytes=frames_total_bytes,
            idle_groups=idle_groups,
        )
        self.pools: dict[str, Pool] = {}
        self.peers: list[Peer] = []
        self.absent: list[Absent] = []
        self.patch_count = 0
        self.directory = standings.new_directory()
        self._rights_of: dict[int, Visibility] = {}
        self._pool_of: dict[int, str] = {}
        """By the number of a view."""
        self._keys: dict[tuple[str, str, str], str] = {}
        self._seen_ever: dict[tuple[str, Visibility], tuple[set[str], int]] = {}
        self._gone: dict[str, list[world.Pool]] = {name: [] for name in POOLS}
        """All states of pools before they began anew: they may still be on their way."""
        """What could be seen of a pool under some rights, and in how many of its states."""
        self._flushing: Iterator[None] | None = None
        self._marking: Iterator[None] | None = None
        self._woken = False
        self.now_s = 0.0
        self._epoch_count = self._peer_count = self._request_count = 0
        self._entries: list[tuple[Any, str]] = []
        for pool in POOLS:
            self._add_pool(pool)

    def _wake(self) -> None:
        self._woken = True

    # --- pools ---

    def _add_pool(self, name: str) -> None:
        self._epoch_count += 1
        store = Store(PoolId(name), f"epoch{self._epoch_count}", self.budget)
        if name in self.pools:
            self._gone[name] += self.pools[name].model.past.values()
        self.pools[name] = Pool(world.Model(name), store)
        self.hub.add_pool(store)

    def commit(self, name: str, batch: Any, relisted: Sequence[str] = ()) -> None:
        """Have a pool change, and say so by events or by a list of some classes."""
        pool = self.pools[name]
        store = pool.store
        if not pool.is_there:
            return
        if relisted:
            # what the list does not cover must not have gone unheard
            batch = [e for e in batch if e[0] != "remove" or world.OBJECTS[e[1]] in relisted]
            pool.model.apply(batch)
            listing = pool.model.listing(set(world.CLASSES))
            prepared = store.prepare_relist(sorted(map(XapiClass, relisted)), listing)
        else:
            prepared = store.prepare(pool.model.apply(batch))
        while prepared.step(3):
            pass
        store.classes = world.CLASSES
        was_loaded = store.loaded
        committed = store.commit(prepared, store.seq)
        pool.model.committed(store.seq)
        self._note(pool, committed.changes)
        if was_loaded:
            self.hub.committed(committed)
        else:
            self.hub.loaded(store.pool)
        self.check()

    def _note(self, pool: Pool, changes: Any) -> None:
        for change in changes:
            entry = pool.store.get(change.ref)
            if entry is not None:
                self._entries.append((entry, repr(entry)))

    def toggle_a_pool(self) -> None:
        """Take the second pool away, or add it anew, in another epoch."""
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
        self.check()

    # --- clients ---

    def connect(self, *, binary: bool, deflate: bool, rights: Held, room: int | None) -> Peer:
        self._peer_count += 1
        codec = Codec.MSGPACK if binary else Codec.JSON
        outlet = Outlet(room)
        outlet.client = Client(outlet, codec, self.framing, deflate=deflate)
        user = User(rights, self.directory)
        session = Session("s", self.hub, outlet.client, user, Limits(), "server/0")
        replica = Replica(binary=binary, deflate=deflate, keys=self._keys)
        peer = Peer(session, outlet, replica, rights, self._peer_count)
        replica.moved = lambda document: self._check_document(peer, document)
        replica.may_move = lambda document: self._may_move(peer, document)
        outlet.may_write_anyway = True
        session.welcome()
        outlet.may_write_anyway = False
        self.peers.append(peer)
        return peer

    def _may_move(self, peer: Peer, document: Document) -> bool:
        """Tell whether other rights than those of a view were told, or will be."""
        assert document.pool is not None
        now = peer.rights(document.pool)
        unread = {rights for pool, rights in peer.unread_rights if pool == document.pool}
        return {self._rights_of.get(document.view, now)} != {now, *unread}

    def change_rights(self, peer: Peer, held: Held) -> None:
        """Somebody may see something else from now on; all that was written before was lawful."""
        self.check()
        self._note_rights(peer)
        user = peer.session.user
        assert isinstance(user, User)
        peer.held = user.held = held
        self._judge(peer)
        self.check()

    def administer(self, change: standings.Change) -> None:
        """An account, a group, a role or a grant changes: whom it concerns is judged anew."""
        self.check()
        before = standings.seen_by_all(self.directory, POOLS)
        for peer in self.peers:
            self._note_rights(peer)
        concerned = standings.play(self.directory, change)
        after = standings.seen_by_all(self.directory, POOLS)
        anew = standings.seen_by_all(Directory(self.directory.contents), POOLS)
        assert after == anew, "somebody is judged by what was in force before"
        assert all(name in concerned or after[name] == before[name] for name in after)
        for peer in self.peers:
            if peer.held in concerned:
                self._judge(peer)
        self.check()

    def _note_rights(self, peer: Peer) -> None:
        if peer.outlet.waiting:
            peer.unread_rights.update((pool, peer.rights(pool)) for pool in POOLS)

    def _judge(self, peer: Peer) -> None:
        peer.outlet.may_write_anyway = True
        peer.session.rights_changed()
        peer.outlet.may_write_anyway = False

    def subscribe(
        self,
        peer: Peer,
        question: world.Question,
        pools: list[str] | None = None,
        documents: Sequence[Document] = (),
        points: list[Any] | None = None,
        *,
        compare: bool = False,
    ) -> None:
        """Ask, with resume points of documents or with those given."""
        self._request_count += 1
        id_ = self._request_count
        if points is None:
            points = [p for d in documents if (p := d.resume_point) is not None]
        if compare:
            points = [{**point, "compare": True} for point in points]
        peer.asked[id_] = question
        peer.asked_ever[id_] = question, self.now_s
        peer.replica.will_subscribe(id_, question, list(documents), compare=compare)
        peer.request(type="subscribe", id=id_, query=question.query(pools), resume=points)
        self._drop_if_refused(peer, id_, pools)
        if pools is None:
            peer.everywhere.add(id_)
        self.check()

    def _drop_if_refused(self, peer: Peer, id_: int, pools: list[str] | None) -> None:
        """A pool that he may not see is not there for him: then nothing was subscribed."""
        if any(not self.pools[pool].is_there or peer.rights(pool) is None for pool in pools or ()):
            del peer.asked[id_], peer.asked_ever[id_]

    def say_digests(self, peer: Peer, buckets: int, spoil: str) -> None:
        """Say what is held of all views that are to be compared, or something that is wrong."""
        for document in peer.replica.due:
            message = peer.replica.digests(document, buckets, spoilt=bool(spoil))
            match spoil:
                case "length":
                    message["digests"] += "AAAA"
                case "buckets":
                    message["buckets"] = buckets + 2
                case "base64":
                    message["digests"] = "-" + message["digests"][1:]
            errors = len(peer.replica.errors)
            peer.request(**message)
            peer.request(**message)  # one time too many, without consequence
            self.check()
            if peer.outlet.room is None and not peer.client.paused:
                said = [(e["code"], e["data"]) for e in peer.replica.errors[errors:]]
                about = {"view": document.view}
                assert said == [("BAD_MESSAGE", about)] * (2 if spoil else 1)

    def unsubscribe(self, peer: Peer, id_: int) -> None:
        del peer.asked[id_]
        peer.replica.will_unsubscribe(id_)
        peer.request(type="unsubscribe", id=id_)
        self.check()

    def pace(self, peer: Peer, room: int | None, *, takes: bool) -> None:
        """A client takes what waits, or stops reading; from then on it is slow, or quick."""
        if takes:
            peer.read()
            peer.outlet.room = room
            if peer.client.paused:
                self.hub.drained(peer.client)
        elif not peer.client.paused:
            peer.outlet.room = room
        self.check()

    def drop(self, peer: Peer, share: float | None) -> list[Absent]:
        """Cut a connection.

        Args:
            peer: whose.
            share: how much of what was written arrives, up to the middle of a frame; None when it
                is closed in an orderly way, with bookmarks.
        """
        if share is None:
            peer.outlet.may_write_anyway = True
            self.hub.bookmark(peer.client)
        waiting = b"".join(peer.outlet.waiting)
        arrived = len(waiting) if share is None else round(len(waiting) * share)
        peer.replica.receive(waiting[:arrived])
        peer.client.close(1000, "")
        self.hub.disconnected(peer.client)
        self.peers.remove(peer)
        self.check()
        return [
            Absent(
                question,
                peer.held,
                [d for d in peer.replica.documents.values() if id_ in d.subscriptions],
            )
            for id_, question in peer.asked.items()
        ]

    def hand_in_foreign_tokens(
        self, peer: Peer, question: world.Question, absent: Absent, forged: str
    ) -> None:
        """Tokens of other queries or rights, or forged ones, are ignored: a snapshot comes."""
        points = [d.resume_point for d in absent.documents if d.resume_point is not None]
        was = absent.question
        same = replace(question, rate=was.rate, sets=was.sets) == was
        if same:  # a token may be of rights that somebody had earlier
            points = [{"token": point["token"][:-2] + forged, "seq": 0} for point in points]
        self.subscribe(peer, question, points=points)
        peer.read()
        for message in peer.replica.messages:
            if message["type"] == "subscribed" and message["id"] == self._request_count:
                assert {info["mode"] for info in message["views"]} <= {"snapshot", "same"}

    # --- the driver ---

    def flush(self, steps: int) -> None:
        """Drive the hub some steps; MANY are so many that all is said, whatever its rate."""
        self._drive(steps)
        self.check()
        if steps != MANY:
            return
        while (beat_s := self.hub.next_beat_s) is not None:
            assert beat_s > self.now_s, "a beat that was due is still to come"
            self.now_s = beat_s
            self._drive(MANY)
            self.check()
        assert self._flushing is None
        assert not self.hub.has_work
        self.check_the_quiet()

    def _drive(self, steps: int) -> None:
        for _ in range(steps):
            if self._flushing is None:
                self.hub.beat(self.now_s)
                if not self.hub.has_work:
                    self._woken = False
                    break
                self._flushing = self.hub.flush()
            if next(self._flushing, _DONE) is _DONE:
                self._flushing = None
            self.now_s += _STEP_S

    def flush_until_gathered(self) -> Peer | None:
        """Drive the hub until a frame waits for others of its client; return whose; None at end."""
        for _ in range(MANY):
            self.flush(1)
            for peer in self.peers:
                if peer.client.outbox:
                    return peer
            if self._flushing is None and not self.hub.has_work:
                break
        return None

    def mark(self, steps: int) -> None:
        """Send some of the bookmarks that are due."""
        for _ in range(steps):
            if self._marking is None:
                self._marking = self.hub.bookmarks()
            if next(self._marking, _DONE) is _DONE:
                self._marking = None
                break
        self.check()

    def end(self) -> None:
        """Let everybody catch up, compare, and see that nothing is left when they are gone."""
        for _ in range(MANY):
            self.flush(MANY)
            full = [p for p in self.peers if p.client.paused]
            for peer in full:
                self.pace(peer, None, takes=True)
            for peer in self.peers:
                self.say_digests(peer, 4, "")
            if not full and not self.hub.has_work:
                break
        self.flush(MANY)
        for peer in self.peers:
            self.hub.disconnected(peer.client)
        self.peers.clear()
        self.flush(MANY)
        for _ in range(2):  # nobody came back
            self._marking = None
            self.mark(MANY)
        assert not self.hub.groups
        assert not self.hub._catch_up._waiting
        assert not self.hub._pacing._waiting
        assert not any(map(list, self.hub._groups.routings.values()))
        assert all(repr(entry) == text for entry, text in self._entries), "an entry was mutated"

    # --- what must be true ---

    def check(self) -> None:
        """Check what holds at any moment."""
        for fault in self.hub.take_faults():  # contained, but none of them may happen at all
            raise AssertionError(f"a fault in {fault.where}") from fault.error
        for shared in self.hub.groups.values():
            self._rights_of[shared.number] = shared.view.visibility
            self._pool_of[shared.number] = shared.store.pool
        for peer in self.peers:
            self._search_what_was_written(peer)
            if peer.outlet.room is None and not peer.client.paused:
                peer.read()
            assert len(peer.client.members) <= len(POOLS) * len(peer.asked)
            if self._flushing is None:
                assert not peer.client.outbox
        if self._flushing is None and self.hub.has_work:
            assert self._woken, "nobody was told that there is work"

    def _search_what_was_written(self, peer: Peer) -> None:
        """Nothing that could never be seen under these rights is in the bytes."""
        probe = Replica(binary=peer.replica.binary, deflate=peer.client.deflate)
        for data in peer.outlet.waiting[peer.checked :]:
            for payload in probe.payloads(data):
                said = json.loads(payload)
                for message in said if isinstance(said, list) else [said]:
                    self._search(peer, message)
        peer.checked = len(peer.outlet.waiting)

    def _search(self, peer: Peer, message: dict[str, Any]) -> None:
        pool = self._pool_of.get(message.get("view", 0))  # None: of a window, or of no view
        said = world.traces(_without_removals(message))
        for name in POOLS if pool is None else (pool,):
            rights = peer.rights(name)
            if rights == world.EVERYTHING:
                return
            if said and rights is not None:
                said -= self._seen(name, rights)
        if said:
            raise Fault(f"{peer} was told of {said} by {message}")

    def _seen(self, name: str, rights: Visibility) -> set[str]:
        """Return the traces of all that could be seen of a pool under some rights, ever."""
        seen, known = self._seen_ever.get((name, rights), (set(), 0))
        states = [*self._gone[name], *self.pools[name].model.past.values()]
        for state in states[known:]:
            for reference in state:
                record = world.permitted(state, rights, reference)
                if record is not None:
                    seen.update(world.traces(reference + canonical(record)))
        self._seen_ever[name, rights] = seen, len(states)
        return seen

    def _check_document(self, peer: Peer, document: Document) -> None:
        """A document stands at a position: it is the projection of the pool as it was there."""
        self.patch_count += 1
        self._check_rate(peer, document)
        assert document.pool is not None
        pool = self.pools[document.pool]
        if document.epoch != pool.store.epoch:
            return  # what still arrives of a pool that was taken away and added anew
        past = pool.model.past.get(document.position)
        if past is None:
            raise Fault(f"{document.position} is not the end of a batch")
        if not pool.store.loaded:
            past = {}
        question: world.Question = document.query
        shown = question.project(past, self._rights_of[document.view])
        # Of a pool that had not answered yet, `*` gives every class that there is.
        assert shown.keys() <= set(document.classes)
        expected = {cls: shown.get(cls, {}) for cls in document.classes}
        held = document.by_ref()
        text = digests.canonical if document.was_compared else canonical
        if text(expected) != text(held):
            raise Fault(f"{question} at {document.position}:\n{expected}\nbut {peer} holds\n{held}")

    def _check_rate(self, peer: Peer, document: Document) -> None:
        """No more patches came than beats of the fastest rate have passed."""
        shown_by = peer.shown_by.setdefault(document.view, set())
        shown_by.update(document.subscriptions)
        asked = [peer.asked_ever[id_] for id_ in shown_by]
        rates = [question.rate for question, _ in asked if question.rate is not None]
        if len(rates) == len(asked):
            since_s, fastest = min(at_s for _, at_s in asked), max(rates)
            beats = floor(self.now_s * fastest) - floor(since_s * fastest)
            # A subscription that comes or goes changes the rate between two beats.
            assert document.patch_count <= beats + 2 * len(asked), "more patches than beats"

    def check_the_quiet(self) -> None:
        """All was flushed: whoever is not full holds the present, and nothing else."""
        for peer in self.peers:
            if peer.client.paused:
                continue
            peer.read()
            assert set(peer.replica.documents) == set(peer.client.members)
            self._check_pools(peer)
            for number, document in peer.replica.documents.items():
                member = peer.client.members[number]
                assert document.subscriptions == set(member.subscriptions) <= set(peer.asked)
                assert member.awaits_digests == (document.claim == "due")
                if member.awaits_digests:
                    continue
                assert document.complete
                assert document.parts is None
                assert not document.untold
                self._check_position(member, document)
                self._check_present(peer, document)

    def _check_pools(self, peer: Peer) -> None:
        """Who asked for all pools is shown those that he may see, and no others."""
        there = {n for n in POOLS if self.pools[n].is_there and peer.rights(n) is not None}
        for id_ in peer.everywhere & peer.asked.keys():
            documents = peer.replica.documents.values()
            assert {d.pool for d in documents if id_ in d.subscriptions} == there

    def _check_position(self, member: Member, document: Document) -> None:
        assert document.position == member.group.position

    def _check_present(self, peer: Peer, document: Document) -> None:
        assert document.pool is not None
        pool = self.pools[document.pool]
        now = pool.model.now if pool.store.loaded else {}
        rights = peer.rights(document.pool)
        assert rights is not None, "a view of a pool that is not there for him"
        expected = document.query.project(now, rights)
        held = document.by_ref()
        text = digests.canonical if document.was_compared else canonical
        assert text({c: o for c, o in expected.items() if o}) == text(
            {c: o for c, o in held.items() if o}
        )

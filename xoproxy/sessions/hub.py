"""All pools, all groups, all clients: what happened meets who wants to know.

Theory of operation. A committed batch is only noted. `flush` does the rest, in slices that its
driver takes one by one:

1. the groups that new history may concern are found (`routing.py`);
2. each of them reads it, once, and makes its frames;
3. each up-to-date member gets the frame; one whose socket is full is *parked*: it stays at its
   cursor, costs nothing, and gets one coalesced patch when its socket drains;
4. what is left over: snapshots and patches for those who joined, resumed or were parked.

Between slices anything may happen: batches, joins, departures. A frame goes only to members that
still are where the frame begins.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from xoproxy.cache.journal import Expired
from xoproxy.cache.query import Query
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.cache.view import View, Visibility
from xoproxy.model import Batch, PoolId
from xoproxy.sessions import moves
from xoproxy.sessions.catch_up import CatchUp
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import Claim
from xoproxy.sessions.counters import Counters
from xoproxy.sessions.frame import Delivery, Framing
from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import MessageId, ResumePoint, ViewInfo
from xoproxy.sessions.moves import Moves
from xoproxy.sessions.pacing import Pacing
from xoproxy.sessions.relief import Relief
from xoproxy.sessions.resume import NO_DOCUMENTS, ResumePositions, read_resume_points
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import TokenSigner, ViewHash, under_rights, view_hash
from xoproxy.sessions.window_group import SharedView, WindowGroup
from xoproxy.sessions.windows import Windows

_ADVANCED_PER_STEP = 8
"""Groups that read a short piece of history in one step; a long piece has steps of its own."""

GroupKey = tuple[PoolId, View, Codec]


@dataclass(slots=True)
class _FanOut:
    """A frame's way to the members that stood where the group was before it moved on."""

    group: SharedView
    delivery: Delivery
    members: list[Member] = field(default_factory=list)


class Hub:
    """The live groups and their members.

    Args:
        framing: builds frames.
        signer: signs resume tokens.
        wake: called when there is something to flush.
        frame_bytes, chunk_bytes: bounds of patches and snapshots, see `Group`.
        slice_clients: members served per step of a flush.
        frames_total_bytes: bound of all that is on its way to clients together; see `Relief`.
    """

    def __init__(
        self,
        framing: Framing,
        signer: TokenSigner,
        wake: Callable[[], None],
        *,
        frame_bytes: int = 65_536,
        chunk_bytes: int = 32_768,
        slice_clients: int = 250,
        frames_total_bytes: int = 256 << 20,
    ) -> None:
        self.pools: dict[PoolId, Store] = {}
        self.groups: dict[GroupKey, Group] = {}
        self.counters = Counters()
        self._framing = framing
        self._signer = signer
        self._wake = wake
        self._frame_bytes = frame_bytes
        self._chunk_bytes = chunk_bytes
        self._slice_clients = slice_clients
        self._next_view = count(1).__next__
        self._routings: dict[PoolId, Routing] = {}
        self._unrouted: dict[Routing, None] = {}
        self._dirty: dict[Group, None] = {}
        self._relief = Relief(framing.ledger, frames_total_bytes)
        self._pacing = Pacing()
        self._moves = Moves(
            self.counters, self._pacing, self._set_rate, self._mark_dirty, self._vacated
        )
        self._catch_up = CatchUp(
            self.counters, self._snapshot, self._mark_dirty, self._moves, self._pacing.may_begin
        )
        self.windows = Windows(
            framing,
            self._next_view,
            self._pacing,
            self._catch_up.add,
            wake,
            frame_bytes=frame_bytes,
            chunk_bytes=chunk_bytes,
        )

    # --- pools ---------------------------------------------------------------------------------

    def add_pool(self, store: Store) -> None:
        self.pools[store.pool] = store
        self._routings[store.pool] = Routing(store)

    def remove_pool(self, pool: PoolId) -> None:
        """End all views of a pool; their members are told."""
        self.windows.remove_pool(self.pools.pop(pool))
        for group in self._routings.pop(pool):
            for member in [*group.members, *group.arriving]:
                self.end(member)

    def loaded(self, pool: PoolId) -> None:
        """A pool was listed for the first time: its views begin with a snapshot of it."""
        routing = self._routings[pool]
        routing.loaded()
        for group in routing:
            self._restart(group, "loaded")
        self.windows.loaded(self.pools[pool])

    def committed(self, batch: Batch) -> None:
        """Note a batch; the next flush finds out whom it concerns."""
        routing = self._routings[batch.pool]
        if batch.changes and routing.committed(batch):
            self._unrouted[routing] = None
            self._wake()
        self.windows.committed(batch)

    # --- clients -------------------------------------------------------------------------------

    def drained(self, client: Client) -> None:
        """The client's socket took all that we had for it."""
        if client.closed:
            return
        client.paused = False
        behind = [
            member
            for member in client.members.values()
            if member not in member.group.current and member.waits_at is None
        ]
        if behind:
            # The first of them may fill the socket again: news before what is loading.
            behind.sort(key=lambda member: member.is_loading)
            self._catch_up.add(behind)
            self._wake()

    def disconnected(self, client: Client) -> None:
        client.closed = client.paused = True
        for member in list(client.members.values()):
            self._leave(member)

    def join(
        self,
        client: Client,
        subscription: MessageId,
        query: Query,
        pool: PoolId,
        visibility: Visibility,
        resume: ResumePositions = NO_DOCUMENTS,
    ) -> ViewInfo:
        """Make a client a member of the view that shows `query` on `pool`; synchronous on purpose.

        Between the look at the position and the membership nothing can be committed, so nothing
        can be missed. `resume` is what `resume_positions` made of the client's tokens.
        """
        store = self.pools[pool]
        group = self._group(client.codec, store, query, visibility)
        member = client.members.get(group.number)
        if member is not None:
            member.subscriptions.add(subscription)
            self._set_rate(member, subscription, query.rate)
            here = group.position if member in group.current else member.cursor
            return self._info(group, here, "same")
        start = self._resume_position(group, resume)
        compares = start is None and resume.may_compare(store.epoch, pool, group.view_hash)
        snapshot = self._snapshot(group) if start is None and not compares else None
        member = Member(client, group, group.position if start is None else start)
        member.awaits_digests = compares
        member.complete = start is not None
        member.subscriptions.add(subscription)
        self._pacing.set_rate(member, subscription, query.rate)
        group.members.add(member)
        client.members[group.number] = member
        mode = "resume"
        if snapshot is not None:
            mode = "snapshot"
            self.counters.snapshots += 1
            member.start(snapshot)
        elif compares:
            mode = "compare"
            self.counters.compared += 1
        else:
            self.counters.resumed += 1
        self._catch_up.add([member])
        self._read_soon(group)
        self._wake()
        return self._info(group, member.cursor, mode)

    @staticmethod
    def shows(client: Client, subscription: MessageId, pool: PoolId) -> bool:
        """Tell whether a subscription has a view of its own of a pool."""
        return any(
            subscription in member.subscriptions
            and isinstance(member.group, Group)
            and member.group.store.pool == pool
            for member in client.members.values()
        )

    def resume_positions(self, points: Iterable[ResumePoint]) -> ResumePositions:
        """Read a client's resume tokens, each once; those that we did not make are left out."""
        return read_resume_points(self._signer, points)

    def compare(self, member: Member, claim: Claim) -> None:
        """Send a member that was awaited what differs from what it says that it holds."""
        if member.target is not None:
            self.begin_again(member, moves.REASON)
            return
        group = member.group
        assert isinstance(group, Group)  # noqa: S101 - nobody comes back to a window
        try:
            comparison = group.comparison(claim)
        except Expired:
            self._restart(group, "journal_expired")
            comparison = group.comparison(claim)
        member.awaits_digests = False
        member.cursor = comparison.to  # as with any snapshot; what it holds is at no position
        member.start(comparison)
        self._catch_up.add([member])
        self._wake()

    def begin_again(self, member: Member, reason: str) -> None:
        """Have a member that was awaited forget its document."""
        member.awaits_digests = False
        member.forget(reason)
        self._catch_up.add([member])
        self._wake()

    def leave(self, client: Client, subscription: MessageId) -> None:
        """End a subscription; views that no other one of the connection shows end with it."""
        for member in list(client.members.values()):
            if subscription in member.subscriptions:
                member.subscriptions.discard(subscription)
                self._set_rate(member, subscription, None)
            if not member.subscriptions:
                self._leave(member)

    def rights_changed(self, client: Client, rights: Callable[[PoolId], Visibility | None]) -> None:
        """Judge all views of a client anew; nothing that it may not have is written from here on.

        Args:
            client: whose.
            rights: tells those on a pool; None if it may not be seen at all.
        """
        self._catch_up.add(moves.take_back(client))
        for member in list(client.members.values()):
            here = member.target or member.group
            if isinstance(here, WindowGroup):
                self.windows.rights_changed(member, rights)
                continue
            visibility = rights(here.store.pool)
            if visibility is None:
                self.end(member)
            elif visibility != here.view.visibility:
                self._move(member, here, visibility)
        self._wake()

    def _move(self, member: Member, here: Group, visibility: Visibility) -> None:
        view = replace(here.view, visibility=visibility)
        hash_ = under_rights(here.view_hash.query, visibility.scope)
        self._moves.begin(member, self._group_of(here.store, view, hash_, here.codec))
        self._catch_up.add([member])

    def end(self, member: Member) -> None:
        """Tell a member that its pool is not there any more, for it at least."""
        group = member.group
        assert isinstance(group, Group)  # noqa: S101
        member.client.write(group.reset_frame("pool_removed", gone=True))
        self._leave(member)

    def bookmarks(self) -> Iterator[None]:
        """Send everybody who is up to date a token that reaches to now, in slices."""
        for group in list(self.groups.values()):
            group.forget_unused()
            members = [*group.current, *(m for m in group.paced if m not in group.current)]
            for start in range(0, len(members), self._slice_clients):
                for member in members[start : start + self._slice_clients]:
                    member.client.flush()  # which may fill its socket
                    if not member.client.paused:
                        self._bookmark(member)
                yield

    def bookmark(self, client: Client) -> None:
        """Send one client its tokens, before its connection is closed."""
        for member in client.members.values():
            self._bookmark(member)

    def _bookmark(self, member: Member) -> None:
        group = member.group
        if isinstance(group, WindowGroup):
            return  # nobody can come back to a window
        if member in group.current:
            member.client.write(group.bookmark())
        elif member.waits_at is not None and member.reset is None:
            member.client.write(group.bookmark_at(member.cursor))

    # --- flush ---------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        works = self._catch_up.has_work or self.windows.has_work
        return bool(self._unrouted or self._dirty) or works

    @property
    def next_beat_s(self) -> float | None:
        """When `beat` should be called next, by its clock; None while nobody waits for it."""
        return self._pacing.next_beat_s

    def beat(self, now_s: float) -> None:
        """Tell what time it is, before a flush: whoever waits for it gets what he missed."""
        due = self._pacing.beat(now_s)
        self._catch_up.add(due)
        for member in due:
            self._read_soon(member.group)

    def flush(self) -> Iterator[None]:
        """Bring everybody as far as their sockets allow; take its steps until it ends.

        It ends early when new batches arrive while old snapshots are still being built, so that
        changes are not held up: ask `has_work` and flush again.
        """
        if self._relief.is_due:
            self.counters.given_up += self._relief.give(self._all_groups())
        unrouted, self._unrouted = self._unrouted, {}
        for routing in unrouted:
            yield from routing.route(self._dirty)
        fan_outs: list[_FanOut] = []
        dirty, self._dirty = self._dirty, {}
        for number, group in enumerate(dirty, 1):
            yield from self._advance(group, fan_outs)
            if number % _ADVANCED_PER_STEP == 0:
                yield
        for routing in unrouted:
            routing.rest()
        yield from self.windows.advance(partial(self._offer, fan_outs))
        gathered: dict[Client, None] = {}
        yield from self._fan_out(fan_outs, gathered)
        yield from self._write_gathered(list(gathered))
        yield from self.windows.begin(until=self._has_news)
        yield from self._catch_up.steps(until=lambda: self._has_news() or self._relief.is_due)
        yield from self.windows.build(until=lambda: self._has_news() or self._catch_up.has_work)

    def _all_groups(self) -> Iterator[SharedView]:
        for routing in self._routings.values():
            yield from routing
        yield from self.windows.groups

    def _has_news(self) -> bool:
        return bool(self._unrouted or self._dirty) or self.windows.is_dirty

    def _advance(self, group: Group, fan_outs: list[_FanOut]) -> Iterator[None]:
        if not group.in_use:
            return  # gone meanwhile
        if group.paced and not group.arriving and self._pacing.postpones(group):
            return
        cursor = group.position
        try:
            yield from group.advance()
        except Expired:
            if group.in_use:  # otherwise its pool may have gone meanwhile
                self._restart(group, "journal_expired")
            return
        if group.is_dirty and group.members:
            self._dirty[group] = None
        if group.position != cursor:
            self._offer(fan_outs, group, cursor)

    def _offer(self, fan_outs: list[_FanOut], group: SharedView, cursor: int) -> None:
        """Have the current members of a group that moved on get what leads on from `cursor`."""
        if group.current:
            delivery = group.patch_from(cursor)
            members = group.release(cursor)
            if group.paced:
                members = self._pacing.hold(members)
            fan_outs.append(_FanOut(group, delivery, members))

    def _fan_out(self, fan_outs: list[_FanOut], gathered: dict[Client, None]) -> Iterator[None]:
        """Write each frame (or a patch's parts) to all who wait for it."""
        room = self._slice_clients
        for fan_out in fan_outs:
            start = 0
            while start < len(fan_out.members):
                members = fan_out.members[start : start + room]
                self._write_to(members, fan_out, gathered)
                start += len(members)
                room -= len(members)
                if not room:
                    yield
                    room = self._slice_clients

    def _write_to(
        self, members: list[Member], fan_out: _FanOut, gathered: dict[Client, None]
    ) -> None:
        """Write one frame to some of its members; the hottest loop we have."""
        current, frames = fan_out.group.current, fan_out.delivery.frames
        single = len(frames) == 1
        frame = frames[0]
        plain = frame.wire(deflate=False)
        written = 0
        for member in members:
            client = member.client
            if client.paused or member.away or not single:
                self._park(member)
                continue
            data = frame.wire(deflate=True) if client.deflate else plain
            if len(client.members) > 1:
                client.gather(member, data)
                gathered[client] = None
            else:
                client.put(data)
            current[member] = None
            written += 1
        self.counters.frames += written
        self.counters.bytes += frame.size * written

    def _park(self, member: Member) -> None:
        """Leave a member at its cursor; it goes on when its socket has drained."""
        if member.away or member.client.closed:
            return
        if member.client.paused:
            self.counters.parked += 1
        else:
            self._catch_up.add([member])

    def _write_gathered(self, clients: list[Client]) -> Iterator[None]:
        """One write per client and flush, however many of its views changed."""
        for start in range(0, len(clients), self._slice_clients):
            for client in clients[start : start + self._slice_clients]:
                client.flush()
            yield

    # --- groups --------------------------------------------------------------------------------

    def _group(self, codec: Codec, store: Store, query: Query, visibility: Visibility) -> Group:
        # Of a pool that never answered we do not know the classes: all that there are, then. A
        # view's classes stay what its members were told.
        view = View(
            classes=query.for_classes(store.classes or SCHEMA.event_classes),
            filter=query.filter,
            masks=query.masks,
            visibility=visibility,
        )
        hash_ = view_hash(query.view_key, visibility.scope, view.classes)
        return self._group_of(store, view, hash_, codec)

    def _group_of(self, store: Store, view: View, hash_: ViewHash, codec: Codec) -> Group:
        key = store.pool, view, codec
        group = self.groups.get(key)
        if group is None:
            routing = self._routings[store.pool]
            group = Group(
                self._next_view(),
                routing,
                view,
                hash_,
                codec,
                self._framing,
                self._signer,
                frame_bytes=self._frame_bytes,
                chunk_bytes=self._chunk_bytes,
            )
            self.groups[key] = group
            routing.add(group)
        return group

    def _resume_position(self, group: Group, resume: ResumePositions) -> int | None:
        """Find where a client may go on; None when it must have a snapshot."""
        cursor = resume.position(group.store.pool, group.view_hash)
        if cursor is None or cursor.epoch != group.store.epoch:
            return None
        if not group.store.journal.reaches(cursor.seq):
            return None
        if cursor.seq <= group.position:
            return cursor.seq
        if cursor.seq == group.scanned:  # where this view looks as it does at its position
            return group.position
        # Another group was there before this one, or stopped where this one did not: what it saw
        # there may have come and gone since. This one shall move at least as far, so that the
        # client is not ahead of everybody else.
        group.must_reach = max(group.must_reach, cursor.seq)
        self._dirty[group] = None
        return cursor.seq

    def _snapshot(self, group: SharedView) -> Delivery:
        try:
            return group.snapshot()
        except Expired:
            assert isinstance(group, Group)  # noqa: S101 - a window needs no history
            self._restart(group, "journal_expired")
            return group.snapshot()

    def _restart(self, group: Group, reason: str) -> None:
        """Give up a group's position: all members begin again at the present.

        They are told when they are served, so that a client which takes nothing gets nothing.
        """
        group.release(group.position)
        group.restart()
        self._dirty.pop(group, None)
        self._routings[group.store.pool].began(group)
        for member in group.members:
            self._pacing.release(member)
            member.forget(reason)
        self._catch_up.add(group.members)
        if group.members:
            self._wake()

    def _set_rate(self, member: Member, subscription: MessageId, rate: float | None) -> None:
        """Change the pace of a member that may be waiting: what it waits for is judged anew."""
        waited = member.waits_at is not None
        self._pacing.set_rate(member, subscription, rate)
        if waited:
            self._catch_up.add([member])
            self._read_soon(member.group)
            self._wake()

    def _read_soon(self, group: SharedView) -> None:
        """Have a group read the history that was left until a beat, if there is any."""
        if isinstance(group, Group) and group.is_dirty:
            self._dirty[group] = None

    def _mark_dirty(self, group: SharedView) -> None:
        if isinstance(group, Group):
            self._dirty[group] = None

    def _leave(self, member: Member) -> None:
        member.left = member.away = True
        group = member.group
        if isinstance(group, WindowGroup):
            self.windows.leave(member)
            return
        group.members.discard(member)
        group.current.pop(member, None)
        group.paced.discard(member)
        self._pacing.release(member)
        member.client.members.pop(group.number, None)
        self._moves.dismiss(member)
        if not group.in_use:
            self._vacated(group)

    def _vacated(self, group: Group) -> None:
        """Forget a group that nobody belongs to."""
        key = self._key(group)
        if self.groups.get(key) is group:
            del self.groups[key]
            if group.store.pool in self._routings:
                self._routings[group.store.pool].remove(group)
            self._dirty.pop(group, None)

    @staticmethod
    def _key(group: Group) -> GroupKey:
        return group.store.pool, group.view, group.codec

    def _info(self, group: Group, seq: int, mode: str) -> ViewInfo:
        store = group.store
        return ViewInfo(group.number, store.pool, store.epoch, seq, group.view.classes, mode)

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

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

from xoproxy.cache.journal import Expired
from xoproxy.cache.query import Query
from xoproxy.cache.store import Store
from xoproxy.cache.view import View, Visibility
from xoproxy.errors import CloseCode
from xoproxy.model import Batch, PoolId
from xoproxy.sessions import moves
from xoproxy.sessions.bookmarks import bookmark, bookmark_all
from xoproxy.sessions.catch_up import CatchUp
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import Claim
from xoproxy.sessions.counters import Counters
from xoproxy.sessions.fan_out import FanOut
from xoproxy.sessions.faults import Fault, Faults
from xoproxy.sessions.frame import Delivery, Framing
from xoproxy.sessions.group import Group
from xoproxy.sessions.groups import GroupKey, Groups
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import MessageId, ResumePoint, ViewInfo
from xoproxy.sessions.moves import Moves
from xoproxy.sessions.pacing import Pacing
from xoproxy.sessions.relief import Relief
from xoproxy.sessions.resume import NO_DOCUMENTS, ResumePositions, read_resume_points, resume_at
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import TokenSigner, ViewHash
from xoproxy.sessions.window_group import SharedView, WindowGroup
from xoproxy.sessions.windows import Windows

_ADVANCED_PER_STEP = 8
"""Groups that read a short piece of history in one step; a long piece has steps of its own."""


class Hub:
    """The live groups and their members.

    Args:
        framing: builds frames.
        signer: signs resume tokens.
        wake: called when there is something to flush.
        frame_bytes, chunk_bytes: bounds of patches and snapshots, see `Group`.
        slice_clients: members served per step of a flush.
        frames_total_bytes: bound of all that is on its way to clients together; see `Relief`.
        idle_groups: how many groups may linger; see `Groups`.
        window_lists: how many different lists live windows may have; see `Windows`.
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
        idle_groups: int = 256,
        window_lists: int = 100,
    ) -> None:
        self.pools: dict[PoolId, Store] = {}
        self.counters = Counters()
        self._groups = Groups(self.counters, self._make_group, idle_groups)
        self._framing = framing
        self._signer = signer
        self._wake = wake
        self._frame_bytes = frame_bytes
        self._chunk_bytes = chunk_bytes
        self._slice_clients = slice_clients
        self._next_view = count(1).__next__
        self._unrouted: dict[Routing, None] = {}
        self._dirty: dict[Group, None] = {}
        self._relief = Relief(framing.ledger, frames_total_bytes)
        self._pacing = Pacing()
        self._moves = Moves(
            self.counters, self._pacing, self._set_rate, self._mark_dirty, self._groups.vacated
        )
        self._faults = Faults(self.counters, self._restart, self._groups.abandon, self._lose)
        self._catch_up = CatchUp(
            self.counters,
            self._snapshot,
            self._mark_dirty,
            self._moves,
            self._faults.of_members,
            self._pacing.may_begin,
        )
        self.windows = Windows(
            framing,
            self._next_view,
            self._pacing,
            self._catch_up.add,
            wake,
            self._faults.of_windows,
            frame_bytes=frame_bytes,
            chunk_bytes=chunk_bytes,
            slice_clients=slice_clients,
            most_lists=window_lists,
        )

    @property
    def groups(self) -> Mapping[GroupKey, Group]:
        """All groups on single pools, also those that linger."""
        return self._groups.by_key

    def _make_group(self, routing: Routing, view: View, hash_: ViewHash, codec: Codec) -> Group:
        return Group(
            self._next_view(),
            routing,
            view,
            hash_,
            codec,
            self._framing,
            self._signer,
            frame_bytes=self._frame_bytes,
            chunk_bytes=self._chunk_bytes,
            slice_clients=self._slice_clients,
        )

    # --- pools ---------------------------------------------------------------------------------

    def add_pool(self, store: Store) -> None:
        self.pools[store.pool] = store
        self._groups.add_pool(store)

    def remove_pool(self, pool: PoolId) -> None:
        """End all views of a pool; their members are told."""
        self.windows.remove_pool(self.pools.pop(pool))
        for group in self._groups.remove_pool(pool):
            for member in [*group.members, *group.arriving]:
                self.end(member)

    def loaded(self, pool: PoolId) -> None:
        """A pool was listed for the first time: its views begin with a snapshot of it."""
        routing = self._groups.routings[pool]
        routing.loaded()
        for group in routing:
            self._restart(group, "loaded")
        self.windows.work.loaded(self.pools[pool])

    def committed(self, batch: Batch) -> None:
        """Note a batch; the next flush finds out whom it concerns."""
        routing = self._groups.routings[batch.pool]
        if batch.changes and routing.committed(batch):
            self._unrouted[routing] = None
            self._wake()
        self.windows.work.committed(batch)

    # --- clients -------------------------------------------------------------------------------

    def drained(self, client: Client) -> None:
        """The client's socket took all that we had for it."""
        if client.closed:
            return
        client.resume()
        behind = [
            member
            for member in client.members.values()
            if member.lane is None and member.waits_at is None
        ]
        if behind:
            # The first of them may fill the socket again: news before what is loading.
            behind.sort(key=lambda member: member.is_loading)
            self._catch_up.add(behind)
            self._wake()

    def disconnected(self, client: Client) -> None:
        client.end()
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
        group = self._groups.of_query(client.codec, store, query, visibility)
        member = client.members.get(group.number)
        if member is not None:
            member.add(subscription)
            self._set_rate(member, subscription, query.rate)
            return self._info(group, member.cursor, "same")
        start = resume_at(group, resume)
        if group.must_reach > group.position:
            self._dirty[group] = None
        compares = start is None and resume.may_compare(store.epoch, pool, group.view_hash)
        snapshot: Delivery | None = None
        if start is None and not compares:
            snapshot = group.earlier_snapshot() or self._snapshot(group)
            start = snapshot.to
        member = Member(client, group, group.position if start is None else start)
        member.awaits_digests = compares
        member.complete = start is not None and snapshot is None
        member.add(subscription)
        self._pacing.set_rate(member, subscription, query.rate)
        group.members.add(member)
        client.add(member)
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
                member.remove(subscription)
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
                continue
            visibility = visibility.among(here.view.classes)
            if visibility != here.view.visibility:
                target = self._groups.under(here, visibility)
                self._moves.begin(member, target)
                self._read_soon(target)
                self._catch_up.add([member])
        self._wake()

    def end(self, member: Member) -> None:
        """Tell a member that its pool is not there any more, for it at least."""
        group = member.group
        assert isinstance(group, Group)  # noqa: S101
        member.client.write(group.reset_frame("pool_removed", gone=True))
        self._leave(member)

    def bookmarks(self) -> Iterator[None]:
        """Send everybody who is up to date a token that reaches to now, in slices.

        What only has to happen now and then is done here, too.
        """
        self._faults.forgive()
        self._groups.expire()
        for group in self._groups:
            if not self._groups.is_idle(group):
                group.forget_unused()
                yield from bookmark_all(group, self._slice_clients)

    def bookmark(self, client: Client) -> None:
        """Send one client its tokens, before its connection is closed."""
        for member in client.members.values():
            bookmark(member)

    # --- flush ---------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        works = self._catch_up.has_work or self.windows.work.has_work
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
            try:
                yield from routing.route(self._dirty)
            except Exception as error:  # noqa: BLE001 - then everybody reads, which finds it
                self._faults.note(f"routing of pool {routing.store.pool}", error)
                routing.give_up(self._dirty)
        fan_out = FanOut(self.counters, self._pacing, self._catch_up.add, self._slice_clients)
        dirty, self._dirty = self._dirty, {}
        for number, group in enumerate(dirty, 1):
            yield from self._advance(group, fan_out)
            if number % _ADVANCED_PER_STEP == 0:
                yield
        for routing in unrouted:
            routing.rest()
        yield from self._contained(self.windows.work.advance(fan_out.offer))
        yield from fan_out.steps()
        yield from self._contained(self.windows.work.begin(until=self._has_news))
        yield from self._catch_up.steps(until=lambda: self._has_news() or self._relief.is_due)
        yield from self._contained(
            self.windows.work.build(until=lambda: self._has_news() or self._catch_up.has_work)
        )

    def take_faults(self) -> list[Fault]:
        """Return the faults that were contained since the last time, for the log."""
        return self._faults.take()

    def _contained(self, steps: Iterator[None]) -> Iterator[None]:
        """Take steps for all windows; what was not contained to some of them ends these only."""
        try:
            yield from steps
        except Exception as error:  # noqa: BLE001 - not those who do not use windows
            self._faults.of_windows(self.windows.groups, error)

    def _lose(self, client: Client) -> None:
        client.close(CloseCode.STATE_LOST, "a fault of the proxy")
        self.disconnected(client)

    def _all_groups(self) -> Iterator[SharedView]:
        for routing in self._groups.routings.values():
            yield from routing
        yield from self.windows.groups

    def _has_news(self) -> bool:
        return bool(self._unrouted or self._dirty) or self.windows.work.is_dirty

    def _advance(self, group: Group, fan_out: FanOut) -> Iterator[None]:
        if not group.in_use:
            return  # gone meanwhile
        may_wait = group.paced and not group.arriving and group.must_reach <= group.position
        if may_wait and self._pacing.postpones(group):
            return
        cursor = group.position
        try:
            yield from group.advance()
        except Expired:
            if group.in_use:  # otherwise its pool may have gone meanwhile
                self._restart(group, "journal_expired")
            return
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this view only
            self._faults.of_group(group, error)
            return
        if group.is_dirty and group.members:
            self._dirty[group] = None
        if group.position != cursor:
            fan_out.offer(group, cursor)

    # --- groups --------------------------------------------------------------------------------

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
        group.lanes.release()
        group.restart()
        self._dirty.pop(group, None)
        self._groups.routings[group.store.pool].began(group)
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
        member.step_out()
        group.paced.discard(member)
        self._pacing.release(member)
        member.client.members.pop(group.number, None)
        self._moves.dismiss(member)
        if not group.in_use:
            self._groups.vacated(group)

    def _info(self, group: Group, seq: int, mode: str) -> ViewInfo:
        store = group.store
        return ViewInfo(group.number, store.pool, store.epoch, seq, group.view.classes, mode)

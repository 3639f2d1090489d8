"""All live windows: which listings they are cut from, who looks through which.

Theory of operation. Subscriptions that find the same objects in the same order share a `Listing`,
whatever part of it they show; those that show the same part share a `WindowGroup`. Both are there
as long as somebody needs them; what is done for them meanwhile is in `window_work.py`.

A client goes to another window by becoming a member of another group: because it asked to, or
because a pool came or went, and with it the listing. Each of its subscriptions has a window of its
own: a second one that shows the same on one connection has a copy of the group.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

from xoproxy.cache.fields import Mask
from xoproxy.cache.listing import Listing, Scope
from xoproxy.cache.query import Query
from xoproxy.cache.store import Store, key_text
from xoproxy.cache.view import Visibility
from xoproxy.cache.window_query import Span
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import Framing
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import MessageId, ViewInfo
from xoproxy.sessions.moves import REASON
from xoproxy.sessions.pacing import Pacing
from xoproxy.sessions.window_content import WindowWriter
from xoproxy.sessions.window_group import EPOCH, WindowGroup
from xoproxy.sessions.window_work import WindowWork


@dataclass(frozen=True, slots=True)
class _Look:
    """What a window is; equal ones are one, but for copies."""

    listing: Listing
    span: Span
    masks: tuple[tuple[XapiClass, Mask], ...]
    sets_by_member: bool
    codec: Codec
    copy: int = 0


class Windows:
    """The windows of all clients.

    Args:
        framing: builds frames.
        next_view: returns the next number of a view.
        pacing: holds back members that want patches only so often.
        serve: has members served that are behind.
        wake: called when there is something to flush.
        fault: see `WindowWork`.
        frame_bytes, chunk_bytes, slice_clients: see `Group`.
        most_lists: how many different lists there may be before no client may ask for another.
    """

    def __init__(
        self,
        framing: Framing,
        next_view: Callable[[], int],
        pacing: Pacing,
        serve: Callable[[Iterable[Member]], None],
        wake: Callable[[], None],
        fault: Callable[[Iterable[WindowGroup], Exception], None],
        *,
        frame_bytes: int,
        chunk_bytes: int,
        slice_clients: int,
        most_lists: int,
    ) -> None:
        self.listings: dict[Scope, Listing] = {}
        self.groups: dict[WindowGroup, _Look] = {}
        self._by_look: dict[_Look, WindowGroup] = {}
        self.work = WindowWork(serve, wake, fault)
        self._framing = framing
        self._next_view = next_view
        self._pacing = pacing
        self._serve = serve
        self._wake = wake
        self._frame_bytes = frame_bytes
        self._chunk_bytes = chunk_bytes
        self._slice_clients = slice_clients
        self._most_lists = most_lists
        self._tick = count(1).__next__
        self._prefixes: dict[Store, str] = {}
        self._prefix_count = count()

    # --- pools ---------------------------------------------------------------------------------

    def remove_pool(self, store: Store) -> None:
        """Have all windows go on without a pool that is gone."""
        self._prefixes.pop(store, None)
        for group in list(self.groups):
            scope = group.listing.scope
            if any(pool is store for pool, _ in scope.pools):
                for member in [*group.members, *group.arriving]:
                    if (member.destination or member.group) is group:
                        self._rescope(member, group, scope.without_pool(store))

    # --- clients -------------------------------------------------------------------------------

    def join(
        self,
        client: Client,
        subscription: MessageId,
        query: Query,
        pools: Iterable[tuple[Store, Visibility]],
    ) -> ViewInfo:
        """Make a client a member of the window that a query asks for.

        Args:
            client: of that connection.
            subscription: the one that asks.
            query: with a window.
            pools: those that it shows, and the rights on each.

        Raises:
            RequestRefused: LIMIT: there are too many different lists already.
        """
        assert query.window is not None  # noqa: S101 - the caller's business
        scope = Scope.of(query.classes[0], query.filter, query.window.arrangement, pools)
        if scope not in self.listings and len(self.listings) >= self._most_lists:
            text = f"the proxy keeps at most {self._most_lists} different lists for live windows"
            raise RequestRefused(ErrorCode.LIMIT, text)
        listing, span = self._listing(scope), query.window.span
        look = _Look(listing, span, query.masks, query.sets_by_member, client.codec)
        group = self._group(client, look)
        member = Member(client, group, group.position)
        member.add(subscription)
        group.join(member)
        self._pacing.set_rate(member, subscription, query.rate)
        if group.content is not None:
            member.start(group.snapshot())
            self._serve([member])
        self._wake()
        return ViewInfo(group.number, None, EPOCH, group.position, (scope.cls,), "snapshot")

    def move(self, client: Client, subscription: MessageId, span: Span) -> None:
        """Have a subscription's window show another part of the listing.

        Raises:
            RequestRefused: it has none (any more).
        """
        member = _member(client, subscription)
        if member is None:
            text = f"the window of subscription {subscription!r} is gone: subscribe anew"
            raise RequestRefused(ErrorCode.NOT_FOUND, text)
        here = self._destination(member)
        look = replace(self.groups[here], span=span)
        self._send(member, self._group(client, look, member))

    def add_pool(
        self, client: Client, subscription: MessageId, store: Store, visibility: Visibility
    ) -> None:
        """Have a subscription's window, if it is still there, show the objects of a pool more."""
        member = _member(client, subscription)
        if member is None:
            return
        here = self._destination(member)
        if (store, visibility) not in here.listing.scope.pools:
            self._rescope(member, here, here.listing.scope.with_pool(store, visibility))

    def rights_changed(self, member: Member, rights: Callable[[PoolId], Visibility | None]) -> None:
        """Have a window show what its user may see now; nothing else is written from here on.

        Args:
            member: its.
            rights: tells those on a pool; None if it may not be seen at all.
        """
        here, origin = self._destination(member), member.group
        assert isinstance(origin, WindowGroup)  # noqa: S101
        scope, coming = here.listing.scope, origin.listing.scope
        if (permitted := _permitted(scope, rights)) != scope:
            self._rescope(member, here, permitted)
        # What it is getting may be of a pool that is gone from where it goes.
        if _permitted(coming, rights) != coming:
            if not member.complete or member.shown_as is not None:
                member.reset = member.reset or REASON
            member.delivery = None
            self._serve([member])

    def leave(self, member: Member) -> None:
        """Forget a member that is gone."""
        group = member.group
        assert isinstance(group, WindowGroup)  # noqa: S101
        self._pacing.release(member)
        group.drop(member)
        self._dismiss(member)
        self._sweep(group)

    @staticmethod
    def _destination(member: Member) -> WindowGroup:
        group = member.destination or member.group
        assert isinstance(group, WindowGroup)  # noqa: S101
        return group

    def _rescope(self, member: Member, here: WindowGroup, scope: Scope) -> None:
        look = replace(self.groups[here], listing=self._listing(scope))
        self._send(member, self._group(member.client, look, member))

    def _send(self, member: Member, destination: WindowGroup) -> None:
        destination.arriving[member] = None  # first: it may be where it was to go already
        if member.destination is not destination:
            self._dismiss(member)
        group = member.group
        assert isinstance(group, WindowGroup)  # noqa: S101
        self._pacing.release(member)
        group.send_away(member, destination)
        self._serve([member])
        self._wake()

    def _dismiss(self, member: Member) -> None:
        """Have a member go nowhere."""
        destination, member.destination = member.destination, None
        if destination is not None:
            destination.arriving.pop(member, None)
            self._sweep(destination)

    # --- groups --------------------------------------------------------------------------------

    def _listing(self, scope: Scope) -> Listing:
        listing = self.listings.get(scope)
        if listing is None:
            listing = Listing(scope, [self._prefix(store) for store, _ in scope.pools])
            self.listings[scope] = listing
            self.work.add_listing(listing)
        return listing

    def _prefix(self, store: Store) -> str:
        """Return what makes a pool's keys unique among those of all pools there ever were."""
        prefix = self._prefixes.get(store)
        if prefix is None:
            prefix = self._prefixes[store] = f"{key_text(next(self._prefix_count))}-"
        return prefix

    def _group(self, client: Client, look: _Look, member: Member | None = None) -> WindowGroup:
        """Return the window that shows this, which no other member of the client has.

        Nor may it be one as which the client knows another view still.
        """
        others = [other for other in client.members.values() if other is not member]
        taken = {other.group for other in others} | {other.destination for other in others}
        known = {other.shown_as for other in others}
        for copy in count():
            look = replace(look, copy=copy)
            group = self._by_look.get(look)
            if group is None:
                return self._make(look)
            if group not in taken and group.number not in known:
                return group
        raise AssertionError

    def _make(self, look: _Look) -> WindowGroup:
        listing = look.listing
        writer = WindowWriter(
            listing.scope.cls,
            look.codec,
            self._framing,
            self._frame_bytes,
            self._chunk_bytes,
            sets_by_member=look.sets_by_member,
        )
        group = WindowGroup(
            self._next_view(),
            listing,
            look.span,
            look.masks,
            writer,
            self._tick,
            self._sweep,
            self._slice_clients,
        )
        self.groups[group] = look
        self._by_look[look] = group
        self.work.add(group)
        return group

    def _sweep(self, group: WindowGroup) -> None:
        """Drop a window if nobody looks through it, and its listing if it was the last one."""
        if group.in_use or group not in self.groups:
            return
        del self._by_look[self.groups.pop(group)]
        if not self.work.remove(group):
            del self.listings[group.listing.scope]


def _permitted(scope: Scope, rights: Callable[[PoolId], Visibility | None]) -> Scope:
    """Return what a scope is under the rights of now."""
    for store, visibility in scope.pools:
        now = rights(store.pool)
        if now is None:
            scope = scope.without_pool(store)
        elif now != visibility:
            scope = scope.with_pool(store, now)
    return scope


def _member(client: Client, subscription: MessageId) -> Member | None:
    """Return what a subscription looks through; None when that was lost, by a fault of ours."""
    return next((m for m in client.members.values() if subscription in m.subscriptions), None)

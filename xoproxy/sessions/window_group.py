"""One window on a listing, and those who share it.

Theory of operation. To those who serve members a window group is what a `Group` is: it stands at a
`position`, those in its `lanes` stand there too, and whoever is behind gets one patch from where
he stands. But what it shows is small, so it keeps the content itself: `refresh` takes up the news
of the listing, and a patch is the difference of two contents. Contents at which members were left
behind are remembered, a bounded number; whoever stood at one that was forgotten begins again.

Positions are numbers of one clock that all windows share, so that they grow on whatever window a
client goes. A client that comes from another window gets a patch, under the number that it knows,
from the content that it left to the one that this window shows, and then `moved`. When the position
of this window lies behind that of the client, the same content gets one more, later position for
those who come: they are `ahead`, and up to date, until the next refresh brings all together.

Guarantees: those of `Group`; and the position at which a client stands never becomes less.
"""

from collections.abc import Callable, Generator, Iterator, Mapping

import msgspec

from xoproxy.cache.diff import Fields, operations
from xoproxy.cache.fields import Mask
from xoproxy.cache.journal import Expired
from xoproxy.cache.listing import Listing, Part
from xoproxy.cache.store import Store
from xoproxy.cache.view import Eyes, View, eyes_at
from xoproxy.cache.window_query import Span
from xoproxy.model import Key, Ref, XapiClass
from xoproxy.sessions.frame import Delivery, Frame
from xoproxy.sessions.group import Group
from xoproxy.sessions.lanes import Lanes
from xoproxy.sessions.member import Member
from xoproxy.sessions.messages import Moved, Reset
from xoproxy.sessions.window_content import Content, Row, WindowWriter, own_fields

_SLICE = 48
"""Objects looked at per step."""
_CONTENTS_KEPT = 32
"""Contents that are remembered for members that were left behind."""
_PATCHES_KEPT = 32
"""Patches from different contents; those in use live on in members."""

EPOCH = ""
"""Windows have no history to which a position could belong."""

_decode = msgspec.json.Decoder().decode


class WindowGroup:
    """A window and its members.

    Args:
        number: its name on the wire; never used again.
        listing: what it is cut from.
        span: which part of it.
        masks: the fields asked for.
        writer: makes its frames.
        tick: returns the next position.
        sweep: called with a window from which a member came here.
        slice_clients: how many members are written to in one step.
    """

    def __init__(
        self,
        number: int,
        listing: Listing,
        span: Span,
        masks: tuple[tuple[XapiClass, Mask], ...],
        writer: WindowWriter,
        tick: Callable[[], int],
        sweep: Callable[["WindowGroup"], None],
        slice_clients: int = 250,
    ) -> None:
        self.number = number
        self.listing = listing
        self.span = span
        self.masks = masks
        self.members: set[Member] = set()
        self.lanes = Lanes(slice_clients)
        self.paced: set[Member] = set()
        """Members that want patches only so often; see `pacing.py`."""
        self.ahead: dict[Member, None] = {}
        """Up to date, but at a later position than those in the lanes."""
        self.arriving: dict[Member, None] = {}
        """Members of other windows that want to come here."""
        self.position = tick()
        self.content: Content | None = None
        """What it shows at `position`; None until the listing is there."""
        self._reached: Mapping[Store, int] = {}
        """How far the pools' histories were read when it took up news last."""
        self._writer = writer
        self._tick = tick
        self._sweep = sweep
        self._later: list[int] = []
        """More positions of the present content, for those who are ahead."""
        self._left: dict[int, Content] = {}
        """The contents at earlier positions."""
        self._patches: dict[tuple[int, int], Delivery] = {}
        """By view and position from which they lead here."""
        self._snapshot: Delivery | None = None

    # --- content -------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        return bool(self.members or self.arriving)

    def begin(self) -> Iterator[None]:
        """Look for the first time, in slices; the listing must be settled and stay as it is.

        Raises:
            Expired: some pool's history no longer reaches back to where the listing stands.
        """
        empty = Content({}, 0, None, {})
        self.content = yield from self._look(empty, self.position)
        self._reached = self.content.reached

    def refresh(self) -> Iterator[None]:
        """Take up the listing's news, in slices; if they show, move to a new position.

        Afterwards `patch_from(old position)` brings the current members along.

        Raises:
            Expired: some pool's history no longer reaches back to where the listing stands.
        """
        old = self.content
        if old is None:
            return
        if not self._is_concerned(old):
            self._reached = self.listing.reached
            return
        seq = self._tick()
        new = yield from self._look(old, seq)
        self._reached = new.reached
        if new == old and list(new.rows) == list(old.rows):
            return
        delivery = Delivery(seq)
        yield from self._writer.patch(self.number, (self.position, seq), old, new, delivery.frames)
        self._patches = {(self.number, self.position): delivery}
        self._snapshot = None
        self._left.update(dict.fromkeys((*self._later, self.position), old))
        self._later.clear()
        self._forget_some()
        self.content = new
        self.position = seq

    def _is_concerned(self, old: Content) -> bool:
        listing, news = self.listing, self.listing.news
        return (
            news.first < self.span.offset + self.span.count
            or old.total != listing.total
            or old.facets is not listing.facets
            or bool(news.parts)
            or not old.rows.keys().isdisjoint(news.objects)
        )

    def _look(self, old: Content, seq: int) -> Generator[None, None, Content]:
        """Cut the content from the listing; rows that look as before stay the same objects."""
        listing = self.listing
        different, rebuilt = listing.news.objects, listing.news.parts
        rows: dict[str, Row] = {}
        eyes: dict[Part, Eyes] = {}
        looked = 0
        for part, ref, key in listing.slice(self.span):
            name = part.prefix + key
            row = old.rows.get(name)
            if row is None or name in different or part in rebuilt:
                if part not in eyes:
                    eyes[part] = self._eyes(part)
                fields = _row_fields(eyes[part], part, ref, name)
                assert fields is not None  # noqa: S101 - the listing says that it is there
                if row is None or row.fields != fields:
                    row = Row(fields, seq)
                looked += 1
                if looked % _SLICE == 0:
                    yield
                    for each in eyes.values():
                        each.state.keep_up()
            rows[name] = row
        return Content(rows, listing.total, listing.facets, listing.reached)

    def _eyes(self, part: Part) -> Eyes:
        """Look at a pool as it stood where the listing has read it."""
        assert part.scanned is not None  # noqa: S101 - a listing that is cut from is settled
        return eyes_at(self._view(part), part.store, part.scanned)

    def _view(self, part: Part) -> View:
        scope = self.listing.scope
        return View((scope.cls,), scope.filter, self.masks, part.view.visibility)

    def has_changed(self, key: Key, seq: int) -> bool:
        """Tell whether an object looks different here from what it did at `seq`, or is not shown.

        What changed while the window did not show it is taken for a change.
        """
        row = None if self.content is None else self.content.rows.get(key)
        if row is None or row.since > seq:
            return True
        part = self.listing.parts[_decode(row.fields["$pool"])]
        eyes = eyes_at(self._view(part), part.store, part.store.seq)
        now = _row_fields(eyes, part, _decode(row.fields["$ref"]), key)
        return now is None or any(operations("", row.fields, now))

    # --- members -------------------------------------------------------------------------------

    def admit(self, member: Member) -> bool:
        """Take in a member that got all it was to get; tell whether no more is due to it now."""
        if self.content is None:
            return True  # it waits, as all do
        if member.cursor < self.position:
            return False
        if member.cursor == self.position:
            self.lanes.admit(member, self.position)
        else:
            self.ahead[member] = None
        return True

    def send_away(self, member: Member, destination: "WindowGroup") -> None:
        """Have a member go to another window (or this one anew) as soon as it can take it."""
        member.step_out()
        self.ahead.pop(member, None)
        member.away = True
        member.destination = destination
        destination.arriving[member] = None

    def take(self, member: Member) -> bool:
        """Have a member of another window come here; tell whether there is something for it."""
        origin = member.group
        assert isinstance(origin, WindowGroup)  # noqa: S101 - nobody else comes to windows
        if self.content is None or origin.content is None:
            return False
        left = origin.content_at(member.cursor)
        if left is not None and self._lies_behind(left):
            return False
        try:
            delivery = self._lead(origin, member.cursor, self._position_after(member.cursor))
        except Expired:
            member.forget("journal_expired")  # it begins again there, and comes then
            return True
        self.receive(member)
        member.start(delivery)
        if origin is not self:
            member.shown_as = origin.number
        return True

    def _lies_behind(self, content: Content) -> bool:
        """Tell whether somebody who has seen this would see some pool as it was before that."""
        for part in self.listing.parts.values():
            seen = content.reached.get(part.store, 0)
            up_to_date = not (part.is_dirty or part.scanned is None or self.listing.news)
            if not up_to_date and self._reached.get(part.store, 0) < seen:
                return True
        return False

    def receive(self, member: Member) -> None:
        """Make a member of another window one of this one's."""
        origin = member.group
        assert isinstance(origin, WindowGroup)  # noqa: S101
        origin.drop(member)
        del self.arriving[member]
        self.join(member)
        member.destination = None
        member.away = False
        self._sweep(origin)

    def join(self, member: Member) -> None:
        member.group = self
        member.client.add(member)
        self.members.add(member)
        if member.rate is not None:
            self.paced.add(member)

    def drop(self, member: Member) -> None:
        """Forget a member that left or went to another window."""
        member.client.members.pop(self.number, None)
        self.members.discard(member)
        self.paced.discard(member)
        member.step_out()
        self.ahead.pop(member, None)

    def content_at(self, seq: int) -> Content | None:
        """Return what was shown at a position; None if that was forgotten."""
        return self.content if seq >= self.position else self._left.get(seq)

    def _position_after(self, seq: int) -> int:
        """Return a position of the present content that is later than `seq`."""
        latest = self._later[-1] if self._later else self.position
        if self.position > seq:
            return self.position
        if latest <= seq:
            latest = self._tick()
            self._later.append(latest)
        return latest

    def _forget_some(self) -> None:
        """Forget contents at which nobody stands, and the oldest if there are still too many."""
        if len(self._left) <= _CONTENTS_KEPT:
            return
        standing = {member.cursor for member in self.members}
        standing.update(m.delivery.to for m in self.members if m.delivery is not None)
        kept = sorted(standing & self._left.keys())[-_CONTENTS_KEPT // 2 :]
        self._left = {seq: self._left[seq] for seq in kept}

    # --- frames --------------------------------------------------------------------------------

    def patch_from(self, seq: int) -> Delivery:
        """Return what brings a member from `seq` to `position`; it may still be in the making.

        Raises:
            Expired: what was shown at `seq` was forgotten.
        """
        return self._lead(self, seq, self.position)

    def _lead(self, origin: "WindowGroup", seq: int, to: int) -> Delivery:
        known = self._patches.get((origin.number, seq))
        if known is not None and known.to == to and not known.lost:
            return known
        old, new = origin.content_at(seq), self.content
        if old is None or new is None:
            raise Expired(seq)
        delivery = Delivery(to)
        work = self._build_patch(delivery.frames, (seq, to), origin, old, new)
        self._writer.make(delivery, work)
        self._patches[origin.number, seq] = delivery
        if len(self._patches) > _PATCHES_KEPT:
            del self._patches[next(iter(self._patches))]
        return delivery

    def _build_patch(
        self,
        frames: list[Frame],
        step: tuple[int, int],
        origin: "WindowGroup",
        old: Content,
        new: Content,
    ) -> Iterator[None]:
        parts: list[Frame] = []
        yield from self._writer.patch(origin.number, step, old, new, parts)
        if origin is not self:
            parts.append(self._writer.frame(Moved(origin.number, self.number, step[1])))
        frames.extend(parts)

    def snapshot(self) -> Delivery:
        """Return the full content at `position`; it may still be in the making."""
        if self._snapshot is None or self._snapshot.lost:
            assert self.content is not None  # noqa: S101 - nobody is served before it is there
            delivery = self._snapshot = Delivery(self.position)
            work = self._writer.snapshot(self.number, self.position, self.content, delivery.frames)
            self._writer.make(delivery, work)
        return self._snapshot

    def reset_frame(self, reason: str) -> Frame:
        return self._writer.frame(self._reset(reason))

    def moved_frame(self, number: int, reason: str) -> Frame:
        """Say that another window's view goes on here, with another document."""
        moved = Moved(number, self.number, self.position)
        return self._writer.frame([moved, self._reset(reason)])

    def _reset(self, reason: str) -> Reset:
        return Reset(self.number, reason, EPOCH, self.position)


SharedView = Group | WindowGroup
"""What a member is one of: to those who serve members both are alike."""


def _row_fields(eyes: Eyes, part: Part, ref: Ref, name: str) -> Fields | None:
    """Return an object as a window shows it; None if it is not there, or not in the view."""
    entry = eyes.state.get(ref)
    if entry is None or part.prefix + entry.key != name:
        return None
    fields = eyes.look(entry)
    return None if fields is None else {**own_fields(ref, part.store.pool), **fields}

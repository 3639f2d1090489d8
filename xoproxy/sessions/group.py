"""One shared view: all clients that ask the same of a pool, under the same rights and encoding.

Theory of operation. A group stands at a `position`: the end of the last batch that changed what it
shows. It has `scanned` the pool's history further than that: what lies between changed nothing in
it. Its up-to-date members all stand at `position`, side by side in `lanes`, so one frame serves
them all, and their cursor need not be stored one by one. `advance` reads the history that is new,
and if it shows, makes the frames from the old position to the new one.

A member that fell behind stands at a cursor of its own. When its socket drains it gets one patch
from there to `position`: the difference of what the view shows at the two. Members that wait at the
same cursor share that patch too. When the history no longer reaches back, there is a reset and a
snapshot; never a hole.

Guarantees: whoever is at seq S holds exactly the projection at S; members of a group at one
position get the same bytes object; nothing is encoded twice; frames hold only what the rights show
now.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from xoproxy.cache.diff import operations
from xoproxy.cache.journal import Expired
from xoproxy.cache.state import Merged, merge
from xoproxy.cache.view import (
    Eyes,
    View,
    eyes_at,
)
from xoproxy.model import Change, Cursor, Key
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import Claim, ViewDigests
from xoproxy.sessions.frame import Delivery, Frame, Framing
from xoproxy.sessions.lanes import Lanes
from xoproxy.sessions.member import Member
from xoproxy.sessions.messages import Moved
from xoproxy.sessions.rows import SharedRows
from xoproxy.sessions.tokens import TokenSigner, ViewHash
from xoproxy.sessions.view_writer import ViewWriter

if TYPE_CHECKING:
    from xoproxy.sessions.routing import Routing

_PATCHES_KEPT = 32
"""Patches from different positions that a group remembers; those in use live on in members."""


_NEAR = 2_000
"""So many changes of the pool make no great patch."""


class Group:
    """A view of one pool and those who share it.

    Args:
        number: its name on the wire, the `view` of every message about it; never used again.
        routing: of the pool.
        view: what is shown.
        view_hash: names it in resume tokens.
        codec: of all members.
        framing, signer: how frames are built and tokens signed.
        frame_bytes: bound of a patch's parts; a single larger operation may exceed it.
        chunk_bytes: aim for the messages of a snapshot.
        slice_clients: how many members are written to in one step.
    """

    def __init__(
        self,
        number: int,
        routing: "Routing",
        view: View,
        view_hash: ViewHash,
        codec: Codec,
        framing: Framing,
        signer: TokenSigner,
        *,
        frame_bytes: int = 65_536,
        chunk_bytes: int = 32_768,
        slice_clients: int = 250,
    ) -> None:
        self.number = number
        self.store = routing.store
        self.view = view
        self.view_hash = view_hash
        self.codec = codec
        self.members: set[Member] = set()
        self.lanes = Lanes(slice_clients)
        self.arriving: dict[Member, None] = {}
        """Members of other groups that come here as soon as they can be told; see `moves.py`."""
        self.paced: set[Member] = set()
        """Members that want patches only so often; see `pacing.py`."""
        self.position = self.store.seq
        self.must_reach = 0
        """A position that a member was told: `advance` moves there even if nothing shows."""
        self.read_to = self.store.seq
        """How far the history was read, or was no concern of this view when it began."""
        self._life = 0
        self._routing = routing
        self._writer = ViewWriter(
            number,
            routing.store,
            view,
            view_hash,
            codec,
            framing,
            signer,
            frame_bytes=frame_bytes,
            chunk_bytes=chunk_bytes,
        )
        self._dirty_since: int | None = None
        self._news: list[Change] | None = []
        """What has happened since and may show here; None to read the journal."""
        self._patches: dict[int, Delivery] = {}
        self._arrivals: dict[tuple[int, int], Delivery] = {}
        """By view and position from which they lead here."""
        self._snapshot: Delivery | None = None
        self._earlier: ReferenceType[Delivery] | None = None
        """The latest snapshot of an earlier position; it lives as long as somebody takes it."""
        self._digests: ViewDigests | None = None
        self._bookmark: tuple[Cursor, int, Frame] | None = None

    @property
    def in_use(self) -> bool:
        return bool(self.members or self.arriving)

    @property
    def scanned(self) -> int:
        """How far the history was read; a group that no batch touched is up to date."""
        if self._dirty_since is not None:
            return self._dirty_since
        return max(self.read_to, self._routing.seq)

    def touch(self, from_seq: int, to_seq: int, news: list[Change] | None) -> None:
        """Note that what was committed between two positions may show here.

        Args:
            from_seq: the first one; whatever was committed before it, and did not touch this group,
                does not show here.
            to_seq: the last one.
            news: the changes that may show; None if it may be any of them.
        """
        if to_seq <= self.read_to:
            return
        if self._dirty_since is None:
            self._dirty_since = max(from_seq, self.read_to)
            self._news = news
        else:
            # What concerns us was judged for each stretch by itself. An object that was out of
            # sight for one between others, or one that is seen through it, may have changed
            # without our being told.
            self._news = None

    def advance(self) -> Iterator[None]:
        """Read the new history in slices, and move to a new position if it shows.

        Afterwards `patch_from(old position)` brings the current members along.

        Raises:
            Expired: the history is gone already; `restart` is what remains.
        """
        target, life = max(self.read_to, self._routing.seq), self._life
        encoded: list[bytes] = []
        try:
            look = self._routing.state
            before, after = Eyes(self.view, look(self.scanned)), Eyes(self.view, look(target))
            yield from self._writer.encode_between(before, after, encoded, self._news)
        except Expired:
            if life == self._life:
                raise
        frames: list[Frame] = []
        moves = encoded or self.position < self.must_reach <= target
        if moves:
            yield from self._writer.pack(encoded, self.position, target, frames)
        if life != self._life:
            return  # restarted meanwhile
        self._been_read(target)
        if moves:
            self._patches = {self.position: Delivery(target, frames)}
            self._arrivals = {}
            if self._snapshot is not None:
                self._earlier = ref(self._snapshot)
            self._snapshot = None
            self.position = target

    @property
    def is_dirty(self) -> bool:
        return self._dirty_since is not None

    def admit(self, member: Member) -> bool:
        """Take in a member that got all it was to get; tell whether it is up to date."""
        if member.cursor != self.position:
            return False
        self.lanes.admit(member, self.position)
        return True

    def patch_from(self, seq: int) -> Delivery:
        """Return what brings a member from `seq` to `position`; it may still be in the making.

        Raises:
            Expired: the history does not reach back to `seq`.
        """
        delivery = self._patches.get(seq)
        if delivery is None or delivery.lost:
            delivery = Delivery(self.position)
            states = self._eyes(seq, self.scanned)
            work = self._writer.patch(delivery.frames, seq, delivery.to, *states)
            self._make(delivery, work, seq)
            self._patches[seq] = delivery
            if len(self._patches) > _PATCHES_KEPT:
                del self._patches[next(iter(self._patches))]
        return delivery

    def arrival(self, origin: "Group", seq: int) -> Delivery:
        """Return what brings a member of another group from `seq` there to `position` here.

        Raises:
            Expired: the history does not reach back to `seq`.
        """
        delivery = self._arrivals.get((origin.number, seq))
        if delivery is None or delivery.lost:
            delivery = Delivery(self.position)
            before = eyes_at(origin.view, self.store, seq)
            after = eyes_at(self.view, self.store, self.scanned)
            work = self._writer.arrival(delivery.frames, origin.number, delivery.to, before, after)
            self._make(delivery, work, seq)
            self._arrivals[origin.number, seq] = delivery
            if len(self._arrivals) > _PATCHES_KEPT:
                del self._arrivals[next(iter(self._arrivals))]
        return delivery

    def snapshot(self) -> Delivery:
        """Return the full content at `position` and its bookmark; it may still be in the making.

        Raises:
            Expired: the history does not reach back to `scanned`; `restart` is what remains.
        """
        if self._snapshot is None or self._snapshot.lost:
            eyes = eyes_at(self.view, self.store, self.scanned)
            delivery = self._snapshot = Delivery(self.position)
            work = self._writer.snapshot(delivery.frames, delivery.to, eyes)
            self._make(delivery, work, self.scanned)
        return self._snapshot

    def earlier_snapshot(self) -> Delivery | None:
        """Return a snapshot of a little while ago that somebody is taking, if there is one.

        When a thousand clients come while the pool changes, they share it, and the patch from
        there; each new position would be encoded anew for a few of them.
        """
        earlier = None if self._earlier is None or self._snapshot else self._earlier()
        if earlier is None or earlier.lost is not None:
            return None
        is_near = self.store.seq - earlier.to <= _NEAR and self.store.journal.reaches(earlier.to)
        return earlier if is_near else None

    def comparison(self, claim: Claim) -> Delivery:
        """Return what a client lacks, by what it says that it holds; for one member.

        Raises:
            Expired: the history does not reach back to `scanned`; `restart` is what remains.
        """
        if self._digests is None or not self._digests.are_fresh(self.store.journal):
            eyes = eyes_at(self.view, self.store, self.scanned)
            rows = SharedRows(self._writer.ledger)
            self._digests = ViewDigests(eyes, self.position, self._writer.prepare(eyes.state), rows)
        delivery = Delivery(self._digests.position, is_shared=False)
        work = self._writer.comparison(delivery.frames, self._digests, claim)
        self._make(delivery, work, self._digests.seq, claim.size_bytes)
        return delivery

    def has_changed(self, key: Key, seq: int) -> bool:
        """Tell whether an object looks different here from what it did at `seq`, or is gone.

        What changed in it outside of this view does not count: nobody here could know of it.
        """
        store, view = self.store, self.view
        found = (store.by_class.get(cls, key) for cls in view.classes)
        entry = next((e for e in found if e is not None), None)
        if entry is None:
            return True
        for _ in self._writer.index_references():
            pass
        eyes = eyes_at(view, store, store.seq)
        if not eyes.contains(entry):
            return True
        if entry.seq <= seq:
            return False
        step: dict[Key, Merged] = {}
        try:
            merge((c for c in store.journal.since(seq) if c.key == key), step)
        except Expired:
            return True
        merged = step[key]
        old = eyes.masked(entry.cls, eyes.permitted(entry.cls, merged.before))
        new = eyes.masked(entry.cls, eyes.permitted(entry.cls, merged.after))
        return not merged.existed or any(operations("", old, new))

    def forget_unused(self) -> None:
        """Drop frames that are cheap to build again; called when some time has passed."""
        waiting = {member.delivery for member in self.members}
        self._give_up_the_oldest()
        if self._snapshot is not None and self._snapshot not in waiting:
            self._snapshot = None
        self._digests = None  # whoever is being compared holds on to them
        self._patches = {seq: d for seq, d in self._patches.items() if d in waiting}
        self._arrivals = {}

    def restart(self) -> None:
        """Begin again at the present; every member must get a reset first."""
        self._life += 1
        self._earlier = None
        self._been_read(self.store.seq)
        self.position = self.store.seq
        self._patches = {}
        self._arrivals = {}
        self._snapshot = None
        self._digests = None

    def _been_read(self, seq: int) -> None:
        self.read_to = seq
        self._dirty_since = None
        self._news = []

    def reset_frame(self, reason: str, *, gone: bool = False) -> Frame:
        return self._writer.frame(self._writer.reset(self.position, reason, gone=gone))

    def moved_frame(self, number: int, reason: str | None = None) -> Frame:
        """Say that a view goes on here, but not with the document at hand.

        Args:
            number: of that view.
            reason: why another document begins here; None when the connection has it already.
        """
        moved = Moved(number, self.number, self.position)
        return self._writer.frame(
            moved if reason is None else [moved, self._writer.reset(self.position, reason)]
        )

    def bookmark(self) -> Frame:
        """Return the bookmark of the present position; its token reaches as far as was scanned."""
        cursor = Cursor(self.store.epoch, self.scanned)
        if self._bookmark is None or self._bookmark[:2] != (cursor, self.position):
            self._bookmark = (
                cursor,
                self.position,
                self._writer.bookmark_frame(cursor, self.position),
            )
        return self._bookmark[2]

    def bookmark_at(self, position: int) -> Frame:
        """Return the bookmark of a member that waits for its beat at an earlier position."""
        return self._writer.bookmark_frame(Cursor(self.store.epoch, position), position)

    def _eyes(self, before: int, after: int) -> tuple[Eyes, Eyes]:
        return eyes_at(self.view, self.store, before), eyes_at(self.view, self.store, after)

    def _make(
        self, delivery: Delivery, work: Iterator[None], seq: int, more_bytes: int = 0
    ) -> None:
        """Begin a delivery whose making looks back as far as `seq`, and holds `more_bytes`."""
        weight_bytes = self.store.journal.bytes_since(seq) + more_bytes
        delivery.make(work, self._writer.ledger, weight_bytes)
        delivery.base = seq

    def _give_up_the_oldest(self) -> None:
        """Let go of pasts that history no longer holds, where who wants them takes nothing.

        Records that have changed since live on in them alone.
        """
        for member in self.members:
            delivery = member.delivery
            if delivery is None or delivery.complete or not member.client.paused:
                continue
            if delivery.base is not None and not self.store.journal.reaches(delivery.base):
                delivery.give_up("journal_expired")

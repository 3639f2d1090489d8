"""Those who are behind: brought to where their views stand, as far as their sockets take it.

Theory of operation. A member is *ready* when it is behind and can be written to. It gets the frames
of its delivery, a snapshot or a patch, one after another; where they end because the delivery is
still in the making, it *waits*. A delivery is in the *works* only while somebody waits for it, so
nothing is built for clients that take nothing. One that has caught up is current, and from then on
gets what all get.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from xoproxy.cache.journal import Expired
from xoproxy.sessions.counters import Counters
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.member import Member
from xoproxy.sessions.messages import Moved
from xoproxy.sessions.window_group import SharedView

_FRAMES_PER_TURN = 2
"""Frames that one member gets before the next one has its turn; each may have to be deflated."""
_SERVED_PER_STEP = 8
_WORK_STEPS_PER_TURN = 4
_MADE_AT_ONCE = 8
"""Deliveries that are made in turn; each holds a past of its pool meanwhile."""


class CatchUp:
    """Serves members that are behind.

    Args:
        counters: of the hub.
        snapshot: returns a group's snapshot, whatever became of its history.
        mark_dirty: has a group read its history.
        may_begin: tells whether a member may have a patch now, or has it wait (`pacing.py`).
    """

    def __init__(
        self,
        counters: Counters,
        snapshot: Callable[[SharedView], Delivery],
        mark_dirty: Callable[[SharedView], None],
        may_begin: Callable[[Member], bool],
    ) -> None:
        self._counters = counters
        self._snapshot = snapshot
        self._mark_dirty = mark_dirty
        self._may_begin = may_begin
        self._ready: dict[Member, None] = {}
        self._works: deque[Delivery] = deque()
        """Those whose turn to be made has not come yet."""
        self._making: deque[Delivery] = deque()
        self._waiting: dict[Delivery, dict[Member, None]] = {}
        """The deliveries in the works, and who waits for their next frames."""

    @property
    def has_work(self) -> bool:
        return bool(self._making or self._works or self._ready)

    def add(self, members: Iterable[Member]) -> None:
        """Have members served who are behind, or may be."""
        self._ready.update(dict.fromkeys(members))

    def steps(self, until: Callable[[], bool]) -> Iterator[None]:
        """Serve everybody, slice by slice; end early when `until` says so after a round."""
        while self.has_work:
            ready, self._ready = self._ready, {}
            for number, member in enumerate(ready, 1):
                self._serve(member)
                if number % _SERVED_PER_STEP == 0:
                    yield
            yield
            while self._works and len(self._making) < _MADE_AT_ONCE:
                self._making.append(self._works.popleft())
            for _ in range(min(_WORK_STEPS_PER_TURN, len(self._making))):
                self._step(self._making.popleft())
            if self._making:
                yield
            if until():
                return

    def _step(self, delivery: Delivery) -> None:
        """Take one slice of making a delivery; when frames came of it, its takers go on."""
        frame_count = len(delivery.frames)
        if not delivery.lost:
            delivery.step()
        if delivery.complete or delivery.lost or len(delivery.frames) > frame_count:
            self._ready.update(self._waiting.pop(delivery))
        else:
            self._making.append(delivery)

    def _serve(self, member: Member) -> None:
        """Write to one member that is behind, until it is current or its socket is full."""
        client = member.client
        for _ in range(_FRAMES_PER_TURN):
            if (
                member.left
                or client.paused
                or member in member.group.current
                or member.awaits_digests
            ):
                return
            delivery = member.delivery
            if member.reset is not None:
                self._begin_again(member, member.reset)
            elif delivery is None:
                if not self._go_on(member):
                    return
            elif member.index < len(delivery.frames):
                frame = member.take(delivery)
                if delivery.complete and member.index == len(delivery.frames):
                    # Now, not at its next turn: that may be long after, if this fills its socket.
                    member.cursor = delivery.to
                    member.delivery = None
                client.write(frame)
                self._counters.frames += 1
                self._counters.bytes += frame.size
            elif delivery.lost:
                member.forget(delivery.lost)
            else:
                self._wait(member, delivery)
                return
        self._ready[member] = None

    def _go_on(self, member: Member) -> bool:
        """Give a member that has got all that it was getting what is next, if anything is."""
        if member.destination is not None:
            return member.destination.take(member)
        if member.group.admit(member) or not self._may_begin(member):
            return False
        self._begin_patch(member)
        return True

    def _begin_patch(self, member: Member) -> None:
        group = member.group
        if member.cursor > group.position:
            # It resumed from further than the group had read; see `_resume_position`.
            self._mark_dirty(group)
            return
        try:
            member.start(group.patch_from(member.cursor))
        except Expired:
            member.forget("journal_expired")

    def _begin_again(self, member: Member, reason: str) -> None:
        """Have a member forget its document and start with a snapshot."""
        self._counters.resets += 1
        group = member.group
        snapshot = self._snapshot(group)
        member.reset = None
        member.away = False
        member.cursor = group.position
        if member.shown_as is not None:
            member.client.send(Moved(member.shown_as, group.number, member.cursor))
        member.client.write(group.reset_frame(reason))
        member.start(snapshot)

    def _wait(self, member: Member, delivery: Delivery) -> None:
        """Let a member wait for a delivery's next frames, and somebody build them."""
        waiting = self._waiting.get(delivery)
        if waiting is None:
            waiting = self._waiting[delivery] = {}
            self._works.append(delivery)
        waiting[member] = None

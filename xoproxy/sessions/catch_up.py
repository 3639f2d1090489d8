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
from xoproxy.sessions.faults import REASON
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Member
from xoproxy.sessions.moves import Moves
from xoproxy.sessions.window_group import SharedView, WindowGroup

_FRAMES_PER_TURN = 2
"""Frames that one member gets before the next one has its turn; each may have to be deflated."""
_SERVED_PER_STEP = 8
_WORK_STEPS_PER_TURN = 4
_STEPS_AT_LEAST = 12
"""About as many milliseconds for which news wait while snapshots are made: under a steady stream of
news they would otherwise hardly get on."""
_MADE_AT_ONCE = 8
"""Deliveries that are made in turn; each holds a past of its pool meanwhile."""


class CatchUp:
    """Serves members that are behind.

    Args:
        counters: of the hub.
        snapshot: returns a group's snapshot, whatever became of its history.
        mark_dirty: has a group read its history.
        moves: brings members to other groups.
        fault: contains an unexpected exception to what some members share.
        may_begin: tells whether a member may have a patch now, or has it wait (`pacing.py`).
    """

    def __init__(
        self,
        counters: Counters,
        snapshot: Callable[[SharedView], Delivery],
        mark_dirty: Callable[[SharedView], None],
        moves: Moves,
        fault: Callable[[Iterable[Member], Exception], None],
        may_begin: Callable[[Member], bool],
    ) -> None:
        self._counters = counters
        self._snapshot = snapshot
        self._mark_dirty = mark_dirty
        self._moves = moves
        self._fault = fault
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
        """Serve everybody, slice by slice; end early, but not at once, when `until` says so."""
        steps = 0
        while self.has_work:
            ready, self._ready = self._ready, {}
            for number, member in enumerate(ready, 1):
                try:
                    self._serve(member)
                except Exception as error:  # noqa: BLE001 - a fault of ours ends this view only
                    self._fault([member], error)
                if number % _SERVED_PER_STEP == 0:
                    yield
            yield
            while self._works and len(self._making) < _MADE_AT_ONCE:
                self._making.append(self._works.popleft())
            for _ in range(min(_WORK_STEPS_PER_TURN, len(self._making))):
                self._step(self._making.popleft())
                steps += 1
                yield
            is_making = bool(self._works or self._making)
            if until() and (steps >= _STEPS_AT_LEAST or not is_making):
                return

    def _step(self, delivery: Delivery) -> None:
        """Take one slice of making a delivery; when frames came of it, its takers go on."""
        frame_count = len(delivery.frames)
        if not delivery.lost:
            try:
                delivery.step()
            except Exception as error:  # noqa: BLE001 - a fault of ours ends this view only
                delivery.give_up(REASON)
                self._fault(list(self._waiting[delivery]), error)
        if delivery.complete or delivery.lost or len(delivery.frames) > frame_count:
            self._ready.update(self._waiting.pop(delivery))
        else:
            self._making.append(delivery)

    def _serve(self, member: Member) -> None:
        """Write to one member that is behind, until it is current or its socket is full."""
        for _ in range(_FRAMES_PER_TURN):
            if self._is_idle(member):
                return
            delivery = member.delivery
            if member.reset is not None:
                if not self._begin_again(member, member.reset):
                    return
            elif delivery is None:
                if not self._go_on(member):
                    return
            elif member.index < len(delivery.frames):
                self._give(member, delivery)
            elif delivery.lost:
                member.forget(delivery.lost)
            else:
                self._wait(member, delivery)
                return
        self._ready[member] = None

    def _give(self, member: Member, delivery: Delivery) -> None:
        """Write the next frame of what a member gets."""
        frame = member.take(delivery)
        if delivery.complete and member.index == len(delivery.frames):
            # Now, not at its next turn: that may be long after, if this fills its socket.
            member.cursor = delivery.to
            member.delivery = member.shown_as = None
            member.complete = True
            if member.target is not None:
                self._moves.arrived(member, member.target)
        member.client.write(frame)
        self._counters.frames += 1
        self._counters.bytes += frame.size

    def _is_idle(self, member: Member) -> bool:
        """Tell whether nothing can be done for a member now, or need not be."""
        if member.left or member.client.paused:
            return True
        if member.is_waiting or member.lane is not None:
            return True
        return member.target is not None and self._moves.merge(member, member.target)

    def _go_on(self, member: Member) -> bool:
        """Give a member that has got all that it was getting what is next, if anything is."""
        if member.destination is not None:
            return member.destination.take(member)
        if member.target is not None:
            self._begin_move(member, member.target)
            return True
        if member.group.admit(member) or not self._may_begin(member):
            return False
        self._begin_patch(member)
        return True

    def _begin_patch(self, member: Member) -> None:
        group = member.group
        if member.cursor > group.position:
            # It resumed from further than the group had read; see `resume_at`.
            self._mark_dirty(group)
            return
        try:
            member.start(group.patch_from(member.cursor))
        except Expired:
            member.forget("journal_expired")

    def _begin_move(self, member: Member, target: Group) -> None:
        try:
            self._moves.go_on(member, target)
        except Expired:
            member.forget("journal_expired")

    def _begin_again(self, member: Member, reason: str) -> bool:
        """Have a member forget its document and start with a snapshot; tell whether it could."""
        there = member.target or member.destination
        group = member.group if there is None else there
        if isinstance(group, WindowGroup) and group.content is None:
            return False  # it is served when there is something to show
        self._counters.resets += 1
        snapshot = self._snapshot(group)
        known = member.shown_as or member.group.number
        if isinstance(there, WindowGroup):
            there.receive(member)
        elif there is not None:
            self._moves.arrived(member, there)
        told = known == group.number
        frame = group.reset_frame(reason) if told else group.moved_frame(known, reason)
        member.reset = None
        member.away = False
        member.complete = False  # its rights may change again before it takes a frame
        member.cursor = group.position
        member.start(snapshot)
        member.client.write(frame)
        return True

    def _wait(self, member: Member, delivery: Delivery) -> None:
        """Let a member wait for a delivery's next frames, and somebody build them."""
        waiting = self._waiting.get(delivery)
        if waiting is None:
            waiting = self._waiting[delivery] = {}
            self._works.append(delivery)
        waiting[member] = None

"""Who wants patches only so often: held back until the next beat of their rate.

Theory of operation. A rate of r patches a second has beats at the multiples of 1/r, the same for
everybody. A paced member whose view moves on waits for the next beat; then it gets one patch, from
its cursor to the present, through the same door as everybody who is behind. Those of one group and
rate fell behind together and are due together, so they share that patch; a group whose members all
wait is not even read. There is no timer per client, and no clock here: the driver says what time it
is, and asks when to come back.

Snapshots and resets are not held back. A client whose socket was full at its beat gets its patch
when the socket has drained.

Guarantee: a member begins at most one patch for each beat that has passed.
"""

import heapq
from math import floor

from xoproxy.sessions.member import Member
from xoproxy.sessions.messages import MessageId
from xoproxy.sessions.window_group import SharedView


class Pacing:
    """Holds paced members until their beat."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._waiting: dict[float, dict[Member, None]] = {}
        """Rate -> who waits for its next beat."""
        self._beats: list[tuple[float, float]] = []
        """(when, rate), a heap: the next beat of each rate in `_waiting`."""

    @property
    def next_beat_s(self) -> float | None:
        """When `beat` should be called next; None while nobody waits."""
        return self._beats[0][0] if self._beats else None

    def beat(self, now_s: float) -> list[Member]:
        """Take note of the time; return those whose beat has come."""
        self._now_s = now_s
        due: list[Member] = []
        while self._beats and self._beats[0][0] <= now_s:
            _, rate = heapq.heappop(self._beats)
            due += self._waiting.pop(rate)
        for member in due:
            member.waits_at = None
            member.on_beat = True
        return due

    def set_rate(self, member: Member, subscription: MessageId, rate: float | None) -> None:
        """Note at which rate a subscription shows the member's view; None for no bound.

        A view that several subscriptions show goes at the fastest of their rates.
        """
        others = {id_: r for id_, r in member.rates.items() if id_ != subscription}
        member.rates = others if rate is None else {**others, subscription: rate}
        self.release(member)
        if member.rate is None:
            member.group.paced.discard(member)
        else:
            member.group.paced.add(member)

    def release(self, member: Member) -> None:
        """Have a member wait no longer."""
        if member.waits_at is not None:
            del self._waiting[member.waits_at][member]
            member.waits_at = None

    def hold(self, group: SharedView) -> None:
        """Have the paced among those who stand where a group no longer does wait."""
        for member in group.paced:
            rate = member.rate
            if member.lane is not None and rate is not None:
                member.step_out()
                self._wait(member, rate)

    def postpones(self, group: SharedView) -> bool:
        """Tell whether a group's news can be left until a beat, since all its members wait."""
        if len(group.paced) < len(group.members):
            return False
        self.hold(group)
        return all(member.waits_at is not None for member in group.members)

    def may_begin(self, member: Member) -> bool:
        """Tell whether a member that is behind may have a patch; if not, it waits for its beat."""
        rate = member.rate
        if rate is None or member.on_beat:
            member.on_beat = False
            return True
        self._wait(member, rate)
        return False

    def _wait(self, member: Member, rate: float) -> None:
        if member.waits_at is not None:
            return
        member.on_beat = False
        member.waits_at = rate
        waiting = self._waiting.get(rate)
        if waiting is None:
            waiting = self._waiting[rate] = {}
            heapq.heappush(self._beats, (self._next_beat(rate), rate))
        waiting[member] = None

    def _next_beat(self, rate: float) -> float:
        number = floor(self._now_s * rate) + 1
        when_s = number / rate
        return when_s if when_s > self._now_s else (number + 1) / rate  # what rounding did

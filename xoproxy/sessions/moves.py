"""Members whose user's rights change: from the view that they had to the one that he may have.

Theory of operation. A move takes effect at once, and is told when the client can take it. From the
change on a member gets nothing more of the old view: what it was getting is given up, what waits
for the end of the flush is taken back. Its `target` is the group that shows the same under the new
rights. When it is served it gets one patch from what it holds (the old view, at its cursor) to what
the target shows, and `moved`: the same document goes on there. Those who come from one view and
cursor share that delivery. A member whose document is not whole, or too old, is told `moved`, and
begins again there.

Until it was told, a member is known by its old number. Should its connection come to have the
target's view in another way meanwhile, then there is nothing to bring: that one serves both.

Guarantees: nothing is written that the rights of that moment do not show; a position never becomes
less.
"""

from collections.abc import Callable

from xoproxy.sessions.counters import Counters
from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import MessageId
from xoproxy.sessions.pacing import Pacing

REASON = "rights_changed"


class Moves:
    """Brings members from group to group.

    Args:
        counters: of the hub.
        pacing: of the hub.
        set_rate: notes at which rate a subscription shows a member's view.
        read: has a group read its history in the next flush.
        vacated: called with a group that nobody belongs to any more.
    """

    def __init__(
        self,
        counters: Counters,
        pacing: Pacing,
        set_rate: Callable[[Member, MessageId, float | None], None],
        read: Callable[[Group], None],
        vacated: Callable[[Group], None],
    ) -> None:
        self._counters = counters
        self._pacing = pacing
        self._set_rate = set_rate
        self._read = read
        self._vacated = vacated

    def begin(self, member: Member, target: Group) -> None:
        """Have a member go elsewhere, from now on; serve it then."""
        origin = member.group
        assert isinstance(origin, Group)  # noqa: S101 - windows go their own ways
        self.dismiss(member)
        self._pacing.release(member)
        if not member.complete and member.reset is None and not member.awaits_digests:
            member.reset = REASON
        member.delivery = None
        if target is origin:  # the rights are again what they were before it was told
            member.away = member.reset is not None
            self._settle(member, origin)
            return
        member.away = True
        member.target = target
        target.arriving[member] = None
        self._detach(member)

    def dismiss(self, member: Member) -> None:
        """Have a member go nowhere."""
        target, member.target = member.target, None
        if target is not None:
            del target.arriving[member]
            if not target.in_use:
                self._vacated(target)

    def go_on(self, member: Member, target: Group) -> None:
        """Give a member what brings it to its target.

        Raises:
            Expired: the history does not reach back to what it holds.
        """
        if target.position < member.cursor:
            target.must_reach = max(target.must_reach, member.cursor)
            self._read(target)
            return
        origin = member.group
        assert isinstance(origin, Group)  # noqa: S101
        member.start(target.arrival(origin, member.cursor))

    def merge(self, member: Member, target: Group) -> bool:
        """Have another member of the connection that shows the target's view serve this one's."""
        other = member.client.members.get(target.number)
        if other is None:
            return False
        for subscription in member.subscriptions:
            other.add(subscription)
            self._set_rate(other, subscription, member.rates.get(subscription))
        member.client.write(target.moved_frame(member.group.number))
        member.left = True
        member.client.members.pop(member.group.number)
        self.dismiss(member)
        self._counters.moved += 1
        return True

    def arrived(self, member: Member, target: Group) -> None:
        """Make a member that was told of it one of its target's."""
        members = member.client.members
        del members[member.group.number]
        del target.arriving[member]
        member.target = None
        member.away = False
        self._settle(member, target)
        member.client.add(member)
        self._counters.moved += 1

    @staticmethod
    def _settle(member: Member, group: Group) -> None:
        member.group = group
        group.members.add(member)
        if member.rate is not None:
            group.paced.add(member)

    def _detach(self, member: Member) -> None:
        origin = member.group
        assert isinstance(origin, Group)  # noqa: S101
        member.step_out()
        origin.paced.discard(member)
        origin.members.discard(member)
        if not origin.in_use:
            self._vacated(origin)


def take_back(client: Client) -> list[Member]:
    """Take back what a client was to get at the end of the flush; return who now is behind."""
    behind = []
    for member, cursor in client.discard():
        member.step_out()
        member.cursor = cursor  # be it that it was sent elsewhere since
        behind.append(member)
    return behind

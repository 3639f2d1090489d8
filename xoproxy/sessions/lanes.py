"""Those who are up to date, side by side, so that one short loop writes a frame to all of them.

Theory of operation. Members of a group that stand at the same position, and take a frame in the
same form, share *lanes*. The position is the lane's: when it moves on, nothing is noted for each
member. Nearly all of them are `swift`: their sockets have room, and their connections show no other
view, so they are written to without a look. An event that changes this makes a member one of the
`others`, and the next frame looks at it first. A lane is short enough to be written to in one step.

Guarantees: a member is in at most one lane, and stands where it does; whoever is swift can be
written to.
"""

from collections.abc import Callable, Iterator

from xoproxy.sessions.member import Client, Member

Put = Callable[[bytes], None]


class Lane:
    """Members at one position.

    Args:
        position: theirs.
        deflate: the form of their frames.
    """

    __slots__ = ("deflate", "others", "position", "swift")

    def __init__(self, position: int, *, deflate: bool) -> None:
        self.position = position
        self.deflate = deflate
        self.swift: dict[Member, Put] = {}
        """Who can be written to without a look, and how."""
        self.others: dict[Member, None] = {}

    def __len__(self) -> int:
        return len(self.swift) + len(self.others)

    def add(self, member: Member) -> None:
        """Take in a member that stands at `position`."""
        member.lane = self
        if _is_swift(member.client):
            self.swift[member] = member.client.put
        else:
            self.others[member] = None

    def remove(self, member: Member) -> None:
        """Let a member go; from now on it stands where the lane stands now, by itself."""
        member.lane = None
        member.cursor = self.position
        if self.swift.pop(member, None) is None:
            del self.others[member]

    def clear(self) -> list[Member]:
        """Let all go; return them."""
        members = [*self.swift, *self.others]
        for member in members:
            self.remove(member)
        return members

    def doubt(self, member: Member) -> None:
        """Have a member looked at before it is written to."""
        if self.swift.pop(member, None) is not None:
            self.others[member] = None

    def trust(self, member: Member) -> None:
        """Write to a member without a look from now on, if it was looked at and that will do."""
        if _is_swift(member.client):
            del self.others[member]
            self.swift[member] = member.client.put


class Lanes:
    """A group's lanes.

    Args:
        width: how many members a lane has at most.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lanes: list[Lane] = []

    def admit(self, member: Member, position: int) -> None:
        """Take in a member that stands at a position."""
        deflate = member.client.deflate
        for lane in self._lanes:
            if not lane:  # used again
                lane.position, lane.deflate = position, deflate
            is_fit = lane.position == position and lane.deflate == deflate
            if is_fit and len(lane) < self._width:
                break
        else:
            lane = Lane(position, deflate=deflate)
            self._lanes.append(lane)
        lane.add(member)

    def at(self, position: int) -> list[Lane]:
        """Return the lanes at a position in which somebody is."""
        return [lane for lane in self._lanes if lane and lane.position == position]

    def members_at(self, position: int) -> Iterator[Member]:
        for lane in self.at(position):
            yield from (*lane.swift, *lane.others)

    def release(self) -> list[Member]:
        """Let go of all members; return them."""
        return [member for lane in self._lanes for member in lane.clear()]


def _is_swift(client: Client) -> bool:
    return not client.paused and len(client.members) == 1 and not client.outbox

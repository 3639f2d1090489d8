"""Frames on their way to all who stand where they begin; the hottest loops that we have."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from xoproxy.sessions.counters import Counters
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.pacing import Pacing
from xoproxy.sessions.window_group import SharedView


@dataclass(slots=True)
class _Round:
    """A frame's way to the members that stood where the group was before it moved on."""

    group: SharedView
    delivery: Delivery
    members: list[Member] = field(default_factory=list)


class FanOut:
    """What one flush brings to those who are up to date.

    Args:
        counters: of the hub.
        pacing: of the hub.
        catch_up: serves members that do not get it here.
        slice_clients: members served per step.
    """

    def __init__(
        self,
        counters: Counters,
        pacing: Pacing,
        catch_up: Callable[[Iterable[Member]], None],
        slice_clients: int,
    ) -> None:
        self._counters = counters
        self._pacing = pacing
        self._catch_up = catch_up
        self._slice_clients = slice_clients
        self._rounds: list[_Round] = []
        self._gathered: dict[Client, None] = {}

    def offer(self, group: SharedView, cursor: int) -> None:
        """Have the current members of a group that moved on get what leads on from `cursor`."""
        if group.current:
            delivery = group.patch_from(cursor)
            members = group.release(cursor)
            if group.paced:
                members = self._pacing.hold(members)
            self._rounds.append(_Round(group, delivery, members))

    def steps(self) -> Iterator[None]:
        """Write each frame (or a patch's parts) to all who wait for it."""
        room = self._slice_clients
        for round_ in self._rounds:
            start = 0
            while start < len(round_.members):
                members = round_.members[start : start + room]
                self._write_to(members, round_)
                start += len(members)
                room -= len(members)
                if not room:
                    yield
                    room = self._slice_clients
        yield from self._write_gathered()

    def _write_to(self, members: list[Member], round_: _Round) -> None:
        """Write one frame to some of its members."""
        current, frames = round_.group.current, round_.delivery.frames
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
                self._gathered[client] = None
            else:
                client.put(data)
            current[member] = None
            written += 1
        self._counters.frames += written
        self._counters.bytes += frame.size * written

    def _park(self, member: Member) -> None:
        """Leave a member at its cursor; it goes on when its socket has drained."""
        if member.away or member.client.closed:
            return
        if member.client.paused:
            self._counters.parked += 1
        else:
            self._catch_up([member])

    def _write_gathered(self) -> Iterator[None]:
        """One write per client and flush, however many of its views changed."""
        clients = list(self._gathered)
        for start in range(0, len(clients), self._slice_clients):
            for client in clients[start : start + self._slice_clients]:
                client.flush()
            yield

"""Frames on their way to all who stand where they begin; the hottest loop that we have."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from xoproxy.sessions.counters import Counters
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.lanes import Lane
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.pacing import Pacing
from xoproxy.sessions.window_group import SharedView


@dataclass(frozen=True, slots=True)
class _Round:
    """A frame's way to the lanes that stood where the group was before it moved on."""

    cursor: int
    delivery: Delivery
    lanes: list[Lane]


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
        """Have those who stand at `cursor`, where a group no longer is, get what leads on."""
        self._pacing.hold(group)
        lanes = group.lanes.at(cursor)
        if lanes:
            self._rounds.append(_Round(cursor, group.patch_from(cursor), lanes))

    def steps(self) -> Iterator[None]:
        """Write each frame (or a patch's parts) to all who wait for it."""
        served = 0
        for round_ in self._rounds:
            for lane in round_.lanes:
                if served and served + len(lane) > self._slice_clients:
                    yield
                    served = 0
                if lane.position == round_.cursor:  # otherwise it began anew meanwhile
                    served += len(lane)
                    self._lead_on(lane, round_.delivery)
        if served:
            yield
        yield from self._write_gathered()

    def _lead_on(self, lane: Lane, delivery: Delivery) -> None:
        """Bring a lane to where a delivery leads."""
        if len(delivery.frames) > 1:
            self._catch_up(lane.clear())
            return
        frame = delivery.frames[0]
        data = frame.wire(deflate=lane.deflate)
        puts = list(lane.swift.values())
        written = len(puts) + self._write_with_a_look(lane, data)
        for put in puts:
            put(data)
        lane.position = delivery.to
        self._counters.frames += written
        self._counters.bytes += frame.size * written

    def _write_with_a_look(self, lane: Lane, data: bytes) -> int:
        """Write a frame to those who are not swift; return how many got it.

        Who cannot take it is left where he stands, and goes on when his socket has drained.
        """
        written = 0
        for member in list(lane.others):
            client = member.client
            if client.paused:
                lane.remove(member)
                self._counters.parked += not client.closed
                continue
            if len(client.members) > 1:
                client.gather(member, lane.position, data)
                self._gathered[client] = None
            else:
                lane.trust(member)
                client.put(data)
            written += 1
        return written

    def _write_gathered(self) -> Iterator[None]:
        """One write per client and flush, however many of its views changed."""
        clients = list(self._gathered)
        for start in range(0, len(clients), self._slice_clients):
            for client in clients[start : start + self._slice_clients]:
                client.flush()
            yield

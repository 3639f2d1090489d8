"""A connection, and its place in each view: about a hundred bytes for all that it has seen.

There is no queue, no task and no timer per client. Whether more may be written is one flag, which
the transport sets; what is to be written follows from the cursor.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import Delivery, Frame
from xoproxy.sessions.messages import MessageId, ServerMessage

if TYPE_CHECKING:
    from xoproxy.sessions.frame import Framing
    from xoproxy.sessions.group import Group
    from xoproxy.sessions.lanes import Lane
    from xoproxy.sessions.window_group import SharedView, WindowGroup

_NO_RATES: Mapping[MessageId, float] = MappingProxyType({})


_GATHERED_BYTES = 64 << 10
"""Written together at most; after that the transport says whether it takes more."""


class Outlet(Protocol):
    """Where a client's bytes go; `ws/transport.py` fits it. Never blocks, never raises."""

    def write(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class Client:
    """A connection as the hub sees it.

    `paused` is true while bytes wait in our own buffer: nothing more is offered to this client
    until they are gone, except short replies to its own requests. One that is `closed` is paused
    for ever; both are told by methods, for whoever is written to without a look must be told at
    once. `put` is the outlet's own `write`, for the hottest loop.
    """

    __slots__ = (
        "_outbox_bytes",
        "closed",
        "codec",
        "deflate",
        "framing",
        "gathered",
        "members",
        "outbox",
        "outlet",
        "paused",
        "put",
    )

    def __init__(self, outlet: Outlet, codec: Codec, framing: "Framing", *, deflate: bool) -> None:
        self.outlet = outlet
        self.put = outlet.write
        self.codec = codec
        self.framing = framing
        self.deflate = deflate
        self.paused = False
        self.closed = False
        self.members: dict[int, Member] = {}
        self._outbox_bytes = 0
        self.outbox: list[bytes] = []
        """Frames of several views that leave in one write at the end of a flush."""
        self.gathered: list[tuple[Member, int]] = []
        """Whose frames these are, and where they begin."""

    def pause(self) -> None:
        """Note that bytes wait in our own buffer."""
        self.paused = True
        self._doubt()

    def resume(self) -> None:
        """Note that nothing waits any more."""
        self.paused = self.closed

    def add(self, member: "Member") -> None:
        """Note a view that the connection shows."""
        self.members[member.group.number] = member
        if len(self.members) > 1:
            self._doubt()

    def _doubt(self) -> None:
        for member in self.members.values():
            if member.lane is not None:
                member.lane.doubt(member)

    def send(self, message: ServerMessage) -> None:
        """Write a message of its own: a reply, an announcement."""
        payload = self.codec.encode(message)
        self.write(Frame(payload, binary=self.codec.binary, framing=self.framing))

    def write(self, frame: Frame) -> None:
        if not self.closed:
            # What was gathered goes first: nothing may overtake a view's patch, neither the
            # bookmark that says it was sent nor the result that says no more will come.
            self.flush()
            self.outlet.write(frame.wire(deflate=self.deflate))

    def gather(self, member: "Member", cursor: int, data: bytes) -> None:
        """Take a frame that shall leave together with others; much is written at once.

        Args:
            member: whose.
            cursor: where it begins.
            data: it.
        """
        self.outbox.append(data)
        self.gathered.append((member, cursor))
        self._outbox_bytes += len(data)
        if self._outbox_bytes > _GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self.outbox:
            if not self.closed:
                self.outlet.write(b"".join(self.outbox))
            self.discard()

    def discard(self) -> list[tuple["Member", int]]:
        """Forget what was gathered; return whose it was, and where it began."""
        self.outbox.clear()
        self._outbox_bytes = 0
        members, self.gathered = self.gathered, []
        return members

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.end()
            self.outlet.close(code, reason)

    def end(self) -> None:
        """Note that nothing more may be written."""
        self.closed = True
        self.pause()


class Member:
    """A client's place in a group.

    Either it is in a `lane` with others that are up to date, or it is on its way from `cursor`:
    `delivery` is what it gets now, of which `index` frames were written. A `reset` that is due
    comes before anything else; it waits, like all that is not a reply, until the client can take
    it.
    """

    __slots__ = (
        "_cursor",
        "awaits_digests",
        "away",
        "client",
        "complete",
        "delivery",
        "destination",
        "group",
        "index",
        "lane",
        "left",
        "on_beat",
        "rates",
        "reset",
        "shown_as",
        "subscriptions",
        "target",
        "waits_at",
    )

    def __init__(self, client: Client, group: "SharedView", cursor: int) -> None:
        self.client = client
        self.group = group
        self._cursor = cursor
        self.lane: Lane | None = None
        """Where it is while it is up to date, or waits only for the frame that makes it so."""
        self.delivery: Delivery | None = None
        self.index = 0
        self.left = False
        self.away = False
        """Whether it left, goes elsewhere or must begin again: then it gets no patch."""
        self.complete = False
        """Whether the client holds a whole document, of `cursor` or of where the group stands."""
        self.target: Group | None = None
        """The group to which its user's rights take it as soon as it can be told."""
        self.destination: WindowGroup | None = None
        """The window to which it goes as soon as it has got all that it is getting."""
        self.shown_as: int | None = None
        """The number under which the client knows its view, until it has got what it is getting."""
        self.awaits_digests = False
        """Whether it has yet to say what it holds; until then it gets nothing, not even a reset."""
        self.reset: str | None = None
        """Why its document must be forgotten; None when it need not be."""
        self.subscriptions: tuple[MessageId, ...] = ()
        """The subscriptions of this connection that show this view; nearly always one."""
        self.rates: Mapping[MessageId, float] = _NO_RATES
        """At most so many patches a second, by subscription; see `pacing.py`."""
        self.waits_at: float | None = None
        """The rate for whose beat it waits."""
        self.on_beat = False
        """Whether its beat has come: then it may have one patch."""

    @property
    def cursor(self) -> int:
        """The position up to which the client was told everything."""
        return self._cursor if self.lane is None else self.lane.position

    @cursor.setter
    def cursor(self, position: int) -> None:
        assert self.lane is None  # noqa: S101 - in a lane all move together
        self._cursor = position

    @property
    def is_current(self) -> bool:
        """Whether the client was told everything that the view shows."""
        return self.lane is not None and self.lane.position == self.group.position

    def step_out(self) -> None:
        """Leave the lane, if it is in one, and stand where that stands."""
        if self.lane is not None:
            self.lane.remove(self)

    def add(self, subscription: MessageId) -> None:
        """Note that a subscription shows this view."""
        if subscription not in self.subscriptions:
            self.subscriptions += (subscription,)

    def remove(self, subscription: MessageId) -> None:
        """Note that a subscription does not show this view any more."""
        self.subscriptions = tuple(id_ for id_ in self.subscriptions if id_ != subscription)

    @property
    def rate(self) -> float | None:
        """The fastest rate of its subscriptions; None when one of them has no bound."""
        rates = self.rates
        if not rates or len(rates) < len(self.subscriptions):
            return None
        return max(rates.values())

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is due to it before it says what it holds, or before its beat."""
        return self.awaits_digests or (self.waits_at is not None and self.reset is None)

    @property
    def is_loading(self) -> bool:
        """Whether it gets a snapshot: bulk, for which nothing else has to wait."""
        return self.delivery is not None and self.delivery.to == self.cursor

    def start(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.index = 0
        self.shown_as = None

    def take(self, delivery: Delivery) -> Frame:
        """Take the next frame of what it gets."""
        self.complete = False
        if delivery.is_shared:
            self.index += 1
            return delivery.frames[self.index - 1]
        return delivery.frames.pop(0)

    def forget(self, reason: str) -> None:
        """Give up what it was getting: it must begin again."""
        if self.awaits_digests:
            return  # it is at no position that could have been lost
        self.delivery = None
        self.complete = False
        self.reset = reason
        self.away = True

"""A query, and what it shows of each pool, over all connections."""

from collections.abc import Mapping
from typing import Any

from xoproxy.client.document import Delta, Document, difference
from xoproxy.client.messages import Message, MessageId
from xoproxy.client.replica import Replica


class Slot:
    """What a subscription shows of one pool.

    Attributes:
        replica: its view, or the last one when there is no connection.
        shown: the last document that was whole.
    """

    __slots__ = ("pool", "replica", "shown", "subscription")

    def __init__(self, subscription: "Subscription", replica: Replica, shown: Document) -> None:
        self.subscription = subscription
        self.pool = replica.pool
        self.replica = replica
        self.shown = shown

    def follow(self) -> list[Delta]:
        """Show what the view shows, which is whole; return what looks different."""
        before, self.shown = self.shown, self.replica.document
        return difference(before, self.shown)


class Subscription:
    """A query and what it shows.

    Attributes:
        slots: by pool; by None for a window.
        answered: whether the proxy has answered on the present connection.
    """

    __slots__ = ("_previous", "answered", "compare", "id", "leaving", "query", "slots")

    def __init__(self, id_: MessageId, query: Mapping[str, Any], *, compare: bool) -> None:
        self.id = id_
        self.query = dict(query)
        self.compare = compare
        self.slots: dict[str | None, Slot] = {}
        self.answered = self.leaving = False
        self._previous = self.query

    @property
    def complete(self) -> bool:
        return self.answered and all(slot.replica.complete for slot in self.slots.values())

    def message(self) -> Message:
        """Make the message that asks for it, with what is held."""
        message: Message = {"type": "subscribe", "id": self.id, "query": self.query}
        points = [
            point | {"compare": True} if self.compare else point
            for slot in self.slots.values()
            if (point := slot.replica.resume_point) is not None
        ]
        return message | {"resume": points} if points and "window" not in self.query else message

    def move(self, offset: int, count: int) -> None:
        self._previous, self.query = self.query, self.query | {"window": [offset, count]}

    def move_back(self) -> None:
        self.query = self._previous

"""The client's side of protocol v1, without I/O: messages in, events and messages out.

Theory of operation. A *subscription* is a query, over all connections. On each connection the proxy
answers it with *views*, one per pool, each kept by a `Replica`. Views come and go with connections;
what a subscription shows of a pool lasts, in a *slot*: the slot's document is the last one that was
whole, and follows the view as soon as that is. So a user sees no document that is half loaded, and
is told differences only, whatever happened in between.

The shell calls `connected` (once signed in), `receive` for every message, `disconnected`; after
each it sends what is in `outgoing`. When `receive` raises `ProtocolFault`, the connection must be
dropped: the next one begins the view in question afresh and resumes all others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from xoproxy.client.document import Delta, Document, difference
from xoproxy.client.errors import Disconnected, ProtocolFault, refused
from xoproxy.client.events import (
    Asked,
    Changed,
    Comparing,
    Event,
    Failed,
    Lost,
    Settled,
    SignedIn,
)
from xoproxy.client.messages import (
    Bookmark,
    ErrorMessage,
    Message,
    MessageId,
    Moved,
    Patch,
    Pong,
    Reset,
    Result,
    Snapshot,
    Subscribed,
    ViewInfo,
    Welcome,
    server_message,
)
from xoproxy.client.replica import Replica
from xoproxy.client.state import query_key, remembered, state_of
from xoproxy.client.subscription import Slot, Subscription


class Protocol:
    """All that a client knows, over all its connections.

    Args:
        state: what `state` returned in another life; picked up by equal queries.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.subscriptions: dict[MessageId, Subscription] = {}
        self.outgoing: deque[Message] = deque()
        self.faults = 0
        """How often the proxy broke the protocol; each was recovered by a new connection."""
        self._replicas: dict[int, Replica] = {}
        """By their number on the present connection."""
        self._pending: set[MessageId] = set()
        """Calls and pings whose outcome is not known."""
        self._last_id = 0
        self._connected = False
        self._remembered = remembered(state)
        self._handlers: dict[type, Callable[[Any], list[Event]]] = {
            Welcome: self._welcome,
            Subscribed: self._subscribed,
            Snapshot: self._snapshot,
            Patch: self._patch,
            Bookmark: self._bookmark,
            Reset: self._reset,
            Moved: self._moved,
            Result: self._result,
            ErrorMessage: self._error,
            Pong: self._pong,
        }

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # --- what the user wants ---------------------------------------------------------------------

    def subscribe(
        self, query: Mapping[str, Any], id_: MessageId | None = None, *, compare: bool = False
    ) -> Subscription:
        """Subscribe, on this connection and on all that follow."""
        subscription = Subscription(self.new_id() if id_ is None else id_, query, compare=compare)
        self.subscriptions[subscription.id] = subscription
        for info, document, token in self._remembered.pop(query_key(query), ()):
            replica = Replica(info)
            replica.hold(document, token)
            subscription.slots[info.pool] = Slot(subscription, replica, document)
        self._send(subscription.message())
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; `Settled` comes when nothing more will name its views."""
        if self._send({"type": "unsubscribe", "id": subscription.id}):
            subscription.leaving = True
        else:
            self._forget(subscription)

    def move_window(self, subscription: Subscription, offset: int, count: int) -> None:
        subscription.move(offset, count)
        self._send({"type": "window", "id": subscription.id, "window": [offset, count]})

    def call(
        self,
        pool: str,
        method: str,
        params: Mapping[str, Any],
        expect: Iterable[Mapping[str, Any]] = (),
        id_: MessageId | None = None,
    ) -> MessageId:
        """Give a command; its id comes back in `Settled`, `Failed` or `Lost`.

        Raises:
            Disconnected: there is no connection now.
        """
        id_ = self.new_id() if id_ is None else id_
        message = {"type": "call", "id": id_, "pool": pool, "method": method, "params": params}
        expected = list(expect)
        return self._request(message | {"expect": expected} if expected else message)

    def ping(self, id_: MessageId | None = None) -> MessageId:
        return self._request({"type": "ping", "id": self.new_id() if id_ is None else id_})

    def _request(self, message: Message) -> MessageId:
        id_: MessageId = message["id"]
        if not self._send(message):
            raise Disconnected("there is no connection")
        self._pending.add(id_)
        return id_

    def _send(self, message: Message) -> bool:
        """Send, if there is a connection; what shall outlast it is asked for on the next one."""
        if self._connected:
            self.outgoing.append(message)
        return self._connected

    # --- connections -----------------------------------------------------------------------------

    def connected(self, credentials: Mapping[str, str] | None = None) -> None:
        """Begin on a connection.

        Args:
            credentials: members of `auth`; None when the upgrade has signed us in already.
        """
        if credentials is None:
            self._signed_in()
        else:
            self.outgoing.append({"type": "auth", **credentials})

    def _signed_in(self) -> None:
        self._connected = True
        for subscription in self.subscriptions.values():
            self._send(subscription.message())

    def disconnected(self) -> list[Event]:
        """Forget the connection, not what is shown."""
        self._connected = False
        self.outgoing.clear()
        for replica in self._replicas.values():
            replica.drop_parts()
        self._replicas.clear()
        events: list[Event] = [Lost(id_) for id_ in self._pending]
        self._pending.clear()
        for subscription in list(self.subscriptions.values()):
            subscription.answered = False
            if subscription.leaving:
                events.append(self._left(subscription))
        return events

    def receive(self, message: object) -> list[Event]:
        """Take one message.

        Raises:
            ProtocolFault: it does not fit; drop the connection.
        """
        try:
            checked = server_message(message)
            return [] if checked is None else self._handlers[type(checked)](checked)
        except ProtocolFault:
            self.faults += 1
            number = message.get("view") if isinstance(message, dict) else None
            if isinstance(number, int) and number in self._replicas:
                self._replicas[number].token = None  # it will not be resumed
            raise

    def state(self) -> dict[str, Any]:
        """Return all documents that can be resumed, for JSON."""
        return state_of(self.subscriptions.values())

    # --- messages about views --------------------------------------------------------------------

    def _replica(self, number: int) -> Replica:
        replica = self._replicas.get(number)
        if replica is None:
            raise ProtocolFault(f"there is no view {number}")
        return replica

    def _slots(self, replica: Replica) -> Iterator[Slot]:
        for subscription in self.subscriptions.values():
            slot = subscription.slots.get(replica.pool)
            if slot is not None and slot.replica is replica:
                yield slot

    def _patch(self, message: Patch) -> list[Event]:
        replica = self._replica(message.view)
        deltas = replica.patch(message)
        return [] if deltas is None else self._tell(replica, deltas)

    def _tell(self, replica: Replica, deltas: list[Delta]) -> list[Event]:
        return [Changed(slot, deltas) for slot in self._slots(replica)]

    def _bookmark(self, message: Bookmark) -> list[Event]:
        self._replica(message.view).bookmark(message)
        return []

    def _snapshot(self, message: Snapshot) -> list[Event]:
        replica = self._replica(message.view)
        replica.add_rows(message)
        return [_follow(slot) for slot in self._slots(replica)] if replica.complete else []

    def _reset(self, message: Reset) -> list[Event]:
        replica = self._replica(message.view)
        if not message.gone:
            replica.reset(message)
            return self._tell(replica, [])
        del self._replicas[message.view]
        return [self._gone(slot) for slot in self._slots(replica)]

    @staticmethod
    def _gone(slot: Slot) -> Changed:
        del slot.subscription.slots[slot.pool]
        return Changed(slot, difference(slot.shown, Document(())))

    def _moved(self, message: Moved) -> list[Event]:
        replica = self._replica(message.view)
        del self._replicas[message.view]
        there = self._replicas.get(message.as_)
        if there is None:
            self._replicas[message.as_] = replica
            replica.move(message.as_, message.seq)
            return self._tell(replica, [])
        slots = list(self._slots(replica))
        for slot in slots:
            slot.replica = there
        return [_follow(slot) for slot in slots] if there.complete else []

    # --- answers ---------------------------------------------------------------------------------

    def _welcome(self, message: Welcome) -> list[Event]:
        if not self._connected:  # else it renews the credential
            self._signed_in()
        return [SignedIn(message)]

    def _pong(self, message: Pong) -> list[Event]:
        return [] if message.id is None else self._settle(message.id, None)

    def _subscribed(self, message: Subscribed) -> list[Event]:
        subscription = self.subscriptions.get(message.id)
        if subscription is None:
            raise ProtocolFault(f"nobody asked for subscription {message.id}")
        events: list[Event] = []
        if not subscription.answered:
            # The first answer on a connection names all pools, later ones those that came since.
            named = {info.pool for info in message.views}
            gone = [slot for pool, slot in subscription.slots.items() if pool not in named]
            events += map(self._gone, gone)
        subscription.answered = True
        for info in message.views:
            events += self._begin(subscription, info)
        return [*events, Asked(subscription)]

    def _begin(self, subscription: Subscription, info: ViewInfo) -> list[Event]:
        """Give a subscription one of its views."""
        held = subscription.slots.get(info.pool)
        replica = self._same(info) if info.mode == "same" else self._new(info, held)
        shown = Document(info.classes) if held is None else held.shown
        slot = subscription.slots[info.pool] = Slot(subscription, replica, shown)
        if replica.complete:
            return [_follow(slot)]
        return [Comparing(replica)] if info.mode == "compare" else []

    def _same(self, info: ViewInfo) -> Replica:
        return self._replica(info.view)

    def _new(self, info: ViewInfo, held: Slot | None) -> Replica:
        if info.view in self._replicas:
            raise ProtocolFault(f"view {info.view} begins twice")
        replica = Replica(info)
        if info.mode in {"resume", "compare"}:
            before = _offered(info, held)
            if info.mode == "compare":
                replica.compare(before.document)
            else:
                replica.hold(self._own(held, before.document), before.token)
        elif info.mode != "snapshot":
            raise ProtocolFault(f"a view begins in mode {info.mode}")
        elif held is not None:
            replica.follow(held.shown)
        self._replicas[info.view] = replica
        return replica

    def _own(self, held: Slot | None, document: Document) -> Document:
        """Return a document that no other view will change: two may have shared it before."""
        shared = any(
            slot is not held and slot.replica.document is document
            for subscription in self.subscriptions.values()
            for slot in subscription.slots.values()
        )
        return document.copy() if shared else document

    def _result(self, message: Result) -> list[Event]:
        subscription = self.subscriptions.get(message.id)
        if subscription is not None and subscription.leaving:
            return [self._left(subscription)]
        return self._settle(message.id, message.result)

    def _left(self, subscription: Subscription) -> Settled:
        self._forget(subscription)
        return Settled(subscription.id, None)

    def _forget(self, subscription: Subscription) -> None:
        del self.subscriptions[subscription.id]
        for slot in subscription.slots.values():
            number = slot.replica.number
            if any(self._slots(slot.replica)):
                slot.shown = slot.shown.copy()  # which stays as it is, while others go on
            elif self._replicas.get(number) is slot.replica:
                del self._replicas[number]

    def _settle(self, id_: MessageId, result: Any) -> list[Event]:  # noqa: ANN401 - JSON
        self._pending.discard(id_)
        return [Settled(id_, result)]

    def _error(self, message: ErrorMessage) -> list[Event]:
        error = refused(message.code, message.message, message.data, retry=message.retry)
        if message.id is None:
            return [Failed(None, error)]
        self._pending.discard(message.id)
        subscription = self.subscriptions.get(message.id)
        if subscription is not None and subscription.answered:
            subscription.move_back()
        elif subscription is not None:
            self._forget(subscription)
        return [Failed(message.id, error)]


def _follow(slot: Slot) -> Changed:
    return Changed(slot, slot.follow())


def _offered(info: ViewInfo, held: Slot | None) -> Replica:
    """Return what was handed in of a view.

    Raises:
        ProtocolFault: nothing that fits.
    """
    if held is None or held.replica.resume_point is None:
        raise ProtocolFault(f"pool {info.pool} goes on with a document that was not handed in")
    before = held.replica
    if before.epoch != info.epoch or set(before.classes) != set(info.classes):
        before.token = None  # it will not be handed in again
        raise ProtocolFault(f"pool {info.pool} goes on with a document of another epoch")
    return before

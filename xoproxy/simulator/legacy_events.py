"""event.register and event.next, the old way: each write is an event of its own.

One queue for all sessions, bounded by the size of its records; who falls behind gets EVENTS_LOST.
What nobody asked for is neither queued nor numbered.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from xoproxy.simulator.bell import Bell
from xoproxy.simulator.database import Database, Row, Write
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.events import Subscription
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.jsonrpc import JsonCodec
from xoproxy.simulator.rpc import Codec
from xoproxy.simulator.wiretypes import StringType

QUEUE_BYTES: Final = 10_000_000
BEFORE_S: Final = 0.2
BETWEEN_S: Final = 0.05
HEARTBEAT_S: Final = 30.0

_TEXT = StringType()
_JSON = JsonCodec()


@dataclass(frozen=True, slots=True)
class Queued:
    id: int
    timestamp: str
    operation: str
    model: ClassModel
    row: Row  # as it was at that moment, also of a deletion
    size: int


@dataclass(frozen=True, slots=True)
class EventList:
    """An answer of event.next."""

    events: Sequence[Queued]

    def encode(self, codec: Codec) -> bytes:
        return codec.array([_encode(codec, event) for event in self.events])


def _encode(codec: Codec, event: Queued) -> bytes:
    texts = {
        "id": str(event.id),
        "timestamp": event.timestamp,
        "class": event.model.table,
        "operation": event.operation,
        "ref": event.row.ref,
    }
    members = [(name, codec.value(_TEXT, text)) for name, text in texts.items()]
    return codec.struct([*members, ("snapshot", codec.record(event.model, event.row))])


@dataclass(slots=True)
class _Listener:
    classes: list[str] = field(default_factory=list)
    next_id: int = 0


class LegacyEvents:
    """The queue and who listens to it."""

    def __init__(
        self, database: Database, check_session: Callable[[str], None], speed: float = 1.0
    ) -> None:
        self._db = database
        self._check_session = check_session
        self._speed = speed
        self._queue: deque[Queued] = deque()
        self._queued_bytes = 0
        self._listeners: dict[str, _Listener] = {}
        self._bell = Bell()
        self.current_id = 0
        database.observers.append(self._note)

    def wake(self) -> None:
        """Let everybody who waits look again; forget the listeners whose session ended."""
        for session in [s for s in self._listeners if not self._db.exists("session", s)]:
            del self._listeners[session]
        if not self._listeners:
            self._queue.clear()
            self._queued_bytes = 0
        self._bell.ring()

    def register(self, session: str, classes: Iterable[str]) -> None:
        new = _Listener(next_id=self.current_id)
        listener = self._listeners.setdefault(session, new)
        listener.classes += [c.lower() for c in classes]

    def unregister(self, session: str, classes: Iterable[str]) -> None:
        self.register(session, [])  # also who was not registered is so from now on
        listener = self._listeners[session]
        gone = {c.lower() for c in classes}
        listener.classes = [c for c in listener.classes if c not in gone]

    async def next(self, session: str) -> EventList:
        """Wait, without end, for events of the registered classes."""
        listener = self._listeners.get(session)
        if listener is None:
            digest = hashlib.sha256(session.encode()).hexdigest()  # a session ref is a secret
            raise XapiError("SESSION_NOT_REGISTERED", f"trackid={digest[:32]}")
        await asyncio.sleep(BEFORE_S / self._speed)
        while True:
            self._check_session(session)
            events = self._since(listener)
            if events:
                return EventList(events)
            await self._wait_or_beat()
            await asyncio.sleep(BETWEEN_S / self._speed)

    async def _wait_or_beat(self) -> None:
        """Wait for a change; in silence the pool object pretends one, so that calls return."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HEARTBEAT_S
        await self._bell.wait(deadline)
        if loop.time() >= deadline:
            for ref in self._db.refs("pool"):
                self._note(Write("mod", "pool", self._db.row("pool", ref)))

    def _since(self, listener: _Listener) -> list[Queued]:
        oldest = self._queue[0].id if self._queue else self.current_id
        if listener.next_id < oldest:
            listener.next_id = self.current_id
            raise XapiError("EVENTS_LOST")
        wanted = Subscription(listener.classes)
        found = [
            event
            for event in self._queue
            if event.id >= listener.next_id and wanted.asks(event.model, event.row.ref)
        ]
        listener.next_id = self.current_id
        return found

    def _note(self, write: Write) -> None:
        model = self._db.model.classes[write.cls]
        asked = (Subscription(one.classes) for one in self._listeners.values())
        if not any(wanted.asks(model, write.row.ref) for wanted in asked):
            return
        event_id = self.current_id
        self.current_id += 1
        row = write.row.copy()
        size = len(_JSON.record(model, row))
        stamp = f"{int(self._db.time())}."
        self._queue.append(Queued(event_id, stamp, write.op, model, row, size))
        self._queued_bytes += size
        while self._queued_bytes > QUEUE_BYTES:
            self._queued_bytes -= self._queue.popleft().size
        self._bell.ring()

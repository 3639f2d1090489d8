"""`event.register` and `event.next`, told as if by `event.from`, for pools that are older than it.

XAPI holds a queue for the session here: every write comes once, with the record as it was then, and
`event.next` takes what is there or waits for it without end (a heartbeat of the pool's own row ends
the wait about every half minute). So

- registering comes before listing, and what the queue tells after the list is the newer truth: all
  of it up to one moment comes in one reply, so of each object only the last event counts;
- an answer that does not arrive is lost, for XAPI has already moved on. After any failure the
  position is gone, as it is when XAPI's queue overflows (EVENTS_LOST); whoever watches lists anew;
- nothing is counted: only listing again shows what went wrong.

A class is listed when it is first asked for.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from xoproxy.errors import XapiFailure
from xoproxy.model import Ref, XapiClass
from xoproxy.pool.client import NOT_LISTED
from xoproxy.pool.replies import Event, EventReply

SILENCE_S = 60.0
"""Longer than XAPI is ever silent: its heartbeat comes after each cleaning of its database, every
half minute or so."""

_ALL = (["*"],)


class Source(Protocol):
    """What is needed of a pool's client."""

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        """Call a method within the session."""

    async def records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        """List all objects of a class."""

    async def next_events(self) -> list[Event]:
        """Wait for `event.next`."""


class LegacyEvents:
    """The registration of one session."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._token = ""
        """Of the registration that holds; "" when events may have been lost."""
        self._listed: set[XapiClass] = set()

    async def events(self, classes: Sequence[XapiClass], token: str) -> EventReply:
        """Return what `event.from` would; see the port, but the wait is XAPI's to choose.

        Raises:
            XapiFailure: with EVENTS_LOST, too, when the token does not hold any more.
        """
        if not token:
            token = await self._register()
        elif token != self._token:
            raise XapiFailure("EVENTS_LOST")
        self._token = ""  # until all went well
        unlisted = [cls for cls in classes if cls not in self._listed]
        events = await self._list(unlisted) if unlisted else await self._next()
        self._token = token
        return EventReply(events, token)

    async def _register(self) -> str:
        await self._source.call("event.unregister", _ALL)  # what is left of an earlier position
        await self._source.call("event.register", _ALL)
        self._listed.clear()
        return secrets.token_hex(8)

    async def _list(self, classes: Iterable[XapiClass]) -> list[Event]:
        events = []
        for cls in classes:
            records = await self._records(cls)
            events += [Event("add", ref, cls.lower(), record) for ref, record in records.items()]
            self._listed.add(cls)
        return events

    async def _records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        try:
            return await self._source.records(cls)
        except XapiFailure as failure:
            if failure.code not in NOT_LISTED:
                raise
            return {}  # nor will there be events

    async def _next(self) -> list[Event]:
        try:
            told = await self._source.next_events()
        except XapiFailure as failure:
            if failure.code == "SESSION_NOT_REGISTERED":
                raise XapiFailure("EVENTS_LOST") from failure
            raise
        latest: dict[str, Event] = {}
        for event in told:
            latest.pop(event.ref, None)  # it takes its place in the order of the last events
            latest[event.ref] = event
        return list(latest.values())

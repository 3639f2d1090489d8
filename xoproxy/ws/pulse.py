"""One task that looks after all connections: pings, stalls, bookmarks.

A timer per connection would cost more than the connection; a walk over all of them, once a second,
costs a tenth of a microsecond each.
"""

import asyncio
import math
import random
import time
from dataclasses import dataclass

from xoproxy.errors import CloseCode
from xoproxy.ws.connection import Connection
from xoproxy.ws.endpoint import Endpoint
from xoproxy.ws.frames import ping_frame

_STEP_S = 1.0
_JITTER = 0.2
_WALK_SLICE = 1000
_PING = ping_frame()


@dataclass(frozen=True, slots=True)
class PulseTimes:
    """Seconds: between pings (jittered by a fifth), for the answer, without progress, bookmarks."""

    ping_interval_s: float = 25.0
    pong_timeout_s: float = 10.0
    stalled_close_s: float = 30.0
    bookmark_interval_s: float = 60.0


class Pulse:
    """Keeps connections honest."""

    def __init__(self, endpoint: Endpoint, times: PulseTimes) -> None:
        self._endpoint = endpoint
        self._times = times

    async def run(self) -> None:
        bookmarks_due = time.monotonic() + self._times.bookmark_interval_s
        while True:
            await asyncio.sleep(_STEP_S)
            for number, connection in enumerate(list(self._endpoint.connections), 1):
                self._look_after(connection, time.monotonic())
                if number % _WALK_SLICE == 0:
                    await asyncio.sleep(0)
            if time.monotonic() >= bookmarks_due:
                # A little early each time, so that nobody waits longer than the interval.
                bookmarks_due = time.monotonic() + self._times.bookmark_interval_s - 2 * _STEP_S
                for _ in self._endpoint.services.hub.bookmarks():
                    await asyncio.sleep(0)

    def _look_after(self, connection: Connection, now: float) -> None:
        if connection.client.closed:
            return
        principal = connection.principal
        if principal is not None and (principal.expires_at_s or math.inf) <= time.time():
            connection.client.close(CloseCode.CREDENTIAL_REVOKED, "credential expired")
            return
        if connection.client.paused:
            self._watch_progress(connection, now)
            return
        connection.progress = None
        times = self._times
        if connection.pinged_at_s is not None:
            if now - connection.pinged_at_s > times.pong_timeout_s:
                connection.outlet.abort()
        elif now >= connection.ping_due_s:
            if connection.ping_due_s:
                connection.pinged_at_s = now
                connection.outlet.write(_PING)
            jitter = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - spreads load, no secret
            connection.ping_due_s = now + times.ping_interval_s * jitter

    def _watch_progress(self, connection: Connection, now: float) -> None:
        """A parked client may be slow for ever, but something must move."""
        connection.pinged_at_s = None
        unsent = connection.outlet.unsent()
        seen = connection.progress
        if seen is None or seen[0] != unsent or connection.heard_at_s > seen[1]:
            connection.progress = unsent, now
        elif now - seen[1] > self._times.stalled_close_s:
            connection.client.close(CloseCode.STALLED, "no progress")

"""Faults between a client and the pool: what comes late, never, or wrong."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias, assert_never

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.faults.kinds import BlackHole, Delay, Drop, Fail, HalfOpen
from xoproxy.simulator.faults.timers import Timers
from xoproxy.simulator.http import Connection, Head

WireFault: TypeAlias = Drop | BlackHole | HalfOpen | Delay | Fail


class WireFaults:
    """The interference (see `http.server`) with the servers of one pool.

    Args:
        connections: lists those that are open.
        counted: is told of calls that were made, though not run.
    """

    def __init__(
        self, connections: Callable[[], list[Connection]], counted: Callable[[str], None]
    ) -> None:
        self._connections = connections
        self._counted = counted
        self._timers = Timers()
        self._answering = asyncio.Event()
        self._answering.set()
        self._dropping = False
        self._delay_s = 0.0
        self._failing: list[tuple[Fail, int]] = []  # with the count that is left
        self._half_open: set[Connection] = set()
        self._exhumed = asyncio.Event()

    def begin(self, fault: WireFault) -> None:
        match fault:
            case Drop(seconds):
                self._dropping = seconds > 0
                self._timers.end_after("drop", seconds, self._end_drop)
                for connection in self._connections():
                    connection.abort()
            case BlackHole(seconds):
                self._answering.clear()
                self._timers.end_after("black_hole", seconds, self._answering.set)
            case HalfOpen():
                self._half_open |= set(self._connections())
            case Delay(ms, seconds):
                self._delay_s = ms / 1000
                self._timers.end_after("delay", seconds, self._end_delay)
            case Fail():
                self._failing.append((fault, fault.count))
            case _:
                assert_never(fault)

    def end(self) -> None:
        """End all of them."""
        self._timers.clear()
        self._failing.clear()
        self._end_drop()
        self._end_delay()
        self._answering.set()
        self._half_open.clear()
        self._exhumed.set()
        self._exhumed = asyncio.Event()

    def close(self) -> None:
        self._timers.clear()

    # -- what the servers ask ----------------------------------------------------------------

    async def before_request(self, connection: Connection, head: Head) -> None:
        del head
        await self._hold(connection)

    async def before_call(self, connection: Connection, method: str) -> None:
        """Let a call pass, or raise what it is to fail with."""
        del connection
        for position, (fault, left) in enumerate(self._failing):
            if fault.method in (None, method):
                if left > 1:
                    self._failing[position] = fault, left - 1
                else:
                    del self._failing[position]
                self._counted(method)
                raise XapiError(fault.code, *fault.params)

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        del what
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._hold(connection)
        await connection.write(head, body)

    async def _hold(self, connection: Connection) -> None:
        """Wait while nothing is answered on a connection."""
        await self._answering.wait()
        gone = connection in self._half_open
        if gone:
            await self._exhumed.wait()
        if gone or self._dropping:
            connection.abort()
            raise ConnectionResetError

    def _end_drop(self) -> None:
        self._dropping = False

    def _end_delay(self) -> None:
        self._delay_s = 0.0

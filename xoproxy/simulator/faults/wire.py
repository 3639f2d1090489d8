"""Faults between a client and the pool: what comes late, never, or wrong.

What may hit an answer is decided when the answer is ready, what refuses a request when the request
is there; in this order the dice of a seed are thrown.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, assert_never

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.faults import answers
from xoproxy.simulator.faults.answers import Answer, End
from xoproxy.simulator.faults.kinds import (
    BlackHole,
    Delay,
    Drop,
    Fail,
    HalfOpen,
    InvalidJson,
    Jitter,
    Pages,
    Reset,
    Sifting,
    Slow,
    TooManyPendingTasks,
    Truncated,
)
from xoproxy.simulator.faults.timers import Timers
from xoproxy.simulator.http import ClosedError, Connection, Head, PageError

WireFault: TypeAlias = Drop | BlackHole | HalfOpen | Delay | Fail | Sifting

PIECE_S: Final = 0.05  # between two pieces of a slow body
SEEN_S: Final = 0.01  # for a client to read what comes before a reset

_Sifting = TypeVar("_Sifting", bound=Sifting)


@dataclass(frozen=True, slots=True)
class _Running(Generic[_Sifting]):
    """A fault that goes on, and its dice."""

    fault: _Sifting
    chance: random.Random

    def hits(self, what: str) -> bool:
        fault = self.fault
        return fault.method in {None, what} and self.chance.random() < fault.probability


class WireFaults:
    """The interference (see `http.server`) with the servers of one pool.

    Args:
        connections: lists those that are open.
        counted: is told of calls that were made, though not run.

    Attributes:
        struck: how many connections, requests or answers each kind of fault has hit.
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
        self._sifting: dict[type[Sifting], _Running[Any]] = {}
        self.struck: Counter[str] = Counter()

    def begin(self, fault: WireFault) -> None:
        match fault:
            case Drop(seconds):
                self._dropping = seconds > 0
                self._timers.end_after("drop", seconds, self._end_drop)
                for connection in self._connections():
                    self.struck["drop"] += 1
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
            case Sifting():
                self._sifting[type(fault)] = _Running(fault, random.Random(fault.seed))
                self._timers.end_after(
                    fault.name, fault.seconds, lambda: self._end_sifting(type(fault))
                )
            case _:
                assert_never(fault)

    def end(self) -> None:
        """End all of them."""
        self._timers.clear()
        self._failing.clear()
        self._sifting.clear()
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
        await self._hold(connection)
        if head.method != "POST":
            self._maybe_page(head.path)

    async def before_call(self, connection: Connection, method: str) -> None:
        """Let a call pass, or raise what it is to fail with."""
        del connection
        try:
            self._maybe_page(method)
            self._maybe_fail(method)
        except (PageError, XapiError):
            self._counted(method)
            raise

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        await self._wait_before(what)
        await self._hold(connection)
        answer = self._spoiled(what, Answer(head, body))
        if slow := self._hit(Slow, what):
            await self._write_slowly(connection, answer, slow)
        else:
            await connection.write(answer.head, answer.body)
        match answer.end:
            case End.RESET:
                await asyncio.sleep(SEEN_S)
                connection.abort()
                raise ConnectionResetError
            case End.CLOSED:
                raise ClosedError
            case End.USUAL:
                pass

    # -- what becomes of a request or an answer -----------------------------------------------

    def _hit(self, kind: type[_Sifting], what: str) -> _Running[_Sifting] | None:
        """Return the fault of a kind if there is one and it hits this."""
        running = self._sifting.get(kind)
        if running is None or not running.hits(what):
            return None
        self.struck[running.fault.name] += 1
        return running

    def _maybe_page(self, what: str) -> None:
        if hit := self._hit(Pages, what):
            raise PageError(hit.fault.status)

    def _maybe_fail(self, method: str) -> None:
        for position, (fault, left) in enumerate(self._failing):
            if fault.method in (None, method):
                if left > 1:
                    self._failing[position] = fault, left - 1
                else:
                    del self._failing[position]
                self.struck["fail"] += 1
                raise XapiError(fault.code, *fault.params)
        if self._hit(TooManyPendingTasks, method):
            raise XapiError("TOO_MANY_PENDING_TASKS")

    async def _wait_before(self, what: str) -> None:
        pause_s = self._delay_s
        if pause_s:
            self.struck["delay"] += 1
        if hit := self._hit(Jitter, what):
            pause_s += hit.chance.uniform(0, hit.fault.ms / 1000)
        if pause_s:
            await asyncio.sleep(pause_s)

    async def _hold(self, connection: Connection) -> None:
        """Wait while nothing is answered on a connection."""
        if not self._answering.is_set():
            self.struck["black_hole"] += 1
            await self._answering.wait()
        if connection in self._half_open:
            self.struck["half_open"] += 1
            await self._exhumed.wait()
        elif self._dropping:
            self.struck["drop"] += 1
        else:
            return
        connection.abort()
        raise ConnectionResetError

    def _spoiled(self, what: str, answer: Answer) -> Answer:
        if hit := self._hit(InvalidJson, what):
            answer = answers.invalid(answer, hit.fault, hit.chance)
        if cut := self._hit(Truncated, what):
            answer = answers.truncated(answer, cut.fault, cut.chance)
        if reset := self._hit(Reset, what):
            answer = answers.reset(answer, reset.fault)
        return answer

    async def _write_slowly(
        self, connection: Connection, answer: Answer, running: _Running[Slow]
    ) -> None:
        """Write the body in small pieces, for as long as the fault goes on."""
        await connection.write(answer.head)
        rate, body = running.fault.bytes_per_s, answer.body
        while body and self._sifting.get(Slow) is running:
            size = max(1, int(rate * PIECE_S))
            piece, body = body[:size], body[size:]
            await connection.write(piece)
            await asyncio.sleep(len(piece) / rate)
        await connection.write(body)

    def _end_drop(self) -> None:
        self._dropping = False

    def _end_delay(self) -> None:
        self._delay_s = 0.0

    def _end_sifting(self, kind: type[Sifting]) -> None:
        self._sifting.pop(kind, None)

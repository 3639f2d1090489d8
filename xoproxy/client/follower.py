"""Following a proxy over all that happens to connections.

Connects, signs in, hands every message to the protocol's core, sends what that has to say, and
begins again when the connection ends, with pauses after docs/protocol.md, section 9.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn
from typing import Protocol as Port

from xoproxy.client.beside import beside
from xoproxy.client.connection import Connection, Endpoint, opened
from xoproxy.client.errors import (
    Disconnected,
    Error,
    NotSignedIn,
    ProtocolFault,
    Refused,
    Unreachable,
)
from xoproxy.client.events import Comparing, Event, Failed, SignedIn
from xoproxy.client.protocol import Protocol
from xoproxy.client.reconnecting import UNAUTHORISED, Backoff, advice

_SIGN_IN_S = 10.0
_STABLE_S = 10.0
"""A connection that lasted longer was a good one: the next failure is a first one again."""
_SLICE_S = 0.005
"""After so long we let others run, though there may be more to read."""
_FAULT = 4000
"""Close code by which we leave when the proxy broke the protocol: a private one, for its log."""

Credentials = Callable[[], Mapping[str, str]]
"""Returns the members of `auth`; asked anew for every connection."""


class Observer(Port):
    """Is told what happens; must return at once. What it raises of `Error` ends the following."""

    def connected(self, connection: Connection) -> None:
        """A connection is open; signing in comes next."""

    def received(self, message: object, events: Sequence[Event]) -> None:
        """A message came, and the core has taken it."""

    def disconnected(self, events: Sequence[Event]) -> None:
        """The connection ended, or there was none."""

    def waiting(self, error: Error, pause_s: float) -> None:
        """The next attempt comes after a pause."""


class Follower:
    """Keeps a protocol's core connected.

    Args:
        where: the proxy.
        credentials: who we are.
        protocol: the core.
        observer: is told.
        may_renew: whether `credentials` may return others when those of before are worth nothing.
        spread: a random number in [0, 1).
    """

    def __init__(
        self,
        where: Endpoint,
        credentials: Credentials,
        protocol: Protocol,
        observer: Observer,
        *,
        may_renew: bool = False,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._where = where
        self._credentials = credentials
        self._protocol = protocol
        self._observer = observer
        self._may_renew = may_renew
        self._backoff = Backoff(spread)
        self._has_news = asyncio.Event()
        self._been_signed_in = False

    def wake(self) -> None:
        """Send what the core has put into `outgoing`."""
        self._has_news.set()

    async def run(self) -> Error:
        """Follow until another attempt would end alike; return why."""
        now = asyncio.get_running_loop().time
        while True:
            started_s = now()
            error = await self._follow()
            self._observer.disconnected(self._protocol.disconnected())
            final = self._final(error)
            if final is not None:
                return final
            if now() - started_s > _STABLE_S:
                self._backoff.succeeded()
            code = error.code if isinstance(error, Disconnected) else None
            asked_s = error.retry_after_s if isinstance(error, Unreachable) else None
            pause_s = self._backoff.pause_s(code, asked_s)
            self._observer.waiting(error, pause_s)
            await asyncio.sleep(pause_s)

    def _final(self, error: Error) -> Error | None:
        """Return what to tell if there is no use in another attempt."""
        match error:
            case Unreachable():
                return None if self._been_signed_in else error
            case Disconnected():
                return self._final_close(error)
            case ProtocolFault():
                return None
            case _:
                return error

    def _final_close(self, error: Disconnected) -> Error | None:
        match advice(error.code):
            case "no" if error.code == UNAUTHORISED:
                return NotSignedIn(str(error))
            case "no":
                return Disconnected(f"the proxy does not understand us: {error}", error.code)
            case "credential" if not self._may_renew:
                return NotSignedIn(f"the proxy no longer takes the credentials: {error}")
            case "later" if not self._been_signed_in:
                return Unreachable(str(error))
            case _:
                return None

    async def _follow(self) -> Error:
        """Follow one connection to its end; return what ended it."""
        try:
            async with opened(self._where) as connection:
                self._observer.connected(connection)
                return await self._converse(connection)
        except Unreachable as error:
            return error

    async def _converse(self, connection: Connection) -> Error:
        async with beside(self._send_all(connection), "xoproxy-client-send"):
            self._protocol.connected(self._credentials())
            self.wake()
            return await self._listen(connection)

    async def _send_all(self, connection: Connection) -> None:
        outgoing = self._protocol.outgoing
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while outgoing:
                try:
                    await connection.send(outgoing.popleft())
                except Disconnected:
                    return  # whoever reads will see it, and why

    async def _listen(self, connection: Connection) -> Error:
        try:
            async with asyncio.timeout(_SIGN_IN_S) as waiting:
                await self._take_frame(connection, self._signing_in)
                waiting.reschedule(None)
                await self._take_all(connection)
        except TimeoutError:
            return Disconnected("no answer to signing in")
        except ProtocolFault as fault:
            await connection.close(_FAULT, str(fault))
            return fault
        except Error as error:
            return error

    async def _take_all(self, connection: Connection) -> NoReturn:
        now = asyncio.get_running_loop().time
        yielded_s = now()
        while True:
            await self._take_frame(connection, None)
            if now() - yielded_s > _SLICE_S:
                await asyncio.sleep(0)  # what waits in memory comes without a pause
                yielded_s = now()

    async def _take_frame(
        self, connection: Connection, check: Callable[[Sequence[Event]], None] | None
    ) -> None:
        for message in await connection.receive():
            events = self._protocol.receive(message)
            if check is not None:
                check(events)
                check = None
            self._observer.received(message, events)
            for event in events:
                if isinstance(event, Comparing):
                    # nothing else is handled meanwhile, so that the document stays as it is
                    answer = await asyncio.to_thread(event.replica.digests)
                    self._protocol.outgoing.append(answer)
        if self._protocol.outgoing:
            self.wake()

    def _signing_in(self, events: Sequence[Event]) -> None:
        match events:
            case [SignedIn(), *_]:
                self._been_signed_in = True
            case [Failed(_, Refused(retry=True) as error)]:
                raise Disconnected(str(error))
            case [Failed(_, error)]:
                raise NotSignedIn(str(error), error.code)
            case _:
                raise Disconnected("the answer to signing in is none of protocol v1")

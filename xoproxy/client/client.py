"""A client of a proxy: subscribes, calls, and stays connected.

Theory of operation. `Client` owns one task, which follows the proxy for
as long as the client is entered. Everything that a program sees is changed by that task only, one
message at a time, without a pause in between: whoever looks sees whole states. When following comes
to its end (credentials revoked, the proxy does not understand us), all who wait get that error.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from xoproxy.client.beside import beside
from xoproxy.client.changes import Signal
from xoproxy.client.connection import Connection
from xoproxy.client.errors import Conflict, Disconnected, Error, Refused, refused
from xoproxy.client.events import Asked, Changed, Event, Failed, Lost, Settled, SignedIn
from xoproxy.client.follower import Follower
from xoproxy.client.messages import MessageId
from xoproxy.client.objects import Object
from xoproxy.client.protocol import Protocol
from xoproxy.client.queries import query_of, window_of
from xoproxy.client.subscription import Subscription
from xoproxy.client.view import Live, View
from xoproxy.client.window import Window

Followed = TypeVar("Followed", bound=Live)

_CALLS_AT_ONCE = 16
"""As many as the proxy takes of one connection; others wait here."""
_MESSAGE_BYTES = 262_144
_ENVELOPE_BYTES = 1_024
"""Room for all in a call that are not its parameters."""
_LINKS = {"classes": ["pool_link"], "pools": ["proxy"]}


class Client:
    """A connection to a proxy that lasts; made by `connect`.

    Attributes:
        connection: the present one; None while there is none.
        reconnects: how often it was lost.
        trouble: why there is no connection now, if there is none.
    """

    follower: Follower

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._entered = contextlib.AsyncExitStack()
        self._signal = Signal()
        self._signed_in = False
        self._message_bytes = _MESSAGE_BYTES
        self._live: dict[MessageId, Live] = {}
        self._answers: dict[MessageId, asyncio.Future[Any]] = {}
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._links: View | None = None
        self.connection: Connection | None = None
        self.reconnects = 0
        self.trouble: Error | None = None

    async def __aenter__(self) -> Self:
        """Connect and sign in.

        Raises:
            Unreachable: nobody answers, or somebody else does.
            NotSignedIn: the credentials are not good.
        """
        following = beside(self._follow(), "xoproxy-client")
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(following)
            await self._ready()
            self._links = self._view(_LINKS)
            await self._links_loaded(self._links)
            self._entered = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect. What the body raised comes out as it is, not in a group."""
        try:
            await self._entered.aclose()
        finally:
            self._end(Disconnected("the client was closed"))

    async def _follow(self) -> None:
        self._end(await self.follower.run())

    def _end(self, error: Error) -> None:
        """Tell all who wait that nothing will happen any more."""
        self._signed_in = False
        self._signal.fail(error)
        for live in self._live.values():
            live.fail(error)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    async def _ready(self) -> None:
        """Wait for a connection on which we are signed in."""
        self._signal.check()
        while not self._signed_in:
            await self._signal.wait()

    # --- what a program wants --------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        return self._signed_in

    @property
    def received_bytes(self) -> int:
        """Size of all messages on the present connection, after inflation."""
        return self.connection.received_bytes if self.connection else 0

    @property
    def faults(self) -> int:
        """How often the proxy broke the protocol; each time the view in question was reloaded."""
        return self._protocol.faults

    @property
    def pools(self) -> Mapping[str, Object]:
        """All pools by id, as the proxy knows them: class `pool_link`, with `name` and `state`."""
        links = () if self._links is None else self._links.objects()
        return {link["pool"]: link for link in links}

    async def subscribe(
        self,
        classes: str | Collection[str],
        *,
        filter: str | None = None,  # noqa: A002 - the protocol's word
        fields: Mapping[str, Collection[str]] | None = None,
        pools: Collection[str] | None = None,
        rate: float | None = None,
    ) -> View:
        """Follow what a query finds on all pools; returns when everything is there.

        Args:
            classes: XAPI's, in its own case: "VM", "host"; "*" for all.
            filter: see docs/queries.md.
            fields: class -> the only fields that are wanted.
            pools: their ids; without, all that the user may see, as they come and go.
            rate: at most so many patches a second.

        Raises:
            BadQuery: the query cannot be understood; the text says where and why.
            Refused: the proxy does not want to.
            Error: the proxy cannot be followed any more.
        """
        view = self._view(query_of(classes, filter, fields, pools, rate=rate))
        return await self._loaded(view)

    async def window(
        self,
        cls: str,
        *,
        order: Sequence[str] = (),
        offset: int = 0,
        count: int = 50,
        facets: Collection[str] = (),
        filter: str | None = None,  # noqa: A002
        fields: Collection[str] | None = None,
        pools: Collection[str] | None = None,
        rate: float | None = None,
    ) -> Window:
        """Follow some rows of what a query finds, in order; returns when they are there.

        Args:
            cls: XAPI's class.
            order: fields to order by, "-" before the name for descending.
            offset: the first row.
            count: how many rows; 0 for counts only.
            facets: fields whose values are counted.
            filter: see docs/queries.md.
            fields: the only fields that are wanted.
            pools: their ids; without, all that the user may see.
            rate: at most so many patches a second.

        Raises:
            Refused: the proxy does not want to.
            Error: the proxy cannot be followed any more.
        """
        masks = None if fields is None else {cls: fields}
        query = query_of(cls, filter, masks, pools, rate=rate)
        query |= window_of(order, offset, count, facets)
        window = Window(self, self._protocol.subscribe(query))
        self._live[window.id] = window
        self.follower.wake()
        return await self._loaded(window)

    async def call(
        self,
        pool: str,
        method: str,
        /,
        *,
        expect: Iterable[Object] = (),
        **params: Any,  # noqa: ANN401 - JSON
    ) -> Any:  # noqa: ANN401 - what XAPI returns
        """Have a pool run a XAPI method.

        Its effect on views comes as a change, before or after this returns. A call is never given
        twice: when the connection ends before the answer, `Disconnected` is raised, and the call
        may have been carried out, or not.

        Args:
            pool: the pool's id.
            method: XAPI's, without session.
            expect: objects that must not have changed since they were read.
            params: by XAPI's names.

        Raises:
            Conflict: one of the expected objects has changed since.
            XapiFailure: XAPI refused.
            Refused: the proxy refused: `error.code`.
            Disconnected: the connection ended before the answer.
            TypeError: a parameter cannot be written as JSON.
        """
        encoded = msgspec.json.encode(params)
        plain = msgspec.json.decode(encoded)
        async with self._calls:
            await self._ready()
            if len(encoded) + _ENVELOPE_BYTES > self._message_bytes:
                raise refused("TOO_LARGE", "the call is longer than the proxy takes")
            expected = [_expectation(obj) for obj in expect]
            return await self._answer(self._protocol.call(pool, method, plain, expected))

    async def ping(self) -> None:
        """Have the proxy answer; all that it sent before has then arrived.

        Raises:
            Disconnected: the connection ended before the answer.
        """
        await self._ready()
        await self._answer(self._protocol.ping())

    def state(self) -> dict[str, Any]:
        """Return all that is held, to go on from in another life of the program: plain JSON.

        It holds whole documents: keep it as you keep the data itself.
        """
        return self._protocol.state()

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; use `View.close`."""
        self._live.pop(subscription.id, None)
        if subscription.id in self._protocol.subscriptions and not subscription.leaving:
            self._protocol.unsubscribe(subscription)
            if subscription.leaving and self._signal.error is None:
                await self._answer(subscription.id)

    def move_window(self, subscription: Subscription, offset: int, count: int) -> None:
        """Ask for other rows; use `Window.move`."""
        self._signal.check()
        self._protocol.move_window(subscription, offset, count)
        self.follower.wake()

    # --- inside ----------------------------------------------------------------------------------

    def _view(self, query: Mapping[str, Any]) -> View:
        self._signal.check()
        view = View(self, self._protocol.subscribe(query, compare=True))
        self._live[view.id] = view
        self.follower.wake()
        return view

    async def _links_loaded(self, links: View) -> None:
        with contextlib.suppress(Refused):  # a user may have no right to see them
            await self._loaded(links)

    async def _loaded(self, live: Followed) -> Followed:
        """Wait until everything is there."""
        try:
            while not live.is_current:
                await live.updated()
        except BaseException:
            self._leave(live)
            raise
        return live

    def _leave(self, live: Live) -> None:
        """Unsubscribe without waiting for the answer."""
        subscription = self._protocol.subscriptions.get(live.id)
        if self._live.pop(live.id, None) is not None and subscription is not None:
            self._protocol.unsubscribe(subscription)
            self.follower.wake()

    async def _answer(self, id_: MessageId) -> Any:  # noqa: ANN401 - JSON
        """Send what waits, and wait for an answer."""
        answer = self._answers[id_] = asyncio.get_running_loop().create_future()
        self.follower.wake()
        try:
            return await answer
        finally:
            del self._answers[id_]

    # --- what happens: fits `Observer` -----------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def received(self, message: object, events: Sequence[Event]) -> None:
        del message
        for event in events:
            self._happened(event)

    def disconnected(self, events: Sequence[Event]) -> None:
        self.reconnects += self._signed_in
        self._signed_in = False
        self.connection = None
        for event in events:
            self._happened(event)
        self._wake_all()

    def _wake_all(self) -> None:
        for live in self._live.values():
            live.woken()

    def waiting(self, error: Error, pause_s: float) -> None:
        del pause_s
        self.trouble = error
        self._wake_all()

    def _happened(self, event: Event) -> None:
        match event:
            case Changed(slot, deltas):
                live = self._live.get(slot.subscription.id)
                if live is not None:  # a view is a mapping: it is false when it is empty
                    live.happened(slot, deltas)
                if live is self._links:
                    self._wake_all()  # what is stale may be different
            case Asked(subscription) if subscription.id in self._live:
                self._live[subscription.id].woken()
            case SignedIn(welcome):
                self._signed_in, self.trouble = True, None
                self._message_bytes = welcome.limits.get("message_bytes", _MESSAGE_BYTES)
                self._signal.notify()
            case Settled(id_, result):
                if (answer := self._answers.get(id_)) and not answer.done():
                    answer.set_result(result)
            case Failed(id_, error) if id_ is not None:
                self._failed(id_, error)
            case Lost(id_):
                text = (
                    "the connection ended before the answer; what was asked for may have happened"
                )
                self._failed(id_, Disconnected(text))
            case _:
                pass

    def _failed(self, id_: MessageId, error: Error) -> None:
        answer, live = self._answers.get(id_), self._live.get(id_)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif live is not None:
            live.refused(error)
            if id_ not in self._protocol.subscriptions:
                del self._live[id_]


def _expectation(expected: Object) -> dict[str, Any]:
    found = expected.expectation
    if found is None:
        text = f"{expected!r} may have changed: its view began anew since it was read"
        raise Conflict("CONFLICT", text)
    return found

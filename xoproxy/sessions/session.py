"""One client's conversation after it has said who it is: a message in, replies and effects out.

A session exists only for somebody known: authentication (`ws/connection.py`) makes it. It answers
at once what it can; what takes time is returned as an effect for the connection to carry out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from msgspec import UNSET

from xoproxy.cache.query import Query, QueryError, parse_query
from xoproxy.cache.view import Visibility
from xoproxy.cache.window_query import parse_span
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PROXY_POOL, Key, PoolId
from xoproxy.sessions.codec import client_message
from xoproxy.sessions.compare import read_claim
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import (
    Auth,
    Call,
    Digests,
    Error,
    Expectation,
    Limits,
    MessageId,
    Ping,
    Pong,
    Result,
    Subscribe,
    Subscribed,
    Unsubscribe,
    ViewInfo,
    Welcome,
    WelcomeUser,
    Window,
)
from xoproxy.sessions.resume import NO_DOCUMENTS, ResumePositions


class User(Protocol):
    """Whom a session belongs to, and what he may."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    def visibility(self, pool: PoolId) -> Visibility | None:
        """Return his rights on a pool; None when it does not exist for him."""


@dataclass(frozen=True, slots=True)
class RunCall:
    """Run this on the pool if the user may, then tell the session how it ended."""

    id: MessageId
    pool: PoolId
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Check these credentials: they shall renew the present ones."""

    auth: Auth


Effect = RunCall | Authenticate


@dataclass(frozen=True, slots=True)
class _Subscription:
    query: Query
    follows_pools: bool


class Session:
    """A client's requests: subscriptions and calls.

    Args:
        number: names it in `welcome` and in logs.
        hub: where views live.
        client: where replies go.
        user: whose it is.
        limits: what it may use.
        server: our name and version.
    """

    __slots__ = (
        "_calls",
        "_hub",
        "_limits",
        "_server",
        "_subscriptions",
        "client",
        "number",
        "user",
    )

    def __init__(
        self, number: str, hub: Hub, client: Client, user: User, limits: Limits, server: str
    ) -> None:
        self.number = number
        self.user = user
        self.client = client
        self._hub = hub
        self._limits = limits
        self._server = server
        self._subscriptions: dict[MessageId, _Subscription] = {}
        self._calls: dict[MessageId, None] = {}

    def welcome(self) -> None:
        user = WelcomeUser(self.user.name, self.user.role)
        self.client.send(Welcome("xoproxy.v1", self._server, self.number, user, self._limits))

    def receive(self, message: dict[str, Any]) -> Effect | None:
        """Handle one decoded message; whatever is wrong with it is answered, not raised.

        What was on its way when we closed the connection is left undone.
        """
        if self.client.closed:
            return None
        try:
            return self._handle(message)
        except RequestRefused as refused:
            self.client.send(error_message(refused, message.get("id")))
            return None

    def call_ended(self, call: RunCall, result: Any) -> None:  # noqa: ANN401 - any JSON value
        self._calls.pop(call.id, None)
        self.client.send(Result(call.id, result))

    def call_failed(self, call: RunCall, refused: RequestRefused) -> None:
        self._calls.pop(call.id, None)
        self.client.send(error_message(refused, call.id))

    def renewed(self, user: User) -> None:
        """Go on under a new credential of the same user."""
        self.user = user
        self.welcome()

    def pool_added(self, pool: PoolId) -> None:
        """Show a pool, new for this user, to the subscriptions that asked for all pools."""
        if self.client.closed:
            return
        for id_, subscription in self._subscriptions.items():
            if not subscription.follows_pools or pool == PROXY_POOL:
                continue
            if subscription.query.window is not None:
                self._add_to_window(id_, pool)
                continue
            if self._hub.shows(self.client, id_, pool):
                continue
            views = self._join(id_, subscription.query, [pool])
            if views:
                self.client.send(Subscribed(id_, views))

    def rights_changed(self) -> None:
        """Judge everything by the rights that the user has now; from here on nothing else is sent.

        Views of pools that he may see no more end; those of pools that he may see now begin.
        """
        self._hub.rights_changed(self.client, self._rights)
        for pool in self._hub.pools:
            self.pool_added(pool)

    def _rights(self, pool: PoolId) -> Visibility | None:
        """Return the user's rights on a pool; None if it does not exist for him."""
        return self.user.visibility(pool) if pool in self._hub.pools else None

    def _handle(self, raw: dict[str, Any]) -> Effect | None:
        message = client_message(raw)
        match message:
            case Subscribe():
                self._subscribe(message)
            case Unsubscribe(id=id_):
                self._unsubscribe(id_)
            case Digests():
                self._compare(message)
            case Call():
                return self._call(message)
            case Ping(id=id_):
                self.client.send(Pong(id_))
            case Auth():
                return Authenticate(message)
            case Window():
                self._move_window(message)
            case _:
                assert_never(message)
        return None

    def _subscribe(self, message: Subscribe) -> None:
        self._check_id(message.id)
        if len(self._subscriptions) >= self._limits.subscriptions:
            raise RequestRefused(
                ErrorCode.LIMIT,
                f"a connection has at most {self._limits.subscriptions} subscriptions",
            )
        try:
            query = parse_query(message.query)
        except QueryError as error:
            raise _bad_query(error) from error
        pools = self._pools(query)
        resume = self._hub.resume_positions(message.resume)
        view_count = len(pools) if query.window is None else 1
        if len(self.client.members) + view_count > self._limits.views:
            raise RequestRefused(
                ErrorCode.LIMIT, f"a connection has at most {self._limits.views} views"
            )
        views = self._join(message.id, query, pools, resume)
        self._subscriptions[message.id] = _Subscription(query, query.pools is None)
        self.client.send(Subscribed(message.id, views))

    def _pools(self, query: Query) -> list[PoolId]:
        if query.pools is None:
            return [
                pool
                for pool in self._hub.pools
                if pool != PROXY_POOL and self.user.visibility(pool) is not None
            ]
        for pool in query.pools:
            self._visibility(pool)
        return list(dict.fromkeys(query.pools))

    def _visibility(self, pool: PoolId) -> Visibility:
        """Return the user's rights; a pool that is not there and one that he may not see alike."""
        visibility = self._rights(pool)
        if visibility is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {pool!r}")
        return visibility

    def _join(
        self,
        id_: MessageId,
        query: Query,
        pools: Sequence[PoolId],
        resume: ResumePositions = NO_DOCUMENTS,
    ) -> list[ViewInfo]:
        permitted = [
            (pool, visibility)
            for pool in pools
            if (visibility := self.user.visibility(pool)) is not None
        ]
        if query.window is not None:
            stores = [(self._hub.pools[pool], visibility) for pool, visibility in permitted]
            return [self._hub.windows.join(self.client, id_, query, stores)]
        return [
            self._hub.join(self.client, id_, query, pool, visibility, resume)
            for pool, visibility in permitted
        ]

    def _add_to_window(self, id_: MessageId, pool: PoolId) -> None:
        visibility = self.user.visibility(pool)
        if visibility is not None:
            self._hub.windows.add_pool(self.client, id_, self._hub.pools[pool], visibility)

    def _move_window(self, message: Window) -> None:
        subscription = self._subscriptions.get(message.id)
        if subscription is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no subscription {message.id!r}")
        if subscription.query.window is None:
            raise RequestRefused(
                ErrorCode.BAD_MESSAGE, f"subscription {message.id!r} shows everything: no window"
            )
        try:
            span = parse_span(message.window)
        except QueryError as error:
            raise _bad_query(error) from error
        self._hub.windows.move(self.client, message.id, span)

    def _unsubscribe(self, id_: MessageId) -> None:
        if self._subscriptions.pop(id_, None) is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no subscription {id_!r}")
        self._hub.leave(self.client, id_)
        self.client.send(Result(id_, None))

    def _compare(self, message: Digests) -> None:
        member = self.client.members.get(message.view)
        about = {"view": message.view}
        if member is None:
            text = f"there is no view {message.view}"
            raise RequestRefused(ErrorCode.NOT_FOUND, text, about)
        if not member.awaits_digests:
            text = f"nobody waits for digests of view {message.view}"
            raise RequestRefused(ErrorCode.BAD_MESSAGE, text, about)
        try:
            claim = read_claim(message)
        except RequestRefused:
            self._hub.begin_again(member, "bad_digests")
            raise
        self._hub.compare(member, claim)

    def _call(self, message: Call) -> RunCall:
        self._check_id(message.id)
        pool = PoolId(message.pool)
        self._visibility(pool)
        if len(self._calls) >= self._limits.calls:
            raise RequestRefused(
                ErrorCode.BUSY, f"a connection has at most {self._limits.calls} calls at once"
            )
        for expectation in message.expect:
            self._check_unchanged(expectation)
        self._calls[message.id] = None
        return RunCall(message.id, pool, message.method, message.params)

    def _check_id(self, id_: MessageId) -> None:
        if id_ in self._subscriptions or id_ in self._calls:
            raise RequestRefused(ErrorCode.ID_IN_USE, f"id {id_!r} is in use on this connection")

    def _check_unchanged(self, expectation: Expectation) -> None:
        member = self.client.members.get(expectation.view)
        if member is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no view {expectation.view}")
        # As it shall be shown from now on, be it that the client was not told yet.
        group = member.target or member.group
        if group.has_changed(Key(expectation.key), expectation.seq):
            raise RequestRefused(
                ErrorCode.CONFLICT, f"object {expectation.key!r} has changed since it was shown"
            )


def _bad_query(error: QueryError) -> RequestRefused:
    return RequestRefused(ErrorCode.BAD_QUERY, error.message, error.data)


def error_message(refused: RequestRefused, id_: object = UNSET) -> Error:
    """Say on the wire why a request was refused, naming it if it had a usable id."""
    usable = id_ if isinstance(id_, int | str) and not isinstance(id_, bool) else UNSET
    data = UNSET if refused.data is None else refused.data
    return Error(refused.code, refused.message, refused.code.retry, usable, data)

"""A connection to a running proxy, and following it over all that happens to connections.

`connect` is one WebSocket: messages out, messages in. `Follower` keeps a `Replica` up to date for
as long as it runs: it reconnects with jittered backoff and resumes where it stood. It gives up only
when going on makes no sense (wrong credentials) or when it never got through at all.
"""

import asyncio
import json
import os
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, Protocol

import aiohttp
import msgpack

from xoproxy import __version__
from xoproxy.cli.access import Access
from xoproxy.cli.replica import Message, Operation, Replica, ReplicaFault, ViewReplica
from xoproxy.errors import CloseCode, XoproxyError

_CONNECT_S = 10.0
_HEARTBEAT_S = 25.0
_BACKOFF_MIN_S = 1.0
_BACKOFF_MAX_S = 30.0
_RESTART_SPREAD_S = 5.0
_STABLE_S = 10.0
"""A connection that lasted longer was a good one: the next failure is a first one again."""
_WINDOW_BITS = 15
_WELCOME = "welcome"
_FAULT = 4000
"""Close code by which we leave when the proxy broke its promises: a private one, for its logs."""

Subprotocol = str
JSON: Subprotocol = "xoproxy.v1.json"
MSGPACK: Subprotocol = "xoproxy.v1.msgpack"


class LiveError(XoproxyError):
    """Following the proxy came to its end; the text says why, in one line."""


class ProxyUnreachable(LiveError):  # noqa: N818 - reads as what happened
    """Nobody answers there."""


class NotSignedIn(LiveError):  # noqa: N818
    """The proxy does not take the credentials, or no longer."""


class Disconnected(LiveError):  # noqa: N818
    """The connection ended.

    Args:
        reason: for a person.
        code: the close code; None when the connection broke without one.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Connection:
    """One open WebSocket, not yet signed in."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.received_bytes = 0
        """Size of all messages so far, after inflation."""
        self._pending: deque[Message] = deque()
        self.deflate = bool(socket.compress)
        self.subprotocol = socket.protocol

    async def send(self, message: Mapping[str, Any]) -> None:
        try:
            if self.subprotocol == MSGPACK:
                await self._socket.send_bytes(msgpack.packb(message))
            else:
                await self._socket.send_str(json.dumps(message))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Disconnected("the connection broke") from error

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            Disconnected: there are no more.
        """
        while not self._pending:
            decoded = await self._receive_frame()
            self._pending.extend(decoded if isinstance(decoded, list) else [decoded])
        return self._pending.popleft()

    async def _receive_frame(self) -> Any:  # noqa: ANN401 - what the frame holds
        frame = await self._socket.receive()
        match frame.type:
            case aiohttp.WSMsgType.TEXT:
                # the length of ASCII text is its size; what it is off by otherwise does not matter
                self.received_bytes += len(frame.data)
                return json.loads(frame.data)
            case aiohttp.WSMsgType.BINARY:
                self.received_bytes += len(frame.data)
                return msgpack.unpackb(frame.data)
            case aiohttp.WSMsgType.CLOSE:
                reason = frame.extra or "the proxy closed the connection"
                raise Disconnected(reason, self._socket.close_code)
            case _:
                raise Disconnected("the connection broke")

    async def sign_in(self, credentials: Mapping[str, str]) -> Message:
        """Authenticate and return `welcome`.

        Raises:
            NotSignedIn: the proxy says no.
        """
        await self.send({"type": "auth", **credentials})
        message = await self.receive()
        if message["type"] == _WELCOME:
            return message
        if message["type"] != "error":
            raise Disconnected("the answer to signing in is none of protocol v1")
        if message["retry"]:
            raise Disconnected(message["message"])
        raise NotSignedIn(message["message"])

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code=code)


@asynccontextmanager
async def connect(url: str, subprotocol: Subprotocol = JSON) -> AsyncIterator[Connection]:
    """Open a WebSocket to `url` (ws://.../ws), offering compression.

    Raises:
        ProxyUnreachable: nobody answers, or somebody else does.
    """
    agent = {"User-Agent": f"xoproxy/{__version__}"}
    async with aiohttp.ClientSession(headers=agent) as session:
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await session.ws_connect(
                    url,
                    protocols=[subprotocol],
                    compress=_WINDOW_BITS,
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=0,
                )
        except aiohttp.WSServerHandshakeError as error:
            text = f"{url} answers HTTP {error.status}: that is no xoproxy"
            raise ProxyUnreachable(text) from error
        except TimeoutError as error:
            raise ProxyUnreachable(f"cannot reach {url}: no answer in {_CONNECT_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ProxyUnreachable(f"cannot reach {url}: {_cause(error)}") from error
        async with socket:
            if socket.protocol != subprotocol:
                raise ProxyUnreachable(f"{url} does not speak {subprotocol}")
            yield Connection(socket)


def _cause(error: BaseException) -> str:
    """Word a connection failure in a few words, without aiohttp's."""
    cause = getattr(error, "certificate_error", getattr(error, "os_error", error))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno).lower()  # its own text repeats the address
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()  # of name resolution, whose numbers are its own
    return str(error) or type(error).__name__


class Observer(Protocol):
    """Is told what happens; must return at once."""

    def received(
        self, message: Message, view: ViewReplica | None, operations: Sequence[Operation]
    ) -> None:
        """A message came, and the replica has taken it."""

    def connected(self, connection: Connection) -> None:
        """We are signed in."""

    def waiting(self, reason: str, delay_s: float) -> None:
        """The connection is gone; the next attempt is after `delay_s`."""


class Follower:
    """Follows a proxy: subscribes, keeps the replica, reconnects, resumes.

    Args:
        access: where and who.
        subscriptions: id -> query; all are asked for on every connection.
        observer: is told.
        replica: is kept up to date.
        subprotocol: JSON or MSGPACK.
        spread: the random number in [0, 1) that reconnections are spread by.
    """

    def __init__(
        self,
        access: Access,
        subscriptions: Mapping[int, Mapping[str, Any]],
        observer: Observer,
        replica: Replica,
        subprotocol: Subprotocol = JSON,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._replica = replica
        self._access = access
        self._subscriptions = subscriptions
        self._observer = observer
        self._subprotocol = subprotocol
        self._spread = spread
        self._been_connected = False
        self._attempts = 0

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            NotSignedIn, ProxyUnreachable, LiveError, ConfigError: going on makes no sense.
        """
        url = self._access.websocket_url
        now = asyncio.get_running_loop().time
        while True:
            started_s = now()
            try:
                await self._follow(connect(url, self._subprotocol))
            except (Disconnected, ProxyUnreachable, ReplicaFault) as error:
                code = self._check_worth_retrying(error)
                reason = str(error)
            self._replica.disconnected()
            if now() - started_s > _STABLE_S:
                self._attempts = 0
            delay_s = self._delay_s(code)
            self._observer.waiting(reason, delay_s)
            await asyncio.sleep(delay_s)

    async def _follow(self, connecting: AbstractAsyncContextManager[Connection]) -> NoReturn:
        async with connecting as connection:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    welcome = await connection.sign_in(self._access.credentials)
            except TimeoutError as error:
                raise Disconnected("no answer to signing in") from error
            self._been_connected = True
            self._observer.connected(connection)
            self._observer.received(welcome, None, ())
            for id_, query in self._subscriptions.items():
                await connection.send(self._replica.subscription(id_, query))
            while True:
                message = await connection.receive()
                try:
                    taken = self._replica.receive(message)
                except ReplicaFault:
                    await connection.close(_FAULT)
                    raise
                self._observer.received(message, *taken)

    def _check_worth_retrying(self, error: XoproxyError) -> int | None:
        """Return the close code, if there is one; raise when another attempt would end alike."""
        if isinstance(error, ProxyUnreachable) and not self._been_connected:
            raise error
        code = error.code if isinstance(error, Disconnected) else None
        if code in {CloseCode.CREDENTIAL_REVOKED, CloseCode.UNAUTHORISED}:
            raise NotSignedIn(f"the proxy no longer takes the credentials: {error}") from error
        if code == CloseCode.PROTOCOL_ERROR:
            raise LiveError(f"the proxy does not understand this client: {error}") from error
        return code

    def _delay_s(self, code: int | None) -> float:
        """Say how long to wait: longer each time, and never in step with other clients."""
        if code == CloseCode.RESTARTING and self._attempts == 0:
            self._attempts = 1
            return self._spread() * _RESTART_SPREAD_S
        longest: float = min(_BACKOFF_MIN_S * 2**self._attempts, _BACKOFF_MAX_S)
        self._attempts = min(self._attempts + 1, 10)
        return longest * (0.5 + self._spread() / 2)

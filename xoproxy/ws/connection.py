"""One WebSocket connection: authentication, messages in, effects carried out, close.

The reader is the handler; there is no writer task. Calls run in the connection's own task group, so
they end with it. While a client does not take our replies, nothing more is read from it.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from aiohttp import WSMessage, WSMsgType, web
from msgspec import UNSET

from xoproxy import __version__
from xoproxy.auth import Rights
from xoproxy.errors import (
    CloseCode,
    ErrorCode,
    PoolError,
    ProtocolError,
    RequestRefused,
    Unauthorized,
    XapiFailure,
)
from xoproxy.model import PoolId
from xoproxy.sessions.codec import Codec, client_message
from xoproxy.sessions.frame import Framing
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import Auth, Limits
from xoproxy.sessions.session import Authenticate, Effect, RunCall, Session, User, error_message
from xoproxy.ws.frames import pong_frame
from xoproxy.ws.transport import Endings, SocketOutlet, take_over
from xoproxy.ws.upgrade import Shown, deflates

_log = structlog.get_logger(__name__)

_SERVER = f"xoproxy/{__version__}"


class Authenticator(Protocol):
    """Checks credentials; raises `Unauthorized` with a text for the client."""

    async def by_password(
        self, username: str, password: str, otp: str | None, remote: str
    ) -> "Principal": ...

    async def by_token(self, token: str, remote: str) -> "Principal": ...

    async def by_cookie(self, secret: str, remote: str) -> "Principal": ...


class Principal(User, Protocol):
    """A user and the credential by which he came."""

    @property
    def account_id(self) -> str:
        """Of the user's account."""

    @property
    def rights(self) -> Rights:
        """What he may, as it is now."""

    @property
    def credential(self) -> str:
        """Names the credential, so that its use can be noted; not a secret."""

    @property
    def peer(self) -> str:
        """The address that he came from."""

    def depends_on(self, credential: str) -> bool:
        """Whether the revocation of a credential closes what he opened."""

    @property
    def expires_at_s(self) -> float | None:
        """When the credential ends by itself, in seconds since 1970."""


class Caller(Protocol):
    """Runs clients' XAPI calls; `app/commands.py` fits it."""

    async def call(
        self, principal: Principal, pool: PoolId, method: str, params: Mapping[str, Any]
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run a call to its end, if the user may, and return what he may see of its result.

        Raises:
            RequestRefused, PoolError: it was not run, or it failed.
        """


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection and of all together, in the unit that the name says."""

    message: Limits = field(default_factory=Limits)
    sessions: int = 10_000
    auth_timeout_s: float = 10.0
    notsent_bytes: int = 16_384


@dataclass(frozen=True, slots=True)
class ConnectionServices:
    """What all connections use.

    Args:
        hub: where views live.
        authenticator: checks credentials.
        caller: runs raw calls.
        framing: builds frames.
        limits: bounds.
        endings: ends connections.
    """

    hub: Hub
    authenticator: Authenticator
    caller: Caller
    framing: Framing
    limits: ConnectionLimits
    endings: Endings = field(default_factory=Endings)


class Connection:
    """One live connection; the pulse looks at its public fields."""

    __slots__ = (
        "_calls",
        "_drained",
        "_services",
        "_ws",
        "client",
        "codec",
        "heard_at_s",
        "outlet",
        "ping_due_s",
        "pinged_at_s",
        "principal",
        "progress",
        "session",
    )

    def __init__(
        self, services: ConnectionServices, ws: web.WebSocketResponse, codec: Codec
    ) -> None:
        self._services = services
        self.codec = codec
        self.principal: Principal | None = None
        self.session: Session | None = None
        self.outlet: SocketOutlet
        self.client: Client
        self.heard_at_s = time.monotonic()
        """When bytes last came from the client."""
        self.pinged_at_s: float | None = None
        self.ping_due_s = 0.0
        self.progress: tuple[tuple[int, int], float] | None = None
        """What waited to be sent when the pulse last saw it change, and when that was."""
        self._ws = ws
        self._calls: dict[asyncio.Task[None], None] = {}
        self._drained: asyncio.Event | None = None

    def open(self, request: web.Request) -> None:
        """Take over the transport of an upgraded request."""
        services = self._services
        self.outlet = take_over(request, self, services.endings, services.limits.notsent_bytes)
        deflate = deflates(self._ws)
        self.client = Client(self.outlet, self.codec, services.framing, deflate=deflate)

    def pause(self) -> None:
        self.client.pause()

    def resume(self) -> None:
        self._services.hub.drained(self.client)
        if self._drained is not None:
            self._drained.set()

    def lost(self) -> None:
        self._services.hub.disconnected(self.client)
        if self._drained is not None:
            self._drained.set()

    async def _until_drained(self) -> None:
        """Wait until the client has taken what we wrote so far.

        Not longer: behind it, the next piece of a snapshot may fill its socket again at once.
        """
        if self.client.paused and not self.client.closed:
            if self._drained is None:  # few connections ever need one
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    async def run(self, shown: Shown, remote: str) -> None:
        """Serve the connection from after the upgrade to its end."""
        try:
            self.principal = await self._authenticate(shown, remote)
        except TimeoutError:
            self._refuse(Unauthorized("authenticate within 10 s of connecting"))
        except Unauthorized as error:
            self._refuse(error)
        except RequestRefused as refused:
            self.client.send(error_message(refused))
            self.client.close(CloseCode.TOO_MANY_SESSIONS, "too many sign-ins: try later")
        except ProtocolError as error:
            self.client.close(CloseCode.PROTOCOL_ERROR, str(error))
        if self.principal is None:
            await self._await_close()
            return
        number = secrets.token_hex(8)
        self.session = Session(
            number,
            self._services.hub,
            self.client,
            self.principal,
            self._services.limits.message,
            _SERVER,
        )
        self.session.welcome()
        structlog.contextvars.bind_contextvars(session=number)  # the task's own, and ends with it
        _log.info("session opened", user=self.principal.name, remote=remote)
        await self._serve(self.session, remote)
        _log.info("session closed", code=self._ws.close_code)

    async def turn_away(self, retry_after_s: float) -> None:
        """Say that there is no room, and when there may be."""
        text = "the proxy has no room for another session now"
        busy = RequestRefused(ErrorCode.BUSY, text, {"retry_after_s": retry_after_s})
        self.client.send(error_message(busy))
        self.client.close(CloseCode.TOO_MANY_SESSIONS, "too many sessions: try later")
        await self._await_close()

    async def _serve(self, session: Session, remote: str) -> None:
        async with asyncio.TaskGroup() as calls:
            while (frame := await self._receive()) is not None:
                try:
                    effect = self._handle(session, frame)
                except ProtocolError as error:
                    self.client.close(CloseCode.PROTOCOL_ERROR, str(error))
                    break
                if effect is not None:
                    await self._carry_out(session, effect, remote, calls)
                # A client that asks without taking the answers is not read from meanwhile: the
                # answers in our buffer stay bounded by what one message can cause.
                await self._until_drained()
            await self._await_close()
            for task in self._calls:
                task.cancel()

    def _handle(self, session: Session, frame: bytes | str) -> Effect | None:
        limit = self._services.limits.message.message_bytes
        if len(frame) > limit:
            text = f"a message has at most {limit} bytes"
            self.client.send(error_message(RequestRefused(ErrorCode.TOO_LARGE, text)))
            return None
        return session.receive(self.codec.decode(frame))

    async def _carry_out(
        self, session: Session, effect: Effect, remote: str, calls: asyncio.TaskGroup
    ) -> None:
        match effect:
            case RunCall():
                task = calls.create_task(self._run_call(session, effect), name="client-call")
                self._calls[task] = None
                task.add_done_callback(self._calls.pop)
            case Authenticate(auth):
                await self._renew(session, auth, remote)

    async def _run_call(self, session: Session, call: RunCall) -> None:
        assert self.principal is not None  # noqa: S101 - there is no session of nobody
        run = self._services.caller.call
        try:
            result = await run(self.principal, call.pool, call.method, call.params)
        except RequestRefused as refused:
            session.call_failed(call, refused)
        except XapiFailure as failure:
            data = [failure.code, *failure.params]
            text = f"the pool refused {call.method}: {failure.code}"
            session.call_failed(call, RequestRefused(ErrorCode.XAPI_FAILURE, text, data))
        except PoolError as error:
            session.call_failed(call, RequestRefused(ErrorCode.POOL_UNAVAILABLE, str(error)))
        except Exception:  # noqa: BLE001 - a fault of ours ends the call only
            _log.exception("call failed", method=call.method)
            text = "an internal fault, recorded in the proxy's log"
            session.call_failed(call, RequestRefused(ErrorCode.INTERNAL, text))
        else:
            session.call_ended(call, result)

    async def _renew(self, session: Session, auth: Auth, remote: str) -> None:
        try:
            principal = await self._check(auth, remote)
            if principal.name != session.user.name:
                raise Unauthorized("a connection cannot change its user: open another one")  # noqa: TRY301
        except Unauthorized as error:
            self._refuse(error)
        except RequestRefused as refused:
            self.client.send(error_message(refused))
        else:
            self.principal = principal
            session.renewed(principal)

    async def _authenticate(self, shown: Shown, remote: str) -> Principal:
        if shown.bearer is not None:
            return await self._services.authenticator.by_token(shown.bearer, remote)
        if shown.cookie is not None:
            return await self._services.authenticator.by_cookie(shown.cookie, remote)
        for last in (False, True):
            # The time is the client's, not ours: when thousands come back at once, the last one
            # whose token we look up must not be sent away, to come back yet again.
            async with asyncio.timeout(self._services.limits.auth_timeout_s):
                frame = await self._receive()
            if frame is None:
                raise Unauthorized("the connection ended before authentication")
            message = self.codec.decode(frame)
            if message.get("type") != "auth":
                raise ProtocolError("the first message must be `auth`")
            try:
                checked = client_message(message)
            except RequestRefused as error:
                raise ProtocolError(str(error)) from error
            try:
                return await self._check(checked, remote)
            except Unauthorized as error:
                if error.code is not ErrorCode.OTP_REQUIRED or last:
                    raise
                self.client.send(error_message(RequestRefused(error.code, str(error))))
        raise AssertionError("unreachable")

    async def _check(self, auth: object, remote: str) -> Principal:
        if not isinstance(auth, Auth):
            raise ProtocolError("the first message must be `auth`")
        authenticator = self._services.authenticator
        if auth.token is not UNSET:
            return await authenticator.by_token(auth.token, remote)
        if auth.username is UNSET or auth.password is UNSET:
            raise Unauthorized("give a token, or a username and a password")
        otp = None if auth.otp is UNSET else auth.otp
        return await authenticator.by_password(auth.username, auth.password, otp, remote)

    def _refuse(self, error: Unauthorized) -> None:
        self.client.send(error_message(RequestRefused(error.code, str(error))))
        self.client.close(CloseCode.UNAUTHORISED, "unauthorised")

    async def _receive(self) -> bytes | str | None:
        """Return the next data frame; None when the connection ends."""
        while True:
            message: WSMessage = await self._ws.receive()
            self.heard_at_s = time.monotonic()
            self.pinged_at_s = None
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    data: bytes | str = message.data
                    return data
                case WSMsgType.PING:
                    if not self.client.closed:  # it may be gone since it sent that
                        self.outlet.write(pong_frame(bytes(message.data)))
                    await self._until_drained()
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    self.outlet.answer_close()
                    return None
                case _:
                    return None

    async def _await_close(self) -> None:
        """Let the peer read our close frame; the outlet aborts the connection after 5 s."""
        if self.outlet.closing:
            while await self._receive() is not None:
                pass

"""The adapter that speaks JSON-RPC 2.0 to XAPI: the session, the coordinator, etiquette.

How a request gets there is a carrier's affair (carrier.py, xmlrpc.py). XAPI refuses bodies of
300 KiB and more, so they are measured before they go; and it serves a bounded number of requests
at once, so a pool gets eight calls and the long poll.

Texts of the errors raised here reach clients: they name no address and no credential; the cause
that hangs on them, for the log, may.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import msgspec
from yarl import URL

from xoproxy.errors import (
    ConfigError,
    ErrorCode,
    PoolAuthFailed,
    PoolError,
    PoolUnreachable,
    RequestRefused,
    XapiFailure,
)
from xoproxy.model import Ref, XapiClass
from xoproxy.pool import replies
from xoproxy.pool.carrier import Carrier, HttpCarrier
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.coordinator import Answer, find, reachable, with_addresses
from xoproxy.pool.legacy_events import SILENCE_S, LegacyEvents
from xoproxy.pool.replies import EventReply
from xoproxy.pool.slices import GREAT_BYTES, Turns, in_slices
from xoproxy.pool.trust import Trust
from xoproxy.pool.undoing import undone_if_cancelled

T = TypeVar("T")
E = TypeVar("E", bound=replies.Envelope)

BODY_LIMIT_BYTES = 300 << 10
_BUSY = "TOO_MANY_PENDING_TASKS"
_BUSY_ATTEMPTS = 6
_BUSY_DELAY_S = 0.25
_API_VERSION = "1.1"
_CREDENTIALS = 2
_HEAD_START_S = 0.5
"""What the host that we come from gets to know our session, before others are asked."""
_AUTH_CODES = frozenset({"SESSION_AUTHENTICATION_FAILED", "SESSION_AUTHORIZATION_FAILED"})


def endpoint(url: str) -> URL:
    """Read a pool's URL as the operator wrote it.

    Raises:
        ConfigError: it is not scheme, host and perhaps port; the text does not repeat the URL,
            for it might hold a password.
    """
    try:
        parsed = URL(url if "://" in url else f"https://{url}")
        good = parsed.scheme in {"http", "https"} and parsed.host and parsed.port
    except ValueError:
        raise ConfigError(
            "the pool's URL is not one: write https://HOST or https://HOST:PORT"
        ) from None
    if parsed.user or parsed.password:
        raise ConfigError("the pool's URL holds a user or password: give them apart from it")
    if not good or parsed.path.strip("/") or parsed.query_string or parsed.fragment:
        raise ConfigError("the pool's URL must be like https://HOST or https://HOST:PORT, no more")
    return parsed.origin()


def trust_of(config: PoolConfig) -> Trust:
    """Say what the hosts of a pool must show."""
    return Trust(config.pins, config.ca_path)


class _Request(NamedTuple):
    id: int
    body: bytes


class JsonRpcClient:
    """One pool's `XapiClient`; to be entered before use.

    Args:
        config: where and who.
        settings: time-outs and bounds.
        originator: how XAPI groups our sessions; stable, so that leaked ones of an earlier run
            count against us and not against others.
        carrier: brings requests to the pool; by default over HTTP.
        turns: shared with other pools.
    """

    def __init__(
        self,
        config: PoolConfig,
        settings: LinkSettings,
        originator: str = "xoproxy",
        carrier: Carrier | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._originator = originator
        self._home = endpoint(config.url)
        self._url = self._home
        self._carrier = carrier or HttpCarrier(settings, trust_of(config))
        self._turns = turns or Turns()
        self._session = ""
        self._reached: list[URL] = []
        """The hosts that accepted connections the last time, the likeliest first."""
        self._spoilt: list[tuple[URL, str]] = []
        """Sessions that must not be used any more, and where they are; a few at most."""
        self._legacy: LegacyEvents | None = None
        """Where the events of this session come from when it has no `event.from`."""
        self._slots = asyncio.Semaphore(settings.calls)
        self._last_id = 0

    async def __aenter__(self) -> Self:
        await self._carrier.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._carrier.__aexit__(kind, error, trace)

    @property
    def url(self) -> URL:
        """Where the coordinator is, as far as we know."""
        return self._url

    async def reach(self, members: Sequence[str]) -> None:
        """Find out which hosts accept connections; see the port.

        The addresses that XAPI names have no port: scheme and port stay the configured ones.
        """
        self._carrier.forget()
        known = [self._url, self._home, *with_addresses(self._home, members)]
        self._reached = await reachable(known, self._settings.connect_timeout_s)

    async def login(self, uuid: str = "") -> bool:
        """Have a session on the coordinator; see the port."""
        known = self._reached or [self._home]
        if self._url in known and await self._quickly_still_in():
            return True
        best, *others = await find(known, lambda url: self._enter(url, uuid))
        same = best.session == self._session
        self._url, self._session = best.url, best.session
        if not same:
            self._legacy = None
        while self._spoilt:
            await self._leave(*self._spoilt.pop())
        for claim in others:  # it was the coordinator once, and does not know better yet
            await self._leave(claim.url, claim.session)
        return same

    async def _enter(self, url: URL, uuid: str) -> Answer:
        """Ask a host to let us in, or whether we still are."""
        try:
            if self._session and url == self._url and await self._still_in():
                return Answer(None, self._session)
            session = await undone_if_cancelled(
                lambda: self._open_session(url),
                lambda session: self._leave(url, session),
                self._settings.logout_timeout_s,
            )
        except XapiFailure as failure:
            if failure.code in _AUTH_CODES:
                raise PoolAuthFailed(failure.code) from failure
            if failure.code == "HOST_IS_SLAVE" and failure.params:
                return Answer(failure.params[0])
            raise
        try:
            await self._require_pool(url, session, uuid)
        except PoolError:
            await self._leave(url, session)
            raise
        return Answer(None, session)

    async def _quickly_still_in(self) -> bool:
        """Look whether a mere interruption is over, before everybody is asked to let us in."""
        if not self._session:
            return False
        try:
            async with asyncio.timeout(_HEAD_START_S):
                return await self._still_in()
        except (PoolError, TimeoutError):
            return False

    async def _still_in(self) -> bool:
        """Tell whether our session is good; only a coordinator says so."""
        try:
            await self._request("pool.get_all", [self._session], self._url, self._patience_s)
        except XapiFailure as failure:
            if failure.code != "SESSION_INVALID":
                raise
            return False
        return True

    async def _open_session(self, url: URL) -> str:
        params = [self._config.username, self._config.password, _API_VERSION, self._originator]
        while True:  # old pools know no originator, the oldest no version
            try:
                result = await self._request("session.login_with_password", params, url)
            except XapiFailure as failure:
                too_many = failure.code == "MESSAGE_PARAMETER_COUNT_MISMATCH"
                if not too_many or len(params) <= _CREDENTIALS:
                    raise
                params.pop()
                continue
            session = replies.json_value(result)
            if not isinstance(session, str):
                raise PoolUnreachable("The answer is not XAPI's.", "NOT_XAPI")
            return session

    async def _require_pool(self, url: URL, session: str, uuid: str) -> None:
        """Refuse another pool than ours: an address may have been given to it."""
        if not uuid:
            return
        found = await self._request("pool.get_all_records", [session], url)
        if uuid not in replies.uuids(found):
            raise PoolUnreachable("Another pool answers at this pool's address.", "WRONG_POOL")

    @property
    def _patience_s(self) -> float:
        """How long a host may take for a trifle, a new connection included."""
        return self._settings.connect_timeout_s + self._settings.event_slack_s

    async def logout(self) -> None:
        session, self._session = self._session, ""
        if session:
            await self._leave(self._url, session)
        while self._spoilt:
            await self._leave(*self._spoilt.pop())

    async def _leave(self, url: URL, session: str) -> None:
        try:
            async with asyncio.timeout(self._settings.logout_timeout_s):
                await self._request("session.logout", [session], url)
        except (PoolUnreachable, XapiFailure, TimeoutError):
            pass  # gone or unreachable: XAPI forgets idle sessions by itself

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        if not method.startswith("system."):
            params = [self._session, *params]
        return await self._request(method, params)

    @property
    def silence_s(self) -> float:
        """How long `events` waits at most when there is no news; see the port."""
        settings = self._settings
        if self._legacy is not None:
            return SILENCE_S + settings.event_slack_s
        return max(settings.event_timeout_s, settings.connect_timeout_s) + settings.event_slack_s

    async def events(
        self, classes: Sequence[XapiClass], token: str, timeout_s: float
    ) -> EventReply:
        if self._legacy is not None:
            return await self._legacy.events(classes, token)
        params = [self._session, classes, token, float(timeout_s)]
        settings = self._settings
        # a short wait may need a new connection first
        patience_s = max(timeout_s, settings.connect_timeout_s) + settings.event_slack_s
        if not token:  # the whole pool: XAPI answers at once, but it takes its time to print it
            patience_s = max(patience_s, settings.request_timeout_s)
        request = self._encode("event.from", params)
        reply = await self._patiently(replies.EVENTS, request, patience_s, nullcontext())
        try:
            return _result(reply.result, reply.error)
        except XapiFailure as failure:
            if failure.code != "MESSAGE_METHOD_UNKNOWN":
                raise
        self._legacy = LegacyEvents(self)
        return await self._legacy.events(classes, token)

    async def next_events(self) -> list[replies.Event]:
        """Wait for `event.next` (pools without `event.from`)."""
        patience_s = SILENCE_S + self._settings.event_slack_s
        request = self._encode("event.next", [self._session])
        try:
            reply = await self._patiently(replies.NEXT, request, patience_s, nullcontext())
        except PoolUnreachable:
            # XAPI may still be waiting for us there, and would give it the next events: concurrent
            # calls of one session share its queue. So that session is at its end.
            self._spoilt.append((self._url, self._session))
            self._session = ""
            raise
        return _result(reply.result, reply.error)

    async def records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        request = self._encode(f"{cls}.get_all_records", [self._session])
        reply = await self._call(replies.RECORDS, request)
        return _result(reply.result, reply.error)

    async def _request(
        self,
        method: str,
        params: Sequence[object],
        url: URL | None = None,
        patience_s: float | None = None,
    ) -> msgspec.Raw:
        reply = await self._call(replies.RAW, self._encode(method, params), url, patience_s)
        return _result(reply.result if _given(reply.result) else None, reply.error)

    async def _call(
        self,
        decoder: replies.Decoder[E],
        request: _Request,
        url: URL | None = None,
        patience_s: float | None = None,
    ) -> E:
        patience_s = patience_s or self._settings.request_timeout_s
        return await self._patiently(decoder, request, patience_s, self._slots, url)

    async def _patiently(
        self,
        decoder: replies.Decoder[E],
        request: _Request,
        patience_s: float,
        slots: AbstractAsyncContextManager[None],
        url: URL | None = None,
    ) -> E:
        """Exchange, and try again a few times while XAPI is too busy."""
        url = url or self._url
        delay_s = _BUSY_DELAY_S
        for _ in range(_BUSY_ATTEMPTS - 1):
            async with slots:
                reply = await self._exchange(decoder, request, patience_s, url)
            if not _given(reply.error) or replies.failure(reply.error).code != _BUSY:
                return reply
            await asyncio.sleep(random.uniform(delay_s / 2, delay_s))  # noqa: S311 - jitter
            delay_s *= 2
        async with slots:
            return await self._exchange(decoder, request, patience_s, url)

    def _encode(self, method: str, params: Sequence[object]) -> _Request:
        self._last_id += 1
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "method": method, "params": params, "id": self._last_id}
        )
        if len(body) >= BODY_LIMIT_BYTES:
            raise RequestRefused(
                ErrorCode.TOO_LARGE,
                f"{method} is {len(body) >> 10} KiB long; XAPI takes less than 300 KiB",
            )
        return _Request(self._last_id, body)

    async def _exchange(
        self, decoder: replies.Decoder[E], request: _Request, patience_s: float, url: URL
    ) -> E:
        try:
            async with asyncio.timeout(patience_s) as patience:
                parts = await self._carrier.post(url, request.body, patience)
        except TimeoutError as error:
            message = "The pool did not answer in time."
            raise PoolUnreachable(message, "TIMEOUT") from error
        async with self._turns.of(great=sum(map(len, parts)) > GREAT_BYTES):
            reply = await in_slices(replies.scan(decoder, parts))
        if not _answers(reply, request):
            raise PoolUnreachable("The answer is one to another call.", "NOT_XAPI")
        return reply


def _answers(reply: replies.Envelope, request: _Request) -> bool:
    """Tell whether a reply is the one to a request.

    Errors from before dispatch come with id 0; what comes by XML-RPC has none.
    """
    return reply.id in {None, request.id} or (reply.id == 0 and _given(reply.error))


def _given(raw: msgspec.Raw) -> bool:
    """Tell whether a member stood in the reply; JSON-RPC 1.0 writes null for the absent one."""
    return bool(raw) and raw != _NULL


_NULL = msgspec.Raw(b"null")


def _result(result: T | None, error: msgspec.Raw) -> T:
    if _given(error):
        raise replies.failure(error)
    if result is None:
        raise PoolUnreachable("The answer is not XAPI's.", "NOT_XAPI")
    return result

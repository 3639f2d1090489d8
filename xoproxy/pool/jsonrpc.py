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
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from types import TracebackType
from typing import Self, TypeVar

import msgspec
from yarl import URL

from xoproxy.errors import (
    ConfigError,
    ErrorCode,
    PoolAuthFailed,
    PoolUnreachable,
    RequestRefused,
    XapiFailure,
)
from xoproxy.model import XapiClass
from xoproxy.pool import replies
from xoproxy.pool.carrier import Carrier, HttpCarrier
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.coordinator import Answer, find, with_address
from xoproxy.pool.legacy_events import SILENCE_S, LegacyEvents
from xoproxy.pool.replies import EventReply
from xoproxy.pool.slices import in_slices
from xoproxy.pool.trust import Trust

T = TypeVar("T")
E = TypeVar("E", bound=replies.Envelope)

BODY_LIMIT_BYTES = 300 << 10
_NO_SESSION = "OpaqueRef:NULL"
_BUSY = "TOO_MANY_PENDING_TASKS"
_BUSY_ATTEMPTS = 6
_BUSY_DELAY_S = 0.25
_API_VERSION = "1.1"
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
    pins = dict(config.pins)
    if config.fingerprint:
        pins.setdefault(endpoint(config.url).host or "", config.fingerprint)
    return Trust(pins, config.ca_path)


class JsonRpcClient:
    """One pool's `XapiClient`; to be entered before use.

    Args:
        config: where and who.
        settings: time-outs and bounds.
        originator: how XAPI groups our sessions; stable, so that leaked ones of an earlier run
            count against us and not against others.
        carrier: brings requests to the pool; by default over HTTP.

    Attributes:
        trust: whose certificates are good.
    """

    def __init__(
        self,
        config: PoolConfig,
        settings: LinkSettings,
        originator: str = "xoproxy",
        carrier: Carrier | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._originator = originator
        self._home = endpoint(config.url)
        self._url = self._home
        self._carrier = carrier or HttpCarrier(settings, trust_of(config))
        self._session = ""
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

    async def locate(self, members: Sequence[str]) -> bool:
        """Find the coordinator; see the port.

        The addresses that XAPI names have no port: scheme and port stay the configured ones.
        """
        self._carrier.forget()
        known = [self._url, self._home]
        for address in members:
            with suppress(PoolUnreachable):  # what is no address cannot be asked
                known.append(with_address(self._home, address))
        found = await find(known, self._ask)
        same = found == self._url
        self._url = found
        return same

    async def _ask(self, url: URL) -> Answer:
        """Ask a host for its role by a call that needs a session, without having one."""
        body = self._encode("pool.get_all", [_NO_SESSION])
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s) as patience:
                data = await self._carrier.post(url, body, patience)
        except TimeoutError as error:
            raise _too_late() from error
        reply = await in_slices(replies.scan(replies.RAW, data))
        if not _given(reply.error):
            raise PoolUnreachable("The answer is not XAPI's.", "NOT_XAPI")
        failure = replies.failure(reply.error)
        match failure.code, failure.params:
            case "SESSION_INVALID", _:
                return Answer(None)
            case "HOST_IS_SLAVE", (address, *_):
                return Answer(address)
            case code, _:
                raise PoolUnreachable(f"The pool answers {code}.", code) from failure

    async def login(self) -> None:
        """Open a session where `locate` found the coordinator, at first the configured address."""
        self._session = ""
        self._legacy = None
        try:
            result = await self._open_session(_API_VERSION, self._originator)
        except XapiFailure as failure:
            if failure.code in _AUTH_CODES:
                raise PoolAuthFailed(failure.code) from failure
            if failure.code != "MESSAGE_PARAMETER_COUNT_MISMATCH":
                raise
            result = await self._open_session(_API_VERSION)  # an old pool knows no originators
        session = replies.json_value(result)
        if not isinstance(session, str):
            raise PoolUnreachable("The answer is not XAPI's.", "NOT_XAPI")
        self._session = session

    async def _open_session(self, *more: str) -> msgspec.Raw:
        credentials = (self._config.username, self._config.password)
        return await self._request("session.login_with_password", [*credentials, *more])

    async def logout(self) -> None:
        session, self._session = self._session, ""
        if not session:
            return
        try:
            async with asyncio.timeout(self._settings.logout_timeout_s):
                await self._request("session.logout", [session])
        except (PoolUnreachable, XapiFailure, TimeoutError):
            pass  # gone or unreachable: XAPI forgets idle sessions by itself

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        if not method.startswith("system."):
            params = [self._session, *params]
        return await self._request(method, params)

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
        body = self._encode("event.from", params)
        reply = await self._patiently(replies.EVENTS, body, patience_s, nullcontext())
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
        body = self._encode("event.next", [self._session])
        reply = await self._patiently(replies.NEXT, body, patience_s, nullcontext())
        return _result(reply.result, reply.error)

    async def records(self, cls: XapiClass) -> Mapping[str, msgspec.Raw]:
        body = self._encode(f"{cls}.get_all_records", [self._session])
        reply = await self._call(replies.RECORDS, body)
        return _result(reply.result, reply.error)

    async def _request(self, method: str, params: Sequence[object]) -> msgspec.Raw:
        reply = await self._call(replies.RAW, self._encode(method, params))
        return _result(reply.result if _given(reply.result) else None, reply.error)

    async def _call(self, decoder: msgspec.json.Decoder[E], body: bytes) -> E:
        return await self._patiently(decoder, body, self._settings.request_timeout_s, self._slots)

    async def _patiently(
        self,
        decoder: msgspec.json.Decoder[E],
        body: bytes,
        patience_s: float,
        slots: AbstractAsyncContextManager[None],
    ) -> E:
        """Exchange, and try again a few times while XAPI is too busy."""
        delay_s = _BUSY_DELAY_S
        for _ in range(_BUSY_ATTEMPTS - 1):
            async with slots:
                reply = await self._exchange(decoder, body, patience_s)
            if not _given(reply.error) or replies.failure(reply.error).code != _BUSY:
                return reply
            await asyncio.sleep(random.uniform(delay_s / 2, delay_s))  # noqa: S311 - jitter
            delay_s *= 2
        async with slots:
            return await self._exchange(decoder, body, patience_s)

    def _encode(self, method: str, params: Sequence[object]) -> bytes:
        self._last_id += 1
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "method": method, "params": params, "id": self._last_id}
        )
        if len(body) >= BODY_LIMIT_BYTES:
            raise RequestRefused(
                ErrorCode.TOO_LARGE,
                f"{method} is {len(body) >> 10} KiB long; XAPI takes less than 300 KiB",
            )
        return body

    async def _exchange(
        self, decoder: msgspec.json.Decoder[T], body: bytes, patience_s: float
    ) -> T:
        try:
            async with asyncio.timeout(patience_s) as patience:
                data = await self._carrier.post(self._url, body, patience)
        except TimeoutError as error:
            raise _too_late() from error
        return await in_slices(replies.scan(decoder, data))


def _too_late() -> PoolUnreachable:
    return PoolUnreachable("The pool did not answer in time.", "TIMEOUT")


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

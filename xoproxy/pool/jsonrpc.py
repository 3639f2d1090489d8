"""The adapter that speaks JSON-RPC 2.0 to XAPI: the session, the coordinator, etiquette.

How a request gets there is a carrier's affair (carrier.py, xmlrpc.py). XAPI refuses bodies of
300 KiB and more, so they are measured before they go; and it serves a bounded number of requests
at once, so a pool gets eight calls and the long poll.

Texts of the errors raised here reach clients: they name no address and no credential; the cause
that hangs on them, for the log, may.
"""

import asyncio
import ipaddress
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
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
from xoproxy.pool.replies import EventReply
from xoproxy.pool.slices import in_slices

T = TypeVar("T")
E = TypeVar("E", bound=replies.Envelope)

BODY_LIMIT_BYTES = 300 << 10
_REDIRECTS = 3
"""HOST_IS_SLAVE followed at most this often in one login: two hosts may name each other."""
_SILENT = 2
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


def fingerprint_digest(text: str) -> bytes:
    """Read a SHA-256 fingerprint in hex, with or without colons.

    Raises:
        ConfigError: it is not one.
    """
    try:
        digest = bytes.fromhex(text.replace(":", "").strip())
    except ValueError:
        digest = b""
    if len(digest) != 32:  # noqa: PLR2004 - SHA-256
        raise ConfigError("the fingerprint must be the SHA-256 of the certificate: 64 hex digits")
    return digest


def pinned(config: PoolConfig) -> bytes | None:
    """Return the digest of the certificate to trust, if one was pinned and there is to be one."""
    if not config.fingerprint or endpoint(config.url).scheme != "https":
        return None
    return fingerprint_digest(config.fingerprint)


class JsonRpcClient:
    """One pool's `XapiClient`; to be entered before use.

    Args:
        config: where and who.
        settings: time-outs and bounds.
        originator: how XAPI groups our sessions; stable, so that leaked ones of an earlier run
            count against us and not against others.
        carrier: brings requests to the pool; by default over HTTP.
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
        self._carrier = carrier or HttpCarrier(settings, pinned(config))
        self._session = ""
        self._failures = 0
        """Requests in a row without an answer."""
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

    async def login(self) -> None:
        """Open a session, following HOST_IS_SLAVE to the coordinator.

        The address that a pool member names has no port: scheme and port stay the configured ones.
        If it does not answer, the next attempt starts from the configured address again.
        """
        self._session = ""
        self._carrier.login_begins()
        config = self._config
        params = [config.username, config.password, _API_VERSION, self._originator]
        for _ in range(_REDIRECTS):
            try:
                result = await self._request("session.login_with_password", params)
            except PoolUnreachable:
                self._url = self._home
                raise
            except XapiFailure as failure:
                if failure.code in _AUTH_CODES:
                    raise PoolAuthFailed(failure.code) from failure
                if failure.code != "HOST_IS_SLAVE" or not failure.params:
                    raise
                self._url = with_address(self._home, failure.params[0])
                continue
            session = replies.json_value(result)
            if not isinstance(session, str):
                raise PoolUnreachable("The answer is not XAPI's.", "NOT_XAPI")
            self._session = session
            return
        self._url = self._home
        raise PoolUnreachable("The pool's members name each other as coordinator.")

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
        params = [self._session, classes, token, float(timeout_s)]
        settings = self._settings
        # a short wait may need a new connection first
        patience_s = max(timeout_s, settings.connect_timeout_s) + settings.event_slack_s
        if not token:  # the whole pool: XAPI answers at once, but it takes its time to print it
            patience_s = max(patience_s, settings.request_timeout_s)
        body = self._encode("event.from", params)
        reply = await self._patiently(replies.EVENTS, body, patience_s, nullcontext())
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
            self._fall_back()
            raise PoolUnreachable("The pool did not answer in time.", "TIMEOUT") from error
        except PoolUnreachable:
            self._fall_back()
            raise
        self._failures = 0
        return await in_slices(replies.scan(decoder, data))

    def _fall_back(self) -> None:
        """Return to the configured address when the one that we were sent to stays silent.

        Whoever answers there does not know our session, which leads to a new login.
        """
        self._failures += 1
        if self._failures >= _SILENT:
            self._url = self._home


def with_address(home: URL, address: str) -> URL:
    """Put another host into a URL; scheme and port stay.

    Raises:
        PoolUnreachable: the address that the pool named is not one.
    """
    host = address.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not host.isascii() or not host.replace("-", "").replace(".", "").isalnum():
            raise PoolUnreachable("The pool names a coordinator without address.") from None
    return home.with_host(host)


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

"""Looks at a pool before it is added, or when it does not work: step by step, with advice.

Each step stands on the one before; after one that failed the rest are skipped. Nothing is changed
on the pool, the session is closed at the end, and no password goes to a host whose certificate is
not good.
"""

import asyncio
import socket
import time
from calendar import timegm
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
from yarl import URL

from xoproxy.errors import PoolAuthFailed, PoolError, PoolUnreachable, XapiFailure
from xoproxy.model import XapiClass
from xoproxy.pool import replies
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.coordinator import with_address
from xoproxy.pool.jsonrpc import JsonRpcClient, endpoint, trust_of
from xoproxy.pool.looking import connection
from xoproxy.pool.rows import HostRow, PoolRow, host_row, pool_row
from xoproxy.pool.trust import Certificate, presented, trusted_by_authorities

_SKEW_S = 60.0
_EVENT_FROM = "event.from"
_POOL, _HOST = XapiClass("pool"), XapiClass("host")
_DATE = "%Y%m%dT%H:%M:%SZ"


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at.

    Args:
        name: `address`, `port`, `tls`, `certificate`, `xapi`, `credentials`, `pool`, `version`,
            `clock` or `members`, in this order.
        outcome: how it is.
        message: what was found, one sentence.
        advice: what to do about it; "" when there is nothing to do.
    """

    name: str
    outcome: Outcome
    message: str
    advice: str = ""


@dataclass(slots=True)
class Report:
    """What a check found.

    Args:
        steps: all of them.
        certificate: what the host shows, if it got so far.
        pool_uuid, pool_name: of the pool that answers, if it got so far.
    """

    steps: list[Step] = field(default_factory=list)
    certificate: Certificate | None = None
    pool_uuid: str = ""
    pool_name: str = ""

    @property
    def good(self) -> bool:
        return all(step.outcome in {Outcome.OK, Outcome.WARNING} for step in self.steps)


class _FailedError(Exception):
    """A step failed; those that stand on it are skipped."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


async def check(
    config: PoolConfig,
    settings: LinkSettings,
    new_client: Callable[[PoolConfig], JsonRpcClient],
) -> Report:
    """Look at a pool as `config` would reach it; takes no longer than a few time-outs."""
    url = endpoint(config.url)
    report = Report()
    async with new_client(config) as client:
        looks = _Looks(config, url, settings, client, report)
        failed = False
        try:
            for name, look in looks.all.items():
                if failed:
                    report.steps.append(Step(name, Outcome.SKIPPED, "Not looked at."))
                    continue
                try:
                    report.steps.append(await look(name))
                except _FailedError as failure:
                    failed = True
                    step = Step(name, Outcome.FAILED, failure.message, failure.advice)
                    report.steps.append(step)
        finally:
            await client.logout()
    return report


class _Looks:
    """The steps, and what they find for those after them."""

    def __init__(
        self,
        config: PoolConfig,
        url: URL,
        settings: LinkSettings,
        client: JsonRpcClient,
        report: Report,
    ) -> None:
        self._config = config
        self._url = url
        self._settings = settings
        self._client = client
        self._report = report
        self._hosts: Mapping[str, HostRow] = {}
        self._pool = PoolRow()
        self.all = {
            "address": self._address,
            "port": self._port,
            "tls": self._tls,
            "certificate": self._certificate,
            "xapi": self._xapi,
            "credentials": self._credentials,
            "pool": self._which_pool,
            "version": self._version,
            "clock": self._clock,
            "members": self._members,
        }

    async def _address(self, name: str) -> Step:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                found = await loop.getaddrinfo(
                    self._url.host, self._url.port, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError):
            raise _FailedError(
                f"The name {self._url.host} cannot be resolved.",
                "Check the spelling, and the name server of the machine that runs the proxy.",
            ) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if addresses == [self._url.host]:
            return Step(name, Outcome.OK, f"{self._url.host} is an address.")
        return Step(name, Outcome.OK, f"{self._url.host} is {', '.join(addresses)}.")

    async def _port(self, name: str) -> Step:
        try:
            async with connection(self._url, self._settings.connect_timeout_s):
                return Step(name, Outcome.OK, f"Port {self._url.port} accepts connections.")
        except TimeoutError:
            raise _FailedError(
                f"Nothing answers on port {self._url.port}.",
                "Is the host up? A firewall that drops packets looks like this, too.",
            ) from None
        except OSError as error:
            raise _FailedError(
                f"Port {self._url.port} does not accept connections ({error.strerror or error}).",
                "Is the host up, and is this the port of its API (443 for https)?",
            ) from None

    async def _tls(self, name: str) -> Step:
        if self._url.scheme != "https":
            return Step(
                name,
                Outcome.WARNING,
                "The address says http: the password goes over the network in the clear.",
                "Write https:// unless the pool is on this machine.",
            )
        try:
            self._report.certificate = await presented(self._url, self._settings.connect_timeout_s)
        except PoolUnreachable as failure:
            raise _FailedError(
                failure.message, "Hosts of XenServer 7 and later speak TLS 1.2; update older ones."
            ) from None
        return Step(name, Outcome.OK, "The host speaks TLS 1.2 or later.")

    async def _certificate(self, name: str) -> Step:
        certificate = self._report.certificate
        if certificate is None:
            return Step(name, Outcome.OK, "Without TLS there is none.")
        trust = trust_of(self._config)
        pin = trust.pins.get(self._url.host or "")
        if pin == certificate.fingerprint:
            return Step(name, Outcome.OK, "The host shows the accepted certificate.")
        shown = f"SHA-256 {certificate.fingerprint}"
        if pin is not None:
            raise _FailedError(
                f"The host shows another certificate than the accepted one: {shown}",
                "If it was renewed, compare with the host's console, then accept it.",
            )
        patience_s = self._settings.connect_timeout_s
        if not await trusted_by_authorities(self._url, trust.ca_path, patience_s):
            raise _FailedError(
                f"No authority vouches for the certificate of the host: {shown}",
                "XAPI hosts sign their own: compare with the host's console, then accept it.",
            )
        return Step(name, Outcome.OK, "Authorities vouch for the certificate.")

    async def _xapi(self, name: str) -> Step:
        try:
            await self._client.reach([])
            await self._client.call("system.listMethods")
        except XapiFailure:
            pass  # an answer is an answer
        except PoolUnreachable as failure:
            raise _FailedError(
                failure.message, "Is it a host of XCP-ng or XenServer, with its toolstack up?"
            ) from None
        return Step(name, Outcome.OK, "XAPI answers.")

    async def _credentials(self, name: str) -> Step:
        try:
            await self._client.login()
        except PoolAuthFailed:
            raise _FailedError(
                "The pool refuses the user or the password.",
                "Try them with xe or XenCenter; mind that root's password is the pool's.",
            ) from None
        except PoolUnreachable as failure:
            raise _FailedError(
                failure.message, "Log in to its coordinator from here: is that host reachable?"
            ) from None
        except PoolError as error:
            raise _FailedError(*_said(error)) from None
        if self._client.url == self._url:
            return Step(name, Outcome.OK, f"{self._config.username} may log in.")
        return Step(
            name,
            Outcome.WARNING,
            f"{self._config.username} may log in, but on another host, which coordinates the pool.",
            "It works, for the proxy asks all members. Prefer the coordinator's address.",
        )

    async def _which_pool(self, name: str) -> Step:
        try:
            pools = await self._client.records(_POOL)
            hosts = await self._client.records(_HOST)
        except PoolError as error:
            raise _FailedError(*_said(error)) from None
        self._hosts = {ref: host_row(raw) for ref, raw in hosts.items()}
        self._pool = next((pool_row(raw) for raw in pools.values()), PoolRow())
        report, row = self._report, self._pool
        report.pool_uuid, report.pool_name = row.uuid, row.name_label
        if self._config.uuid and row.uuid != self._config.uuid:
            raise _FailedError(
                "Another pool answers than the one that this address had.",
                "Its address was given to another pool: remove this pool, and add the other one.",
            )
        return Step(name, Outcome.OK, f"Pool {row.name_label!r} with {len(self._hosts)} hosts.")

    async def _version(self, name: str) -> Step:
        host = self._hosts.get(self._pool.master, HostRow())
        api = f"{host.API_version_major}.{host.API_version_minor}"
        brand = host.software_version.get("product_brand", "XAPI")
        product = host.software_version.get("product_version", "of unknown version")
        found = f"{brand} {product}, API {api}."
        methods = replies.json_value(await self._listed())
        if isinstance(methods, list) and methods and _EVENT_FROM not in methods:
            return Step(
                name,
                Outcome.WARNING,
                f"{found} It is from before XenServer 6.1 and has no event.from.",
                "It works, but a change takes longer to arrive.",
            )
        return Step(name, Outcome.OK, found)

    async def _listed(self) -> msgspec.Raw:
        try:
            return await self._client.call("system.listMethods")
        except PoolError:
            return msgspec.Raw(b"[]")

    async def _clock(self, name: str) -> Step:
        try:
            asked_s = time.time()
            text = replies.json_value(
                await self._client.call("host.get_servertime", [self._pool.master])
            )
            passed_s = time.time() - asked_s
            theirs_s = float(timegm(time.strptime(str(text), _DATE)))
        except (PoolError, ValueError):
            return Step(name, Outcome.WARNING, "The pool does not tell its time.")
        ahead_s = theirs_s - (asked_s + passed_s / 2)
        if abs(ahead_s) <= _SKEW_S:
            return Step(name, Outcome.OK, "The clocks agree.")
        which = "ahead of" if ahead_s > 0 else "behind"
        return Step(
            name,
            Outcome.WARNING,
            f"The pool's clock is {abs(ahead_s):.0f} s {which} ours.",
            "Set up NTP on the hosts and here: statistics and dates will be off.",
        )

    async def _members(self, name: str) -> Step:
        """Connect to each host at once: statistics and consoles come from there."""
        silent: list[str] = []

        async def reach(host: HostRow) -> None:
            try:
                url = with_address(self._url, host.address)
                async with connection(url, self._settings.connect_timeout_s):
                    pass
            except (OSError, PoolUnreachable):
                silent.append(host.name_label or host.address)

        async with asyncio.TaskGroup() as group:
            for host in self._hosts.values():
                group.create_task(reach(host))
        if not silent:
            return Step(name, Outcome.OK, "All hosts can be reached.")
        return Step(
            name,
            Outcome.WARNING,
            f"Cannot be reached from here: {', '.join(sorted(silent))}.",
            "Statistics, consoles, and a failover to these hosts will not work.",
        )


def _said(error: PoolError) -> tuple[str, str]:
    match error:
        case PoolUnreachable(message=message):
            return message, "Try again; if it stays so, look at the pool's toolstack."
        case XapiFailure(code=code):
            return f"The pool answers {code}.", "Look at the pool's toolstack."
        case _:
            return "The pool failed.", "Look at the proxy's log."

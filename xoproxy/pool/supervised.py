"""One configured pool: its store, its link, and the task that keeps it connected.

A failure is caught here, shown as the link's state, logged once, and tried again after a pause
that grows; the operator can cut it short. This is one of the two places that may catch every
exception.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol

import structlog

from xoproxy.cache.store import Store
from xoproxy.errors import PoolAuthFailed, PoolError, RequestRefused, XapiFailure
from xoproxy.model import Batch, PoolId, Ref, XapiClass
from xoproxy.pool import noise, trouble
from xoproxy.pool.calls import Calls
from xoproxy.pool.client import SESSION_LOST, LinkSettings, PoolConfig, XapiClient
from xoproxy.pool.jsonrpc import JsonRpcClient, trust_of
from xoproxy.pool.link import Link, LinkError, LinkEvent, LinkState, LinkStatus, Phase, failed
from xoproxy.pool.replies import json_value
from xoproxy.pool.rows import PoolRow, host_row, pool_row
from xoproxy.pool.slices import Turns
from xoproxy.pool.trust import Certificate, Trust
from xoproxy.pool.watch import Watch, WatchCounts

log = structlog.get_logger(__name__)

_HOST = XapiClass("host")
_POOL = XapiClass("pool")
_SPARE_S = 0.5
"""A poll that is lost says so itself, and why, before its news are overdue."""
_QUICK_S = 2.0
_QUICK_FOR_S = 120.0
"""Pauses are no longer than that, for so long after a link was lost that had been good."""
_GOOD_SESSION_S = 10.0
"""A session that dies later than this after its login is replaced without a pause."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a link found out that should outlast the process.

    Args:
        pool: which.
        uuid: of XAPI's pool; None: nothing new.
        pins: host -> SHA-256 of its certificate, as the pool itself tells it.
    """

    pool: PoolId
    uuid: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Where everything about the pools goes; called synchronously, must not block or raise."""

    def loaded(self, store: Store) -> None:
        """A pool was listed for the first time."""

    def committed(self, batch: Batch) -> None:
        """A pool changed; the store is as of `batch.to_seq`."""

    def state(self, status: LinkStatus) -> None:
        """A link changed, or (at most every few seconds) its counters did."""


class Backoff:
    """Grows the pause between attempts, and forgets the past after a good time.

    A failover takes a minute or two, and whoever comes late shows old data for longer than the
    pool was away. So after a good time the pauses stay short for that long.

    Args:
        least_s, most_s: bounds of the pause, jitter aside (it is half to all of the nominal one).
        reset_s: an attempt that lived so long was a good time.
    """

    def __init__(self, least_s: float, most_s: float, reset_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._reset_s = reset_s
        self._next_s = least_s
        self._quick_until_s = -math.inf

    def pause_s(self, lived_s: float, now_s: float) -> float:
        """Return the pause after an attempt.

        Args:
            lived_s: from its beginning to its failure.
            now_s: in seconds of a monotonic clock.
        """
        if lived_s >= self._reset_s:
            self._next_s = self._least_s
            self._quick_until_s = now_s + _QUICK_FOR_S
        nominal_s = self._next_s
        self._next_s = min(2 * nominal_s, self._most_s)
        if now_s < self._quick_until_s:
            self._next_s = min(self._next_s, max(_QUICK_S, self._least_s))
        return random.uniform(nominal_s / 2, nominal_s)  # noqa: S311 - jitter


class SupervisedPool:
    """One pool while it is configured; `run` while it is enabled.

    Args:
        config: where, who.
        store: kept true by the watch.
        sink: is told everything.
        settings: time-outs and bounds.
        new_client: makes the client of a configuration and its trust.
        learnt: is told what should outlast the process.
        held_back: operations whose coming and going is not worth a change (noise.py).
        turns: shared by all pools, for what takes long.
    """

    def __init__(
        self,
        config: PoolConfig,
        store: Store,
        sink: Sink,
        settings: LinkSettings,
        new_client: Callable[[PoolConfig, Trust], JsonRpcClient],
        learnt: Callable[[Learnt], None],
        held_back: noise.Noise = noise.DEFAULT,
        turns: Turns | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.calls: Calls | None = None
        self.counts = WatchCounts()
        self.transitions: Counter[tuple[str, str]] = Counter()
        """(phase, cause) -> how often."""
        self.task: asyncio.Task[None] | None = None
        self._settings = settings
        self._new_client = new_client
        self._learnt = learnt
        self._held_back = held_back
        self._turns = turns or Turns()
        self._sink = sink
        known_at_s = store.known_at_s or time.time()  # of a restored store, when it was still true
        self._link = Link(Phase.PROBING, known_at_s, holds_data=store.loaded)
        self._logged_in_at_s: float | None = None
        self._last_event_at_s: float | None = None
        self._told: LinkStatus | None = None
        self._client: XapiClient | None = None
        self._trust: Trust | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._warned = ""
        self._now = asyncio.Event()
        """Set by the operator who does not want to wait for the next attempt."""
        self._look = asyncio.Event()
        """Set when there may be something to learn of the pool."""

    @property
    def live(self) -> bool:
        return self._link.state is LinkState.LIVE

    def status(self) -> LinkStatus:
        entry = next(iter(self.store.entries(_POOL)), None)
        row = pool_row(entry.raw) if entry else PoolRow()
        return LinkStatus(
            pool=self.config.id,
            name=self.config.name,
            uuid=row.uuid,
            link=self._link,
            master=Ref(row.master),
            last_event_at_s=self._last_event_at_s,
            objects=len(self.store),
        )

    def tell(self) -> None:
        """Publish the state if anything about it changed."""
        status = self.status()
        if status != self._told:
            self._told = status
            self._sink.state(status)

    def happened(self, event: LinkEvent, error: LinkError | None = None) -> None:
        before = self._link
        self._link = before.after(event, time.time(), error)
        if self._link is before:
            return
        self.transitions[self._link.phase, event] += 1
        if self._link.state is not before.state:
            code = error.code if error else None
            log.info("pool_link", pool=self.config.id, state=self._link.state, error=code)
        log.debug("pool_link_phase", pool=self.config.id, phase=self._link.phase, cause=event)
        self.tell()

    def reconnect(self) -> None:
        """Try now if we are waiting for the next attempt, and without a pause if one fails now."""
        self._now.set()

    def take(self, config: PoolConfig) -> None:
        """Go on with a configuration in which only the name and the pins may be others."""
        accepted = config.pins != self.config.pins
        self.config = config
        if accepted and self._trust is not None:
            self._trust.accept(config.pins)
            self._look.set()
            self.reconnect()
        self.tell()

    # --- Observer of the watch ---

    def loaded(self, store: Store) -> None:
        self._last_event_at_s = time.time()
        self._look.set()
        self._sink.loaded(store)

    def committed(self, store: Store, batch: Batch) -> None:  # noqa: ARG002 - part of the port
        self._last_event_at_s = time.time()
        if any(change.cls == _HOST and change.before is None for change in batch.changes):
            self._look.set()
        if self.calls is not None:
            self.calls.committed(batch)
        self._sink.committed(batch)

    def caught_up(self) -> None:
        self._expect_news()
        if self.calls is not None:
            self.calls.caught_up()
        if not self.live:
            self.happened(LinkEvent.CAUGHT_UP)
            self._look.set()

    def _expect_news(self) -> None:
        """Do not call the pool live when nothing is heard of it for longer than a poll may take.

        Polls end by themselves; but lists, which wait longer, are made between two polls.
        """
        self._forget_news()
        if self._client is not None:
            self._overdue = asyncio.get_running_loop().call_later(
                self._client.silence_s + _SPARE_S, self._news_overdue
            )

    def _news_overdue(self) -> None:
        if self.live:  # if not, whoever tries to change that tells more
            why = trouble.TIMEOUT
            self.happened(LinkEvent.LOST, LinkError(why.code, why.message))

    def _forget_news(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    # --- the task ---

    async def run(self, after_s: float = 0.0) -> None:
        """Keep the pool connected until cancelled; then log out.

        Args:
            after_s: to wait before the first attempt, so that many pools do not start at once.
        """
        await asyncio.sleep(after_s)
        self._trust = trust = trust_of(self.config)
        async with self._new_client(self.config, trust) as client:
            watch = Watch(
                client, self.store, self, self._settings, self._held_back, turns=self._turns
            )
            self.counts = watch.counts
            self._client = client
            self.calls = Calls(client, self.store, self._settings, lambda: self.live)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_running(client, watch), name="link")
                    group.create_task(self._learn(client, trust), name="learning")
            finally:
                self._client = None
                self._forget_news()
                self.calls.close()
                self.calls = None
                await client.logout()

    async def _keep_running(self, client: XapiClient, watch: Watch) -> None:
        settings = self._settings
        backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s, settings.backoff_reset_s)
        while True:
            began_s = time.monotonic()
            self._now.clear()
            try:
                await self._enter(client, watch)
                await watch.run()
            except PoolError as error:
                cause: Exception = error
                self._warn(_causes(error))
            except Exception as error:
                cause = error
                watch.distrust()
                log.exception("pool_failed", pool=self.config.id)
            self.happened(*failed(cause))
            if not self._session_wore_out(cause):
                now_s = time.monotonic()
                pause_s = backoff.pause_s(now_s - began_s, now_s)
                if isinstance(cause, PoolAuthFailed):
                    pause_s = max(pause_s, settings.auth_retry_s)
                await self._wait(pause_s)
            self.happened(LinkEvent.RETRY)

    def _warn(self, cause: str) -> None:
        """Log a failed attempt, but the same again only for those who look closely."""
        again = cause == self._warned and not self.live
        self._warned = cause
        say = log.debug if again else log.warning
        say("pool_lost", pool=self.config.id, cause=cause)

    async def _enter(self, client: XapiClient, watch: Watch) -> None:
        """Have a session on the coordinator, whichever of the pool's hosts that is."""
        await client.reach(self.addresses())
        self.happened(LinkEvent.FOUND)
        if await client.login(self.config.uuid or self.status().uuid):
            self.happened(LinkEvent.SAME)
            return
        watch.distrust()
        self._logged_in_at_s = time.monotonic()
        self.happened(LinkEvent.LOGGED_IN)

    async def _learn(self, client: XapiClient, trust: Trust) -> NoReturn:
        """Find out which pool this is, and what its hosts must show; XAPI tells both."""
        while True:
            await self._look.wait()
            self._look.clear()
            uuid = self.status().uuid
            if uuid and not self.config.uuid:
                self.config = replace(self.config, uuid=uuid)
                self._learnt(Learnt(self.config.id, uuid))
            pins = await self._unknown_pins(client, trust)
            if pins:
                trust.learn(pins)
                self.config = replace(self.config, pins=trust.pins)
                self._learnt(Learnt(self.config.id, pins=pins))

    async def _unknown_pins(self, client: XapiClient, trust: Trust) -> dict[str, str]:
        """Ask for the certificates of hosts that have no pin, where this pool has pins at all."""
        found: dict[str, str] = {}
        if not trust.pins:
            return found
        for ref, address in self._addresses().items():
            if address in trust.pins:
                continue
            try:
                pem = json_value(await client.call("host.get_server_certificate", [ref]))
                found[address] = Certificate.from_pem(str(pem)).fingerprint
            except (PoolError, RequestRefused, ValueError) as error:
                log.debug("pool_certificate", pool=self.config.id, cause=_causes(error))
        return found

    def addresses(self) -> list[str]:
        """Name the hosts of the pool as far as they are known."""
        return list(self._addresses().values())

    def _addresses(self) -> dict[Ref, str]:
        hosts = {entry.ref: host_row(entry.raw).address for entry in self.store.entries(_HOST)}
        return {ref: address for ref, address in hosts.items() if address}

    def _session_wore_out(self, cause: Exception) -> bool:
        """Tell whether the session is gone, after a life long enough to simply log in again."""
        if not isinstance(cause, XapiFailure) or cause.code not in SESSION_LOST:
            return False
        logged_in_at_s, self._logged_in_at_s = self._logged_in_at_s, None
        if logged_in_at_s is None:
            return False
        return time.monotonic() - logged_in_at_s >= _GOOD_SESSION_S

    async def _wait(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._now.wait()
        except TimeoutError:
            return
        self.happened(LinkEvent.ENABLED)


def _causes(error: BaseException) -> str:
    """Tell an error and what it stems from, for the log."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return "; ".join(texts)

"""Keeps every configured pool connected: one task per pool, restarted with backoff.

A failure of one pool never touches another: it is caught here, shown as the pool's link state,
logged once, and tried again. This is one of the two places that may catch every exception.
"""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import msgspec
import structlog

from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, PoolAuthFailed, PoolError, RequestRefused
from xoproxy.model import Batch, PoolId, Ref, XapiClass
from xoproxy.pool import noise
from xoproxy.pool.calls import Calls
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.jsonrpc import JsonRpcClient, endpoint, fingerprint_digest
from xoproxy.pool.link import Link, LinkError, LinkEvent, LinkState, LinkStatus, failed
from xoproxy.pool.watch import Watch, WatchCounts

log = structlog.get_logger(__name__)


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

    Args:
        least_s, most_s: bounds of the pause, jitter aside (it is half to all of the nominal one).
        reset_s: an attempt that lived so long was none.
    """

    def __init__(self, least_s: float, most_s: float, reset_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._reset_s = reset_s
        self._next_s = least_s

    def pause_s(self, lived_s: float) -> float:
        """Return the pause after an attempt that lived for `lived_s`."""
        if lived_s >= self._reset_s:
            self._next_s = self._least_s
        nominal_s = self._next_s
        self._next_s = min(2 * nominal_s, self._most_s)
        return random.uniform(nominal_s / 2, nominal_s)  # noqa: S311 - jitter


class _PoolRow(msgspec.Struct):
    uuid: str = ""
    master: str = ""


_read_pool = msgspec.json.Decoder(_PoolRow).decode


class _Supervised:
    """One configured pool: its store, its link's state, and what runs while it is enabled."""

    def __init__(self, config: PoolConfig, store: Store, sink: Sink, now_s: float) -> None:
        self.config = config
        self.store = store
        self.calls: Calls | None = None
        self.counts = WatchCounts()
        self.task: asyncio.Task[None] | None = None
        self._sink = sink
        self._link = Link(LinkState.CONNECTING, now_s)
        self._last_event_at_s: float | None = None
        self._told: LinkStatus | None = None

    @property
    def live(self) -> bool:
        return self._link.state is LinkState.LIVE

    def status(self) -> LinkStatus:
        entry = next(iter(self.store.entries(XapiClass("pool"))), None)
        row = _read_pool(entry.raw) if entry else _PoolRow()
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
        if self._link is not before:
            code = error.code if error else None
            log.info("pool_link", pool=self.config.id, state=self._link.state, error=code)
            self.tell()

    # --- Observer of the watch ---

    def loaded(self, store: Store) -> None:
        self._last_event_at_s = time.time()
        self._sink.loaded(store)

    def committed(self, store: Store, batch: Batch) -> None:  # noqa: ARG002 - part of the port
        self._last_event_at_s = time.time()
        if self.calls is not None:
            self.calls.committed(batch)
        self._sink.committed(batch)

    def caught_up(self) -> None:
        if not self.live:
            self.happened(LinkEvent.CAUGHT_UP)

    def lost(self, cause: Exception) -> None:
        self.happened(*failed(cause))


class Supervisor:
    """All pools.

    Args:
        group: owns one task per enabled pool.
        sink: is told everything.
        settings: for every pool.
        new_store: makes the store of a pool.
        originator: how XAPI groups our sessions: distinctive, and stable over restarts.
        held_back: operations whose coming and going is not worth a change (noise.py).
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        sink: Sink,
        settings: LinkSettings,
        new_store: Callable[[PoolId], Store],
        originator: str | None = None,
        held_back: noise.Noise = noise.DEFAULT,
    ) -> None:
        self._held_back = held_back
        self._group = group
        self._sink = sink
        self._settings = settings
        self._new_store = new_store
        self._originator = originator or f"xoproxy@{socket.gethostname()}"
        self._pools: dict[PoolId, _Supervised] = {}
        self._refresher = group.create_task(self._refresh(), name="pool links")

    def add(self, config: PoolConfig) -> None:
        """Take a pool under supervision; it connects by itself when it is enabled.

        Raises:
            ConfigError: its URL or fingerprint is not one.
        """
        _check(config)
        if config.id in self._pools:
            raise ValueError(f"pool {config.id} is there already")
        pool = _Supervised(config, self._new_store(config.id), self._sink, time.time())
        self._pools[config.id] = pool
        self._start(pool)

    async def replace(self, config: PoolConfig) -> None:
        """Give a pool another configuration (address, credentials, enabled); its data stays.

        Raises:
            ConfigError: the URL or fingerprint is not one; nothing has changed.
        """
        _check(config)
        pool = self._pools[config.id]
        await _stop(pool)
        pool.config = config
        self._start(pool)

    async def enable(self, pool: PoolId) -> None:
        await self._set_enabled(pool, enabled=True)

    async def disable(self, pool: PoolId) -> None:
        """Disconnect; what we know of the pool stays visible, marked as disabled."""
        await self._set_enabled(pool, enabled=False)

    async def remove(self, pool: PoolId) -> None:
        """Disconnect and forget a pool; its store is the caller's to dispose of."""
        await _stop(self._pools[pool])
        del self._pools[pool]

    async def close(self) -> None:
        """Disconnect from all pools, logging out of each."""
        self._refresher.cancel()
        tasks = [pool.task for pool in self._pools.values() if pool.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def store(self, pool: PoolId) -> Store:
        return self._pools[pool].store

    def statuses(self) -> Iterator[LinkStatus]:
        return (pool.status() for pool in self._pools.values())

    def counts(self) -> Mapping[PoolId, WatchCounts]:
        """Return what each pool's watch has done, for metrics."""
        return {pool: supervised.counts for pool, supervised in self._pools.items()}

    async def call(
        self,
        pool: PoolId,
        method: str,
        params: Mapping[str, object],
        timeout_s: float | None = None,
    ) -> msgspec.Raw:
        """Run a command on a pool; see `Calls.call`.

        Raises:
            RequestRefused: there is no such pool, it is not connected, or the call is no good.
            XapiFailure: XAPI's answer.
        """
        supervised = self._pools.get(pool)
        if supervised is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, "There is no such pool.")
        if supervised.calls is None:
            raise RequestRefused(ErrorCode.POOL_UNAVAILABLE, "The pool is not connected.")
        return await supervised.calls.call(method, params, timeout_s)

    async def _set_enabled(self, pool: PoolId, *, enabled: bool) -> None:
        config = self._pools[pool].config
        if config.enabled is not enabled:
            await self.replace(replace(config, enabled=enabled))

    def _start(self, pool: _Supervised) -> None:
        if pool.config.enabled:
            pool.happened(LinkEvent.ENABLED)
            pool.task = self._group.create_task(self._run(pool), name=f"pool {pool.config.id}")
        else:
            pool.happened(LinkEvent.DISABLED)
        pool.tell()

    async def _run(self, pool: _Supervised) -> None:
        settings = self._settings
        async with JsonRpcClient(pool.config, settings, self._originator) as client:
            watch = Watch(client, pool.store, pool, settings, self._held_back)
            pool.counts = watch.counts
            pool.calls = Calls(client, pool.store, settings, lambda: pool.live)
            try:
                await self._keep_running(pool, watch)
            finally:
                pool.calls.close()
                pool.calls = None
                await client.logout()

    async def _keep_running(self, pool: _Supervised, watch: Watch) -> None:
        settings = self._settings
        backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s, settings.backoff_reset_s)
        while True:
            began_s = time.monotonic()
            try:
                await watch.run()
            except PoolError as error:
                cause: Exception = error
                log.warning("pool_lost", pool=pool.config.id, cause=_causes(error))
            except Exception as error:
                cause = error
                watch.distrust()
                log.exception("pool_failed", pool=pool.config.id)
            pool.lost(cause)
            pause_s = backoff.pause_s(time.monotonic() - began_s)
            if isinstance(cause, PoolAuthFailed):
                pause_s = max(pause_s, settings.auth_retry_s)
            await asyncio.sleep(pause_s)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._settings.refresh_s)
            for pool in self._pools.values():
                pool.tell()


def _check(config: PoolConfig) -> None:
    endpoint(config.url)
    if config.fingerprint:
        fingerprint_digest(config.fingerprint)


async def _stop(pool: _Supervised) -> None:
    task, pool.task = pool.task, None
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def _causes(error: BaseException) -> str:
    """Tell an error and what it stems from, for the log."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return "; ".join(texts)

"""All configured pools: one task for each that is enabled (supervised.py)."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import msgspec
from yarl import URL

from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.pool import noise
from xoproxy.pool.carrier import DetectingCarrier, HttpCarrier
from xoproxy.pool.check import Report, check
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.coordinator import with_addresses
from xoproxy.pool.jsonrpc import JsonRpcClient, endpoint, trust_of
from xoproxy.pool.link import LinkEvent, LinkStatus
from xoproxy.pool.slices import Turns
from xoproxy.pool.supervised import Learnt, Sink, SupervisedPool
from xoproxy.pool.trust import Trust
from xoproxy.pool.watch import WatchCounts
from xoproxy.pool.xmlrpc import XmlRpcCarrier


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
        self._pools: dict[PoolId, SupervisedPool] = {}
        self._turns = Turns()
        self._news: list[Learnt] = []
        self._told = asyncio.Event()
        self._refresher = group.create_task(self._refresh(), name="pool links")

    def add(self, config: PoolConfig, after_s: float = 0.0) -> None:
        """Take a pool under supervision; it connects by itself when it is enabled.

        Args:
            config: where, who.
            after_s: to wait before the first attempt.

        Raises:
            ConfigError: its URL or fingerprint is not one.
        """
        _check(config)
        if config.id in self._pools:
            raise ValueError(f"pool {config.id} is there already")
        pool = SupervisedPool(
            config,
            self._new_store(config.id),
            self._sink,
            self._settings,
            self._new_client,
            self._learn,
            self._held_back,
            self._turns,
        )
        self._pools[config.id] = pool
        self._start(pool, after_s)

    async def replace(self, config: PoolConfig) -> None:
        """Give a pool another configuration (address, credentials, enabled); its data stays.

        Its link begins anew, unless only its name or its pins are others: who accepts one host's
        certificate after the other does not lose the pool each time.

        Raises:
            ConfigError: the URL or fingerprint is not one; nothing has changed.
        """
        _check(config)
        pool = self._pools[config.id]
        if replace(pool.config, name=config.name, pins=config.pins) == config:
            pool.take(config)
            return
        await _stop(pool)
        pool.config = config
        self._start(pool)

    async def enable(self, pool: PoolId) -> None:
        await self._set_enabled(pool, enabled=True)

    async def disable(self, pool: PoolId) -> None:
        """Disconnect; what we know of the pool stays visible, marked as disabled."""
        await self._set_enabled(pool, enabled=False)

    def reconnect(self, pool: PoolId) -> None:
        """Try to reach a pool now, if its link waits for the next attempt."""
        self._pools[pool].reconnect()

    async def check(self, config: PoolConfig) -> Report:
        """Look at a pool, ours or not, step by step."""
        return await check(config, self._settings, lambda c: self._new_client(c, trust_of(c)))

    async def learnt(self) -> Learnt:
        """Wait for what a link finds out that should outlast the process."""
        while not self._news:
            self._told.clear()
            await self._told.wait()
        return self._news.pop(0)

    def _learn(self, learnt: Learnt) -> None:
        # a few for each pool in its life; whoever keeps them is not far behind
        self._news.append(learnt)
        self._told.set()

    def hosts(self, pool: PoolId, home: URL) -> list[URL]:
        """Name the hosts of a pool as far as they are known, by URLs like its configured one."""
        return with_addresses(home, self._pools[pool].addresses())

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

    def transitions(self) -> Mapping[PoolId, Mapping[tuple[str, str], int]]:
        """Count each link's changes of phase, by (phase, cause), for metrics."""
        return {pool: supervised.transitions for pool, supervised in self._pools.items()}

    async def call(
        self,
        pool: PoolId,
        method: str,
        params: Mapping[str, object],
        timeout_s: float | None = None,
        permitted: Callable[[], None] = lambda: None,
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
        return await supervised.calls.call(method, params, timeout_s, permitted)

    async def _set_enabled(self, pool: PoolId, *, enabled: bool) -> None:
        config = self._pools[pool].config
        if config.enabled is not enabled:
            await self.replace(replace(config, enabled=enabled))

    def _start(self, pool: SupervisedPool, after_s: float = 0.0) -> None:
        if pool.config.enabled:
            pool.happened(LinkEvent.ENABLED)
            pool.task = self._group.create_task(pool.run(after_s), name=f"pool {pool.config.id}")
        else:
            pool.happened(LinkEvent.DISABLED)
        pool.tell()

    def _new_client(self, config: PoolConfig, trust: Trust) -> JsonRpcClient:
        settings = self._settings
        json = HttpCarrier(settings, trust, self._turns)
        carrier = DetectingCarrier(json, XmlRpcCarrier(settings, trust))
        return JsonRpcClient(config, settings, self._originator, carrier, self._turns)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._settings.refresh_s)
            for pool in self._pools.values():
                pool.tell()


def _check(config: PoolConfig) -> None:
    endpoint(config.url)
    trust_of(config).check()


async def _stop(pool: SupervisedPool) -> None:
    task, pool.task = pool.task, None
    if task is not None:
        task.cancel()
        await asyncio.wait([task])

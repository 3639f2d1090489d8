"""The composition root: the only place that builds objects and knows every package.

    storage -- accounts, registry --+-- rest --+
    supervisor (pools) -- hub ------+-- ws ----+-- one HTTP server

It owns the root task group and the order of ending: nobody new; clients get their bookmarks and
are told to come back; pools are logged out of; their histories end; storage closes last.
"""

import asyncio
import errno
import gc
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from xoproxy.auth import Accounts, Identity, Passwords, Tokens
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything, Visibility
from xoproxy.errors import ConfigError, RequestRefused
from xoproxy.model import PROXY_POOL, Batch, Event, PoolId, Removal, Upsert
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.link import POOL_LINK, LinkState, LinkStatus
from xoproxy.pool.supervisor import Supervisor
from xoproxy.rest import PoolInfo, PoolProblem, api_application, health_routes
from xoproxy.rest.page import routes as page_routes
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.settings import LimitsSettings, PoolLinkSettings, Settings, StorageSettings
from xoproxy.storage import PoolConfig as StoredPool
from xoproxy.storage import Storage, StoredPools, open_storage
from xoproxy.storage.history import Histories, HistoryOptions, open_histories, sole_user
from xoproxy.telemetry import Metrics, Sample
from xoproxy.ws.endpoint import ConnectionLimits, Endpoint, answer_deflate
from xoproxy.ws.flusher import Flusher
from xoproxy.ws.frames import SharedFraming
from xoproxy.ws.pulse import Pulse, PulseTimes

_EVERYTHING = Everything()


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity as sessions see it: with its rights."""

    identity: Identity

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def role(self) -> str:
        return self.identity.role

    @property
    def credential(self) -> str:
        return self.identity.credential

    @property
    def expires_at_s(self) -> float | None:
        return self.identity.expires_at_s

    @property
    def may_call(self) -> bool:
        return self.identity.is_administrator

    def visibility(self, pool: PoolId) -> Visibility | None:  # noqa: ARG002 - all alike, so far
        return _EVERYTHING if self.identity.is_administrator else None


class Authenticator:
    """Signs WebSocket clients in (fits `ws.endpoint.Authenticator`)."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def by_password(
        self,
        username: str,
        password: str,
        otp: str | None,  # noqa: ARG002 - no account has a second factor yet
        remote: str,
    ) -> Principal:
        return Principal(await self._accounts.login_password(username, password, remote))

    async def by_token(self, token: str) -> Principal:
        return Principal(await self._accounts.login_token(token))


class OwnObjects:
    """What the proxy itself owns, published as objects of pseudo pool `proxy`."""

    def __init__(self, hub: Hub, budget: JournalBudget) -> None:
        self._hub = hub
        self._store = Store(PROXY_POOL, secrets.token_hex(8), budget)
        self._store.classes = SCHEMA.proxy_classes
        self._commit()
        hub.add_pool(self._store)

    def publish(self, status: LinkStatus) -> None:
        self._commit(Upsert(POOL_LINK, status.ref, status.record()))

    def withdraw(self, status: LinkStatus) -> None:
        self._commit(Removal(status.ref))

    def _commit(self, *events: Event) -> None:
        prepared = self._store.prepare(events)
        while prepared.step():
            pass
        batch = self._store.commit(prepared, at_s=time.monotonic())
        self._hub.committed(batch)


class PoolEvents:
    """Carries what the supervisor tells to the hub (fits `pool.supervisor.Sink`)."""

    def __init__(self, hub: Hub, own: OwnObjects, histories: Histories) -> None:
        self._hub = hub
        self._own = own
        self._histories = histories
        self.batches: dict[PoolId, int] = {}
        self.changes: dict[PoolId, int] = {}
        self.changed = asyncio.Event()
        """Set at every change of a link; whoever waits for one clears it."""

    def loaded(self, store: Store) -> None:
        # What was made so far stays: the collector need not walk over it again and again.
        gc.freeze()
        self._histories.loaded(store)
        self._hub.loaded(store.pool)

    def committed(self, batch: Batch) -> None:
        self.batches[batch.pool] = self.batches.get(batch.pool, 0) + 1
        self.changes[batch.pool] = self.changes.get(batch.pool, 0) + len(batch.changes)
        self._histories.committed(batch)  # first: no client may know what a restart would not
        self._hub.committed(batch)

    def state(self, status: LinkStatus) -> None:
        self._own.publish(status)
        self.changed.set()


class Registry:
    """The configured pools: storage and supervisor kept in step (fits `rest.Registry`)."""

    def __init__(
        self,
        stored: StoredPools,
        supervisor: Supervisor,
        hub: Hub,
        endpoint: Endpoint,
        own: OwnObjects,
        budget: JournalBudget,
        histories: Histories,
    ) -> None:
        self._histories = histories
        self._stored = stored
        self._supervisor = supervisor
        self._hub = hub
        self._endpoint = endpoint
        self._own = own
        self._budget = budget
        self._lock = asyncio.Lock()
        """One change of the configuration at a time: storage and supervisor change as one."""

    async def start(self) -> None:
        for stored in await self._stored.list():
            self._supervise(stored)

    async def list(self) -> Sequence[PoolInfo]:
        statuses = self._statuses()
        return [
            _pool_info(p, statuses[p.id]) for p in await self._stored.list() if p.id in statuses
        ]

    async def add(self, name: str, url: str, username: str, password: str) -> PoolInfo:
        async with self._lock:
            stored = await self._stored.add(name, url, username, password)
            self._supervise(stored)
            return self._info(stored)

    async def rename(self, pool_id: PoolId, name: str) -> PoolInfo:
        return await self._change(pool_id, name=name)

    async def set_enabled(self, pool_id: PoolId, *, enabled: bool) -> PoolInfo:
        return await self._change(pool_id, enabled=enabled)

    async def remove(self, pool_id: PoolId) -> None:
        async with self._lock:
            await self._stored.remove(pool_id)
            status = self._statuses()[pool_id]
            store = self._supervisor.store(pool_id)
            await self._supervisor.remove(pool_id)
            self._hub.remove_pool(pool_id)
            self._own.withdraw(status)
            self._budget.release(store.journal)
            await self._histories.discard(pool_id)

    async def not_loaded(self) -> Sequence[PoolId]:
        """Name the enabled pools that were never listed."""
        return [
            pool.id
            for pool in await self._stored.list()
            if pool.enabled and not self._supervisor.store(pool.id).loaded
        ]

    async def _change(
        self, pool_id: PoolId, *, name: str | None = None, enabled: bool | None = None
    ) -> PoolInfo:
        async with self._lock:
            stored = await self._stored.change(pool_id, name=name, enabled=enabled)
            await self._supervisor.replace(_link_config(stored))
            return self._info(stored)

    def _supervise(self, stored: StoredPool) -> None:
        self._supervisor.add(_link_config(stored))
        self._hub.add_pool(self._supervisor.store(stored.id))
        self._endpoint.pool_added(stored.id)

    def _info(self, stored: StoredPool) -> PoolInfo:
        return _pool_info(stored, self._statuses()[stored.id])

    def _statuses(self) -> dict[PoolId, LinkStatus]:
        return {status.pool: status for status in self._supervisor.statuses()}


class Readiness:
    """Knows what is missing before clients can be served (fits `rest.Readiness`)."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry

    async def unready(self) -> Sequence[str]:
        unreachable = await self._storage.database.unreachable()
        if unreachable is not None:
            return [unreachable]
        return [f"pool {pool} was never listed" for pool in await self._registry.not_loaded()]


class Numbers:
    """Gathers what everybody counts, at a scrape."""

    def __init__(
        self,
        hub: Hub,
        endpoint: Endpoint,
        supervisor: Supervisor,
        events: PoolEvents,
        accounts: Accounts,
        caller: "_Caller",
    ) -> None:
        self._caller = caller
        self._hub = hub
        self._endpoint = endpoint
        self._supervisor = supervisor
        self._events = events
        self._accounts = accounts

    def samples(self) -> Iterable[Sample]:
        yield from self._of_pools()
        hub, connections = self._hub, self._endpoint.connections
        yield Sample("xoproxy_clients", sum(c.session is not None for c in connections))
        yield Sample("xoproxy_clients_parked", sum(c.client.paused for c in connections))
        yield Sample("xoproxy_groups", len(hub.groups))
        yield Sample("xoproxy_views", sum(len(g.members) for g in hub.groups.values()))
        yield Sample("xoproxy_frames_total", hub.counters.frames)
        yield Sample("xoproxy_frame_bytes_total", hub.counters.bytes)
        for outcome, count in (
            ("resumed", hub.counters.resumed),
            ("snapshot", hub.counters.snapshots),
        ):
            yield Sample("xoproxy_resumes_total", count, (outcome,))
        for labels, count in self._accounts.logins.items():
            yield Sample("xoproxy_logins_total", count, labels)

    def _of_pools(self) -> Iterable[Sample]:
        states: dict[str, int] = {}
        for status in self._supervisor.statuses():
            states[status.link.state] = states.get(status.link.state, 0) + 1
            labels = (status.pool,)
            journal = self._supervisor.store(status.pool).journal
            yield Sample("xoproxy_pool_objects", status.objects, labels)
            yield Sample("xoproxy_journal_bytes", journal.used_bytes, labels)
            yield Sample("xoproxy_journal_entries", journal.change_count, labels)
            yield Sample("xoproxy_batches_total", self._events.batches.get(status.pool, 0), labels)
            yield Sample("xoproxy_changes_total", self._events.changes.get(status.pool, 0), labels)
            if status.last_event_at_s is not None:
                age_s = time.time() - status.last_event_at_s
                yield Sample("xoproxy_pool_last_event_age_seconds", age_s, labels)
        for state, count in states.items():
            yield Sample("xoproxy_pools", count, (state,))
        for pool, counts in self._supervisor.counts().items():
            yield Sample("xoproxy_events_total", counts.events, (pool,))
            yield Sample("xoproxy_unchanged_total", counts.unchanged, (pool,))
            yield Sample("xoproxy_relists_total", counts.relists, (pool, "class"))
            yield Sample("xoproxy_relists_total", counts.full_lists, (pool, "pool"))
            yield Sample("xoproxy_mismatches_total", counts.mismatches, (pool,))
        for outcome, count in self._caller.outcomes.items():
            yield Sample("xoproxy_calls_total", count, outcome)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy.

    Args:
        url: where it listens.
        registry: its pools.
        new_password: of `admin`, if this start created the account with a random one.
    """

    url: str
    registry: Registry
    new_password: str | None
    _events: PoolEvents

    async def all_loaded(self) -> None:
        """Wait until every enabled pool was listed."""
        while await self.registry.not_loaded():
            self._events.changed.clear()
            await self._events.changed.wait()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Proxy]:
    """Run a proxy until the block ends.

    Raises:
        ConfigError: it cannot run with these settings.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_user(settings.storage.directory.expanduser()))
        storage = await stack.enter_async_context(
            open_storage(settings.storage.database_url, settings.storage.key_path)
        )
        passwords = Passwords()
        stack.callback(passwords.close)
        tokens = Tokens(storage.tokens)
        accounts = Accounts(storage.accounts, tokens, passwords)
        histories = await stack.enter_async_context(
            open_histories(
                settings.storage.history_path,
                storage.history_key,
                _history_options(settings.storage),
            )
        )
        yield await stack.enter_async_context(
            _serving(settings, storage, accounts, tokens, histories)
        )


@asynccontextmanager
async def _serving(
    settings: Settings,
    storage: Storage,
    accounts: Accounts,
    tokens: Tokens,
    histories: Histories,
) -> AsyncIterator[Proxy]:
    limits = settings.limits
    budget = JournalBudget(
        limits.journal_total_bytes, limits.journal_bytes_per_pool, limits.journal_age_s
    )
    flusher = Flusher(limits.tick_min_ms / 1000, limits.tick_max_ms / 1000)
    framing = SharedFraming(limits.deflate_threshold_bytes)
    hub = Hub(
        framing,
        TokenSigner(storage.signing_key),
        flusher.wake,
        frame_bytes=limits.frame_bytes,
        chunk_bytes=limits.snapshot_chunk_bytes,
        slice_clients=limits.flush_slice,
    )
    own = OwnObjects(hub, budget)
    events = PoolEvents(hub, own, histories)
    restored = await histories.restore([pool.id for pool in await storage.pools.list()], budget)
    gc.freeze()

    def new_store(pool: PoolId) -> Store:
        return restored.pop(pool) if pool in restored else _new_store(pool, budget)

    async with _task_group() as group:
        supervisor = Supervisor(
            group,
            events,
            _link_settings(settings.pool_link),
            new_store,
        )
        caller = _Caller(supervisor)
        endpoint = Endpoint(
            hub,
            Authenticator(accounts),
            caller,
            framing,
            _connection_limits(limits),
            settings.server.trusted_origins,
        )
        registry = Registry(storage.pools, supervisor, hub, endpoint, own, budget, histories)

        def live() -> Iterable[PoolId]:
            return [s.pool for s in supervisor.statuses() if s.link.state is LinkState.LIVE]

        background = [
            group.create_task(flusher.run(hub), name="flusher"),
            group.create_task(Pulse(endpoint, _pulse_times(limits)).run(), name="pulse"),
            group.create_task(histories.run(live), name="histories"),
        ]
        metrics = Metrics()
        metrics.add_source(histories.samples)
        metrics.add_source(Numbers(hub, endpoint, supervisor, events, accounts, caller).samples)
        application = web.Application()
        application.on_response_prepare.append(answer_deflate)
        application.router.add_get("/ws", endpoint.handle)
        application.add_routes(page_routes())
        application.add_routes(health_routes(Readiness(storage, registry), metrics.exposition))
        application.add_subapp(
            "/api/v1",
            api_application(
                accounts, tokens, registry, endpoint.revoked, settings.server.trusted_origins
            ),
        )
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, lingering_time=2.0
        )
        try:
            await runner.setup()
            # Pools first: a client that comes back at once must find the pools that it knows.
            await registry.start()
            site, url = await _listen(runner, settings.server.host, settings.server.port)
            # Last, when nothing can fail any more: a random password is told only once.
            password = settings.admin_password
            made = await accounts.ensure_administrator(
                password.get_secret_value() if password else None
            )
            yield Proxy(url, registry, made, events)
            await site.stop()
            await endpoint.shut_down(settings.server.shutdown_grace_s)
        finally:
            await runner.cleanup()
            await supervisor.close()
            for task in background:
                task.cancel()
    await histories.close(live)


@asynccontextmanager
async def _task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Own all tasks; a setting that turns out wrong leaves as itself, not wrapped in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        wrong, _ = failures.split(ConfigError)
        if wrong is not None:
            raise wrong.exceptions[0] from None
        raise


async def until_signalled() -> None:
    """Wait for SIGINT or SIGTERM."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled.set)
    try:
        await signalled.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def new_runner() -> asyncio.Runner:
    """Make the runner of a process that serves: the fastest loop, and a collector that keeps still.

    Records are bytes, which the collector does not follow, and a batch makes and drops containers
    by the ten thousand without a single cycle: the default thresholds would walk over all of them
    again and again, for up to 70 ms at a time.
    """
    gc.set_threshold(20_000, 20, 100)
    return asyncio.Runner(loop_factory=new_event_loop)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the fastest event loop that there is here: 10 to 20 % less per write with uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _Caller:
    """Runs clients' calls and counts how they end (fits `ws.endpoint.Caller`)."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.outcomes: Counter[tuple[str, str]] = Counter()

    async def call(self, pool: PoolId, method: str, params: Mapping[str, Any]) -> Any:  # noqa: ANN401
        outcome = "failed"
        try:
            result = await self._supervisor.call(pool, method, params)
            outcome = "ok"
        except RequestRefused as refused:
            outcome = refused.code.lower()
            raise
        finally:
            self.outcomes[pool, outcome] += 1
        return msgspec.json.decode(result)  # the client may speak MessagePack


async def _listen(runner: web.AppRunner, host: str, port: int) -> tuple[web.TCPSite, str]:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        hint = (
            "another program listens there; choose another port"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise ConfigError(f"cannot listen on {host} port {port}: {hint}") from error
    address: tuple[Any, ...] = runner.addresses[0]
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    return site, f"http://{shown}:{address[1]}"


def _new_store(pool: PoolId, budget: JournalBudget) -> Store:
    store = Store(pool, secrets.token_hex(8), budget)
    # Until the pool has told which classes it has, it may have all that we know of.
    store.classes = SCHEMA.event_classes
    return store


def _link_config(stored: StoredPool) -> PoolConfig:
    return PoolConfig(
        id=stored.id,
        name=stored.name,
        url=stored.url,
        username=stored.username,
        password=stored.password,
        fingerprint=stored.fingerprint,
        enabled=stored.enabled,
    )


def _pool_info(stored: StoredPool, status: LinkStatus) -> PoolInfo:
    error = status.link.error
    return PoolInfo(
        id=stored.id,
        name=stored.name,
        url=stored.url,
        username=stored.username,
        enabled=stored.enabled,
        state=status.link.state.value,
        since=datetime.fromtimestamp(status.link.since_s, UTC),
        error=PoolProblem(code=error.code, message=error.message) if error else None,
        objects=status.objects,
        created_at=stored.created_at,
    )


def _link_settings(settings: PoolLinkSettings) -> LinkSettings:
    return replace(
        LinkSettings(),
        event_timeout_s=settings.event_timeout_s,
        event_slack_s=settings.event_slack_s,
        connect_timeout_s=settings.connect_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        backoff_min_s=settings.backoff_min_s,
        backoff_max_s=settings.backoff_max_s,
        calls=settings.calls,
        reply_bytes=settings.reply_bytes,
        messages_kept=settings.messages_kept,
    )


def _history_options(settings: StorageSettings) -> HistoryOptions:
    return HistoryOptions(
        total_bytes=settings.history_bytes,
        checkpoint_bytes=settings.checkpoint_log_bytes,
        checkpoint_interval_s=settings.checkpoint_interval_s,
    )


def _connection_limits(limits: LimitsSettings) -> ConnectionLimits:
    return ConnectionLimits(
        message=Limits(
            message_bytes=limits.message_bytes,
            subscriptions=limits.subscriptions,
            views=limits.views,
            frame_bytes=limits.frame_bytes,
            calls=limits.calls_per_session,
        ),
        sessions=limits.sessions,
        auth_timeout_s=limits.auth_timeout_s,
        notsent_bytes=limits.notsent_lowat_bytes,
    )


def _pulse_times(limits: LimitsSettings) -> PulseTimes:
    return PulseTimes(
        ping_interval_s=limits.ping_interval_s,
        pong_timeout_s=limits.pong_timeout_s,
        stalled_close_s=limits.stalled_close_s,
        bookmark_interval_s=limits.bookmark_interval_s,
    )

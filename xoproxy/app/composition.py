"""Builds everything, and owns the order of beginning and ending.

    storage -- accounts, registry --+-- rest --+
    supervisor (pools) -- hub ------+-- ws ----+-- one HTTP server

It owns the root task group and the order of ending: nobody new; clients get their bookmarks and
are told to come back; pools are logged out of; their histories end; storage closes last.
"""

import asyncio
import errno
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from pydantic import SecretStr

from xoproxy.app import options
from xoproxy.app.audit import AuditLog, audit_log
from xoproxy.app.audited import AuditedCalls, AuditedGrants, AuditedSignIns
from xoproxy.app.collector import Collector
from xoproxy.app.commands import Commands
from xoproxy.app.credentials import Credentials, credentials
from xoproxy.app.events import OwnObjects, PoolEvents
from xoproxy.app.identities import Authenticator
from xoproxy.app.memory import MemoryGuard, available_bytes
from xoproxy.app.numbers import Caller, Numbers
from xoproxy.app.objects import Objects
from xoproxy.app.ownership import Ownership
from xoproxy.app.registry import Readiness, Registry
from xoproxy.auth import Administration, Peers
from xoproxy.auth.accounts import FIRST_ACCOUNT
from xoproxy.auth.audit import Action
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.errors import ConfigError
from xoproxy.model import PoolId
from xoproxy.pool.link import LinkState
from xoproxy.pool.supervisor import Supervisor
from xoproxy.pool.trust import authorities
from xoproxy.rest import Services, api_application, health_routes
from xoproxy.rest.page import routes as page_routes
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.settings import Settings
from xoproxy.storage import Storage, open_storage
from xoproxy.storage.history import Histories, open_histories, sole_user
from xoproxy.telemetry import Metrics
from xoproxy.ws.connection import ConnectionServices
from xoproxy.ws.door import Door, listening_sockets
from xoproxy.ws.endpoint import Endpoint
from xoproxy.ws.flusher import Flusher
from xoproxy.ws.frames import SharedFraming
from xoproxy.ws.pulse import Pulse
from xoproxy.ws.upgrade import answer_deflate


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
    authorities(settings.pool_link.ca_file)
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_user(settings.storage.directory.expanduser()))
        storage = await stack.enter_async_context(
            open_storage(settings.storage.database_url, settings.storage.key_path, alone=True)
        )
        known = await stack.enter_async_context(credentials(storage, settings.accounts))
        histories = await stack.enter_async_context(
            open_histories(
                settings.storage.history_path,
                storage.history_key,
                options.history_options(settings.storage),
            )
        )
        audit = await stack.enter_async_context(audit_log(storage, known.directory, settings.audit))
        collector = stack.enter_context(Collector())
        yield await stack.enter_async_context(
            _serving(settings, storage, known, audit, histories, collector)
        )


@asynccontextmanager
async def _serving(
    settings: Settings,
    storage: Storage,
    known: Credentials,
    audit: AuditLog,
    histories: Histories,
    collector: Collector,
) -> AsyncIterator[Proxy]:
    limits = settings.limits
    directory, accounts, tokens = known.directory, known.accounts, known.tokens
    peers = Peers(settings.server.trusted_proxies)
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
        frames_total_bytes=limits.frames_total_bytes,
        window_lists=limits.window_lists,
    )
    own = OwnObjects(hub, budget)
    directory.follow(own)
    tokens.follow(own)
    ownership = Ownership(directory, hub.pools)
    events = PoolEvents(hub, own, histories, ownership)
    restored = await histories.restore([pool.id for pool in await storage.pools.list()], budget)

    def new_store(pool: PoolId) -> Store:
        return restored.pop(pool) if pool in restored else _new_store(pool, budget)

    async with _task_group() as group:
        supervisor = Supervisor(
            group,
            events,
            options.link_settings(settings.pool_link),
            new_store,
        )
        caller = Caller(supervisor)
        connection_services = ConnectionServices(
            hub,
            AuditedSignIns(Authenticator(accounts, directory), audit),
            AuditedCalls(Commands(hub.pools, caller, ownership), hub.pools, audit),
            framing,
            options.connection_limits(limits),
        )
        endpoint = Endpoint(connection_services, settings.server.trusted_origins, peers)
        known.sessions.when_ended(endpoint.revoked)
        administration = Administration(directory, storage.directory, known.passwords, endpoint)
        objects = Objects(storage.pools, supervisor.store)
        registry = Registry(
            storage.pools,
            supervisor,
            hub,
            endpoint,
            own,
            budget,
            histories,
            settings.pool_link,
            audit,
        )

        def live() -> Iterable[PoolId]:
            return [s.pool for s in supervisor.statuses() if s.link.state is LinkState.LIVE]

        memory = MemoryGuard(limits.memory_bytes or available_bytes(), endpoint, budget)
        background = [
            group.create_task(flusher.run(hub), name="flusher"),
            group.create_task(Pulse(endpoint, options.pulse_times(limits)).run(), name="pulse"),
            group.create_task(memory.run(), name="memory"),
            group.create_task(endpoint.judge(), name="rights"),
            group.create_task(
                ownership.run(AuditedGrants(administration, audit)), name="ownership"
            ),
            group.create_task(known.keep(endpoint.in_use), name="credentials"),
            group.create_task(histories.run(live), name="histories"),
            group.create_task(registry.learn(), name="registry"),
            group.create_task(collector.run(), name="collector"),
            group.create_task(audit.run(), name="audit"),
        ]
        metrics = Metrics()
        metrics.add_source(histories.samples)
        metrics.add_source(audit.samples)
        metrics.add_source(
            Numbers(hub, endpoint, supervisor, events, accounts, caller, memory).samples
        )
        services = Services(
            accounts,
            directory,
            administration,
            tokens,
            registry,
            objects,
            endpoint.revoked,
            audit,
            known.sessions,
        )
        application = _application(
            endpoint,
            health_routes(Readiness(storage, registry), metrics.exposition),
            api_application(services, settings.server.trusted_origins, peers),
        )
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, lingering_time=2.0
        )
        try:
            await runner.setup()
            # Pools first: a client that comes back at once must find the pools that it knows.
            await registry.start()
            door = await _door(runner, settings.server.host, settings.server.port)
            admitting = group.create_task(door.run(), name="door")
            background.append(admitting)
            # Last, when nothing can fail any more: a random password is told only once.
            made = await _first_account(settings.admin_password, known, audit)
            yield Proxy(_url(door), registry, made, events)
            admitting.cancel()
            await endpoint.shut_down(settings.server.shutdown_grace_s)
        finally:
            await runner.cleanup()
            await supervisor.close()
            await _end(background, storage)
            await known.write()
    await histories.close(live)


async def _end(tasks: Iterable[asyncio.Task[None]], storage: Storage) -> None:
    async with storage.database.at_rest():
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)  # for them to hear of it


async def _first_account(
    password: SecretStr | None, known: Credentials, audit: AuditLog
) -> str | None:
    """Make the account `admin` if there is none at all; return its password if it is random."""
    if not known.directory.accounts:
        audit.note(Action("addFirstUser", details={"name": FIRST_ACCOUNT}))
    return await known.accounts.ensure_administrator(
        password.get_secret_value() if password else None
    )


def _application(
    endpoint: Endpoint, health: Iterable[web.AbstractRouteDef], api: web.Application
) -> web.Application:
    application = web.Application()
    application.on_response_prepare.append(answer_deflate)
    application.router.add_get("/ws", endpoint.handle)
    application.add_routes(page_routes())
    application.add_routes(health)
    application.add_subapp("/api/v1", api)
    return application


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


async def _door(runner: web.AppRunner, host: str, port: int) -> Door:
    try:
        listeners = await listening_sockets(host, port)
    except OSError as error:
        hint = (
            "another program listens there; choose another port"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise ConfigError(f"cannot listen on {host} port {port}: {hint}") from error
    assert runner.server is not None  # noqa: S101 - it was set up
    return Door(listeners, runner.server)


def _url(door: Door) -> str:
    host, port = door.address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _new_store(pool: PoolId, budget: JournalBudget) -> Store:
    store = Store(pool, secrets.token_hex(8), budget)
    # Until the pool has told which classes it has, it may have all that we know of.
    store.classes = SCHEMA.event_classes
    return store

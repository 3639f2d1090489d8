"""A proxy's administration side over real storage and loopback HTTP, without pools to talk to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from aiohttp import ClientSession, encode_basic_auth, web

from xoproxy.app.audit import audit_log
from xoproxy.app.objects import Objects
from xoproxy.auth import Accounts, BrowserSessions, Directory, Passwords, Tokens
from xoproxy.auth import Administration as Changes
from xoproxy.cache.store import Store
from xoproxy.model import PoolId
from xoproxy.rest import (
    CheckReport,
    CheckStep,
    HostCertificate,
    PoolChange,
    PoolInfo,
    PoolLookAt,
    Services,
    api_application,
    health_routes,
)
from xoproxy.settings import AuditSettings
from xoproxy.storage import PoolConfig, Storage, open_storage
from xoproxy.telemetry import Metrics, Sample

PASSWORD = "the administrator's"


class Registry:
    """Pools as stored, with links that are always live."""

    def __init__(self, storage: Storage) -> None:
        self._pools = storage.pools

    async def list(self):
        return [_info(pool) for pool in await self._pools.list()]

    async def add(
        self, name: str, url: str, username: str, password: str, fingerprint: str | None = None
    ) -> PoolInfo:
        pins = {url: fingerprint} if fingerprint else {}
        return _info(await self._pools.add(name, url, username, password, pins=pins))

    async def change(self, pool_id: PoolId, change: PoolChange) -> PoolInfo:
        pool = await self._pools.change(
            pool_id,
            name=change.name,
            url=change.url,
            username=change.username,
            password=change.password.get_secret_value() if change.password else None,
            enabled=change.enabled,
        )
        return _info(pool)

    async def check_new(self, new: PoolLookAt) -> CheckReport:
        step = CheckStep(name="port", outcome="failed", message=new.url, advice="Switch it on.")
        return CheckReport(good=False, steps=[step], certificate=None, pool_name="", pool_uuid="")

    async def check(self, pool_id: PoolId) -> CheckReport:
        await self._found(pool_id)
        return CheckReport(good=True, steps=[], certificate=None, pool_name="x", pool_uuid="u")

    async def reconnect(self, pool_id: PoolId) -> PoolInfo:
        return await self._found(pool_id)

    async def certificates(self, pool_id: PoolId):
        pool = await self._found(pool_id)
        return [HostCertificate(host=pool.name, accepted=None, shown=None)]

    async def accept(self, pool_id: PoolId, fingerprint: str) -> PoolInfo:
        return _info(await self._pools.change(pool_id, pins={"host": fingerprint}))

    async def _found(self, pool_id: PoolId) -> PoolInfo:
        return _info(await self._pools.change(pool_id))

    async def remove(self, pool_id: PoolId) -> None:
        await self._pools.remove(pool_id)


def _info(pool: PoolConfig) -> PoolInfo:
    state: Literal["live", "disabled"] = "live" if pool.enabled else "disabled"
    return PoolInfo(
        id=pool.id,
        name=pool.name,
        url=pool.url,
        username=pool.username,
        enabled=pool.enabled,
        state=state,
        since=datetime(2026, 1, 1, tzinfo=UTC),
        error=None,
        objects=7,
        created_at=pool.created_at,
    )


@dataclass
class Told:
    """Notes what open connections would be told."""

    judged: list[set[str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def rights_changed(self, account_ids: set[str]) -> None:
        self.judged.append(account_ids)

    def account_ended(self, account_id: str) -> None:
        self.ended.append(account_id)

    def revoked(self, credential: str) -> None:
        self.credentials.append(credential)


@dataclass
class Administration:
    """A running server, and what tests look at."""

    url: str
    storage: Storage
    directory: Directory
    accounts: Accounts
    tokens: Tokens
    told: Told
    stores: dict[PoolId, Store] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    async def unready(self):
        return self.reasons

    @property
    def revoked(self) -> list[str]:
        return self.told.credentials

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@asynccontextmanager
async def administration(place: Path) -> AsyncIterator[Administration]:
    """Serve on a free port with an administrator `admin`."""
    passwords = Passwords()
    metrics = Metrics()
    url = f"sqlite:///{place}/xoproxy.db"
    async with open_storage(url, place / "storage.key") as storage, AsyncExitStack() as stack:
        tokens = Tokens(storage.tokens)
        directory = Directory()
        sessions = BrowserSessions(storage.sessions, directory, tokens)
        accounts = Accounts(directory, storage.directory, tokens, sessions, passwords)
        metrics.add_source(
            lambda: [Sample("xoproxy_logins_total", n, key) for key, n in accounts.logins.items()]
        )
        await accounts.ensure_administrator(PASSWORD)
        told = Told()
        served = Administration("", storage, directory, accounts, tokens, told)
        audit = await stack.enter_async_context(audit_log(storage, directory, AuditSettings()))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        writer = group.create_task(audit.run())
        services = Services(
            accounts,
            directory,
            Changes(directory, storage.directory, passwords, told),
            tokens,
            Registry(storage),
            Objects(storage.pools, served.stores.__getitem__),
            told.revoked,
            audit,
            sessions,
        )
        api = api_application(services, ("https://trusted.example",))
        application = web.Application()
        application.add_subapp("/api/v1", api)
        application.add_routes(health_routes(served, metrics.exposition))
        runner = web.AppRunner(application, access_log=None, lingering_time=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        try:
            await site.start()
            host, port = runner.addresses[0][:2]
            served.url = f"http://{host}:{port}"
            yield served
        finally:
            await runner.cleanup()
            writer.cancel()
            passwords.close()


class Api:
    """Asks the HTTP API as somebody, and checks the form of each answer."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with self._session.request(method, f"/api/v1{path}", json=body) as response:
            text = await response.text()
            assert response.status == status, text
        assert "argon2" not in text  # as every hash of a password begins
        return json.loads(text) if text else None

    async def refused(
        self, status: int, method: str, path: str, body: Any = None
    ) -> tuple[str, str]:
        """Return code and message of an error."""
        error = (await self(method, path, body, status))["error"]
        assert set(error) <= {"code", "message", "data"}
        assert "\n" not in error["message"]
        return error["code"], error["message"]


@asynccontextmanager
async def asking(
    url: str, user: str = "", password: str = "", token: str = ""
) -> AsyncIterator[Api]:
    """Ask with a token, else with a name and a password."""
    signed = f"Bearer {token}" if token else encode_basic_auth(user, password)
    async with ClientSession(url, headers={"Authorization": signed}) as session:
        yield Api(session)

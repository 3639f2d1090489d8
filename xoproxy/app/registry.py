"""The configured pools: storage and supervisor kept in step."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from yarl import URL

from xoproxy.app.audited import Audit
from xoproxy.app.events import OwnObjects
from xoproxy.auth.audit import Action
from xoproxy.cache.journal import JournalBudget
from xoproxy.errors import ErrorCode, PoolUnreachable, RequestRefused
from xoproxy.model import PoolId
from xoproxy.pool.check import Report
from xoproxy.pool.client import PoolConfig
from xoproxy.pool.jsonrpc import endpoint
from xoproxy.pool.link import LinkStatus
from xoproxy.pool.supervisor import Supervisor
from xoproxy.pool.trust import Certificate, presented, trusted_by_authorities
from xoproxy.rest import (
    CertificateInfo,
    CheckReport,
    CheckStep,
    HostCertificate,
    PoolChange,
    PoolInfo,
    PoolLookAt,
    PoolProblem,
)
from xoproxy.sessions.hub import Hub
from xoproxy.settings import PoolLinkSettings
from xoproxy.storage import PoolConfig as StoredPool
from xoproxy.storage import Storage, StoredPools
from xoproxy.storage.history import Histories
from xoproxy.ws.endpoint import Endpoint

_START_S = 0.02
"""Between the first attempts of two pools, on average."""


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
        settings: PoolLinkSettings,
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._ca_path = settings.ca_file
        self._connect_timeout_s = settings.connect_timeout_s
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
        """Take all pools under supervision; many of them do not start in the same moment."""
        pools = await self._stored.list()
        self._own.changed(pools, ())
        for stored in pools:
            self._supervise(stored, random.uniform(0, _START_S * (len(pools) - 1)))  # noqa: S311

    async def list(self) -> Sequence[PoolInfo]:
        statuses = self._statuses()
        return [
            _pool_info(p, statuses[p.id]) for p in await self._stored.list() if p.id in statuses
        ]

    async def add(
        self, name: str, url: str, username: str, password: str, fingerprint: str | None = None
    ) -> PoolInfo:
        pins = await self._pins_of(endpoint(url), fingerprint)
        async with self._lock:
            stored = await self._stored.add(name, url, username, password, pins=pins)
            self._own.changed([stored], ())
            self._supervise(stored)
            return self._info(stored)

    async def change(self, pool_id: PoolId, change: PoolChange) -> PoolInfo:
        """Change a pool; its link begins anew only when what it needs has changed."""
        password = change.password.get_secret_value() if change.password else None
        async with self._lock:
            stored = await self._stored.change(
                pool_id,
                name=change.name,
                url=change.url,
                username=change.username,
                password=password,
                enabled=change.enabled,
            )
            self._own.changed([stored], ())
            await self._supervisor.replace(self._link_config(stored))
            return self._info(stored)

    async def check_new(self, new: PoolLookAt) -> CheckReport:
        host = endpoint(new.url).host or ""
        config = PoolConfig(
            id=PoolId("new"),
            name="new",
            url=new.url,
            username=new.username,
            password=new.password.get_secret_value(),
            pins={host: new.fingerprint} if new.fingerprint else {},
            ca_path=self._ca_path,
        )
        return _report(await self._supervisor.check(config))

    async def check(self, pool_id: PoolId) -> CheckReport:
        return _report(await self._supervisor.check(self._link_config(await self._find(pool_id))))

    async def reconnect(self, pool_id: PoolId) -> PoolInfo:
        stored = await self._find(pool_id)
        self._supervisor.reconnect(pool_id)
        return self._info(stored)

    async def certificates(self, pool_id: PoolId) -> Sequence[HostCertificate]:
        """Look at what all hosts of a pool show now."""
        stored = await self._find(pool_id)
        shown = await self._shown(stored)
        return [
            HostCertificate(
                host=host,
                accepted=stored.pins.get(host),
                shown=_certificate(found) if found else None,
            )
            for host, found in shown.items()
        ]

    async def accept(self, pool_id: PoolId, fingerprint: str) -> PoolInfo:
        """Pin a certificate for each host that shows it now; a link that is up stays up."""
        stored = await self._find(pool_id)
        shown = await self._shown(stored)
        pins = {
            host: fingerprint
            for host, found in shown.items()
            if found is not None and found.fingerprint == fingerprint
        }
        if not pins:
            raise RequestRefused(
                ErrorCode.CERTIFICATE, "no host of the pool that answers shows this certificate"
            )
        async with self._lock:
            stored = await self._stored.change(pool_id, pins=pins)
            await self._supervisor.replace(self._link_config(stored))
            return self._info(stored)

    async def learn(self) -> None:
        """Keep what the links learn of their pools: uuids, and their hosts' certificates."""
        while True:
            learnt = await self._supervisor.learnt()
            async with self._lock:
                with suppress(RequestRefused):  # removed meanwhile
                    known = await self._find(learnt.pool)
                    stored = await self._stored.change(
                        learnt.pool, uuid=learnt.uuid, pins=learnt.pins
                    )
                    self._own.changed([stored], ())
                    self._note_learnt(known, stored)

    async def remove(self, pool_id: PoolId) -> None:
        async with self._lock:
            stored = await self._find(pool_id)
            await self._stored.remove(pool_id)
            self._own.changed((), [stored])
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

    def _note_learnt(self, before: StoredPool, after: StoredPool) -> None:
        """Have it recorded that certificates were accepted that nobody looked at."""
        hosts = [host for host, pin in after.pins.items() if before.pins.get(host) != pin]
        if hosts:
            about, details = f"/pools/{after.id}", {"hosts": sorted(hosts)}
            self._audit.note(Action("learnCertificates", about=about, details=details))

    async def _pins_of(self, url: URL, fingerprint: str | None) -> dict[str, str]:
        """Return what to pin for the host of a new pool.

        Raises:
            RequestRefused: CERTIFICATE, it shows one for which nobody vouches, or not the given.
        """
        if url.scheme != "https":
            return {}
        given = {url.host or "": fingerprint} if fingerprint else {}
        try:
            shown = await presented(url, self._connect_timeout_s)
        except PoolUnreachable:
            return given  # its link will say so
        if shown.fingerprint == fingerprint:
            return given
        if fingerprint is None and await trusted_by_authorities(
            url, self._ca_path, self._connect_timeout_s
        ):
            return {}
        message = (
            f"no authority vouches for the certificate of the host: SHA-256 {shown.fingerprint}; "
            "compare it with the host's console, then give it as fingerprint"
            if fingerprint is None
            else f"the host shows another certificate: SHA-256 {shown.fingerprint}"
        )
        data = {"certificate": _certificate(shown).model_dump(mode="json")}
        raise RequestRefused(ErrorCode.CERTIFICATE, message, data)

    async def _shown(self, stored: StoredPool) -> dict[str, Certificate | None]:
        """Look at all hosts at once; None for those that cannot be reached."""
        home = endpoint(stored.url)
        if home.scheme != "https":
            return {}
        urls = [home, *self._supervisor.hosts(stored.id, home)]
        found: dict[str, Certificate | None] = {url.host or "": None for url in urls}

        async def look(url: URL) -> None:
            with suppress(PoolUnreachable):
                found[url.host or ""] = await presented(url, self._connect_timeout_s)

        async with asyncio.TaskGroup() as group:
            for url in dict.fromkeys(urls):
                group.create_task(look(url))
        return found

    async def _find(self, pool_id: PoolId) -> StoredPool:
        for stored in await self._stored.list():
            if stored.id == pool_id:
                return stored
        raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {pool_id!r}")

    def _link_config(self, stored: StoredPool) -> PoolConfig:
        return PoolConfig(
            id=stored.id,
            name=stored.name,
            url=stored.url,
            username=stored.username,
            password=stored.password,
            enabled=stored.enabled,
            pins=stored.pins,
            ca_path=self._ca_path,
            uuid=stored.uuid,
        )

    def _supervise(self, stored: StoredPool, after_s: float = 0.0) -> None:
        self._supervisor.add(self._link_config(stored), after_s)
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


def _certificate(found: Certificate) -> CertificateInfo:
    return CertificateInfo(
        fingerprint=found.fingerprint,
        subject=found.subject,
        issuer=found.issuer,
        not_after=found.not_after,
    )


def _report(report: Report) -> CheckReport:
    return CheckReport(
        good=report.good,
        steps=[
            CheckStep(
                name=step.name,
                outcome=step.outcome.value,
                message=step.message,
                advice=step.advice,
            )
            for step in report.steps
        ],
        certificate=_certificate(report.certificate) if report.certificate else None,
        pool_name=report.pool_name,
        pool_uuid=report.pool_uuid,
    )

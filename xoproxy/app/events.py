"""What pools tell, carried to those who want to know; what the proxy owns, as objects."""

import asyncio
import secrets
import time
from collections.abc import Iterable

from xoproxy.app.own_records import ref_of, upsert
from xoproxy.app.ownership import Ownership
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.model import PROXY_POOL, Batch, Event, PoolId, Removal, Upsert
from xoproxy.pool.link import POOL_LINK, LinkStatus
from xoproxy.sessions.hub import Hub
from xoproxy.storage.history import Histories


class OwnObjects:
    """What the proxy itself owns, published as objects of pseudo pool `proxy`.

    Follows the directory, the API tokens and the registry (fits `auth.Follower`).
    """

    def __init__(self, hub: Hub, budget: JournalBudget) -> None:
        self._hub = hub
        self._store = Store(PROXY_POOL, secrets.token_hex(8), budget)
        self._store.classes = SCHEMA.proxy_classes
        hub.add_pool(self._store)
        self._commit()

    def publish(self, status: LinkStatus) -> None:
        self._commit(Upsert(POOL_LINK, status.ref, status.record()))

    def withdraw(self, status: LinkStatus) -> None:
        self._commit(Removal(status.ref))

    def changed(self, put: Iterable[object], removed: Iterable[object]) -> None:
        """Show these as they are now, and those no more: at once, so no client sees a half."""
        self._commit(*map(upsert, put), *(Removal(ref_of(item)) for item in removed))

    def _commit(self, *events: Event) -> None:
        prepared = self._store.prepare(events)
        while prepared.step():
            pass
        batch = self._store.commit(prepared, at_s=time.monotonic())
        self._hub.committed(batch)


class PoolEvents:
    """Carries what the supervisor tells to the hub (fits `pool.supervisor.Sink`)."""

    def __init__(
        self, hub: Hub, own: OwnObjects, histories: Histories, ownership: Ownership
    ) -> None:
        self._hub = hub
        self._own = own
        self._histories = histories
        self._ownership = ownership
        self.batches: dict[PoolId, int] = {}
        self.changes: dict[PoolId, int] = {}
        self.changed = asyncio.Event()
        """Set at every change of a link; whoever waits for one clears it."""

    def loaded(self, store: Store) -> None:
        self._histories.loaded(store)
        self._hub.loaded(store.pool)
        self._ownership.loaded(store)

    def committed(self, batch: Batch) -> None:
        self.batches[batch.pool] = self.batches.get(batch.pool, 0) + 1
        self.changes[batch.pool] = self.changes.get(batch.pool, 0) + len(batch.changes)
        self._histories.committed(batch)  # first: no client may know what a restart would not
        self._hub.committed(batch)
        self._ownership.committed(batch)

    def state(self, status: LinkStatus) -> None:
        self._own.publish(status)
        self.changed.set()

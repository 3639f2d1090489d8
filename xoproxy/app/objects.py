"""What the pools hold, for questions about one object."""

import asyncio
from collections.abc import Callable, Mapping

from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import Entry, PoolId
from xoproxy.storage import StoredPools

Stores = Callable[[PoolId], Store]
"""Returns what is held of a pool; raises KeyError when there is none."""


class Objects:
    """Finds objects (fits `rest.Objects`)."""

    def __init__(self, stored: StoredPools, stores: Stores) -> None:
        self._stored = stored
        self._stores = stores

    async def pools(self) -> Mapping[PoolId, str]:
        return {pool.id: pool.name for pool in await self._stored.list()}

    async def find(self, pool: PoolId, uuid: str) -> tuple[State, Entry]:
        try:
            store = self._stores(pool)
        except KeyError:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {pool!r}") from None
        if not store.loaded:
            text = "the pool was never listed, so nobody knows what it holds; see its state"
            raise RequestRefused(ErrorCode.POOL_UNAVAILABLE, text)
        for _ in store.index_references():
            await asyncio.sleep(0)
        entry = store.named(uuid)
        if entry is None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"the pool has no object with uuid {uuid!r}")
        return State(store, store.seq), entry

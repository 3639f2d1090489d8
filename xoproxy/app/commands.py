"""Clients' calls, each as far as its user may."""

import asyncio
from collections.abc import Mapping
from typing import Any

from xoproxy.app.numbers import Caller
from xoproxy.app.ownership import Ownership
from xoproxy.auth.commands import (
    COMMANDS,
    Made,
    check,
    is_reference,
    no_such_pool,
    shown,
    shown_failure,
)
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused, XapiFailure
from xoproxy.model import PoolId
from xoproxy.ws.connection import Principal


class Commands:
    """Runs clients' calls, each as far as its user may (fits `ws.connection.Caller`).

    Args:
        pools: what calls are judged on.
        caller: runs them.
        ownership: gives what they make to who called.
    """

    def __init__(self, pools: Mapping[PoolId, Store], caller: Caller, ownership: Ownership) -> None:
        self._pools = pools
        self._caller = caller
        self._ownership = ownership

    async def call(
        self, principal: Principal, pool: PoolId, method: str, params: Mapping[str, Any]
    ) -> Any:  # noqa: ANN401 - any JSON value
        store = self._pools.get(pool)
        if store is None:
            raise no_such_pool(pool)

        def permitted() -> None:
            if not (store.has_references or principal.rights.administers):
                text = "what you may do has just changed; try again"
                raise RequestRefused(ErrorCode.BUSY, text)
            check(principal.rights, State(store, store.seq), method, params)

        async def run() -> Any:  # noqa: ANN401 - any JSON value
            return await self._caller.call(pool, method, params, permitted)

        await _prepare(principal, store)
        permitted()  # first of all; and once more when its turn has come
        makes = Made.NOTHING if principal.rights.administers else COMMANDS[method].makes
        try:
            if makes is Made.OWN:
                result = await self._ownership.make(principal.account_id, pool, run)
            else:
                result = await run()
        except XapiFailure as failure:
            await _prepare(principal, store)
            if principal.rights.administers:
                raise
            now = State(store, store.seq)
            raise shown_failure(principal.visibility(pool), now, failure) from failure
        if makes is not Made.NOTHING and is_reference(result):
            return result  # he has made it, be it that no event has told of it yet
        await _prepare(principal, store)
        if principal.rights.administers:
            return result
        return shown(principal.visibility(pool), State(store, store.seq), result)


async def _prepare(principal: Principal, store: Store) -> None:
    """Build what judging somebody who does not administer needs: once, in slices."""
    if not principal.rights.administers:
        for _ in store.index_references():
            await asyncio.sleep(0)

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
from xoproxy.errors import XapiFailure
from xoproxy.model import PoolId
from xoproxy.ws.endpoint import Principal


class Commands:
    """Runs clients' calls, each as far as its user may (fits `ws.endpoint.Caller`).

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
        if principal.rights.administers:
            return await self._caller.call(pool, method, params)
        store = self._pools.get(pool)
        if store is None:
            raise no_such_pool(pool)
        for _ in store.index_references():  # before the look: it may take a while, once
            await asyncio.sleep(0)
        check(principal.rights, State(store, store.seq), method, params)
        makes = COMMANDS[method].makes
        try:
            if makes is Made.OWN:
                result = await self._ownership.make(
                    principal.account_id, pool, lambda: self._caller.call(pool, method, params)
                )
            else:
                result = await self._caller.call(pool, method, params)
        except XapiFailure as failure:
            now = State(store, store.seq)
            raise shown_failure(principal.visibility(pool), now, failure) from failure
        if makes is not Made.NOTHING and is_reference(result):
            return result  # he has made it, be it that no event has told of it yet
        return shown(principal.visibility(pool), State(store, store.seq), result)

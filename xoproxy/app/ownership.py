"""What somebody makes is his: a grant for each object that he made, while it is there.

Theory of operation. A call that makes an object runs here, in a task of its own, so that who made
it gets it even if he has left meanwhile. Its result is the reference; the uuid, by which grants
name objects, comes with the pool's events, mostly before the result. The result is told when the
object is his, so that he can go on with it at once.

Such a grant is not marked: a grant of role `user` on one object to an account means that it is his
(auth/commands.OWNER), whoever made the grant. It is taken back when the object goes for good:
when the pool removes it, or is listed for the first time (after its history was lost) without it.

What is lost: a restart of the proxy between a call and its result, a call whose outcome the proxy
does not get to know (it takes over an hour; the pool forgets its task), and an object that no event
tells of within a minute, leave an object that is nobody's. An administrator can grant it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import structlog

from xoproxy.auth import Directory, KeptGrant, Kind, Scope
from xoproxy.auth.commands import OWNER, is_reference
from xoproxy.cache.index import uuid_of
from xoproxy.cache.store import Store
from xoproxy.errors import RequestRefused, XoproxyError
from xoproxy.model import Batch, Change, Entry, PoolId, Ref, XapiClass

_log = structlog.get_logger(__name__)

_SEEN_WITHIN_S = 60.0
_MADE = XapiClass("VM")
"""The class of all that calls make."""
_READ_AT_ONCE = 50
"""Removed records that are read before the rest of the proxy has its turn."""


class Grants(Protocol):
    """Changes grants; `auth.Administration`, and who notes what it does, fit it."""

    async def add_grant(self, role: str, scope: Scope, *, account_id: str) -> KeptGrant: ...

    async def remove_grant(self, grant_id: str) -> None: ...


class Ownership:
    """Gives objects to who made them.

    Args:
        directory: what is granted.
        pools: the objects.
    """

    def __init__(self, directory: Directory, pools: Mapping[PoolId, Store]) -> None:
        self._directory = directory
        self._pools = pools
        self._grants: Grants | None = None
        self._group: asyncio.TaskGroup | None = None
        self._awaited: dict[tuple[PoolId, Ref], asyncio.Event] = {}
        self._gone: dict[PoolId, list[Change]] = {}
        """What was removed, and not looked at yet: at most what the pools had."""
        self._listed: dict[PoolId, None] = {}
        """Pools that were listed for the first time."""
        self._wake = asyncio.Event()

    async def run(self, grants: Grants) -> None:
        """Take grants back whose objects went, and own the calls that make some; for ever."""
        self._grants = grants
        async with asyncio.TaskGroup() as self._group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._listed:
                    await self._look(self._listed.popitem()[0], None)
                while self._gone:
                    pool, removed = self._gone.popitem()
                    await self._look(pool, await _uuids(removed))

    async def make(self, account_id: str, pool: PoolId, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - any JSON value
        """Run a call that makes an object, and give that to an account.

        Returns:
            The call's result, after the object is the account's.
        """
        assert self._group is not None  # noqa: S101 - it runs before anybody is let in
        task = self._group.create_task(self._made(account_id, pool, call), name="making")
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def loaded(self, store: Store) -> None:
        """Note that a pool was listed for the first time."""
        self._listed[store.pool] = None
        self._wake.set()

    def committed(self, batch: Batch) -> None:
        """Note what came and what went."""
        removed = []
        for change in batch.changes:
            if change.after is None:
                if change.cls == _MADE:
                    removed.append(change)
            elif self._awaited and (arrived := self._awaited.get((batch.pool, change.ref))):
                arrived.set()
        if removed:
            self._gone.setdefault(batch.pool, []).extend(removed)
            self._wake.set()

    async def _made(
        self, account_id: str, pool: PoolId, call: Callable[[], Awaitable[Any]]
    ) -> Any | Exception:  # noqa: ANN401 - any JSON value
        """Return the call's result, or why there is none: that is the caller's, not our group's."""
        try:
            result = await call()
            if is_reference(result):
                await self._give(account_id, pool, Ref(result))
        except XoproxyError as refused:
            return refused
        except Exception as fault:  # noqa: BLE001 - a fault of ours ends this call only
            _log.exception("what was made could not be given", pool=pool)
            return fault
        return result

    async def _give(self, account_id: str, pool: PoolId, ref: Ref) -> None:
        store = self._pools.get(pool)
        entry = None if store is None else await self._arrival(store, ref)
        uuid = None if entry is None else uuid_of(entry)
        if store is None or uuid is None:
            _log.warning("what was made is not there: it is nobody's", pool=pool, ref=ref)
            return
        assert self._grants is not None  # noqa: S101 - as above
        try:
            grant = await self._grants.add_grant(
                OWNER, Scope(Kind.OBJECT, pool, uuid), account_id=account_id
            )
        except RequestRefused as refused:  # his account was removed; or it is his already
            _log.info("what was made is not given", pool=pool, uuid=uuid, cause=refused.message)
            return
        if store.get(ref) is None:  # it went meanwhile, when there was no grant yet
            await self._remove(grant)

    async def _arrival(self, store: Store, ref: Ref) -> Entry | None:
        """Wait for an object that a call has made, and of which no event may have told yet."""
        arrived = self._awaited.setdefault((store.pool, ref), asyncio.Event())
        try:
            async with asyncio.timeout(_SEEN_WITHIN_S):
                while (entry := store.get(ref)) is None:
                    arrived.clear()
                    await arrived.wait()
                return entry
        except TimeoutError:
            return None
        finally:
            self._awaited.pop((store.pool, ref), None)

    async def _look(self, pool: PoolId, uuids: set[str] | None) -> None:
        """Take back grants on objects that are not there.

        Args:
            pool: where.
            uuids: only those on one of these; None: all in the pool.
        """
        grants = [
            grant
            for grant in self._directory.grants.values()
            if _is_ownership(grant)
            and grant.scope.pool == pool
            and (uuids is None or grant.scope.value in uuids)
        ]
        store = self._pools.get(pool)
        if not grants or store is None:
            return
        for _ in store.index_references():
            await asyncio.sleep(0)
        for grant in grants:
            if store.named(grant.scope.value) is None:  # nor came back, as by an import
                try:
                    await self._remove(grant)
                except Exception:  # noqa: BLE001 - storage is in trouble; it grants nothing now
                    _log.exception("a grant could not be taken back", pool=pool, grant=grant.id)

    async def _remove(self, grant: KeptGrant) -> None:
        assert self._grants is not None  # noqa: S101 - it was made by it
        with suppress(RequestRefused):  # an administrator was quicker
            await self._grants.remove_grant(grant.id)
            _log.info("what somebody made is gone", grant=grant.id, scope=str(grant.scope))


def _is_ownership(grant: KeptGrant) -> bool:
    return (
        grant.role == OWNER
        and grant.scope.kind is Kind.OBJECT
        and bool(grant.account_id)
        and not grant.deny
    )


async def _uuids(removed: Iterable[Change]) -> set[str]:
    """Read the uuids of what was removed."""
    found = set()
    for number, change in enumerate(removed, 1):
        if change.before is not None:
            gone = Entry(change.key, change.ref, change.cls, change.seq, change.before)
            if (uuid := uuid_of(gone)) is not None:
                found.add(uuid)
        if number % _READ_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found

"""A simulated pool under watch, over real sockets, and what a client of the store would know."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec

from tests.integration.support import same
from xoproxy.cache.diff import join, split
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId, Ref
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.link import LinkState, LinkStatus
from xoproxy.pool.supervisor import Supervisor
from xoproxy.simulator.pool import SimulatedPool

POOL = PoolId("p1")

FAST = LinkSettings(
    event_timeout_s=1.0,
    event_slack_s=1.0,
    connect_timeout_s=1.0,
    request_timeout_s=5.0,
    logout_timeout_s=1.0,
    backoff_min_s=0.05,
    backoff_max_s=0.2,
    auth_retry_s=0.3,
    refresh_s=0.1,
    call_timeout_s=10.0,
    relist_min_s=0.2,
)
"""Real time-outs, shorter, so that a test of healing takes a second."""


class Witness:
    """The sink: follows every batch with a replica of its own, as clients do.

    `replica` is what somebody holds who saw the first load and each batch, and nothing else.
    """

    def __init__(self) -> None:
        self.replica: dict[Ref, bytes] = {}
        self.loads = 0
        self.batches: list[Batch] = []
        self.statuses: list[LinkStatus] = []
        self.raising: Exception | None = None
        """Raised once, at the next batch."""

    def loaded(self, store: Store) -> None:
        self.loads += 1
        classes = list(store.by_class.classes())
        self.replica = {e.ref: e.raw for cls in classes for e in store.entries(cls)}

    def committed(self, batch: Batch) -> None:
        self.batches.append(batch)
        for change in batch.changes:
            if change.after is None:
                gone = self.replica.pop(change.ref)
                assert msgspec.json.decode(change.before or b"") == msgspec.json.decode(gone)
            elif change.before is None:
                assert change.ref not in self.replica
                self.replica[change.ref] = change.after
            else:
                fields = dict(split(self.replica[change.ref]))
                before, after = split(change.before), split(change.after)
                assert all(fields.pop(name) == value for name, value in before.items())
                self.replica[change.ref] = join({**fields, **after})

        raising, self.raising = self.raising, None
        if raising is not None:
            raise raising

    def state(self, status: LinkStatus) -> None:
        self.statuses.append(status)

    @property
    def states(self) -> list[LinkState]:
        """The states in order, counters' refreshes left out."""
        told = [status.link.state for status in self.statuses]
        return [state for state, last in zip(told, [None, *told], strict=False) if state != last]

    def kinds(self, since: int = 0) -> Counter[str]:
        """Count additions, changes and removals of the batches from number `since` on."""
        return Counter(
            "remove" if change.after is None else "add" if change.before is None else "change"
            for batch in self.batches[since:]
            for change in batch.changes
        )


class Watched:
    """A supervised pool and its simulator."""

    def __init__(self, simulator: SimulatedPool, supervisor: Supervisor, witness: Witness) -> None:
        self.simulator = simulator
        self.supervisor = supervisor
        self.witness = witness
        self._http: aiohttp.ClientSession | None = None

    @property
    def store(self) -> Store:
        return self.supervisor.store(POOL)

    @property
    def status(self) -> LinkStatus:
        return next(iter(self.supervisor.statuses()))

    @property
    def state(self) -> LinkState:
        return self.status.link.state

    @property
    def error_code(self) -> str:
        error = self.status.link.error
        return error.code if error else ""

    @property
    def counts(self):
        return self.supervisor.counts()[POOL]

    @property
    def stats(self) -> dict:
        return self.simulator.control.stats()

    def calls(self, method: str) -> int:
        return self.stats["calls"].get(method, 0)

    async def fault(self, kind: str, **members: object) -> None:
        status, body = await self.simulator.control.answer(
            "POST", "/_sim/fault", msgspec.json.encode({"kind": kind, **members})
        )
        assert status == 200, body

    async def churn(self, **members: object) -> None:
        status, body = await self.simulator.control.answer(
            "POST", "/_sim/churn", msgspec.json.encode(members)
        )
        assert status == 200, body

    def rename_vms(self, count: int, name: str) -> None:
        database = self.simulator.database
        for ref in database.refs("VM")[:count]:
            database.write("VM", ref, "name_label", name)

    def destroy_vms(self, count: int) -> None:
        database = self.simulator.database
        for ref in database.refs("VM")[-count:]:
            database.destroy("VM", ref)

    async def until(self, condition: Callable[[], bool], within_s: float = 10.0) -> float:
        """Wait for a condition; return how long it took."""
        began_s = time.monotonic()
        while not condition():
            assert time.monotonic() - began_s < within_s, (self.status, self.counts)
            await asyncio.sleep(0.01)
        return time.monotonic() - began_s

    async def until_live(self, within_s: float = 10.0) -> float:
        return await self.until(lambda: self.state is LinkState.LIVE, within_s)

    def differences(self) -> list[str]:
        """Compare the store, and the replica, with the simulator's database, class by class."""
        database = self.simulator.database
        held = self.store.by_class.count
        rows = (self.store.classes - {"message"}) & database.tables.keys()
        if any(database.count(cls) != held(cls) for cls in rows):  # the rest takes its time
            return [f"{cls}: {database.count(cls)} there, {held(cls)} here" for cls in rows]
        found = []
        for cls in rows:
            shown = database.model.classes[cls].record
            theirs = {ref: shown(database.record(cls, ref)) for ref in database.refs(cls)}
            here = {str(e.ref): msgspec.json.decode(e.raw) for e in self.store.entries(cls)}
            odd = {r for r in {*theirs, *here} if not same(theirs.get(r), here.get(r))}
            if odd:
                found.append(f"{cls}: {len(odd)} differ")
        classes = list(self.store.by_class.classes())
        ours = {e.ref: e.raw for cls in classes for e in self.store.entries(cls)}
        replica = self.witness.replica
        if ours.keys() != replica.keys() or not all(
            raw == replica[ref] or msgspec.json.decode(raw) == msgspec.json.decode(replica[ref])
            for ref, raw in ours.items()
        ):
            found.append("a follower of the batches holds something else than the store")
        return found

    async def until_equal(self, within_s: float = 10.0) -> float:
        """Wait until the store holds what the pool has; return how long it took."""
        began_s = looked_s = time.monotonic()
        while found := self.differences():
            assert time.monotonic() - began_s < within_s, (found, self.status, self.counts)
            # looking at everything blocks the loop, in which pool and watch run, too
            await asyncio.sleep(max(0.05, 4 * (time.monotonic() - looked_s)))
            looked_s = time.monotonic()
        return time.monotonic() - began_s

    async def rpc(self, method: str, *params: object):
        """Call the simulator as any other client would, over a connection of its own."""
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 1}
        )
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.simulator.url}/jsonrpc", data=body) as response,
        ):
            reply = msgspec.json.decode(await response.read())
        assert "result" in reply, reply
        return reply["result"]


def config(simulator: SimulatedPool, **changes: Any) -> PoolConfig:
    base = PoolConfig(POOL, "Lab", simulator.url, simulator.user, simulator.password)
    return replace(base, **changes)


@asynccontextmanager
async def watched(
    estate,
    settings: LinkSettings = FAST,
    *,
    live: bool = True,
    tls: bool = False,
    trusted: bool = False,
    speed: float = 1.0,
    release: str | None = None,
    **changes: Any,
) -> AsyncIterator[Watched]:
    """Run a simulated pool under supervision, loaded and live unless told otherwise.

    `trusted` accepts the certificate that the pool's coordinator has at first; `release` is
    XAPI's, of the newest by default.
    """
    async with SimulatedPool(estate, tls=tls, speed=speed, release=release) as simulator:
        try:
            async with asyncio.TaskGroup() as group:
                witness = Witness()
                supervisor = Supervisor(group, witness, settings, lambda pool: Store(pool, "e"))
                if trusted:
                    coordinator = simulator.hosts.coordinator
                    changes["pins"] = {coordinator.address: coordinator.identity.fingerprint}
                supervisor.add(config(simulator, **changes))
                world = Watched(simulator, supervisor, witness)
                try:
                    if live:
                        await world.until_live()
                    yield world
                finally:
                    await supervisor.close()
        except* AssertionError as failures:
            raise failures.exceptions[0] from None

"""A simulated pool inside this process: its replies as XAPI prints them, and a client on them.

No sockets: what a case measures begins where a reply's bytes have been read. As a program it prints
the replies that a watch needs to load a pool, for those who measure memory and want no estate in
theirs: `python -m benchmarks.estate HOSTS VMS SEED`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from benchmarks.rig import Stopwatch
from xoproxy.cache.store import Store
from xoproxy.model import Batch, Ref, XapiClass
from xoproxy.pool import replies
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.replies import EventReply
from xoproxy.pool.slices import in_slices
from xoproxy.pool.watch import Observer, Watch
from xoproxy.simulator.churn import Churn
from xoproxy.simulator.estate import generate
from xoproxy.simulator.events import Subscription, Token
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.rpc import Request

SEED = 8


class Finished(Exception):  # noqa: N818 - not an error: there is no other way out of a watch
    """All replies were played."""


class Estate:
    """One pool's objects, and what `event.from` says about them.

    Args:
        hosts: their number.
        vms: likewise.
        seed: the same one gives the same estate.
    """

    def __init__(self, hosts: int, vms: int, seed: int = SEED) -> None:
        self.pool = SimulatedPool(generate(hosts, vms, seed))
        self.db = self.pool.database
        self._token = Token(0, 0)
        self._rpc = JsonRpc()

    def churn(self, seed: int = SEED) -> Churn:
        return Churn(self.db, seed)

    def vms(self) -> list[str]:
        """Name the plain VMs."""
        kinds = ("is_a_template", "is_a_snapshot", "is_control_domain")
        return [v for v in self.db.refs("VM") if not any(self.db.get("VM", v, k) for k in kinds)]

    def reply(self) -> bytes:
        """Return the body of the next reply to `event.from`; the first one lists everything."""
        batch = self.pool.events.look(Subscription(["*"]), self._token)
        self._token = batch.token
        return self._rpc.success(Request("event.from", []), batch.encode(self._rpc.codec))

    async def methods(self) -> bytes:
        return await self.call("system.listMethods")

    async def call(self, method: str, params: Sequence[object] = ()) -> bytes:
        return await self.pool.dispatcher.answer(self._rpc, Request(method, list(params)))


class Played:
    """An `XapiClient` (xoproxy/pool/client.py) that gives prepared replies to a watch.

    It stops the time from when the watch has a reply's bytes to when it asks for the next one: all
    that ingest costs, from the scan to the commit and to those who are told of it.

    Args:
        methods: the reply to `system.listMethods`.
        bodies: the replies to `event.from`; the watch is ended after the last one.
    """

    def __init__(self, methods: bytes, bodies: AsyncIterator[bytes]) -> None:
        self.cpu_s: list[float] = []
        """What each reply cost, the first list included."""
        self._methods = methods
        self._bodies = bodies
        self._running: Stopwatch | None = None

    @property
    def silence_s(self) -> float:
        return 60.0

    async def reach(self, members: Sequence[str]) -> None:
        pass

    async def login(self, uuid: str = "") -> bool:
        del uuid
        return False

    async def logout(self) -> None:
        pass

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        assert (method, params) == ("system.listMethods", ())
        return replies.RAW.whole.decode(self._methods).result

    async def events(
        self, classes: Sequence[XapiClass], token: str, timeout_s: float
    ) -> EventReply:
        del classes, token, timeout_s
        if self._running is not None:
            self.cpu_s.append(self._running.cpu_s)
        body = await anext(self._bodies, None)
        if body is None:
            raise Finished
        self._running = Stopwatch()
        result = (await in_slices(replies.scan(replies.EVENTS, [body]))).result
        assert result is not None
        return result

    async def records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        del cls
        return {}


class Unobserved:
    """Nobody wants to know (fits `pool.watch.Observer`)."""

    def loaded(self, store: Store) -> None: ...

    def committed(self, store: Store, batch: Batch) -> None: ...

    def caught_up(self) -> None: ...


async def play(
    methods: bytes, bodies: AsyncIterator[bytes], store: Store, observer: Observer | None = None
) -> list[float]:
    """Let a watch keep a store true from prepared replies; returns what each of them cost."""
    client = Played(methods, bodies)
    try:
        await Watch(client, store, observer or Unobserved(), LinkSettings(audit_s=0)).run()
    except Finished:
        return client.cpu_s


async def one(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _print(hosts: int, vms: int, seed: int) -> None:
    estate = Estate(hosts, vms, seed)
    sys.stdout.buffer.write(await estate.methods() + b"\n" + estate.reply())


if __name__ == "__main__":
    asyncio.run(_print(*map(int, sys.argv[1:4])))

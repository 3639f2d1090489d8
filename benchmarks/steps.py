"""`python -m benchmarks.steps [--quick]`: what a change costs, from XAPI's bytes to the sockets.

The standard trace goes through the real watch, store, log and hubs, and each step's processor time
is taken where it runs, without what it calls. Three hubs on the one store serve 1, 100 and 1,000
clients over loopback sockets; what the receiving side does does not count. See docs/performance.md.
"""

import argparse
import asyncio
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.estate import SEED, Estate, Finished, Played
from benchmarks.line import POOL, Count
from benchmarks.system import EVERYTHING
from benchmarks.trace import BATCH_CHANGES, BATCHES_PER_S
from xoproxy.app import new_event_loop
from xoproxy.cache.diff import changed_fields
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Preparation, Store
from xoproxy.cache.view import Everything
from xoproxy.errors import PoolError
from xoproxy.model import Batch, XapiClass
from xoproxy.pool import replies
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.replies import EventReply
from xoproxy.pool.watch import Watch
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.storage.history import Histories, HistoryOptions, open_histories
from xoproxy.telemetry import configure_logging
from xoproxy.ws.frames import SharedFraming
from xoproxy.ws.transport import SocketOutlet

_SCAN = "scan the reply"
_WATCH = "watch: counts, turns of the loop"
_PREPARE = "compare, diff, check, new entry"
_COMMIT = "commit: entries, indexes"
_JOURNAL = "journal"
_LOG = "log: encode, encrypt, write(2)"
_ROUTE = "find the groups concerned"
_ADVANCE = "read the history, judge, encode"
_PLAIN, _DEFLATE = "frame", "deflate"
_STEPS = (
    *(_SCAN, _WATCH, _PREPARE, _COMMIT, _JOURNAL, _LOG),
    *(_ROUTE, _ADVANCE, _PLAIN, _DEFLATE),
)
_PER_HUB = {_ROUTE, _ADVANCE, _PLAIN, _DEFLATE}


class Meter:
    """Charges processor time to whatever step is the innermost at the time."""

    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self._steps: list[str] = []
        self._since_s = 0.0

    def begin(self, step: str) -> None:
        self._charge()
        self._steps.append(step)

    def end(self) -> None:
        self._charge()
        self._steps.pop()

    def _charge(self) -> None:
        now_s = time.thread_time()
        if self._steps:
            self.spent_s[self._steps[-1]] += now_s - self._since_s
        self._since_s = now_s

    def watch(self, owner: object, name: str, step: str) -> None:
        """Charge a method of one object to a step."""
        method = getattr(owner, name)

        def measured(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            self.begin(step)
            try:
                return method(*args, **kwargs)
            finally:
                self.end()

        setattr(owner, name, measured)

    def watch_steps(self, owner: object, name: str, step: str) -> None:
        """Likewise a generator."""
        method = getattr(owner, name)

        def measured() -> Iterator[None]:
            yield from self.steps(method(), step)

        setattr(owner, name, measured)

    def steps(self, work: Iterator[None], step: str) -> Iterator[None]:
        while True:
            self.begin(step)
            try:
                next(work)
            except StopIteration:
                return
            finally:
                self.end()
            yield


class Clients:
    """A hub of its own, and so many clients of one view on loopback sockets, deflate negotiated."""

    def __init__(self, meter: Meter, store: Store, count: int) -> None:
        self.count = count
        self.step = f"write to {count:,}"
        self._meter = meter
        self._store = store
        self._framing = SharedFraming()
        self._hub = Hub(self._framing, TokenSigner(b"bench"), lambda: None)
        self._hub.add_pool(store)
        self._clients: list[Client] = []
        self._peers: list[socket.socket] = []

    async def connect(self) -> None:
        """Open the sockets; nothing is subscribed yet."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(self.count):
                peer = socket.create_connection(server.getsockname())
                peer.settimeout(0)
                self._peers.append(peer)
                accepted, _ = server.accept()
                transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
                transport.set_write_buffer_limits(high=0)
                outlet = SocketOutlet(transport)
                self._clients.append(Client(outlet, Codec.JSON, self._framing, deflate=True))

    def subscribe(self) -> None:
        """Let everybody stand where the view stands: the snapshot is not what is measured."""
        first = Client(Count(), Codec.JSON, self._framing, deflate=True)
        query = parse_query(EVERYTHING)
        number = self._hub.join(first, 1, query, POOL, Everything()).view
        for _ in self._hub.flush():
            pass
        group = first.members[number].group
        for client in self._clients:
            member = Member(client, group, group.position)
            client.add(member)
            group.members.add(member)
            group.admit(member)
        self._hub.disconnected(first)
        self._meter.watch(self._hub, "committed", _ROUTE)
        self._meter.watch_steps(group, "advance", _ADVANCE)
        self._meter.watch(self._framing, "plain", _PLAIN)
        self._meter.watch(self._framing, "deflated", _DEFLATE)

    def committed(self, batch: Batch) -> None:
        self._hub.committed(batch)
        while self._hub.has_work:
            for _ in self._meter.steps(self._hub.flush(), self.step):
                pass

    def drain(self) -> None:
        """Be all the clients; called when nobody looks at the clock."""
        for peer in self._peers:
            try:
                while peer.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        for client in self._clients:
            assert isinstance(client.outlet, SocketOutlet)
            client.outlet.abort()
        if self._hub.counters.parked:
            raise rig.BenchError("the clients did not keep up")


class Observer:
    """What stands behind the watch (fits `pool.watch.Observer`)."""

    def __init__(
        self, meter: Meter, histories: Histories, store: Store, served: Sequence[Clients]
    ) -> None:
        self._meter = meter
        self._histories = histories
        self._store = store
        self._served = served
        self._prepared: Preparation | None = None
        self.aside_s: defaultdict[str, float] = defaultdict(float)
        """What parts of a preparation cost when they are done again, by themselves."""

    def loaded(self, store: Store) -> None:
        self._histories.loaded(store)
        for clients in self._served:
            clients.subscribe()
        self._meter.watch(self._histories, "committed", _LOG)
        self._meter.watch(store, "commit", _COMMIT)
        self._meter.watch(store.journal, "append", _JOURNAL)
        prepare = store.prepare

        def prepare_measured(*args: Any, **kwargs: Any) -> Preparation:  # noqa: ANN401
            self._prepared = prepare(*args, **kwargs)
            self._meter.watch(self._prepared, "step", _PREPARE)
            return self._prepared

        store.prepare = prepare_measured  # type: ignore[method-assign]

    def committed(self, store: Store, batch: Batch) -> None:
        del store
        self._histories.committed(batch)
        for clients in self._served:
            clients.committed(batch)
        self._meter.begin("aside")
        self._again()
        self._meter.end()

    def _again(self) -> None:
        assert self._prepared is not None
        outcomes = self._prepared.outcomes.values()
        pairs = [(old.raw, new.raw) for old, new, _ in outcomes if old and new]
        values = [change.after for _, _, change in outcomes if change.after is not None]
        self._aside("diff", lambda: [changed_fields(old, new) for old, new in pairs])
        self._aside("check", lambda: [replies.checked_record(value) for value in values])

    def _aside(self, what: str, work: Callable[[], object]) -> None:
        started_s = time.thread_time()
        work()
        self.aside_s[what] += time.thread_time() - started_s

    def caught_up(self) -> None: ...

    def lost(self, cause: PoolError) -> None:
        raise AssertionError(f"the session is lost: {cause}")


class MeteredPool(Played):
    """Gives replies; the meter runs from when the watch has one until it asks for the next."""

    def __init__(self, meter: Meter, methods: bytes, bodies: AsyncIterator[bytes]) -> None:
        super().__init__(methods, bodies)
        self._meter = meter
        self._metered = False

    async def events(
        self, classes: Sequence[XapiClass], token: str, timeout_s: float
    ) -> EventReply:
        if self._metered:
            self._meter.end()  # the watch
        reply = await super().events(classes, token, timeout_s)  # which begins `_SCAN`
        self._meter.end()
        self._meter.begin(_WATCH)
        self._metered = True
        return reply


async def measure(*, quick: bool) -> None:
    """Play the trace, and print what each step took."""
    estate = Estate(4, 60) if quick else Estate(16, 1000)
    seconds, warm = (1, 2) if quick else (30, 40)
    counts = (1, 5, 20) if quick else (1, 100, 1000)
    meter = Meter()
    store = Store(POOL, "bench")
    served = [Clients(meter, store, count) for count in counts]
    for clients in served:
        await clients.connect()
    bodies_bytes = began = 0

    async def bodies() -> AsyncIterator[bytes]:
        nonlocal bodies_bytes, began
        meter.begin(_SCAN)
        yield estate.reply()
        churn = estate.churn(SEED)
        for number in range(warm + seconds * BATCHES_PER_S):
            for clients in served:
                clients.drain()
            made = 0
            while made < BATCH_CHANGES:
                made += churn.step()
            body = estate.reply()
            if number == warm:
                meter.spent_s.clear()
                observer.aside_s.clear()
                began, bodies_bytes = store.seq, 0
            bodies_bytes += len(body)
            meter.begin(_SCAN)
            yield body

    with tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory:
        async with open_histories(Path(directory), bytes(32), HistoryOptions()) as histories:
            await histories.restore([], JournalBudget())
            observer = Observer(meter, histories, store, served)
            pool = MeteredPool(meter, await estate.methods(), bodies())
            with suppress(Finished):
                await Watch(pool, store, observer, LinkSettings(audit_s=0)).run()
            for clients in served:
                clients.drain()
                clients.close()
    changes = store.seq - began
    batches = seconds * BATCHES_PER_S
    print(f"{batches:,} replies of {bodies_bytes / batches / 1e3:.0f} KB, {changes:,} changes\n")
    _print(meter, observer, served, changes, batches)


def _print(
    meter: Meter, observer: Observer, served: Sequence[Clients], changes: int, batches: int
) -> None:
    us = {step: spent_s / changes * 1e6 for step, spent_s in meter.spent_s.items()}
    for step in _PER_HUB:
        us[step] /= len(served)
    shared = sum(us[step] for step in _STEPS)
    totals = [shared + us[clients.step] for clients in served]
    heads = "".join(f"{clients.count:>8,}" for clients in served)
    print(f"{'':34}{'us a':>8}{'us a':>9}   share of all, clients:")
    print(f"{'':34}{'change':>8}{'batch':>9}{heads}")
    for step in (*_STEPS, *(clients.step for clients in served)):
        shares = [us[step] / total for total in totals]
        if step not in _STEPS:
            shares = [s if c.step == step else -1 for s, c in zip(shares, served, strict=True)]
        cells = "".join(f"{share:8.0%}" if share >= 0 else f"{'':8}" for share in shares)
        print(f"{step:34}{us[step]:8.2f}{us[step] * changes / batches:9.0f}{cells}")
    print(f"{'all, shared by all clients':34}{shared:8.2f}{shared * changes / batches:9.0f}")
    for clients, total in zip(served, totals, strict=True):
        text = f"all, {clients.count:,} clients"
        print(f"{text:34}{total:8.2f}{total * changes / batches:9.0f}")
    print("\nagain, by themselves: ", end="")
    print(", ".join(f"{k} {s / changes * 1e6:.2f} us" for k, s in observer.aside_s.items()))
    last = served[-1]
    frame_us = us[last.step] * changes / batches / last.count
    print(f"one write to one of {last.count:,} clients: {frame_us:.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trace: does it run at all?")
    quick: bool = parser.parse_args().quick
    rig.pin(0)
    configure_logging("json", "warning")
    if quick:
        print("QUICK: the figures mean nothing")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(measure(quick=quick))


if __name__ == "__main__":
    main()

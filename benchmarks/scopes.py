"""A thousand users who were each granted one machine, against one user: what a change costs."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from benchmarks.figures import Measured
from benchmarks.line import POOL, Count, Line
from benchmarks.rig import BenchError, Stopwatch, median_of
from xoproxy.auth import Account, Contents, Directory, KeptGrant, Kind, Scope
from xoproxy.cache.query import parse_query
from xoproxy.cache.view import Visibility
from xoproxy.model import Ref, Upsert, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.member import Client

_QUERY = parse_query({"classes": ["VM", "VM_metrics"]})
_VM, _METRICS = XapiClass("VM"), XapiClass("VM_metrics")
_PADDING = {f"field_{number}": "x" * 60 for number in range(50)}
"""Makes a record as long as a real one."""


class Pool:
    """A pool of machines, and clients that may see some of them."""

    def __init__(self, machines: int) -> None:
        self.line = Line()
        self.machines = machines
        self.outlets: list[Count] = []
        self._tick = 0
        self._commit(event for number in range(machines) for event in _machine(number, 0))

    def join(self, scopes: Iterable[Visibility]) -> None:
        """Add a client for each of the rights, and let them have their snapshots."""
        for scope in scopes:
            outlet = Count()
            client = Client(outlet, Codec.JSON, self.line.framing, deflate=False)
            self.line.hub.join(client, 1, _QUERY, POOL, scope)
            self.outlets.append(outlet)
        self.line.flush()
        for outlet in self.outlets:
            outlet.take()

    def change(self, numbers: Iterable[int]) -> float:
        """Have some machines change, in one batch; return what it cost to tell, in us of CPU."""
        self._tick += 1
        prepared = self.line.store.prepare(_vm(number, self._tick) for number in numbers)
        while prepared.step():
            pass
        batch = self.line.store.commit(prepared, float(self._tick))
        watch = Stopwatch()
        self.line.committed(self.line.store, batch)
        return watch.cpu_s * 1e6

    def take(self) -> int:
        """Return the number of frames since the last time."""
        return sum(outlet.take()[0] for outlet in self.outlets)

    def _commit(self, events: Iterator[Upsert]) -> None:
        prepared = self.line.store.prepare(events)
        while prepared.step():
            pass
        self.line.store.commit(prepared, 0.0)
        self.line.store.classes = frozenset((_VM, _METRICS))
        self.line.loaded(self.line.store)


def _uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012}"


def _vm(number: int, tick: int) -> Upsert:
    record = {
        "uuid": _uuid(number),
        "name_label": f"vm-{number}",
        "metrics": f"OpaqueRef:metrics-{number}",
        "tags": ["prod", _tag(number)],
        "memory_actual": tick,
        **_PADDING,
    }
    return Upsert(_VM, Ref(f"OpaqueRef:vm-{number}"), msgspec.json.encode(record))


def _machine(number: int, tick: int) -> list[Upsert]:
    metrics = msgspec.json.encode({"uuid": f"metrics-{number}", "last_updated": tick})
    return [_vm(number, tick), Upsert(_METRICS, Ref(f"OpaqueRef:metrics-{number}"), metrics)]


def _tag(number: int) -> str:
    return f"customer-{number}"


def _by_object(number: int) -> Scope:
    return Scope(Kind.OBJECT, POOL, _uuid(number))


def _by_tag(number: int) -> Scope:
    return Scope(Kind.TAG, value=_tag(number))


def _rights(count: int, scope: Callable[[int], Scope]) -> list[Visibility]:
    """Return what users see of the pool who were each granted one machine."""
    now = datetime.now(UTC)
    names = [f"user-{number}" for number in range(count)]
    directory = Directory(
        Contents(
            accounts=tuple(Account(n, n, "", "", enabled=True, created_at=now) for n in names),
            grants=tuple(
                KeptGrant(n, n, "", "viewer", scope(number), deny=False, created_at=now)
                for number, n in enumerate(names)
            ),
        )
    )
    seen = [directory.rights(name).visibility(POOL) for name in names]
    return [visibility for visibility in seen if visibility is not None]


async def scopes(*, quick: bool) -> dict[str, Measured]:
    """Changes of one machine each, in turns: under 1,000 grants of one machine, under one grant.

    Only what the hub does is counted: routing, reading, encoding, writing to outlets that count. So
    that a thousand writes of the same frame do not hide anything, the one grant has one client and
    one machine; what it costs with as many clients as the others have together is in the note.
    Once with grants on objects and once with grants on tags: the worse of them is the figure.
    """
    found = [_compared(quick=quick, scope=scope) for scope in (_by_object, _by_tag)]
    by_object, by_tag = (median_of(ratios).value for ratios, _ in found)
    ratios, note = max(found, key=lambda each: median_of(each[0]).value)
    note += f"; by objects {by_object:.2f}, by tags {by_tag:.2f}"
    return {"scopes_1000_ratio": median_of(ratios, note)}


def _compared(*, quick: bool, scope: Callable[[int], Scope]) -> tuple[list[float], str]:
    """Return the ratio of each run, and what it cost."""
    count, rounds, runs = (50, 10, 1) if quick else (1000, 100, 5)
    many, alone, shared = Pool(count), Pool(count), Pool(count)
    many.join(_rights(count, scope))
    alone.join(_rights(1, scope))
    shared.join(_rights(1, scope) * count)
    ratios, costs = [], []
    for run in range(runs + 1):
        many_us = alone_us = shared_us = 0.0
        for number in range(rounds):
            many_us += many.change([number % count])
            alone_us += alone.change([0])
            shared_us += shared.change([0])
        frames = many.take(), alone.take(), shared.take()
        if frames != (rounds, rounds, rounds * count):
            raise BenchError(f"frames of {rounds} changes: {frames}")
        if run:  # the first one warms
            ratios.append(many_us / alone_us)
            costs.append((many_us / rounds, alone_us / rounds, shared_us / rounds))
    all_at_once = many.change(range(count)) / count
    each = " / ".join(f"{sum(column) / runs:,.0f}" for column in zip(*costs, strict=True))
    return ratios, (
        f"{count:,} grants / one grant, one client / one grant, {count:,} clients: {each} us of CPU"
        f" a change; a batch that changes all {count:,} machines: {all_at_once:,.0f} us each"
    )

"""What a change costs a live window, by how many objects it is cut from, and a phone in bytes."""

from collections.abc import Iterable, Iterator
from itertools import count
from statistics import median
from typing import Any

import msgspec

from benchmarks.estate import Estate
from benchmarks.figures import Measured
from benchmarks.line import POOL, Count, Line
from benchmarks.rig import BenchError, Stopwatch
from xoproxy.cache.query import parse_query
from xoproxy.cache.view import Everything
from xoproxy.model import Batch, Ref, Upsert, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.member import Client

_VM = XapiClass("VM")
_QUERY = {
    "classes": ["VM"],
    "fields": {"VM": ["name_label", "power_state"]},
    "filter": "!is_a_template !is_a_snapshot",
    "order": ["-power_state", "name_label"],
    "window": [0, 50],
    "facets": ["power_state", "tags"],
}
_STATES = ("Halted", "Running", "Paused")
_BATCH_CHANGES = 15


class _List:
    """A pool of VMs behind a hub, and phones that look at its first fifty.

    Every change sets a VM's power state, by which they are ordered, and one in three its name: each
    takes its object to another place, mostly out of sight.
    """

    def __init__(self, pattern: dict[str, Any], vms: int) -> None:
        self.line = Line()
        self._pattern = pattern
        self._vms = vms
        self._numbers = count()
        self._commit(range(vms))
        self._ids = count(1)

    def subscribe(self, query: dict[str, Any]) -> Count:
        outlet = Count()
        client = Client(outlet, Codec.JSON, self.line.framing, deflate=False)
        parsed = parse_query(query)
        hub, id_ = self.line.hub, next(self._ids)
        if parsed.window is None:
            hub.join(client, id_, parsed, POOL, Everything())
        else:
            hub.windows.join(client, id_, parsed, [(self.line.store, Everything())])
        self.line.flush()
        return outlet

    def batch_us(self) -> float:
        """Change some VMs; return what reading and telling that costs, in us per change."""
        numbers = [next(self._numbers) * 7919 % self._vms for _ in range(_BATCH_CHANGES)]
        batch = self._commit(numbers)
        self.line.hub.committed(batch)
        watch = Stopwatch()
        self.line.flush()
        return watch.cpu_s / len(batch.changes) * 1e6

    def _commit(self, numbers: Iterable[int]) -> Batch:
        prepared = self.line.store.prepare(self._events(numbers))
        while prepared.step():
            pass
        return self.line.store.commit(prepared, 0.0)

    def _events(self, numbers: Iterable[int]) -> Iterator[Upsert]:
        for number in numbers:
            turn = next(self._numbers)
            record = self._pattern | {
                "uuid": f"00000000-0000-0000-0000-{number:012}",
                "name_label": f"web-{(number + turn // 3) % self._vms:06}",
                "power_state": _STATES[turn % 3],
                "tags": ["prod"] if number % 10 else [],
            }
            ref = Ref(f"OpaqueRef:00000000-0000-0000-0000-{number:012}")
            yield Upsert(_VM, ref, msgspec.json.encode(record))


async def changes(*, quick: bool) -> dict[str, Measured]:
    """A phone's window on lists of three lengths, batches of 15 changes that all move objects."""
    lengths = (100, 300, 1_000) if quick else (1_000, 10_000, 50_000)
    batches = 20 if quick else 100
    estate = Estate(2, 10)
    pattern = estate.db.record("VM", estate.vms()[0])
    lists = {length: _List(pattern, length) for length in lengths}
    phones = {length: one.subscribe(_QUERY) for length, one in lists.items()}
    for phone in phones.values():
        phone.take()
    costs: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(batches):  # in turn, so that they share whatever else the machine does
        for length, one in lists.items():
            costs[length].append(one.batch_us())
    longest = lengths[-1]
    measured = _measured(costs, lists[longest], phones[longest], batches)
    return {"window_us_per_change": measured}


def _measured(costs: dict[int, list[float]], pool: _List, phone: Count, batches: int) -> Measured:
    _, phone_bytes = phone.take()
    if not phone_bytes:
        raise BenchError("nothing was seen in the window")
    whole = pool.subscribe({n: v for n, v in _QUERY.items() if n in ("classes", "fields")})
    sharers = [pool.subscribe(_QUERY) for _ in range(100)]
    others = [pool.subscribe(_QUERY | {"window": [50 * n, 50]}) for n in range(1, 100)]
    whole.take()
    crowded = median(pool.batch_us() for _ in range(batches))
    _, whole_bytes = whole.take()
    if not all(one.bytes for one in (*sharers, *others)):
        raise BenchError("some window saw nothing")
    changes = batches * _BATCH_CHANGES
    middle = {length: median(found) for length, found in costs.items()}
    shortest, longest = min(middle), max(middle)
    growth = ", ".join(f"{length:,} objects {cost:.0f}" for length, cost in middle.items())
    note = (
        f"batches of {_BATCH_CHANGES}, each change moves its object; {growth} us:"
        f" {middle[longest] / middle[shortest]:.1f} x for {longest // shortest} x; with 100 more on"
        f" it and 99 other windows {crowded:.0f} us; a phone gets {phone_bytes / changes:.0f} B a"
        f" change, one that shows all {whole_bytes / changes:.0f} B"
    )
    found = sorted(costs[longest])
    return Measured(middle[longest], found[0], found[len(found) * 9 // 10], note=note)

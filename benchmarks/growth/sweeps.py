"""The sweeps: the whole system (benchmarks/system.py) at one size after the other.

A point is the median of some runs, with their extremes. A run in which a batch did not reach
everybody in time counts for nothing: it ends the sweep, which says so instead of drawing on.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from statistics import median

import msgspec

from benchmarks.endtoend import BATCHES_PER_S, Clients, run
from benchmarks.figures import Measured
from benchmarks.rig import BenchError, median_of, percentile
from benchmarks.system import System, system

_FAST = 10.0
"""As in endtoend.py: the pool gathers for 5 ms, so that each batch is a reply of its own."""
_WRITES_PER_CHANGE = 1.45
"""So many writes make a change at first, for some are of one object."""
_LATE_S = 2.0
_RARE_S = 10.0
"""How long a run has at least when changes are too rare for a batch in every 50 ms."""


class Point(msgspec.Struct):
    """What was measured at one size.

    Args:
        x: the size, in the sweep's unit, as it really was.
        cpu_us: all the proxy's processor time, per change delivered to a client.
        p50_ms, p99_ms: from when a batch leaves the pool until the last client has it.
        proxy_mb: the proxy's private memory.
        frames_per_batch: that each client got; less than one where late batches were merged.
    """

    x: float
    cpu_us: Measured
    p50_ms: Measured
    p99_ms: Measured
    proxy_mb: float
    frames_per_batch: float


class Curve(msgspec.Struct):
    """One sweep.

    Args:
        key: its name.
        unit: of x.
        held: what the others were.
        points: in rising order.
        ended: why it ended early, if it did.
    """

    key: str
    unit: str
    held: str
    points: list[Point]
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Args:
        clients: sizes of the first sweep.
        pools: hosts and VMs of the second.
        rates: changes a second of the third.
        peer_clients: of the contenders (versus.py).
        held_clients: in the third; the second has `few_clients`, for each is sent the whole pool.
        seconds, runs: of a point.
    """

    clients: tuple[int, ...] = (10, 30, 100, 300, 1000, 2000, 5000)
    pools: tuple[tuple[int, int], ...] = (
        (1, 1),
        (2, 75),
        (4, 250),
        (8, 850),
        (16, 2600),
        (16, 8600),
    )
    rates: tuple[int, ...] = (1, 5, 20, 100, 300, 1000, 2000)
    peer_clients: tuple[int, ...] = (10, 30, 100, 300, 1000)
    held_clients: int = 1000
    few_clients: int = 100
    seconds: float = 4.0
    runs: int = 3
    rare_s: float = _RARE_S


REDUCED = Scale(
    clients=(10, 100, 1000),
    pools=((1, 1), (2, 75), (8, 850)),
    rates=(1, 20, 300),
    peer_clients=(10, 100, 1000),
    held_clients=300,
    few_clients=50,
    seconds=2.0,
    runs=2,
    rare_s=4.0,
)
QUICK = Scale(
    clients=(2, 6),
    pools=((1, 1), (1, 4)),
    rates=(5, 40),
    peer_clients=(2, 6),
    held_clients=3,
    few_clients=3,
    seconds=0.5,
    runs=1,
    rare_s=0.5,
)
_STANDARD_RATE = 300
_STANDARD_POOL = (4, 60)
_BUSY_POOL = (4, 250)
"""Where thousands of changes a second can be of different objects."""


async def clients(scale: Scale) -> AsyncIterator[Point]:
    """More and more clients on one pool."""
    async with system(*_STANDARD_POOL, speed=_FAST) as on, on.clients() as load:
        there = 0
        for count in scale.clients:
            await load.open(count - there)
            there = count
            _, point = await _point(on, Clients(load, count, count), scale, _STANDARD_RATE)
            point.x = count
            yield point


async def objects(scale: Scale) -> AsyncIterator[Point]:
    """Ever larger pools."""
    count = scale.few_clients
    for pool in scale.pools:
        async with system(*pool, speed=_FAST) as on, on.clients() as load:
            await load.open(count)
            _, point = await _point(on, Clients(load, count, count), scale, _STANDARD_RATE)
            point.x = (await on.pool.ask("stats"))["objects"]
            yield point


async def changes(scale: Scale) -> AsyncIterator[Point]:
    """More and more changes on one pool."""
    count = scale.held_clients
    async with system(*_BUSY_POOL, speed=_FAST) as on, on.clients() as load:
        await load.open(count)
        for rate in scale.rates:
            seen, point = await _point(on, Clients(load, count, count), scale, rate)
            point.x = seen
            yield point


async def _point(on: System, connected: Clients, scale: Scale, rate: float) -> tuple[float, Point]:
    """Measure one size; returns the changes a second that clients saw, and the point without x."""
    rare = rate <= BATCHES_PER_S
    per_s = rate if rare else BATCHES_PER_S
    # One of a batch's changes is its mark.
    writes = 1 if rare else round(rate / BATCHES_PER_S * _WRITES_PER_CHANGE)
    seconds = max(scale.seconds, scale.rare_s) if rare else scale.seconds
    warm = await run(on, connected, seconds / 4, writes, per_s, _LATE_S)
    for _ in range(0 if rare else 2):  # the more writes, the more of them are of one object
        writes = round(writes * min(2.0, rate / warm.changes_per_s))
        warm = await run(on, connected, seconds / 4, writes, per_s, _LATE_S)
    runs = [await run(on, connected, seconds, writes, per_s, _LATE_S) for _ in range(scale.runs)]
    point = Point(
        0,
        median_of([r.cpu_us_per_change for r in runs]),
        median_of([percentile(r.last_ms, 0.50) for r in runs]),
        median_of([percentile(r.last_ms, 0.99) for r in runs]),
        await on.proxy_bytes() / 1e6,
        median(r.frames_per_batch for r in runs),
    )
    return median(r.changes_per_s for r in runs), point


Sweep = Callable[[Scale], AsyncIterator[Point]]

SWEEPS: dict[str, tuple[Sweep, str, Callable[[Scale], str]]] = {
    "clients": (
        clients,
        "clients",
        lambda _: f"{_STANDARD_RATE} changes/s, a pool of {_STANDARD_POOL[1]} VMs",
    ),
    "objects": (
        objects,
        "objects in the pool",
        lambda scale: f"{_STANDARD_RATE} changes/s, {scale.few_clients:,} clients",
    ),
    "changes": (
        changes,
        "changes a second",
        lambda scale: f"{scale.held_clients:,} clients, a pool of {_BUSY_POOL[1]} VMs",
    ),
}
"""Name -> the sweep, the unit of its x, and what is held meanwhile."""


async def collect(
    curve: Curve, points: AsyncIterator[Point], tell: Callable[[Point], None]
) -> None:
    """Fill a curve as far as the points go; `tell` hears of each when it is there."""
    try:
        async for point in points:
            curve.points.append(point)
            tell(point)
    except (BenchError, TimeoutError) as error:
        curve.ended = str(error) or "a process did not answer in time"

"""All contenders on one trace, in turn, with as many clients as each can serve.

All of them live at once, each with clients of its own, and only one works at a time: the runs
interleave, so what else the machine does meets all of them alike.
"""

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.estate import Estate
from benchmarks.figures import Measured
from benchmarks.peers import trace
from benchmarks.peers.contenders import HELLO
from benchmarks.rig import (
    BenchError,
    Child,
    anonymous_bytes,
    child,
    median_of,
    percentile,
    python,
)
from benchmarks.system import (
    EVERYTHING,
    PROXY_PROCESSOR,
    SNAPSHOT_DONE,
    Load,
    load,
)

NAMES = {
    "ours": "xoproxy",
    "whole_objects": "whole objects, json.dumps per client",
    "home_assistant": "Home Assistant's way",
    "broadcast": "websockets.broadcast of changes",
}
"""What people read; the keys are those of `contenders.CONTENDERS`."""

_BATCHES_PER_S = 20
_BATCH_WRITES = 23
"""Some writes are of one object: a little more than 300 changes a second remain."""
_SHARE = 0.5
"""So much of a processor may a contender be expected to use: beyond, all would measure queues."""
_STEPS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
"""Of the clients that all should have: the largest share that a contender can serve."""


class Row(msgspec.Struct):
    """What one contender needs.

    Args:
        key, name: of the contender.
        clients: that it had.
        cpu_us: all its processor time, ingest included, per change and client.
        bytes: on the wire, per change and client.
        p50_ms, p99_ms: from when a batch is due until the last client has it.
        kb_per_client: growth of its private memory per connected, idle client.
        changes_per_s: that each client was sent.
        frames_per_batch: likewise; less than one when a contender is late and merges batches.
    """

    key: str
    name: str
    clients: int
    cpu_us: Measured
    bytes: float
    p50_ms: Measured
    p99_ms: Measured
    kb_per_client: float
    changes_per_s: float
    frames_per_batch: float

    @property
    def clients_per_core(self) -> float:
        """Tell how many clients a whole core could serve at this rate."""
        return 1e6 / (self.cpu_us.value * self.changes_per_s)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Args:
        clients: that all should have.
        warm, probed: clients between which memory is compared; the latter show what a change costs.
        probe_batches: that show it.
        batches, runs: what counts.
        late_s: a batch that has not reached everybody by then has not arrived.
        hosts, vms: of the pool.
    """

    clients: int = 1000
    warm: int = 50
    probed: int = 200
    probe_batches: int = 20
    batches: int = 80
    runs: int = 3
    late_s: float = 1.0
    hosts: int = 4
    vms: int = 60


QUICK = Scale(clients=20, warm=5, probed=60, probe_batches=3, batches=10, runs=1, late_s=0.3)


@dataclass(frozen=True, slots=True)
class _Run:
    cpu_us: float
    bytes: float
    last_ms: list[float]
    changes: int
    frames: float


@dataclass(slots=True)
class _Entrant:
    """A contender's process and clients, and what was measured of it."""

    key: str
    server: Child
    url: str
    kb_per_client: float = 0.0
    clients: int = 0
    load: Load | None = None
    runs: list[_Run] = field(default_factory=list)

    def connect(self) -> Any:  # noqa: ANN401 - the context manager of `load`
        if self.key != "ours":
            return load(self.url, [], ready=HELLO)
        auth = {"type": "auth", "token": ""}
        subscribe = {"type": "subscribe", "id": 1, "query": EVERYTHING}
        return load(self.url, [auth, subscribe], ready=SNAPSHOT_DONE)

    async def run(self, batches: int, per_s: float, late_s: float) -> _Run:
        """Play batches to everybody; each of them must arrive."""
        assert self.load is not None
        await self.load.report()
        before = await self.server.ask("state")
        played = await self.server.ask("play", count=batches, per_s=per_s)
        await asyncio.sleep(late_s)
        report = await self.load.report()
        after = await self.server.ask("state")
        if after["behind"] != before["behind"]:
            raise BenchError(f"{self.key}: clients fell behind")
        due = dict(played["due"])
        last_ms = [
            (at_ns - due[mark]) / 1e6
            for mark, everybody, at_ns, _, _ in report.marks
            if mark in due and everybody == report.clients
        ]
        if len(last_ms) < batches:
            raise BenchError(f"{self.key}: {batches - len(last_ms)} of {batches} batches are late")
        delivered = played["changes"] * report.clients
        cpu_s = after["cpu_s"] - before["cpu_s"]
        return _Run(
            cpu_s / delivered * 1e6,
            report.bytes / delivered,
            last_ms,
            played["changes"],
            report.frames / report.clients,
        )


async def compare(scale: Scale) -> list[Row]:
    """Measure all contenders; the first row is ours."""
    with tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory:
        path = Path(directory, "trace")
        batches = scale.probe_batches + scale.runs * scale.batches
        trace.record(path, Estate(scale.hosts, scale.vms), batches, _BATCH_WRITES)
        async with AsyncExitStack() as stack:
            entrants = [
                await stack.enter_async_context(_entered(key, path, scale)) for key in NAMES
            ]
            for entrant in entrants:
                connected: Load = await stack.enter_async_context(entrant.connect())
                await connected.open(entrant.clients)
                entrant.load = connected
            for _ in range(scale.runs):
                for entrant in entrants:
                    entrant.runs.append(
                        await entrant.run(scale.batches, _BATCHES_PER_S, scale.late_s)
                    )
    return [_row(entrant) for entrant in entrants]


@asynccontextmanager
async def _entered(key: str, path: Path, scale: Scale) -> AsyncIterator[_Entrant]:
    """Start a contender, look at what its clients weigh, and how many it can serve."""
    argv = python("benchmarks.peers.server", key, str(path))
    async with child(*argv, processor=PROXY_PROCESSOR) as server:
        entrant = _Entrant(key, server, (await server.answer())["url"])
        async with entrant.connect() as entrant.load:
            await entrant.load.open(scale.warm)
            before = await _memory(server)
            await entrant.load.open(scale.probed - scale.warm)
            grown = await _memory(server) - before
            entrant.kb_per_client = grown / (scale.probed - scale.warm) / 1e3
            probe = await entrant.run(scale.probe_batches, 0, scale.late_s)
        changes_per_s = probe.changes / scale.probe_batches * _BATCHES_PER_S
        entrant.clients = _servable(probe.cpu_us * changes_per_s / 1e6, scale.clients)
        yield entrant


async def _memory(server: Child) -> int:
    await server.ask("settle")
    return anonymous_bytes(server.pid)


def _servable(share: float, wanted: int) -> int:
    """Return how many clients a contender gets, of those that all should have.

    Args:
        share: of a processor that one client takes.
        wanted: for who can serve them.
    """
    possible = (wanted * step for step in _STEPS if wanted * step * share <= _SHARE)
    return int(next(possible, wanted * _STEPS[-1]))


def _row(entrant: _Entrant) -> Row:
    runs = entrant.runs
    return Row(
        entrant.key,
        NAMES[entrant.key],
        entrant.clients,
        median_of([run.cpu_us for run in runs]),
        median(run.bytes for run in runs),
        median_of([percentile(run.last_ms, 0.50) for run in runs]),
        median_of([percentile(run.last_ms, 0.99) for run in runs]),
        entrant.kb_per_client,
        median(run.changes / len(run.last_ms) * _BATCHES_PER_S for run in runs),
        median(run.frames / len(run.last_ms) for run in runs),
    )


def ratios(row: Row, ours: Row) -> dict[str, float]:
    """Tell by how many times a contender needs more than we do."""
    return {
        "cpu_us_per_delivered_change": row.cpu_us.value / ours.cpu_us.value,
        "bytes_per_change": row.bytes / ours.bytes,
        "latency_p50_ms": row.p50_ms.value / ours.p50_ms.value,
        "latency_p99_ms": row.p99_ms.value / ours.p99_ms.value,
        # A handful of clients may fit into memory that was there already.
        "kb_per_client": row.kb_per_client / ours.kb_per_client if ours.kb_per_client else math.nan,
    }

"""`python -m tests.soak [--minutes 30]`: thousands of clients, hundreds of changes a second.

A simulated pool, the proxy with a small history, a load of WebSocket clients in C, and sampled
replicas of every kind (readers.py). Minute by minute it prints memory, latency and what the
replicas say; at the end, whether memory stayed flat, and JSON. The exit code is 1 when a replica
diverged, the protocol was broken, or memory grew.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.rig import OUT, Child, anonymous_bytes, child, percentile, python
from benchmarks.system import OTHER_PROCESSOR, Load, System, system

_BATCHES_PER_S = 20
_LIFECYCLE_PER_S = 40
_WRITES_PER_CHANGE = 1.4
"""Some writes of a batch are of one object."""
_ROUND_S = 50
_QUIET_S = 4.0
_SAMPLE_S = 5.0
_GROWTH_AT_MOST = 0.02
_CHECK_S = 300.0
_QUERY = {
    "classes": ["VM", "host", "pool"],
    "fields": {
        "VM": ["name_label", "power_state", "resident_on", "tags", "is_a_template"],
        "host": ["name_label", "enabled"],
        "pool": ["name_label", "name_description"],
    },
}


@dataclass
class Result:
    """What came of it."""

    minutes: float
    clients: int
    replicas: int
    changes_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    batches: int = 0
    late_batches: int = 0
    growth: float = 0.0
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    """(minutes since all were connected, MB)."""
    divergent: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not self.divergent and not self.faults and self.growth < _GROWTH_AT_MOST


class Soak:
    """One run.

    Args:
        options: of the command.
        on: pool and proxy.
        load: the C clients.
        readers: the sampled replicas.
    """

    def __init__(self, options: argparse.Namespace, on: System, load: Load, readers: Child) -> None:
        self._options = options
        self._on = on
        self._load = load
        self._readers = readers
        self._began_s = time.monotonic()
        self._latencies_ms: list[float] = []
        self._seqs: list[tuple[float, int]] = []
        self.result = Result(options.minutes, options.clients, options.replicas)

    async def run(self) -> Result:
        await self._readers.ask("start", count=self._options.replicas)
        await self._load.open(self._options.clients)
        self._began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self._sample(), name="sample")
            number = 0
            while time.monotonic() - self._began_s < 60 * self._options.minutes:
                await self._round(number)
                number += 1
            sampling.cancel()
        self._conclude()
        return self.result

    async def _round(self, number: int) -> None:
        """Let the pool change for most of a minute, then compare in the silence after it."""
        began_s = time.monotonic()
        batches = round(min(_ROUND_S, 60 * self._options.minutes) * _BATCHES_PER_S)
        writes = (self._options.changes - _LIFECYCLE_PER_S) * _WRITES_PER_CHANGE
        a_batch = max(2, round(writes / _BATCHES_PER_S))
        await self._churn(batches / _BATCHES_PER_S, number)
        made = await self._on.pool.ask(
            "batches", count=batches, per_s=_BATCHES_PER_S, changes=a_batch
        )
        changed_s = time.monotonic() - began_s
        await asyncio.sleep(_QUIET_S)
        self._take_latencies(dict(made["stamps"]), (await self._load.report()).marks)
        found = await self._readers.ask("check", timeout_s=_CHECK_S)
        self.result.divergent += found["divergent"]
        self.result.faults = found["faults"]
        self.result.counts = found["counts"]
        self._seqs.append((changed_s, found["seq"]))
        self._print(number, found, await self._journal_bytes())

    async def _churn(self, seconds: float, seed: int) -> None:
        body = {"rate": _LIFECYCLE_PER_S, "seconds": seconds, "seed": seed, "lifecycle": True}
        url = f"{self._on.pool_url}/_sim/churn"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as reply:
            reply.raise_for_status()

    async def _journal_bytes(self) -> float:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self._on.url}/metrics") as reply,
        ):
            found = re.search(
                r"^xoproxy_journal_bytes\{.*\} (\S+)$", await reply.text(), re.MULTILINE
            )
        return float(found[1]) if found else 0.0

    def _take_latencies(
        self, left_ns: dict[int, int], marks: Sequence[tuple[int, int, int, int, int]]
    ) -> None:
        for mark, everybody, at_ns, _, _ in marks:
            if mark in left_ns and everybody == self._options.clients:
                self._latencies_ms.append((at_ns - left_ns.pop(mark)) / 1e6)
        self.result.late_batches += len(left_ns)

    async def _sample(self) -> None:
        while True:
            minutes = (time.monotonic() - self._began_s) / 60
            memory = anonymous_bytes(self._on.proxy.pid) / 1e6
            self.result.memory_mb.append((round(minutes, 2), round(memory, 1)))
            await asyncio.sleep(_SAMPLE_S)

    def _conclude(self) -> None:
        result = self.result
        result.batches = len(self._latencies_ms)
        result.p50_ms = percentile(self._latencies_ms, 0.50)
        result.p99_ms = percentile(self._latencies_ms, 0.99)
        result.growth = growth(result.memory_mb)
        steps = [
            (seq - before) / seconds
            for (_, before), (seconds, seq) in zip(self._seqs, self._seqs[1:], strict=False)
        ]
        result.changes_per_s = median(steps) if steps else 0.0

    def _print(self, number: int, found: dict[str, Any], journal_bytes: float) -> None:
        minutes, memory = self.result.memory_mb[-1]
        recent = self._latencies_ms[-_ROUND_S * _BATCHES_PER_S :]
        print(
            f"{minutes:5.1f} min  {memory:6.1f} MB  history {journal_bytes / 1e6:4.1f} MB"
            f"  p50 {percentile(recent, 0.5):6.1f} ms  p99 {percentile(recent, 0.99):6.1f} ms"
            f"  late {self.result.late_batches}"
            f"  divergent {len(found['divergent'])}  faults {len(found['faults'])}",
            flush=True,
        )
        for line in (*found["divergent"], *found["faults"][:5]):
            print(f"    {line}", flush=True)
        if number % 5 == 0:
            print(f"    {found['counts']}", flush=True)


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """Compare the last fifth with the second, in which histories are full for the first time."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples, samples[-fifth:]
    return median(m for _, m in late) / median(m for _, m in early) - 1


async def _main(options: argparse.Namespace) -> Result:
    bound = options.journal_mib << 20
    limits = {"journal_bytes_per_pool": bound, "journal_total_bytes": bound}
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(
            system(options.hosts, options.vms, speed=10.0, limits=limits)
        )
        load = await stack.enter_async_context(on.clients(_QUERY))
        readers = await stack.enter_async_context(
            child(
                *python("tests.soak.readers", on.url, on.token, on.pool_url),
                processor=OTHER_PROCESSOR,
            )
        )
        await readers.answer()
        return await Soak(options, on, load, readers).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--replicas", type=int, default=50)
    parser.add_argument("--changes", type=int, default=300, help="a second")
    parser.add_argument("--journal-mib", type=int, default=8, help="bound of the history")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--vms", type=int, default=60)
    parser.add_argument("--out", type=Path, default=OUT / "soak.json")
    return parser.parse_args()


def main() -> int:
    options = _options()
    result = asyncio.run(_main(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(asdict(result), indent=1))
    print(
        f"\n{result.clients:,} clients, {result.changes_per_s:.0f} changes/s for"
        f" {result.minutes:g} min: memory {result.growth:+.1%}, p50 {result.p50_ms:.1f} ms,"
        f" p99 {result.p99_ms:.1f} ms of {result.batches:,} batches;"
        f" {len(result.divergent)} divergent, {len(result.faults)} faults"
        f" -> {'good' if result.is_good else 'BAD'}; written to {os.path.relpath(options.out)}"
    )
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs one case in this process: `python -m benchmarks.case NAME [--quick]` prints its figures."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from benchmarks import (
    digests,
    endtoend,
    fanout,
    ingest,
    join_storm,
    many_pools,
    old_pool,
    restart,
    rig,
    scopes,
    simulator,
    windows,
    wire_bytes,
)
from benchmarks.figures import Measured
from xoproxy.app import new_event_loop
from xoproxy.telemetry import configure_logging


class Case(Protocol):
    """Measures some figures; the docstring says how."""

    def __call__(self, *, quick: bool) -> Awaitable[dict[str, Measured]]: ...


CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "single changes": (
        wire_bytes.single_changes,
        ("bytes_power_state", "bytes_host_memory", "bytes_200_vms"),
    ),
    "standard trace": (wire_bytes.standard_trace, ("bytes_compressed",)),
    "ingest": (ingest.ingest, ("ingest_changed_us", "ingest_unchanged_us")),
    "first load": (ingest.first_load, ("first_load_cpu_ms",)),
    "objects": (ingest.objects, ("bytes_per_object",)),
    "fan-out": (fanout.fanout, ("fanout_frames_per_s", "fanout_ratio_send2")),
    "neighbours": (
        endtoend.neighbours,
        (
            "cpu_us_per_delivered_change",
            "latency_p50_ms",
            "latency_p99_ms",
            "stalled_neighbours_ratio",
        ),
    ),
    "stall": (endtoend.stall, ("loop_stall_ms",)),
    "client memory": (endtoend.client_memory, ("kb_per_idle_client", "kb_per_stalled_client")),
    "join storm": (join_storm.join_storm, ("join_storm_stall_ms", "join_storm_s")),
    "resume": (endtoend.resume, ("resume_bytes",)),
    "compare": (digests.compare, ("compare_bytes", "compare_us_per_object")),
    "scopes": (scopes.scopes, ("scopes_1000_ratio",)),
    "upstream": (endtoend.upstream, ("upstream_sessions", "upstream_waits")),
    "many pools": (many_pools.pools_100, ("pools_100_live_s", "pools_100_stall_ms")),
    "old pool": (old_pool.listed, ("old_pool_live_s", "old_pool_stall_ms")),
    "windows": (windows.changes, ("window_us_per_change",)),
    "log": (restart.log, ("log_us_per_change",)),
    "checkpoint": (restart.checkpoint, ("checkpoint_stall_ms",)),
    "restart": (restart.restart, ("restart_snapshot_s",)),
    "simulator ready": (simulator.ready, ("simulator_ready_s",)),
    "simulator memory": (simulator.memory, ("simulator_mb",)),
    "simulator ceiling": (simulator.ceiling, ("simulator_changes_per_s",)),
}
"""Name -> the case and the figures that it gives, in the order in which they run."""


def main() -> None:
    name, *options = sys.argv[1:]
    case, _ = CASES[name]
    rig.pin(0)
    configure_logging("json", "warning")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        figures = runner.run(_run(case, quick="--quick" in options))
    print(msgspec.json.encode(figures).decode())


async def _run(case: Case, *, quick: bool) -> dict[str, Measured]:
    return await case(quick=quick)


if __name__ == "__main__":
    main()

"""The figures that we promise: keys, units, goals, and what each was compared with elsewhere."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Figure:
    """One promised figure.

    Args:
        key: its name in bench.json.
        what: for people.
        unit: of value, goal and floor.
        goal: to reach.
        at_least: whether more is better.
        peer: what others need for the same, or what the machine allows, measured elsewhere.
    """

    key: str
    what: str
    unit: str
    goal: float
    at_least: bool = False
    peer: str = ""

    def reached(self, value: float) -> bool:
        return value >= self.goal if self.at_least else value <= self.goal


class Measured(msgspec.Struct, frozen=True):
    """What a case found out.

    Args:
        value: the median where there were several runs.
        low, high: the extremes of those runs.
        floor: what the machine allows, measured in the same run.
        note: how, on how much, what else was seen.
    """

    value: float
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    note: str = ""


_NAIVE = "json + jsonpatch.make_patch 340"

FIGURES = (
    Figure(
        "bytes_power_state", "Power state of a VM, bytes per client", "B", 130,
        peer="xo-server 2,400",
    ),
    Figure(
        "bytes_host_memory", "Memory tick of a host, bytes per client", "B", 145,
        peer="xo-server 7,400",
    ),
    Figure(
        "bytes_200_vms", "200 VMs, one field each, bytes per client", "B", 14_000,
        peer="xo-server 440,000",
    ),
    Figure(
        "bytes_compressed", "Bytes per change, deflated, standard trace", "B", 60,
        peer="250-380 with a deflate context per client",
    ),
    Figure(
        "fanout_frames_per_s", "Frames on one core, 1,000 clients", "1/s", 150_000,
        at_least=True, peer="C send(2) on a quiet machine: 295,000",
    ),
    Figure(
        "fanout_ratio_send2", "Fan-out against a C loop of send(2)", "x", 1.35,
        peer="C send(2): 1",
    ),
    Figure(
        "cpu_us_per_delivered_change", "CPU per delivered change, 1,000 clients", "us", 1,
        peer="json.dumps per client 10-12, xo-server 14-34",
    ),
    Figure("ingest_changed_us", "Ingest of a VM `mod`, changed", "us", 40, peer=_NAIVE),
    Figure("ingest_unchanged_us", "Ingest of a VM `mod`, unchanged", "us", 6, peer=_NAIVE),
    Figure(
        "loop_stall_ms", "Longest stall, 10,000-event reply", "ms", 25,
        peer="orjson in one go 70, XML-RPC 1,500",
    ),
    Figure("first_load_cpu_ms", "First load of a 1,000-VM pool, CPU", "ms", 250, peer="18: scan"),
    Figure("bytes_per_object", "Cache memory per object", "B", 1_900, peer="raw bytes 1,100"),
    Figure("kb_per_idle_client", "Memory per idle client", "KB", 20, peer="aiohttp alone 14"),
    Figure("kb_per_stalled_client", "Memory per stalled client", "KB", 80),
    Figure(
        "latency_p50_ms", "Batch leaves pool -> last of 1,000 has it, p50", "ms", 20,
        peer="C 7; xo-server, 100 clients: 111-129",
    ),
    Figure(
        "latency_p99_ms", "Batch leaves pool -> last of 1,000 has it, p99", "ms", 60,
        peer="C 17; xo-server, 100 clients: 234-308",
    ),
    Figure(
        "stalled_neighbours_ratio", "p99 of the others, 100 of 1,000 stalled", "x", 1.25,
    ),
    Figure(
        "resume_bytes", "Reconnect after 30 s, one pool, few changes", "B", 5_000,
        peer="xo-server: everything again",
    ),
    Figure("join_storm_stall_ms", "1,000 clients join 20,000 objects: stall", "ms", 25),
    Figure("join_storm_s", "1,000 clients join 20,000 objects: all done", "s", 10),
    Figure(
        "compare_bytes", "By digests, 10,000 objects, 100 changed", "B", 800_000,
        peer="its snapshot: 8,080,000",
    ),
    Figure("compare_us_per_object", "By digests, CPU per object of the view", "us", 30),
    Figure("window_us_per_change", "Window on 50,000 objects, per change", "us", 80),
    Figure("scopes_1000_ratio", "Change under 1,000 rights scopes", "x", 2),
    Figure("pools_100_live_s", "100 pools x 200 objects: all live", "s", 30),
    Figure("pools_100_stall_ms", "100 pools x 200 objects: stall", "ms", 25),
    Figure("upstream_sessions", "XAPI sessions, 1 and 5,000 clients", "", 1, peer="xo-server 1"),
    Figure(
        "upstream_waits", "Long polls at once, 1 and 5,000 clients", "", 1,
        peer="XO Lite: one per browser",
    ),
    Figure("old_pool_live_s", "Old pool of 1,000 VMs, XML-RPC: live", "s", 10),
    Figure(
        "old_pool_stall_ms", "Old pool of 1,000 VMs, XML-RPC: stall", "ms", 25,
        peer="XML-RPC in the loop 1,500",
    ),
    Figure("log_us_per_change", "Log of a change, before it is offered", "us", 3),
    Figure("checkpoint_stall_ms", "Longest stall, 5,000-VM checkpoint", "ms", 25),
    Figure("restart_snapshot_s", "kill -9, start, 1,000-VM snapshot served", "s", 1.5),
    Figure("simulator_ready_s", "Simulated pool of 1,000 VMs: ready", "s", 5),
    Figure("simulator_mb", "Simulated pool of 5,000 VMs: memory", "MB", 1_500),
    Figure(
        "simulator_changes_per_s", "Simulated pool of 1,000 VMs: changes", "1/s", 2_000,
        at_least=True,
    ),
)  # fmt: skip

BY_KEY = {figure.key: figure for figure in FIGURES}

"""A thousand clients come back at once, each with a bearer token, and want 20,000 objects.

It happens after every restart of the proxy or of what stands before it. The view must be encoded
once, and nobody else may notice: the loop's longest stall is measured from the first connection to
the last client's last frame.
"""

import time

from benchmarks.figures import Measured
from benchmarks.rig import cpu_s, median_of
from benchmarks.system import System, load, system

_QUERY = {
    "classes": ["*"],
    "fields": {
        "VM": ["name_label", "power_state", "resident_on", "tags", "VCPUs_max", "is_a_template"],
        "VBD": ["VM", "VDI", "device"],
        "VIF": ["VM", "network", "device"],
        "VDI": ["name_label", "SR", "virtual_size"],
    },
}
_BOOKMARK = '"type":"bookmark"'
"""It stands behind the snapshot and is too short to be deflated."""
_DEFLATE = "permessage-deflate; client_max_window_bits"


async def join_storm(*, quick: bool) -> dict[str, Measured]:
    """Connect all at once; the view is not encoded beforehand."""
    hosts, vms, clients, runs = (2, 60, 100, 1) if quick else (16, 1640, 1000, 5)
    async with system(hosts, vms) as on:
        objects = (await on.pool.ask("stats"))["objects"]
        found = [await _storm(on, clients) for _ in range(runs)]
    stalls, by_work, totals, cpu, bytes_ = zip(*found, strict=True)
    note = (
        f"{clients:,} clients, {objects:,} objects, {max(bytes_) / clients / 1e3:,.0f} KB each,"
        f" {cpu[-1]:.1f} s of processor"
    )
    return {
        "join_storm_stall_ms": median_of(
            by_work, f"by the loop's processor time; by the clock {max(stalls):.0f} ms; {note}"
        ),
        "join_storm_s": median_of(totals, "from the first connection to the last bookmark"),
    }


async def _storm(on: System, clients: int) -> tuple[float, float, float, float, int]:
    headers = {"Authorization": f"Bearer {on.token}", "Sec-WebSocket-Extensions": _DEFLATE}
    messages = [{"type": "subscribe", "id": 1, "query": _QUERY}]
    async with load(on.url, messages, ready=_BOOKMARK, pace=clients, headers=headers) as load_:
        await on.proxy.ask("stall")
        before_cpu_s, begun_s = cpu_s(on.proxy.pid), time.perf_counter()
        report = await load_.open(clients)
        total_s = time.perf_counter() - begun_s
        stall = await on.proxy.ask("stall")
        used_s = cpu_s(on.proxy.pid) - before_cpu_s
    return stall["longest_s"] * 1e3, stall["cpu_s"] * 1e3, total_s, used_s, report.bytes

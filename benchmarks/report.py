"""The table that people read and the file that programs read."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.figures import FIGURES, Figure, Measured
from benchmarks.peers.comparison import Row, ratios
from benchmarks.rig import processors

_PACKAGES = ("uvloop", "aiohttp", "msgspec")


def machine() -> str:
    """Say on what the figures were measured, and how busy it was."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {len(processors())} cores ({_processor()}), load"
        f" {load}\n{platform.python_implementation()} {platform.python_version()},"
        f" {platform.system()} {platform.release()}, {packages}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def number(value: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 or value == int(value) else 2 if abs(value) < 10 else 1  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def line(figure: Figure, measured: Measured, *, judged: bool = True) -> str:
    """Show one figure beside its goal and its floor; the second line says how it was measured."""
    sign = ">=" if figure.at_least else "<="
    spread = f"{number(measured.low)}..{number(measured.high)}" if measured.low is not None else ""
    mark = "" if figure.reached(measured.value) or not judged else "MISSED"
    head = (
        f"{figure.what:<46} {number(measured.value):>9} {figure.unit:<3} {sign} "
        f"{number(figure.goal):<8} {mark:<6} {number(measured.floor):>9}  {spread}"
    )
    peer = f" | elsewhere: {figure.peer}" if figure.peer else ""
    return f"{head.rstrip()}\n    {measured.note}{peer}"


HEADING = f"{'':<46} {'measured':>13} {'goal':<11} {'':<6} {'floor':>9}  spread"


def peers_table(rows: Sequence[Row]) -> str:
    """Show all contenders; behind each value how many times ours it is."""
    ours = rows[0]
    title = (
        f"Other ways, same trace, same run: {ours.changes_per_s:.0f} changes/s; x: times ours;"
        " latency of the last client, with its extremes"
    )
    heading = (
        f"{'':<38} {'clients':>7} {'CPU us/change':>14} {'B/change':>13} {'p50 ms':>7}"
        f" {'p99 ms':>20} {'KB/client':>11} {'frames/batch':>12} {'a core serves':>14}"
    )
    lines = [title, heading]
    for row in rows:
        times = {k: f" x{v:.1f}" if row is not ours else "" for k, v in ratios(row, ours).items()}
        low, high = number(row.p99_ms.low), number(row.p99_ms.high)
        p99 = f"{number(row.p99_ms.value)} {low}..{high}"
        cells = (
            f"{row.clients:>7,}",
            f"{number(row.cpu_us.value) + times['cpu_us_per_delivered_change']:>14}",
            f"{number(row.bytes) + times['bytes_per_change']:>13}",
            f"{number(row.p50_ms.value):>7}",
            f"{p99:>20}",
            f"{number(row.kb_per_client) + times['kb_per_client']:>11}",
            f"{row.frames_per_batch:>12.2f}",
            f"{row.clients_per_core:>14,.0f}",
        )
        lines.append(f"{row.name:<38} {' '.join(cells)}")
    return "\n".join(lines)


def document(measured: Mapping[str, Measured], peers: Sequence[Row] = ()) -> bytes:
    """Return what programs read: value, unit, goal and, where there is one, floor; and peers."""
    figures: dict[str, object] = {}
    for figure in FIGURES:
        found = measured.get(figure.key)
        if found is not None:
            row = {"value": found.value, "unit": figure.unit, "goal": figure.goal}
            figures[figure.key] = row | ({"floor": found.floor} if found.floor is not None else {})
    if peers:
        figures["peers"] = {row.key: _peer(row, peers[0]) for row in peers}
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


def _peer(row: Row, ours: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "clients": row.clients,
        "changes_per_s": row.changes_per_s,
        "cpu_us_per_delivered_change": row.cpu_us.value,
        "bytes_per_change": row.bytes,
        "latency_p50_ms": row.p50_ms.value,
        "latency_p99_ms": row.p99_ms.value,
        "kb_per_client": row.kb_per_client,
        "frames_per_batch": row.frames_per_batch,
        "clients_per_core": row.clients_per_core,
        "ratios": ratios(row, ours),
    }

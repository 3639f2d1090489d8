"""The table that people read and the file that programs read."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.figures import FIGURES, Figure, Measured
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


def document(measured: Mapping[str, Measured]) -> bytes:
    """Return what programs read: value, unit, goal and, where there is one, floor."""
    figures = {}
    for figure in FIGURES:
        found = measured.get(figure.key)
        if found is not None:
            row = {"value": found.value, "unit": figure.unit, "goal": figure.goal}
            figures[figure.key] = row | ({"floor": found.floor} if found.floor is not None else {})
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"

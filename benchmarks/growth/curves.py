"""The curves as pictures: one PNG a sweep, with three panels. Needs matplotlib (extra `bench`)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.figures import BY_KEY, Measured
from benchmarks.growth.sweeps import Curve
from benchmarks.peers.comparison import NAMES, Row

_LINE = "#1f5f99"
_GOAL = "#b03a2e"
_COLORS = (_LINE, "#b03a2e", "#c98a1b", "#4d8b4d")
_WIDE = 5
"""A range so many times its least value is for a logarithmic scale."""
_MERGED = 0.95
_GOALS_HOLD_IN = ("clients", "changes")
"""The goals are for 1,000 clients, fewer than which share the cost of ingest."""


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def draw(curve: Curve, about: str, path: Path) -> None:
    """Draw one sweep.

    Args:
        curve: with at least one point.
        about: the machine and the day, for the foot.
        path: of the PNG.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(13, 4.6), dpi=100, layout="constrained")
    panels = figure.subplots(1, 3)
    xs = [point.x for point in curve.points]
    if curve.key in _GOALS_HOLD_IN:
        _goal(panels[0], BY_KEY["cpu_us_per_delivered_change"].goal, xs)
        _goal(panels[1], BY_KEY["latency_p99_ms"].goal, xs)
    _spread(panels[0], xs, [point.cpu_us for point in curve.points])
    cpu = [point.cpu_us.value for point in curve.points]
    _mark_merged(panels[0], xs, cpu, [point.frames_per_batch for point in curve.points])
    _titled(panels[0], "CPU per delivered change", "microseconds", log=max(cpu) > _WIDE * min(cpu))
    _spread(panels[1], xs, [point.p99_ms for point in curve.points], label="p99")
    p50s = [point.p50_ms.value for point in curve.points]
    panels[1].plot(xs, p50s, "--", color=_LINE, marker=".", label="p50")
    _titled(panels[1], "Latency until the last client has it", "milliseconds")
    panels[1].legend(frameon=False, loc="upper left")
    panels[2].plot(xs, [point.proxy_mb for point in curve.points], color=_LINE, marker="o")
    _titled(panels[2], "Private memory of the proxy", "MB")
    for panel in panels:
        _axis(panel, xs, curve.unit)
    ended = f" Ended early: {curve.ended}." if curve.ended else ""
    figure.suptitle(f"xoproxy: growth with {curve.unit} ({curve.held}).{ended}", fontsize=13)
    figure.supxlabel(about, fontsize=8, color="#666666")
    figure.savefig(path)


def draw_versus(rows: Sequence[Row], about: str, path: Path) -> None:
    """Draw the contenders beside each other, each as far as it could serve all clients."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(13, 4.9), dpi=100, layout="constrained")
    panels = figure.subplots(1, 3)
    for (key, name), color in zip(NAMES.items(), _COLORS, strict=True):
        mine = [row for row in rows if row.key == key]
        xs = [row.clients for row in mine]
        _spread(panels[0], xs, [row.cpu_us for row in mine], color=color)
        cpu = [row.cpu_us.value for row in mine]
        _mark_merged(panels[0], xs, cpu, [row.frames_per_batch for row in mine])
        shares = [row.cpu_us.value * row.changes_per_s * row.clients / 1e4 for row in mine]
        panels[1].plot(xs, shares, color=color, marker="o")
        _spread(panels[2], xs, [row.p99_ms for row in mine], name, color)
    _titled(panels[0], "CPU per delivered change", "microseconds", log=True)
    _titled(panels[1], "Processor that all changes take", "% of one core", log=True)
    _titled(panels[2], "p99 latency until the last client has it", "milliseconds", log=True)
    panels[2].set_ylim(bottom=panels[2].get_ylim()[0] / 4)
    for panel in panels:
        _axis(panel, sorted({row.clients for row in rows}), "clients")
    panels[2].legend(loc="lower right", fontsize=8, frameon=False)  # where all lines have left
    rate = rows[0].changes_per_s
    figure.suptitle(f"Ways to keep clients up to date, {rate:.0f} changes/s", fontsize=13)
    figure.supxlabel(about, fontsize=8, color="#666666")
    figure.savefig(path)


def _spread(
    panel: Any,  # noqa: ANN401
    xs: Sequence[float],
    values: Sequence[Measured],
    label: str = "",
    color: str = _LINE,
) -> None:
    """Draw the medians, and what lies between the extremes of the runs."""
    lows = [v.value if v.low is None else v.low for v in values]
    highs = [v.value if v.high is None else v.high for v in values]
    panel.fill_between(xs, lows, highs, color=color, alpha=0.18, linewidth=0)
    panel.plot(xs, [v.value for v in values], color=color, marker="o", label=label)


def _mark_merged(
    panel: Any,  # noqa: ANN401
    xs: Sequence[float],
    ys: Sequence[float],
    frames: Sequence[float],
) -> None:
    """Make points hollow where a client got fewer frames than batches: that makes changes cheap."""
    merged = [(x, y) for x, y, count in zip(xs, ys, frames, strict=True) if count < _MERGED]
    if merged:
        panel.scatter(*zip(*merged, strict=True), s=12, color="white", zorder=3)
        panel.set_xlabel("hollow: late batches were merged")  # beside the unit, see _axis


def _goal(panel: Any, goal: float, xs: list[float]) -> None:  # noqa: ANN401
    panel.axhline(goal, color=_GOAL, linewidth=1, linestyle=":")
    panel.annotate(
        f"goal: {goal:g} (1,000 clients, 300 changes/s)",
        (min(xs), goal),
        (0, 3),
        textcoords="offset points",
        fontsize=8,
        color=_GOAL,
    )


def _titled(panel: Any, title: str, unit: str, *, log: bool = False) -> None:  # noqa: ANN401
    panel.set_title(title, fontsize=11)
    panel.set_ylabel(unit)
    if log:
        panel.set_yscale("log")
        _plain_numbers(panel.yaxis)
    else:
        panel.set_ylim(0, panel.get_ylim()[1] * 1.05)


def _axis(panel: Any, xs: Sequence[float], unit: str) -> None:  # noqa: ANN401
    panel.set_xscale("log")
    panel.set_xticks(xs, [f"{x:,.0f}" for x in xs], rotation=30)
    panel.set_xticks([], minor=True)
    merged = panel.get_xlabel()
    panel.set_xlabel(f"{unit} ({merged})" if merged else unit)
    panel.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _plain_numbers(axis: Any) -> None:  # noqa: ANN401
    """Label 1, 2 and 5 of each decade as people write numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())

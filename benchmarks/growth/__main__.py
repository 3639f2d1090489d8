"""`python -m benchmarks.growth [--quick | --reduced] [--only SWEEP...] [--out DIRECTORY]`."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from benchmarks import report, rig
from benchmarks.growth import versus
from benchmarks.growth.curves import can_draw, draw, draw_versus
from benchmarks.growth.sweeps import QUICK, REDUCED, SWEEPS, Curve, Point, Scale, collect
from benchmarks.peers.comparison import Row


def main() -> int:
    options = _parser().parse_args()
    scale = QUICK if options.quick else REDUCED if options.reduced else Scale()
    out: Path = options.out or (rig.OUT / "quick" if options.quick else rig.OUT)
    out.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    about = report.machine()
    print(about)
    wanted = options.only or (*SWEEPS, versus.NAME)
    curves = [asyncio.run(_sweep(key, scale)) for key in wanted if key in SWEEPS]
    peers = asyncio.run(_versus(scale)) if versus.NAME in wanted else []
    document = {"machine": about, "curves": {curve.key: curve for curve in curves}, "peers": peers}
    (out / "growth.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    _draw(curves, peers, about, out)
    print(f"\n{time.monotonic() - started_s:.0f} s; written to {os.path.relpath(out)}")
    failed = any(curve.ended for curve in curves) or (versus.NAME in wanted and not peers)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    size.add_argument("--reduced", action="store_true", help="some sizes, in five minutes")
    parser.add_argument("--only", nargs="+", choices=(*SWEEPS, versus.NAME), help="these only")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="benchmarks/out by default")
    return parser


async def _sweep(key: str, scale: Scale) -> Curve:
    measure, unit, held = SWEEPS[key]
    curve = Curve(key, unit, held(scale), [])
    print(f"\n{unit}; {curve.held}")
    print(
        f"{'':>10} {'CPU us/change':>24} {'p50 ms':>8} {'p99 ms':>24} {'proxy MB':>9}"
        f" {'frames/batch':>12}"
    )
    await collect(curve, measure(scale), _print)
    if curve.ended:
        print(f"  ended early: {curve.ended}")
    return curve


def _print(point: Point) -> None:
    n = report.number
    cpu, p99 = (f"{n(m.value)} {n(m.low)}..{n(m.high)}" for m in (point.cpu_us, point.p99_ms))
    print(
        f"{point.x:>10,.0f} {cpu:>24} {n(point.p50_ms.value):>8} {p99:>24} {point.proxy_mb:>9.0f}"
        f" {point.frames_per_batch:>12.2f}",
        flush=True,
    )


async def _versus(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    try:
        async for found in versus.versus(scale):
            print(f"\n{report.peers_table(found)}", flush=True)
            rows += found
    except (rig.BenchError, TimeoutError) as error:
        print(f"  peers ended early: {error}")
    return rows


def _draw(curves: list[Curve], peers: list[Row], about: str, out: Path) -> None:
    if not can_draw():
        print("\nno pictures: they need matplotlib (pip install 'xoproxy[bench]')", file=sys.stderr)
        return
    about = about.replace("\n", "; ")
    for curve in curves:
        if curve.points:
            draw(curve, about, out / f"growth-{curve.key}.png")
    if peers:
        draw_versus(peers, about, out / "growth-peers.png")


if __name__ == "__main__":
    sys.exit(main())

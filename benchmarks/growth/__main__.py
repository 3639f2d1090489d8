"""`python -m benchmarks.growth [--quick | --reduced] [--only SWEEP...] [--out DIRECTORY]`."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from benchmarks import report, rig
from benchmarks.growth.curves import can_draw, draw
from benchmarks.growth.sweeps import QUICK, REDUCED, SWEEPS, Curve, Point, Scale, collect


def main() -> int:
    options = _parser().parse_args()
    scale = QUICK if options.quick else REDUCED if options.reduced else Scale()
    out: Path = options.out or (rig.OUT / "quick" if options.quick else rig.OUT)
    out.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    about = report.machine()
    print(about)
    curves = [asyncio.run(_sweep(key, scale)) for key in options.only or SWEEPS]
    document = {"machine": about, "curves": {curve.key: curve for curve in curves}}
    (out / "growth.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    _draw(curves, about, out)
    print(f"\n{time.monotonic() - started_s:.0f} s; written to {os.path.relpath(out)}")
    return 1 if any(curve.ended for curve in curves) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    size.add_argument("--reduced", action="store_true", help="some sizes, in three minutes")
    parser.add_argument("--only", nargs="+", choices=SWEEPS, metavar="SWEEP", help="these sweeps")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="benchmarks/out by default")
    return parser


async def _sweep(key: str, scale: Scale) -> Curve:
    measure, unit, held = SWEEPS[key]
    curve = Curve(key, unit, held(scale), [])
    print(f"\n{unit}; {curve.held}")
    print(f"{'':>10} {'CPU us/change':>24} {'p50 ms':>8} {'p99 ms':>24} {'proxy MB':>9}")
    await collect(curve, measure(scale), _print)
    if curve.ended:
        print(f"  ended early: {curve.ended}")
    return curve


def _print(point: Point) -> None:
    n = report.number
    cpu, p99 = (f"{n(m.value)} {n(m.low)}..{n(m.high)}" for m in (point.cpu_us, point.p99_ms))
    print(
        f"{point.x:>10,.0f} {cpu:>24} {n(point.p50_ms.value):>8} {p99:>24} {point.proxy_mb:>9.0f}",
        flush=True,
    )


def _draw(curves: list[Curve], about: str, out: Path) -> None:
    if not can_draw():
        print("\nno pictures: they need matplotlib (pip install 'xoproxy[bench]')", file=sys.stderr)
        return
    for curve in curves:
        if curve.points:
            path = out / f"growth-{curve.key}.png"
            draw(curve, about.replace("\n", "; "), path)
            print(f"\n{os.path.relpath(path)}")


if __name__ == "__main__":
    sys.exit(main())

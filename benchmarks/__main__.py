"""`python -m benchmarks [--only KEY...] [--quick] [--out FILE]`: measures and prints figures."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import report
from benchmarks.case import CASES
from benchmarks.figures import BY_KEY, FIGURES, Measured
from benchmarks.peers.comparison import Row
from benchmarks.rig import OUT, python

_CASE_S = 240.0
PEERS = "peers"
"""Asked for like a figure, but a table: the others on our trace."""
_took_s: dict[str, float] = {}
"""What each case took, so that those which grow too slow are seen."""
_decode = msgspec.json.Decoder(dict[str, Measured]).decode
_decode_rows = msgspec.json.Decoder(list[Row]).decode


def main() -> int:
    options = _parser().parse_args()
    wanted = set(options.only or (*BY_KEY, PEERS))
    unknown = sorted(wanted - {*BY_KEY, PEERS})
    if unknown:
        print(f"benchmarks: there is no figure {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join((*BY_KEY, PEERS)))
        return 0
    started_s = time.monotonic()
    print(report.machine())
    if options.quick:
        print("QUICK: small counts, so no goals; it only shows that everything runs")
    print(f"\n{report.HEADING}")
    measured, complete = asyncio.run(_measure(wanted - {PEERS}, quick=options.quick))
    peers = asyncio.run(_peers(quick=options.quick)) if PEERS in wanted else []
    complete = complete and (bool(peers) or PEERS not in wanted)
    # Never over the real figures.
    out: Path = options.out or OUT / ("quick.json" if options.quick else "bench.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(report.document(measured, peers))
    slowest = sorted(_took_s.items(), key=lambda taken: -taken[1])[:5]
    print("\nslowest: " + ", ".join(f"{name} {taken_s:.0f} s" for name, taken_s in slowest))
    print(f"{time.monotonic() - started_s:.0f} s; written to {os.path.relpath(out)}")
    return 0 if complete else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="KEY", help="measure these figures only")
    parser.add_argument("--quick", action="store_true", help="small counts: does it run at all?")
    parser.add_argument("--list", action="store_true", help="print the keys and end")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write JSON; benchmarks/out/bench.json, with --quick out/quick.json",
    )
    return parser


async def _measure(wanted: set[str], *, quick: bool) -> tuple[dict[str, Measured], bool]:
    """Run the cases that give what is wanted; tells whether all of them did."""
    measured: dict[str, Measured] = {}
    complete = True
    for name, (_, keys) in CASES.items():
        if wanted.isdisjoint(keys):
            continue
        found = await _case(name, quick=quick)
        for key in keys:
            if key not in wanted:
                continue
            if found is None:
                complete = False
                print(f"{BY_KEY[key].what:<46} {'failed':>9}")
            else:
                measured[key] = found[key]
                print(report.line(BY_KEY[key], found[key], judged=not quick), flush=True)
    later = wanted - {key for _, keys in CASES.values() for key in keys}
    for figure in FIGURES:
        if figure.key in later:
            print(f"{figure.what:<46} {'not yet':>9}")
    return measured, complete


async def _case(name: str, *, quick: bool) -> dict[str, Measured] | None:
    printed = await _printed(name, "benchmarks.case", name, quick=quick)
    return None if printed is None else _decode(printed)


async def _peers(*, quick: bool) -> list[Row]:
    """Compare with other ways to do the same; nothing when that could not be measured."""
    printed = await _printed(PEERS, "benchmarks.peers", quick=quick)
    rows = [] if printed is None else _decode_rows(printed)
    print(f"\n{report.peers_table(rows) if rows else 'peers: failed'}", flush=True)
    return rows


async def _printed(name: str, module: str, *arguments: str, quick: bool) -> bytes | None:
    """Run a case in a process of its own; what it says on stderr is for the reader."""
    options: Sequence[str] = ("--quick",) if quick else ()
    started_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *python(module, *arguments, *options), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CASE_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        process.terminate()
        await process.wait()
        print(f"benchmarks: {name}: not done after {_CASE_S:.0f} s", file=sys.stderr)
        return None
    finally:
        _took_s[name] = time.monotonic() - started_s
    if process.returncode:
        print(f"benchmarks: {name} failed", file=sys.stderr)
        return None
    return printed


if __name__ == "__main__":
    sys.exit(main())

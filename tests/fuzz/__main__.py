"""`python -m tests.fuzz [--seconds 600] [--seed N]`: parsers first, then a siege of a real proxy.

What it finds ends it with a traceback; the seed repeats it. Atheris (coverage-guided) would need a
build for each Python; random bytes by a seed run everywhere.
"""

import argparse
import asyncio
import random
import secrets
import sys
import time

from tests.fuzz.parsers import Parsers
from tests.fuzz.siege import Finding, siege

_PARSERS_SHARE = 0.3
_SLOW_S = 1.0
_ROUND = 200
_WARM_SHARE = 0.3
_GROWTH_BYTES = 24 << 20
_DESCRIPTORS_MORE = 8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    _parse(options.seed, options.seconds * _PARSERS_SHARE)
    asyncio.run(_besiege(options.seed, options.seconds * (1 - _PARSERS_SHARE)))
    return 0


def _parse(seed: int, seconds: float) -> None:
    parsers = Parsers(random.Random(seed))
    count, until_s = 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        try:
            parsers.step()
        except Exception:
            print(f"FAILED at input {count} of seed {seed}")
            raise
        count += 1
    print(f"{count:,} inputs parsed; slowest {parsers.slowest_s * 1e3:.1f} ms: {parsers.slowest}")
    if parsers.slowest_s > _SLOW_S:
        raise Finding("an input takes too long")


async def _besiege(seed: int, seconds: float) -> None:
    async with siege(seed) as here:
        began_s = time.monotonic()
        base: tuple[int, int] | None = None
        while (passed_s := time.monotonic() - began_s) < seconds:
            await here.attack(_ROUND)
            await here.check()
            if base is None and passed_s > seconds * _WARM_SHARE:
                await here.all_gone()
                base = here.rss_bytes(), here.descriptors()
        await here.all_gone()
        after = here.rss_bytes(), here.descriptors()
        print(f"{sum(here.outcomes.values()):,} connections: {dict(here.outcomes.most_common())}")
        base = base or after
        print(
            f"memory {base[0] / 1e6:.1f} -> {after[0] / 1e6:.1f} MB, descriptors {base[1]} ->"
            f" {after[1]}"
        )
        if after[0] - base[0] > _GROWTH_BYTES or after[1] - base[1] > _DESCRIPTORS_MORE:
            raise Finding("memory or descriptors are lost")


if __name__ == "__main__":
    sys.exit(main())

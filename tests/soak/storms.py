"""`python -m tests.soak.storms [--steps 1000000]`: random steps on the property tests' scenes.

A storm is a hub with clients of all kinds and what happens to them (tests/properties): each step
is followed by all checks. One that fails is named by its kind, seed and length, by which it is
repeated.
"""

import argparse
import random
import secrets
import sys
import time
import traceback
from collections.abc import Callable

from tests.properties import test_session_machine, test_window_machine

_LENGTHS = [20, 50, 100, 200, 400]
_KINDS: dict[str, Callable[[int], "test_session_machine.Storm | test_window_machine.Storm"]] = {
    "views": test_session_machine.Storm,
    "windows": test_window_machine.Storm,
}
_REPORT_S = 30.0


def main() -> int:
    options = _options()
    if options.storm is not None:
        return 0 if _play(options.kind or "views", options.storm, options.steps) else 1
    rng = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    done = 0
    began_s = said_s = time.monotonic()
    while done < options.steps:
        kind = options.kind or rng.choice(sorted(_KINDS))
        seed, length = rng.randrange(2**32), min(rng.choice(_LENGTHS), options.steps - done)
        if not _play(kind, seed, length):
            return 1
        done += length
        if time.monotonic() - said_s > _REPORT_S:
            said_s = time.monotonic()
            print(f"{done:,} steps, {done / (said_s - began_s):,.0f}/s", flush=True)
    print(f"{done:,} steps, no fault")
    return 0


def _play(kind: str, seed: int, length: int) -> bool:
    try:
        _KINDS[kind](seed).play(length)
    except Exception:  # noqa: BLE001 - whatever it is, it is told how to come back to it
        traceback.print_exc()
        again = f"--kind {kind} --storm {seed} --steps {length}"
        print(f"FAILED; again: python -m tests.soak.storms {again}")
        return False
    return True


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.storms", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--kind", choices=sorted(_KINDS), help="only these storms")
    parser.add_argument("--storm", type=int, help="this one, again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.peers [--quick]`: prints the rows of the comparison as JSON."""

import asyncio
import sys

import msgspec

from benchmarks import rig
from benchmarks.peers.comparison import QUICK, Scale, compare

if __name__ == "__main__":
    rig.pin(1)
    rows = asyncio.run(compare(QUICK if "--quick" in sys.argv else Scale()))
    print(msgspec.json.encode(rows).decode())

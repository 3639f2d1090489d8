"""The contenders of benchmarks/peers with more and more clients, as long as each can serve them."""

from collections.abc import AsyncIterator
from dataclasses import replace

from benchmarks.growth.sweeps import Scale
from benchmarks.peers.comparison import QUICK, Row, compare
from benchmarks.peers.comparison import Scale as PeerScale
from benchmarks.rig import BenchError

NAME = "peers"


async def versus(scale: Scale) -> AsyncIterator[list[Row]]:
    """Give the rows of all who serve so many clients, for one number of clients after the other.

    A contender that cannot is given fewer by `compare`: then it has no row for that number.
    """
    for count in scale.peer_clients:
        probed = max(2, min(count, 100))
        full = PeerScale(
            clients=count,
            warm=probed // 2,
            probed=probed,
            batches=int(scale.seconds * 20),
            runs=scale.runs,
        )
        quick = replace(QUICK, clients=count, warm=probed // 2, probed=probed)
        rows = await compare(quick if scale.runs == 1 else full)
        if rows[0].clients < count:
            raise BenchError(f"{count:,} clients are too many for this machine, even for ours")
        yield [row for row in rows if row.clients == count]

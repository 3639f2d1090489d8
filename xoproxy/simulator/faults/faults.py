"""One place that begins and ends the faults of a pool."""

from typing import TYPE_CHECKING

from xoproxy.simulator.faults.kinds import (
    BlackHole,
    Delay,
    Drop,
    Fail,
    Fault,
    HalfOpen,
    Nothing,
    Sifting,
)
from xoproxy.simulator.faults.upheaval import Upheavals

if TYPE_CHECKING:
    from xoproxy.simulator.pool import SimulatedPool


class Faults:
    """The faults of one pool.

    Attributes:
        struck: by kind, how many connections, requests or answers were hit; of those that happen
            to the pool, how many there were.
    """

    def __init__(self, pool: "SimulatedPool") -> None:
        self._upheavals = Upheavals(pool)
        self._wire = self._upheavals.wire
        self.struck = self._wire.struck
        self.up = self._upheavals.up

    async def begin(self, fault: Fault) -> None:
        """Let a fault begin; returns at once.

        Raises:
            FaultRefusedError: it is impossible now.
        """
        match fault:
            case Drop() | BlackHole() | HalfOpen() | Delay() | Fail() | Sifting():
                self._wire.begin(fault)
            case Nothing():
                self._wire.end()
                await self._upheavals.end()
            case _:
                await self._upheavals.begin(fault)
                self.struck[fault.name] += 1

    def close(self) -> None:
        """Close what was opened for faults, when the pool ends."""
        self._wire.close()
        self._upheavals.close()

"""Faults: a pool that misbehaves as real links, hosts and databases do.

    kinds.py     the faults that can be asked for
    wire.py      those that get between at the seams of the HTTP servers
    answers.py   what they make of an answer
    upheaval.py  those that happen to the pool: restarts, other databases, another coordinator
    faults.py    one place that begins and ends them
    script.py    many of them, by a timetable

Faults that last end by themselves after `seconds`, or with `Nothing`. Faults of different kinds
add up, one of the same kind replaces the one before. The control surface is never touched.
"""

from xoproxy.simulator.faults.faults import Faults
from xoproxy.simulator.faults.upheaval import FaultRefusedError

__all__ = ["FaultRefusedError", "Faults"]

"""What hosts measure, made up: believable series, XAPI's archives of them, and how it serves them.

database ─ sources ─ Measured ─ archives ─ Export ─ dialects | dumps ─ handlers
                        │
                      series          a pure function of (seed, object, time)
"""

from xoproxy.simulator.statistics.archives import latest
from xoproxy.simulator.statistics.choice import Statistics, UnknownSourceError, source_of
from xoproxy.simulator.statistics.handlers import StatisticsHandlers
from xoproxy.simulator.statistics.sources import Measured, Source

__all__ = [
    "Measured",
    "Source",
    "Statistics",
    "StatisticsHandlers",
    "UnknownSourceError",
    "latest",
    "source_of",
]

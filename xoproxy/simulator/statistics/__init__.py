"""What hosts measure, made up: believable series, XAPI's archives of them, and how it serves them.

database ─ sources ─ Measured ─ archives ─ Export ─ dialects | dumps ─ handlers
                        │
                      series          a pure function of (seed, object, time)
"""

from xoproxy.simulator.statistics.choice import Statistics, UnknownSourceError, source_of
from xoproxy.simulator.statistics.handlers import StatisticsHandlers

__all__ = ["Statistics", "StatisticsHandlers", "UnknownSourceError", "source_of"]

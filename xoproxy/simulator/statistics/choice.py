"""Which data sources are archived: the standard ones, until somebody asks otherwise."""

import dataclasses

from xoproxy.simulator.database import Database
from xoproxy.simulator.statistics import sources
from xoproxy.simulator.statistics.sources import Measured, Source


class UnknownSourceError(LookupError):
    """A data source that an object does not have."""


class Statistics:
    """The statistics of a pool. All that is kept is what somebody chose to record or to forget.

    Args:
        seed: of all series.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._chosen: dict[tuple[str, str], bool] = {}

    def measure(self, db: Database, cls: str, ref: str, *, ran: bool = False) -> Measured:
        """Return a host, VM or SR with all data sources that it could have."""
        match cls:
            case "host":
                return sources.measure_host(db, ref, self._seed)
            case "SR":
                return sources.measure_sr(db, ref, self._seed)
            case _:
                return sources.measure_vm(db, ref, self._seed, ran=ran)

    def archived(self, measured: Measured) -> Measured:
        """Return it with those that are archived."""
        kept = [s for s in measured.sources if self.is_archived(measured, s)]
        return dataclasses.replace(measured, sources=kept)

    def is_archived(self, measured: Measured, source: Source) -> bool:
        return self._chosen.get((measured.uuid, source.name), source.kind.standard)

    def record(self, measured: Measured, name: str) -> None:
        """Archive a data source from now on, and as if it always had been."""
        self._chosen[measured.uuid, source_of(measured, name).name] = True

    def forget(self, measured: Measured, name: str) -> None:
        self._chosen[measured.uuid, source_of(measured, name).name] = False


def source_of(measured: Measured, name: str) -> Source:
    for source in measured.sources:
        if source.name == name:
            return source
    raise UnknownSourceError(name)

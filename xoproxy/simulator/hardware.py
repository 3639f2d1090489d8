"""What is there whether the database knows it or not: volumes on storage, NICs in hosts.

Rows come from it when somebody scans, and go back to it when somebody forgets them. It holds only
what differs from the database: all volumes and NICs that have rows are there as well, but for
those that were lost.
"""

from typing import Final

from xoproxy.simulator.wiretypes import Json

Record = dict[str, Json]

CAPACITY_BYTES: Final = 1 << 40  # of storage that was made here


class Hardware:
    """Volumes by repository (its uuid) and location, NICs by host (its reference) and device."""

    def __init__(self) -> None:
        self._volumes: dict[str, dict[str, Record]] = {}
        self._lost: dict[str, set[str]] = {}
        self._repositories: dict[str, Record] = {}
        self._nics: dict[str, dict[str, Record]] = {}

    # -- storage -----------------------------------------------------------------------------

    def put_volume(self, sr: str, volume: Record) -> None:
        """Let a repository hold a volume that has no row: `location`, `virtual_size`, ..."""
        self._lost.get(sr, set()).discard(volume["location"])
        self._volumes.setdefault(sr, {})[volume["location"]] = volume

    def lose_volume(self, sr: str, location: str) -> None:
        """Let a volume disappear behind everybody's back."""
        if self._volumes.get(sr, {}).pop(location, None) is None:
            self._lost.setdefault(sr, set()).add(location)

    def take_volumes(self, sr: str) -> list[Record]:
        """Return the volumes without rows; the caller gives them some."""
        return list(self._volumes.pop(sr, {}).values())

    def take_volume(self, sr: str, location: str) -> Record | None:
        """Return one volume without a row, if it is there."""
        return self._volumes.get(sr, {}).pop(location, None)

    def take_losses(self, sr: str) -> set[str]:
        """Return the locations that nothing is at any more."""
        return self._lost.pop(sr, set())

    def put_repository(self, sr: str, record: Record) -> None:
        """Keep a forgotten repository's record for those who probe."""
        self._repositories[sr] = record

    def take_repository(self, sr: str) -> Record | None:
        return self._repositories.pop(sr, None)

    def repositories(self, kind: str) -> list[Record]:
        """List the repositories of a type that the database does not know."""
        return [record for record in self._repositories.values() if record["type"] == kind]

    def wipe(self, sr: str) -> None:
        """Destroy a repository with all that it holds."""
        for kept in (self._volumes, self._lost, self._repositories):
            kept.pop(sr, None)

    # -- NICs --------------------------------------------------------------------------------

    def put_nic(self, host: str, nic: Record) -> None:
        """Let a host have a NIC without a row: `device`, `MAC`, `MTU`, ..."""
        self._nics.setdefault(host, {})[nic["device"]] = nic

    def nics(self, host: str) -> list[Record]:
        return list(self._nics.get(host, {}).values())

    def take_nic(self, host: str, device: str) -> Record:
        return self._nics[host].pop(device)

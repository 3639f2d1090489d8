"""The growing estate that the generators share, and the one source of chance in it."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

Record: TypeAlias = dict[str, Any]
Estate: TypeAlias = dict[str, dict[str, Record]]
"""`{class: {ref: record}}`, records in the JSON form of XAPI's values."""

NULL = "OpaqueRef:NULL"
GIB = 1 << 30
_TODAY = datetime(
    2026, 3, 2, 8, 0, tzinfo=UTC
)  # fixed: the same seed gives the same bytes for ever


def xapi_date(moment: datetime) -> str:
    """Write a moment (UTC) as XAPI does: basic date, extended time, no fraction."""
    return moment.strftime("%Y%m%dT%H:%M:%SZ")


@dataclass(slots=True)
class Host:
    """What guests and networks need to know of a host."""

    ref: str
    name: str
    address: str
    metrics: Record
    free_bytes: int
    next_domid: int = 1

    def take(self, size_bytes: int) -> int:
        """Use memory for a new domain and return the domain's id."""
        self.free_bytes -= size_bytes
        self.metrics["memory_free"] = self.free_bytes
        domid = self.next_domid
        self.next_domid += 1
        return domid


@dataclass(slots=True)
class Hardware:
    """What guests are built on; references only, besides the hosts."""

    hosts: list[Host] = field(default_factory=list)
    guest_networks: list[str] = field(default_factory=list)
    disk_srs: list[str] = field(default_factory=list)
    iso_vdis: list[str] = field(default_factory=list)
    place: str = ""


class Draft:
    """An estate in the making.

    Everything random comes from `random`, in a fixed order; uuids too.
    """

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)
        self.estate: Estate = {}

    def uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def ref(self) -> str:
        return f"OpaqueRef:{self.uuid()}"

    def add(self, cls: str, record: Record, ref: str | None = None) -> str:
        """Add a record, give it a uuid if it has none, and return its reference."""
        ref = ref or self.ref()
        record.setdefault("uuid", self.uuid())
        self.estate.setdefault(cls, {})[ref] = record
        return ref

    def past(self, days: float) -> str:
        """Return a random date within the last `days` days, in XAPI's form."""
        seconds = self.random.randrange(max(int(days * 86400), 1))
        return xapi_date(_TODAY - timedelta(seconds=seconds))

    def mac(self) -> str:
        """Return a locally administered MAC address."""
        low = self.random.getrandbits(40)
        return ":".join(["ca", *(f"{low >> shift & 255:02x}" for shift in (32, 24, 16, 8, 0))])

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

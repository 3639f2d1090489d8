"""What is measured: the data sources of hosts, VMs and SRs, and the bounds of their values.

Facts come from the database as it is now: how many CPUs, how much memory, which devices are
attached. A value is `low + span * activity`, so the sources of one family rise and fall together:
a total is the sum of its parts, an average their mean, also when consolidated. Where the database
says what a value is (memory), the span is zero; a change of such a fact changes its past as well,
for no past is kept.

Names as XAPI's (doc/content/xen-api/topics/metrics.md); those of an SR's own archive are ours,
since storage plugins define them.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xoproxy.simulator.database import Database
from xoproxy.simulator.dates import seconds_of
from xoproxy.simulator.statistics.series import STEP_S, Activity, fraction
from xoproxy.simulator.wiretypes import Json

MIB: Final = 1 << 20
KIB: Final = 1 << 10


class Kind(NamedTuple):
    """What the sources of one sort have in common; `standard` ones are archived unasked."""

    description: str
    units: str
    maximum: float = math.inf
    standard: bool = True


class Source(NamedTuple):
    """A data source. `family`: which curve of its object's activity it follows."""

    name: str
    kind: Kind
    low: float
    span: float = 0.0
    family: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """An object with statistics.

    Attributes:
        owner: host, vm or sr.
        uuid: the object's.
        activity: how busy it is over time.
        sources: in a stable order.
        extremes: whether MIN and MAX are archived besides AVERAGE.
    """

    owner: str
    uuid: str
    activity: Activity
    sources: list[Source] = field(repr=False)
    extremes: bool


_CPU = Kind("Share of a physical CPU in use", "(fraction)", 1.0)
_CPU_AVERAGE = Kind("Mean share of the physical CPUs in use", "(fraction)", 1.0)
_VCPU = Kind("Share of a physical CPU that this vCPU uses", "(fraction)", 1.0)
_RUNSTATE = Kind("Share of time in this state of the vCPUs", "(fraction)", 1.0, standard=False)
_LOAD = Kind("Load average of domain 0", "(fraction)")
_MEMORY = Kind("Memory that the VM has now", "B")
_TARGET = Kind("Memory that the VM is to have", "B")
_INTERNAL_FREE = Kind("Memory that is free within the VM, as its agent says", "KiB")
_HOST_MEMORY = Kind("Memory of the host", "KiB")
_RECLAIMED = Kind("Memory taken from VMs by ballooning", "B")
_NETWORK = Kind("Bytes a second", "B/s")
_ERRORS = Kind("Errors a second", "err/s")
_BYTES = Kind("Bytes a second", "B/s")
_LATENCY = Kind("Time for one request", "μs")
_THROUGHPUT = Kind("Data a second", "MiB/s")
_IOPS = Kind("Requests a second", "requests/s")
_IOWAIT = Kind("Time spent waiting in a second, all requests together", "s/s")
_QUEUE = Kind("Requests under way", "requests")
_COUNT = Kind("How many there are", "")
_DAEMON = Kind("Memory of the toolstack's daemon", "KiB")
_SIZE = Kind("Size of the storage repository", "B")

_ENDINGS = ("VM_SHUTDOWN", "VM_SUSPENDED", "VM_CRASHED")
_RUNSTATES = {
    "fullrun": 0.5,
    "full_contention": 0.02,
    "concurrency_hazard": 0.04,
    "blocked": -1.0,
    "partial_run": 0.3,
    "partial_contention": 0.04,
}


def seed_of(seed: int, uuid: str) -> int:
    return zlib.crc32(uuid.encode(), seed)


def vms_on(db: Database, host: str) -> list[str]:
    """List the VMs with a domain on a host, in an order that stays."""
    vms = [ref for ref in db.get("host", host, "resident_VMs") if db.exists("VM", ref)]
    return sorted(vms, key=lambda ref: str(db.get("VM", ref, "uuid")))


def srs_on(db: Database, host: str) -> list[str]:
    """List the SRs that a host has plugged, in an order that stays."""
    pbds = [db.row("PBD", ref).fields for ref in db.get("host", host, "PBDs")]
    srs = [pbd["SR"] for pbd in pbds if pbd["currently_attached"] and db.exists("SR", pbd["SR"])]
    return sorted(srs, key=lambda ref: str(db.get("SR", ref, "uuid")))


def measure_vm(db: Database, vm: str, seed: int, *, ran: bool = False) -> Measured:
    """Measure a VM with the devices that are attached; of one that `ran`, with all it has."""
    record = db.row("VM", vm).fields
    own = seed_of(seed, record["uuid"])
    metrics = _linked(db, "VM_metrics", record["metrics"])
    cores = int(metrics.get("VCPUs_number") or record["VCPUs_at_startup"])
    target = float(record["memory_target"])
    busy = 0.05 + 0.9 * fraction(own, 1) ** 2
    shares = [busy * (0.6 + 0.4 * fraction(own, 10 + i)) for i in range(cores)]
    sources = [Source(f"cpu{i}", _VCPU, 0.2 * s, 0.8 * s) for i, s in enumerate(shares)]
    mean = sum(shares) / max(cores, 1)
    sources += _runstates(mean)
    sources.append(Source("memory", _MEMORY, float(metrics.get("memory_actual") or target)))
    sources.append(Source("memory_target", _TARGET, target))
    if _linked(db, "VM_guest_metrics", record["guest_metrics"]).get("PV_drivers_detected"):
        sources.append(
            Source("memory_internal_free", _INTERNAL_FREE, 0.1 * target / KIB, 0.5 * target / KIB)
        )
    for number, device in enumerate(_devices(db, "VIF", record["VIFs"], ran=ran)):
        sources += _vif(f"vif_{device['device']}", own, number, busy)
    for number, device in enumerate(_devices(db, "VBD", record["VBDs"], ran=ran)):
        if not device["empty"]:
            sources += _disk("vbd_" + device["device"] + "_", "", own, number, busy)
    first = _first_slot(db, seconds_of(metrics.get("start_time", "")))
    extremes = any(_keeps_extremes(db, pool) for pool in db.refs("pool"))
    return Measured("vm", record["uuid"], Activity(own, first), sources, extremes)


def measure_host(db: Database, host: str, seed: int) -> Measured:
    record = db.row("host", host).fields
    own = seed_of(seed, record["uuid"])
    metrics = _linked(db, "host_metrics", record["metrics"])
    cpus = len(record["host_CPUs"])
    busy = 0.15 + 0.6 * fraction(own, 1)
    shares = [busy * (0.5 + 0.5 * fraction(own, 10 + i)) for i in range(cpus)]
    sources = [Source(f"cpu{i}", _CPU, 0.2 * s, 0.8 * s) for i, s in enumerate(shares)]
    mean = sum(shares) / max(cpus, 1)
    sources.append(Source("cpu_avg", _CPU_AVERAGE, 0.2 * mean, 0.8 * mean))
    sources.append(Source("loadavg", _LOAD, 0.05, 1.5 * busy, 1))
    domains = vms_on(db, host)
    running = [vm for vm in domains if db.get("VM", vm, "power_state") == "Running"]
    vcpus = sum(int(db.get("VM", vm, "VCPUs_at_startup")) for vm in running)
    facts = {
        "running_vcpus": (_COUNT, vcpus),
        "running_domains": (_COUNT, len(running)),
        "memory_total_kib": (_HOST_MEMORY, metrics.get("memory_total", 0) / KIB),
        "memory_free_kib": (_HOST_MEMORY, metrics.get("memory_free", 0) / KIB),
        "memory_reclaimed": (_RECLAIMED, 0),
        "memory_reclaimed_max": (_RECLAIMED, 0),
        "Tapdisks_in_low_memory_mode": (_COUNT, 0),
    }
    sources += [Source(name, kind, float(value)) for name, (kind, value) in facts.items()]
    sources += _pifs(db, record, own, busy)
    sources.append(Source("pool_task_count", _COUNT, 0.0, 6.0, 7))
    sources.append(Source("pool_session_count", _COUNT, 5.0, 20.0, 7))
    sources.append(Source("xapi_open_fds", _COUNT, 40.0, 60.0, 7))
    sources.append(Source("xapi_memory_usage_kib", _DAEMON, 40_000.0, 20_000.0, 7))
    sources.append(Source("xapi_live_memory_kib", _DAEMON, 15_000.0, 15_000.0, 7))
    sources.append(Source("xapi_free_memory_kib", _DAEMON, 25_000.0, 5_000.0, 7))
    sources.append(Source("xapi_allocation_kib", _DAEMON, 200.0, 3_000.0, 7))
    for number, sr in enumerate(srs_on(db, host)):
        short = str(db.get("SR", sr, "uuid"))[:8]
        sources += _disk("", f"_{short}", own, number, 4 * busy)
    first = _first_slot(db, _booted_at(record))
    return Measured("host", record["uuid"], Activity(own, first), sources, extremes=True)


def measure_sr(db: Database, sr: str, seed: int) -> Measured:
    record = db.row("SR", sr).fields
    own = seed_of(seed, record["uuid"])
    sources = [
        Source("size", _SIZE, float(record["physical_size"])),
        Source("physical_utilisation", _SIZE, float(record["physical_utilisation"])),
        *_disk("", "", own, 0, 2.0),
    ]
    return Measured("sr", record["uuid"], Activity(own), sources, extremes=True)


def last_run(db: Database, vm: str) -> int | None:
    """Return when a VM that does not run ended (Unix time); None if it never ran.

    The pool's own messages tell; without any, its metrics do.
    """
    uuid = db.get("VM", vm, "uuid")
    metrics = _linked(db, "VM_metrics", db.get("VM", vm, "metrics"))
    ends = [
        row.fields["timestamp"]
        for row in db.tables["message"].rows.values()
        if row.fields["obj_uuid"] == uuid and row.fields["name"] in _ENDINGS
    ]
    ended = max(ends, default=metrics.get("last_updated", ""))
    begun = seconds_of(metrics.get("start_time", ""))
    return seconds_of(ended) if begun and seconds_of(ended) > begun else None


def _keeps_extremes(db: Database, pool: str) -> bool:
    """Say whether VMs have MIN and MAX. XAPI asks when a VM's archives are made, we always."""
    config = db.get("pool", pool, "other_config")
    return bool(config.get("create_min_max_in_new_VM_RRDs") == "true")


def _first_slot(db: Database, begun: int) -> int:
    """Return the first whole slot of what began at a time; if that is yet to come, it is wrong."""
    return -(-begun // STEP_S) if begun <= db.time() else 0


def _booted_at(host: dict[str, Json]) -> int:
    """Return when a host booted, which it says like "1767225600."; 0 if it does not."""
    text = host["other_config"].get("boot_time", "").rstrip(".")
    return int(text) if text.isascii() and text.isdigit() else 0


def _runstates(mean: float) -> Iterator[Source]:
    """Share the time among the states: what the others leave, the vCPUs are blocked."""
    for state, share in _RUNSTATES.items():
        name = f"runstate_{state}"
        if share < 0:
            yield Source(name, _RUNSTATE, 1 - 0.9 * mean * 0.2, -0.9 * mean * 0.8)
        else:
            yield Source(name, _RUNSTATE, share * mean * 0.2, share * mean * 0.8)


def _vif(name: str, own: int, number: int, busy: float) -> Iterator[Source]:
    for direction, family in (("rx", 2), ("tx", 3)):
        top = busy * 20 * MIB * fraction(own, 100 * family + number)
        yield Source(f"{name}_{direction}", _NETWORK, 0.01 * top, 0.99 * top, family)
        yield Source(f"{name}_{direction}_errors", _ERRORS, 0.0)


def _pifs(db: Database, host: dict[str, Json], own: int, busy: float) -> Iterator[Source]:
    pifs = [db.row("PIF", ref).fields for ref in host["PIFs"]]
    devices = sorted({pif["device"] for pif in pifs if pif["physical"]})
    for direction, family in (("rx", 2), ("tx", 3)):
        total = 0.0
        for number, device in enumerate(devices):
            top = busy * 90 * MIB * fraction(own, 100 * family + number)
            total += top
            yield Source(f"pif_{device}_{direction}", _NETWORK, 0.01 * top, 0.99 * top, family)
            yield Source(f"pif_{device}_{direction}_errors", _ERRORS, 0.0)
        yield Source(f"pif_aggr_{direction}", _NETWORK, 0.01 * total, 0.99 * total, family)


def _disk(before: str, after: str, own: int, number: int, busy: float) -> Iterator[Source]:
    """Yield what is measured of a disk: `before` and `after` stand around its sources' names."""
    family = 4 + number % 3
    reads = busy * 30 * MIB * fraction(own, 300 + number)
    writes = busy * 20 * MIB * fraction(own, 400 + number)
    slow = 200.0 + 1800 * fraction(own, 500 + number)

    def source(name: str, kind: Kind, low: float, top: float) -> Source:
        return Source(f"{before}{name}{after}", kind, low, top - low, family)

    if before:  # those of a whole SR are given in MiB only
        yield source("read", _BYTES, 0.0, reads)
        yield source("write", _BYTES, 0.005 * writes, writes)
    parts = {"read": (0.0, reads), "write": (0.005 * writes, writes)}
    parts["total"] = (0.005 * writes, reads + writes)
    for part, (low, top) in parts.items():
        yield source(f"io_throughput_{part}", _THROUGHPUT, low / MIB, top / MIB)
    for part, (low, top) in parts.items():
        yield source(f"iops_{part}", _IOPS, low / (16 * KIB), top / (16 * KIB))
    yield source("read_latency", _LATENCY, 0.3 * slow, slow)
    yield source("write_latency", _LATENCY, 0.4 * slow, 1.5 * slow)
    yield source("latency", _LATENCY, 0.35 * slow, 1.2 * slow)
    yield source("iowait", _IOWAIT, 0.0, 0.2 * busy)
    yield source("inflight", _QUEUE, 0.0, 8 * busy)
    yield source("avgqu_sz", _QUEUE, 0.0, 4 * busy)


def _devices(db: Database, cls: str, refs: list[str], *, ran: bool) -> list[dict[str, Json]]:
    rows = [db.row(cls, ref).fields for ref in refs]
    there = [fields for fields in rows if ran or fields["currently_attached"]]
    named = [fields for fields in there if str(fields["device"]).isalnum()]  # not all are
    return sorted(named, key=lambda fields: str(fields["device"]))


def _linked(db: Database, cls: str, ref: str) -> dict[str, Json]:
    """Return the fields of a metrics row; none of them if there is no such row."""
    return db.row(cls, ref).fields if db.exists(cls, ref) else {}

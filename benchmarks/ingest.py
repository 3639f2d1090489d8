"""What it costs to take in what a pool says: per event, per pool, per object, and in stalls."""

import asyncio
import json
from collections.abc import AsyncIterator
from statistics import median

import jsonpatch

from benchmarks import rig
from benchmarks.estate import Estate, one, play
from benchmarks.figures import Measured
from benchmarks.rig import BenchError, Stopwatch, anonymous_bytes, median_of, settle_memory
from xoproxy.cache.store import Store
from xoproxy.model import PoolId
from xoproxy.pool import replies

_STATES = ("Halted", "Running")


def _store() -> Store:
    return Store(PoolId("bench"), "bench")


def _change_three_fields(estate: Estate, vms: list[str], number: int) -> None:
    """Change what a user and a pool change most: two texts' worth and a number."""
    for vm in vms:
        estate.db.write("VM", vm, "name_description", f"changed for the {number}. time")
        estate.db.write("VM", vm, "power_state", _STATES[number % 2])
        estate.db.write("VM", vm, "memory_target", (number + 1) << 20)


async def ingest(*, quick: bool) -> dict[str, Measured]:
    """Replies of VM `mod`s only, all changed in three fields, then all unchanged."""
    rounds = 3 if quick else 9
    estate = Estate(2, 50) if quick else Estate(16, 1000)
    vms = estate.vms()
    bodies: list[bytes] = []

    async def replies_of_pool() -> AsyncIterator[bytes]:
        yield estate.reply()
        for number in range(rounds):
            _change_three_fields(estate, vms, number)
            bodies.append(estate.reply())
            yield bodies[-1]
        for _ in range(rounds):
            for vm in vms:
                estate.db.touch("VM", vm)
            yield estate.reply()

    store = _store()
    _, *costs = await play(await estate.methods(), replies_of_pool(), store)
    if store.seq != len(store) + rounds * len(vms):
        raise BenchError("the store did not see each VM change each time")
    per_event = [cost / len(vms) * 1e6 for cost in costs]
    scan_us = _scan_s(bodies[-1]) / len(vms) * 1e6
    size = len(bodies[-1]) // len(vms)
    note = f"{len(vms)} VMs of {size:,} B a reply, median of {rounds} replies; floor: scan only"
    naive = f"; json + jsonpatch.make_patch here: {_naive_us(bodies[-2], bodies[-1]):.0f} us"
    return {
        "ingest_changed_us": median_of(per_event[:rounds], note + ", 3 fields" + naive, scan_us),
        "ingest_unchanged_us": median_of(per_event[rounds:], note, scan_us),
    }


def _scan_s(body: bytes) -> float:
    def once() -> float:
        watch = Stopwatch()
        replies.EVENTS.whole.decode(body)
        return watch.cpu_s

    return median(once() for _ in range(5))


def _naive_us(before: bytes, after: bytes, count: int = 100) -> float:
    """Parse, diff and encode as one would without thinking; microseconds per event."""
    events = [json.loads(body)["result"]["events"] for body in (before, after)]
    old = {event["ref"]: event["snapshot"] for event in events[0]}
    pairs = [(old[e["ref"]], json.dumps(e)) for e in events[1][:count] if e["ref"] in old]
    watch = Stopwatch()
    for record, text in pairs:
        json.dumps(jsonpatch.make_patch(record, json.loads(text)["snapshot"]).patch)
    return watch.cpu_s / len(pairs) * 1e6


async def first_load(*, quick: bool) -> dict[str, Measured]:
    """The first list of a pool, from its bytes to the store that has every object."""
    estate = Estate(2, 50) if quick else Estate(16, 1000)
    methods, body = await estate.methods(), estate.reply()
    costs = []
    for _ in range(3 if quick else 7):
        costs += [cost * 1e3 for cost in await play(methods, one(body), _store())]
    count = body.count(b'"snapshot":')
    note = f"{len(body) / 1e6:.1f} MB, {count:,} objects, median of {len(costs)}; floor: scan only"
    return {"first_load_cpu_ms": median_of(costs, note, _scan_s(body) * 1e3)}


async def objects(*, quick: bool) -> dict[str, Measured]:
    """The memory that pools' caches take, in a process that does nothing else."""
    pools = 2 if quick else 4
    hosts, vms = (2, 100) if quick else (16, 1000)
    first = await _load(hosts, vms, pools)  # so that what is made once is made
    before = _settled()
    stores = [await _load(hosts, vms, seed) for seed in range(pools)]
    plain = _settled() - before
    for store in stores:
        for _ in store.index_references():
            pass
    indexed = _settled() - before
    assert len(first)  # still there, as it was before
    count = sum(map(len, stores))
    raw = sum(len(e.raw) for s in stores for c in s.by_class.classes() for e in s.entries(c))
    note = (
        f"{count:,} objects of {pools} pools, index of references included (without:"
        f" {plain / count:,.0f}); floor: mean record"
    )
    return {"bytes_per_object": Measured(indexed / count, floor=raw / count, note=note)}


async def _load(hosts: int, vms: int, seed: int) -> Store:
    process = await asyncio.create_subprocess_exec(
        *rig.python("benchmarks.estate", str(hosts), str(vms), str(seed)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    methods, _, body = printed.partition(b"\n")
    store = _store()
    await play(methods, one(body), store)
    return store


def _settled() -> int:
    settle_memory()
    return anonymous_bytes()

"""The whole system at work: latency, processor time, memory, and what others notice."""

import asyncio
import socket
import struct
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median

import aiohttp
import msgspec

from benchmarks.figures import Measured
from benchmarks.rig import BenchError, cpu_s, median_of, percentile, tcp_bytes
from benchmarks.system import EVERYTHING, Load, System, system

BATCHES_PER_S = 20
_BATCH_CHANGES = 15
_FAST = 10.0
"""XAPI gathers changes for 50 ms, which would beat against our 20 batches a second; so the pool
gathers for 5 ms, and each batch is a reply of its own."""
_BUSY_CHANGES = 23
"""So many writes a batch make a little more than 300 changes a second: some are of one object."""
_DROP_CHANGES = 30
"""One a second."""
_LATE_S = 1.0
_TO_STALL_S = 3.0
_SLEEPER_BUFFER = 16_384
"""Small enough that a client which stops reading is noticed within a second."""


@dataclass(frozen=True, slots=True)
class Run:
    """Some seconds of changes: when batches left the pool and arrived, and what that cost."""

    last_ms: list[float]
    """From the pool to the last client, per batch."""
    last_awake_ms: list[float]
    """To the last of those that never stall."""
    cpu_us_per_change: float
    changes_per_s: float
    frames_per_batch: float
    """That each client got: less than one when the proxy was late and merged batches."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Those that are connected, and how many of them never stall."""

    load: Load
    count: int
    awake: int


async def run(
    on: System,
    clients: Clients,
    seconds: float,
    changes: int = _BATCH_CHANGES,
    per_s: float = BATCHES_PER_S,
    late_s: float = _LATE_S,
    *,
    stalled: bool = False,
) -> Run:
    """Let the pool change at a steady pace; every batch must reach all clients that never stall.

    Args:
        on: the pool and the proxy.
        clients: that are connected.
        seconds: how long.
        changes: writes in a batch.
        per_s: batches a second.
        late_s: a batch that has not reached everybody so long after the last has not arrived.
        stalled: some clients do not read; otherwise none may fall behind.
    """
    load = clients.load
    await load.report()
    used_s = cpu_s(on.proxy.pid)
    count = max(1, int(seconds * per_s))
    made = await on.pool.ask("batches", count=count, per_s=per_s, changes=changes)
    used_s = cpu_s(on.proxy.pid) - used_s
    await asyncio.sleep(late_s)
    report = await load.report()
    # A mark without a stamp went in one reply with the next one: it was no batch of its own.
    left = dict(made["stamps"])
    last, last_awake = [], []
    for mark, everybody, at_ns, awake_count, awake_ns in report.marks:
        if mark in left and everybody == clients.count:
            last.append((at_ns - left[mark]) / 1e6)
        if mark in left and awake_count == clients.awake:
            last_awake.append((awake_ns - left[mark]) / 1e6)
    if len(last_awake) < len(left):
        # Leaving out the late ones would make the rest look good.
        raise BenchError(f"{len(left) - len(last_awake)} of {len(left)} batches did not arrive")
    if not stalled and report.frames % clients.count:
        # Who is parked gets one frame for several, which would make changes look cheap.
        raise BenchError("not all clients got the same frames: some of them fell behind")
    return Run(
        last,
        last_awake,
        used_s / report.changes * 1e6,
        report.changes / clients.count / seconds,
        report.frames / clients.count / count,
    )


async def _batches(on: System, seconds: float) -> None:
    count = int(seconds * BATCHES_PER_S)
    await on.pool.ask("batches", count=count, per_s=BATCHES_PER_S, changes=_BATCH_CHANGES)


async def neighbours(*, quick: bool) -> dict[str, Measured]:
    """1,000 clients on everything; in every second run, a tenth of them does not read."""
    count, runs, seconds = (40, 1, 1.0) if quick else (1000, 5, 6.0)
    sleepers = count // 10
    calm: list[Run] = []
    stalled: list[Run] = []
    async with (
        system(4, 60, speed=_FAST) as on,
        on.clients(sleepers=sleepers, sleeper_buffer=_SLEEPER_BUFFER) as load,
    ):
        await load.open(count)
        clients = Clients(load, count, count - sleepers)
        await _batches(on, 0.5 if quick else 1.0)  # warm
        for _ in range(runs):
            calm.append(await run(on, clients, seconds))
            await load.stall(sleepers)
            await _batches(on, 1.0 if quick else _TO_STALL_S)
            stalled.append(await run(on, clients, seconds, stalled=True))
            await load.go()
            await asyncio.sleep(1.0)
        busy = [await run(on, clients, seconds / 2, _BUSY_CHANGES) for _ in range(runs)]
    note = f"{count:,} clients, median of {runs} runs"
    return _latency(calm, note) | _ratio(calm, stalled, sleepers) | _cpu(busy, note)


def _latency(calm: list[Run], note: str) -> dict[str, Measured]:
    p50s = [percentile(run.last_ms, 0.50) for run in calm]
    p99s = [percentile(run.last_ms, 0.99) for run in calm]
    note += f" of {len(calm[0].last_ms)} batches: {BATCHES_PER_S}/s of {_BATCH_CHANGES} changes"
    return {
        "latency_p50_ms": median_of(p50s, note),
        "latency_p99_ms": median_of(p99s, note),
    }


def _cpu(busy: list[Run], note: str) -> dict[str, Measured]:
    delivered = median(run.changes_per_s for run in busy)
    frames = median(run.frames_per_batch for run in busy)
    note += f", {delivered:.0f} changes/s to each, {frames:.2f} frames a batch; all the proxy's CPU"
    return {"cpu_us_per_delivered_change": median_of([r.cpu_us_per_change for r in busy], note)}


def _ratio(calm: list[Run], stalled: list[Run], sleepers: int) -> dict[str, Measured]:
    pairs = [
        (percentile(a.last_awake_ms, 0.99), percentile(b.last_awake_ms, 0.99))
        for a, b in zip(calm, stalled, strict=True)
    ]
    before, after = (median(side) for side in zip(*pairs, strict=True))
    note = (
        f"{sleepers} stalled, median of {len(pairs)} interleaved pairs; p99 {before:.1f} ms"
        f" without, {after:.1f} ms with"
    )
    return {"stalled_neighbours_ratio": median_of([b / a for a, b in pairs], note)}


async def client_memory(*, quick: bool) -> dict[str, Measured]:
    """The proxy's memory per client that is up to date, and per one that stopped reading."""
    warm, idle, sleepers = (20, 100, 10) if quick else (200, 1000, 100)
    seconds = 1.0 if quick else 10.0
    async with system(4, 60, speed=_FAST) as on:
        async with on.clients(sleepers=sleepers, sleeper_buffer=_SLEEPER_BUFFER) as load:
            await load.open(warm)
            per_idle = [await _kb_grown(on, load, idle) for _ in range(1 if quick else 3)]
        stalled = await _stalled(on, warm, sleepers, seconds, stall=True)
        calm = await _stalled(on, warm, sleepers, seconds, stall=False)
    per_stalled = (stalled[0] - calm[0]) / sleepers / 1e3 + median(per_idle)
    kernel = (stalled[1] - calm[1]) / sleepers
    changes = int(seconds * BATCHES_PER_S * _BATCH_CHANGES)
    return {
        "kb_per_idle_client": median_of(
            per_idle, f"{len(per_idle)} times {idle:,} clients more, subscribed to everything, JSON"
        ),
        "kb_per_stalled_client": Measured(
            per_stalled,
            note=(
                f"{sleepers} clients stalled while {changes:,} changes passed; an idle client"
                f" included; kernel's buffers {kernel / 1e3:.0f} KB more"
            ),
        ),
    }


async def _kb_grown(on: System, load: Load, count: int) -> float:
    """Connect clients; returns how much the proxy grew by each of them."""
    before = await on.proxy_bytes()
    await load.open(count)
    await asyncio.sleep(0.5)
    return (await on.proxy_bytes() - before) / count / 1e3


async def _stalled(
    on: System, clients: int, sleepers: int, seconds: float, *, stall: bool
) -> tuple[int, int]:
    """Let changes pass; returns the memory of the proxy, and of all sockets, at their end."""
    async with on.clients(sleepers=sleepers, sleeper_buffer=_SLEEPER_BUFFER) as load:
        await load.open(clients)
        if stall:
            await load.stall(sleepers)
        await on.pool.ask(
            "batches",
            count=int(seconds * BATCHES_PER_S),
            per_s=BATCHES_PER_S,
            changes=_BATCH_CHANGES,
        )
        return await on.proxy_bytes(), tcp_bytes()


async def upstream(*, quick: bool) -> dict[str, Measured]:
    """What the pool sees of one client, and of thousands."""
    many = 200 if quick else 5000
    async with (
        system(2, 20) as on,
        on.clients({"classes": ["pool"]}) as load,
    ):
        await load.open(1)
        await asyncio.sleep(1.0)
        one_client = await on.pool.ask("stats")
        await load.open(many - 1)
        await on.pool.ask("batches", count=20 if quick else 100, per_s=BATCHES_PER_S, changes=5)
        all_clients = await on.pool.ask("stats")
    seen = (one_client, all_clients)
    note = f"the most that was seen, with 1 and with {many:,} clients"
    return {
        "upstream_sessions": Measured(max(s["sessions"] for s in seen), note=note),
        "upstream_waits": Measured(max(s["waits"] for s in seen), note=note),
    }


async def stall(*, quick: bool) -> dict[str, Measured]:
    """One reply with 10,000 changed objects, real sockets on both sides, ten clients."""
    hosts, vms, count, runs = (2, 60, 400, 1) if quick else (16, 1000, 10_000, 5)
    longest = []
    idle = []
    changed = 0
    async with system(hosts, vms) as on, on.clients() as load:
        await load.open(10)
        for _ in range(runs):
            await asyncio.sleep(0.5)
            await on.proxy.ask("stall")
            await asyncio.sleep(0.5)
            idle.append((await on.proxy.ask("stall"))["longest_s"] * 1e3)
            await load.report()
            changed = (await on.pool.ask("change_all", count=count))["changed"]
            await _arrived(load, changed * 10)
            longest.append((await on.proxy.ask("stall"))["longest_s"] * 1e3)
    note = (
        f"{changed:,} changed objects in one reply, 10 clients, median of {runs}; when idle:"
        f" {median(idle):.1f} ms"
    )
    return {"loop_stall_ms": median_of(longest, note)}


async def _arrived(load: Load, changes: int) -> None:
    arrived = 0
    async with asyncio.timeout(60):
        while arrived < changes:
            await asyncio.sleep(0.1)
            arrived += (await load.report()).changes


async def resume(*, quick: bool) -> dict[str, Measured]:
    """All that a client receives, from the first byte of the connection to being up to date.

    The drop takes no time here: what is sent depends on the changes, not on the clock.
    """
    del quick
    async with system(4, 60, speed=_FAST) as on, aiohttp.ClientSession() as http:
        browser = await _resumed(on, http, deflate=15)
        plain = await _resumed(on, http, deflate=0)
    note = f"{_DROP_CHANGES} changes, all classes, deflate as browsers offer; plain {plain:,}"
    return {"resume_bytes": Measured(browser, note=note)}


async def _resumed(on: System, http: aiohttp.ClientSession, *, deflate: int) -> int:
    async with _connect(on, http, deflate) as ws:
        await _subscribe(on, ws, [])
        point: dict[str, object] = {}
        while not point:
            for message in await _messages(ws):
                if message["type"] == "bookmark":
                    point = {"token": message["resume"], "seq": message["seq"]}
    await on.pool.ask("batches", count=1, per_s=BATCHES_PER_S, changes=_DROP_CHANGES)
    async with _connect(on, http, deflate) as ws:
        await _subscribe(on, ws, [point])
        arrived = False
        while not arrived:
            for message in await _messages(ws):
                if message["type"] == "snapshot":
                    raise BenchError("the client was not resumed")
                arrived = message["type"] == "patch"
        await asyncio.sleep(0.2)
        return _bytes_received(ws)


def _connect(
    on: System, http: aiohttp.ClientSession, deflate: int
) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return http.ws_connect(
        f"{on.url}/ws", protocols=["xoproxy.v1.json"], compress=deflate, max_msg_size=0
    )


async def _subscribe(
    on: System, ws: aiohttp.ClientWebSocketResponse, resume_points: list[dict[str, object]]
) -> None:
    await ws.send_json({"type": "auth", "token": on.token})
    subscribe = {"type": "subscribe", "id": 1, "query": EVERYTHING}
    await ws.send_json(subscribe | ({"resume": resume_points} if resume_points else {}))


async def _messages(ws: aiohttp.ClientWebSocketResponse) -> list[dict[str, object]]:
    async with asyncio.timeout(20):
        decoded = msgspec.json.decode(await ws.receive_str())
    return decoded if isinstance(decoded, list) else [decoded]


def _bytes_received(ws: aiohttp.ClientWebSocketResponse) -> int:
    """Ask the kernel how many bytes the connection brought, HTTP included (Linux, tcp_info)."""
    sock = ws.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    (received,) = struct.unpack_from("Q", info, 128)
    return int(received)

"""Fan-out: our frames on real WebSockets, against a C loop of send(2) on the very same sockets."""

import asyncio
import ctypes
from array import array
from dataclasses import dataclass
from statistics import median

import msgspec

from benchmarks.figures import Measured
from benchmarks.rig import BenchError, Stopwatch, compiled, median_of
from benchmarks.served import Served
from benchmarks.system import EVERYTHING, SNAPSHOT_DONE, Load, load
from xoproxy.model import Ref, Upsert, XapiClass

_FRAME_BYTES = 300
_VM = XapiClass("VM")
_REF = Ref("OpaqueRef:00000000-0000-0000-0000-000000000001")


class Server:
    """Hub and endpoint on a loopback port, flushed by hand."""

    def __init__(self) -> None:
        self._served = Served()
        self.line = self._served.line
        self.endpoint = self._served.endpoint
        self.listening = self._served.listening
        self.number = 0
        self.change()

    def change(self) -> None:
        """Commit a change that makes a frame of 300 bytes."""
        self.number += 1
        text = f"{self.number:09}".ljust(_FRAME_BYTES - 120, ".")
        record = msgspec.json.encode({"name_label": "bench", "name_description": text})
        prepared = self.line.store.prepare([Upsert(_VM, _REF, record)])
        while prepared.step():
            pass
        batch = self.line.store.commit(prepared, float(self.number))
        self.line.hub.committed(batch)

    async def flush(self) -> None:
        """Take the hub's steps as ws/flusher.py does."""
        hub = self.line.hub
        while hub.has_work:
            for _ in hub.flush():
                await asyncio.sleep(0)


class Floor:
    """send.c on the sockets of a server's clients."""

    def __init__(self, server: Server) -> None:
        transports = [c.outlet._transport for c in server.endpoint.connections]  # noqa: SLF001
        self._sockets = array("i", [t.get_extra_info("socket").fileno() for t in transports])
        library = ctypes.CDLL(str(compiled("send.c", shared=True)))
        self._send = library.send_to_all
        self._send.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)

    def send(self, data: bytes) -> None:
        address, count = self._sockets.buffer_info()
        failed = self._send(address, count, data, len(data))
        if failed:
            raise BenchError(f"{failed} sockets did not take a frame")


@dataclass(frozen=True, slots=True)
class _Rates:
    """Microseconds per frame: processor and wall."""

    cpu_us: float
    wall_us: float


async def fanout(*, quick: bool) -> dict[str, Measured]:
    """Five times ours, then the floor; each round goes to every client, 250 at a time."""
    clients, rounds, runs = (100, 20, 2) if quick else (1000, 100, 5)
    server = Server()
    ours: list[_Rates] = []
    floor: list[_Rates] = []
    async with server.listening() as url:
        messages = [
            {"type": "auth", "token": ""},
            {"type": "subscribe", "id": 1, "query": EVERYTHING},
        ]
        async with load(url, messages, ready=SNAPSHOT_DONE) as sink:
            await _join(server, sink, clients)
            frame = await _one_frame(server, sink, clients)
            floor_loop = Floor(server)
            await _ours(server, sink, clients, rounds // 4)  # warm
            for _ in range(runs):
                ours.append(await _ours(server, sink, clients, rounds))
                floor.append(await _floor(floor_loop, frame, sink, clients, rounds))
            # While they are still there: closing a connection that has gone is not what we measure.
            await server.endpoint.shut_down()
    return _figures(ours, floor, len(frame), clients, rounds)


async def _join(server: Server, sink: Load, clients: int) -> None:
    """Connect everybody; the hub is flushed meanwhile, for nobody else does."""
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(sink.open(clients), name="open")
        while not opening.done():
            await server.flush()
            await asyncio.sleep(0.01)


async def _one_frame(server: Server, sink: Load, clients: int) -> bytes:
    """Return a frame like those that we send, as a client got it."""
    one_more = server.line.subscribe()  # it stays: a client in a thousand that costs nothing
    server.change()
    await server.flush()
    await _drained(sink, clients)
    return one_more.last


async def _ours(server: Server, sink: Load, clients: int, rounds: int) -> _Rates:
    counters = server.line.hub.counters
    parked = counters.parked
    watch = Stopwatch()
    for _ in range(rounds):
        server.change()
        await server.flush()
    rates = _rates(watch, clients * rounds)
    if counters.parked != parked:
        raise BenchError("the clients did not keep up")
    await _drained(sink, clients * rounds)
    return rates


async def _floor(floor: Floor, frame: bytes, sink: Load, clients: int, rounds: int) -> _Rates:
    watch = Stopwatch()
    for _ in range(rounds):
        floor.send(frame)
    rates = _rates(watch, clients * rounds)
    await _drained(sink, clients * rounds)
    return rates


def _rates(watch: Stopwatch, frames: int) -> _Rates:
    return _Rates(watch.cpu_s / frames * 1e6, watch.wall_s / frames * 1e6)


async def _drained(sink: Load, frames: int) -> None:
    """Wait until the clients have read so many frames."""
    async with asyncio.timeout(60):
        while frames > 0:
            await asyncio.sleep(0.02)
            frames -= (await sink.report()).frames


def _figures(
    ours: list[_Rates], floor: list[_Rates], size: int, clients: int, rounds: int
) -> dict[str, Measured]:
    pairs = list(zip(ours, floor, strict=True))
    walls = median(a.wall_us / b.wall_us for a, b in pairs)
    note = f"{clients:,} clients, frames of {size} B, {len(pairs)} interleaved runs of {rounds}"
    floor_rate = 1e6 / median(rates.cpu_us for rates in floor)
    return {
        "fanout_frames_per_s": median_of(
            [1e6 / rates.cpu_us for rates in ours],
            f"{note}, per second of CPU; by the clock"
            f" {1e6 / median(rates.wall_us for rates in ours):,.0f}",
            floor_rate,
        ),
        "fanout_ratio_send2": median_of(
            [a.cpu_us / b.cpu_us for a, b in pairs], f"{note}, of CPU; by the clock {walls:.2f}", 1
        ),
    }

"""`python -m benchmarks.collector [--quick]`: how long the garbage collector stops the loop.

A store of 60,000 objects; 2,000 WebSockets come, are served and go. Three times: with nothing
frozen, frozen once before they come, and frozen as it goes (xoproxy/app/collector.py).
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from benchmarks import rig
from benchmarks.served import Served
from benchmarks.system import EVERYTHING, SNAPSHOT_DONE, Load, load
from xoproxy.app import new_event_loop
from xoproxy.app.collector import Collector
from xoproxy.model import Ref, Upsert, XapiClass
from xoproxy.telemetry import configure_logging

_RECORD_BYTES = 1200
_HOST = XapiClass("host")
_VM = XapiClass("VM")
_STATES = ("never", "once", "as it goes")


class Pauses:
    """What the collector says of itself (fits `gc.callbacks`)."""

    def __init__(self) -> None:
        self.runs_s: tuple[list[float], ...] = ([], [], [])
        self._began_s = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._began_s = now_s
        else:
            self.runs_s[info["generation"]].append(now_s - self._began_s)

    def __str__(self) -> str:
        """Write how many runs of each generation there were, and the longest in milliseconds."""
        return "".join(f"{len(r):6}{max(r, default=0) * 1e3:7.1f}" for r in self.runs_s)


class Pool:
    """A store's worth of objects; one class is shown, so that snapshots are short."""

    def __init__(self, served: Served, count: int) -> None:
        self._store = served.line.store
        self._hub = served.line.hub
        self._number = 0
        self._commit(_VM, count)

    def change(self, count: int) -> None:
        """Change some objects that are shown."""
        self._commit(_HOST, count)

    def _commit(self, cls: XapiClass, count: int) -> None:
        self._number += 1
        text = f"{self._number}".ljust(_RECORD_BYTES, ".")
        record = msgspec.json.encode({"name_label": cls, "name_description": text})
        refs = (Ref(f"OpaqueRef:{cls}-{number:036}") for number in range(count))
        # Copies, as they are when they are cut out of a reply.
        prepared = self._store.prepare([Upsert(cls, ref, bytes(bytearray(record))) for ref in refs])
        while prepared.step():
            pass
        self._hub.committed(self._store.commit(prepared, float(self._number)))


@contextmanager
def _frozen(state: str) -> Iterator[None]:
    if state == "as it goes":
        with Collector():
            yield
        return
    if state == "once":
        gc.freeze()
    yield
    gc.unfreeze()


async def measure(state: str, *, quick: bool) -> None:
    objects, clients, batches = (2000, 20, 20) if quick else (60_000, 2000, 200)
    gc.collect()
    served = Served()
    pool = Pool(served, objects)
    pool.change(5)
    messages = [
        {"type": "auth", "token": ""},
        {"type": "subscribe", "id": 1, "query": EVERYTHING | {"classes": [_HOST]}},
    ]
    coming, serving = Pauses(), Pauses()
    with _frozen(state):
        async with served.listening() as url:
            async with load(url, messages, ready=SNAPSHOT_DONE) as sink:
                gc.callbacks.append(coming)
                await _come(served, sink, clients)
                gc.callbacks[gc.callbacks.index(coming)] = serving
                for _ in range(batches):
                    pool.change(5)
                    await _flush(served)
                    await asyncio.sleep(0.02)
                gc.callbacks.remove(serving)
                tracked = len(gc.get_objects())
                began_s = time.perf_counter()
                gc.collect()
                full_ms = (time.perf_counter() - began_s) * 1e3
            await _gone(served)
            gc.unfreeze()
            left = gc.collect() / clients
            await served.endpoint.shut_down()
    print(f"{state:12}{coming}{serving}{tracked:10,}{full_ms:8.1f}{left:8.1f}", flush=True)


async def _come(served: Served, sink: Load, clients: int) -> None:
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(sink.open(clients), name="open")
        while not opening.done():
            await _flush(served)
            await asyncio.sleep(0.005)


async def _gone(served: Served) -> None:
    for _ in range(600):
        if not served.endpoint.connections:
            return
        await asyncio.sleep(0.05)
    raise rig.BenchError("the clients do not go")


async def _flush(served: Served) -> None:
    hub = served.line.hub
    while hub.has_work:
        for _ in hub.flush():
            await asyncio.sleep(0)


async def _all(*, quick: bool) -> None:
    print("Runs of generations 0, 1 and 2: how many, and the longest in ms.\n")
    print(f"{'frozen':12}{'while clients come':>39}{'while they are served':>39}", end="")
    print(f"{'looked at':>10}{'full, ms':>9}{'left a client':>14}")
    for state in _STATES:
        await measure(state, quick=quick)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few of all: does it run at all?")
    quick: bool = parser.parse_args().quick
    rig.pin(0)
    configure_logging("json", "warning")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_all(quick=quick))


if __name__ == "__main__":
    main()

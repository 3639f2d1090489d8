"""What it costs that a restart loses nothing, and how soon it is over."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.estate import Estate, one, play
from benchmarks.figures import Measured
from benchmarks.rig import BenchError, child, cpu_s, median_of, percentile, pin, python
from benchmarks.system import (
    EVERYTHING,
    OTHER_PROCESSOR,
    PROXY_PROCESSOR,
    SNAPSHOT_DONE,
)
from benchmarks.ticker import Ticker
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId, Upsert, XapiClass
from xoproxy.storage.history import Histories, HistoryOptions, open_histories

_KEY = bytes(32)
_BATCH_CHANGES = 15
_PASSWORD = "benchmark"  # noqa: S105 - of an account that lives as long as this process
_START_S = 60.0


async def log(*, quick: bool) -> dict[str, Measured]:
    """What the loop does for the log per change, and how long one batch of everything takes."""
    store = await _loaded(quick=quick)
    count = 200 if quick else 2000
    costs, sizes = [], []
    with tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory:
        async with open_histories(Path(directory), _KEY, HistoryOptions()) as histories:
            await histories.restore([], JournalBudget())
            histories.loaded(store)
            for batch in _batches(store, count, _BATCH_CHANGES):
                before = histories.disk.used_bytes
                costs.append(_appended(histories, batch) / len(batch.changes) * 1e6)
                sizes.append(histories.disk.used_bytes - before)
            (whole,) = _batches(store, 1, len(store))
            whole_ms = _appended(histories, whole) * 1e3
        floor_us = _write_s(Path(directory) / "floor", sizes) / count / _BATCH_CHANGES * 1e6
    change_bytes = sum(sizes) / count / _BATCH_CHANGES
    note = (
        f"{count} batches of {_BATCH_CHANGES} (p99 {percentile(costs, 0.99):.1f} us),"
        f" {change_bytes:.0f} B a change, encrypted; one batch of {len(whole.changes):,}:"
        f" {whole_ms:.1f} ms; floor: write(2) of the same"
    )
    return {"log_us_per_change": median_of(costs, note, floor_us)}


async def checkpoint(*, quick: bool) -> dict[str, Measured]:
    """The longest stall of a loop that goes on logging while a large checkpoint is written."""
    store = await _loaded(quick=quick, times=5)
    stalls, idle, seconds, size = [], [], [], 0
    for batches in (_batches(store, 10_000, _BATCH_CHANGES) for _ in range(1 if quick else 3)):
        next(batches)  # which reads all records first
        with tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory:
            async with (
                open_histories(Path(directory), _KEY, HistoryOptions()) as histories,
                asyncio.TaskGroup() as group,
            ):
                ticker = Ticker()
                ticking = group.create_task(ticker.run())
                await histories.restore([], JournalBudget())
                histories.loaded(store)
                history = histories.pools[store.pool]
                for _, batch in zip(range(50), batches, strict=False):
                    histories.committed(batch)
                    await asyncio.sleep(0.005)
                idle.append(ticker.take() * 1e3)
                running = group.create_task(histories.run(list))
                while history.checkpoint_seq is None:
                    histories.committed(next(batches))
                    await asyncio.sleep(0.005)
                stalls.append(ticker.take() * 1e3)
                seconds.append(histories.checkpoint_s)
                size = history.checkpoint_bytes
                running.cancel()
                ticking.cancel()
    note = (
        f"{len(store):,} objects, {size / 1e6:.0f} MB, in {median(seconds):.2f} s down to the"
        f" disk, {_BATCH_CHANGES} changes logged every 5 ms; without a checkpoint"
        f" {median(idle):.1f} ms"
    )
    return {"checkpoint_stall_ms": median_of(stalls, note)}


async def restart(*, quick: bool) -> dict[str, Measured]:
    """A whole proxy killed and started, until a client has the whole pool."""
    pin(OTHER_PROCESSOR)
    hosts, vms = (2, 50) if quick else (16, 1000)
    found, used = [], []
    size = 0
    with tempfile.TemporaryDirectory(prefix="xoproxy-bench-") as directory:
        pool_argv = python("benchmarks.pool", str(hosts), str(vms), "10")
        async with child(*pool_argv, processor=OTHER_PROCESSOR) as pool:
            url = (await pool.answer())["url"]
            port = _free_port()
            async with _serving(directory, port) as process:
                assert process.stdout is not None
                await process.stdout.readline()  # that it listens, and the administrator is made
                token = await _prepared(port, url)
                await pool.ask("batches", count=20, per_s=10, changes=_BATCH_CHANGES)
                process.send_signal(signal.SIGKILL)
            for _ in range(2 if quick else 5):
                began_s = time.perf_counter()
                async with _serving(directory, port) as process:
                    size = await _snapshot_bytes(port, token)
                    found.append(time.perf_counter() - began_s)
                    used.append(cpu_s(process.pid))
                    await asyncio.sleep(0.5)
                    process.send_signal(signal.SIGKILL)
    note = (
        f"{vms} VMs, {size / 1e6:.1f} MB of frames, process start and imports included, median of"
        f" {len(found)} kills; by processor time {median(used):.2f} s"
    )
    return {"restart_snapshot_s": median_of(found, note)}


# --- in this process ---


async def _loaded(*, quick: bool, times: int = 1) -> Store:
    estate = Estate(2, 50) if quick else Estate(16 * times, 1000 * times)
    store = Store(PoolId("bench"), "bench")
    await play(await estate.methods(), one(estate.reply()), store)
    return store


def _batches(store: Store, count: int, changes: int) -> Iterator[Batch]:
    """Change one field of random objects, as memory ticks do."""
    rng = random.Random(1)  # the same every time
    records = {
        entry.ref: (cls, json.loads(entry.raw))
        for cls in list(store.by_class.classes())
        for entry in store.entries(cls)
    }
    refs = sorted(records)
    for number in range(count):
        events = []
        for ref in rng.sample(refs, changes):
            cls, record = records[ref]
            record["memory_actual"] = str(number)
            events.append(Upsert(XapiClass(cls), ref, json.dumps(record).encode()))
        prepared = store.prepare(events)
        while prepared.step():
            pass
        yield store.commit(prepared, time.monotonic())


def _appended(histories: Histories, batch: Batch) -> float:
    began_s = time.perf_counter()
    histories.committed(batch)
    return time.perf_counter() - began_s


def _write_s(path: Path, sizes: list[int]) -> float:
    """Write as many bytes in as many pieces, and nothing else."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    pieces = [bytes(size) for size in sizes]
    began_s = time.perf_counter()
    for piece in pieces:
        os.write(descriptor, piece)
    took_s = time.perf_counter() - began_s
    os.close(descriptor)
    return took_s


# --- a proxy as it is in production ---


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@asynccontextmanager
async def _serving(directory: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", "serve"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "XOPROXY_ADMIN_PASSWORD": _PASSWORD,
            "XOPROXY_STORAGE__DIRECTORY": directory,
            "XOPROXY_SERVER__PORT": str(port),
            "XOPROXY_LOG__LEVEL": "warning",
        },
    )
    pin(PROXY_PROCESSOR, process.pid)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _prepared(port: int, pool_url: str) -> str:
    """Add the pool, wait for its checkpoint, and return a token."""
    basic = aiohttp.encode_basic_auth("admin", _PASSWORD)
    async with (
        asyncio.timeout(_START_S),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": basic}) as http,
    ):
        body = {"name": "bench", "url": pool_url, "username": "root", "password": "x"}
        async with http.post("/api/v1/pools", json=body) as reply:
            reply.raise_for_status()
        async with http.post("/api/v1/tokens", json={"name": "bench"}) as reply:
            token: str = (await reply.json())["token"]
        while True:
            async with http.get("/metrics") as reply:
                if "\nxoproxy_checkpoint_age_seconds{" in await reply.text():
                    return token
            await asyncio.sleep(0.1)


async def _reachable(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return


async def _snapshot_bytes(port: int, token: str) -> int:
    """Connect as soon as one can, take the whole pool; returns how much came."""
    async with asyncio.timeout(_START_S), aiohttp.ClientSession() as http:
        await _reachable(port)
        url = f"http://127.0.0.1:{port}/ws"
        async with http.ws_connect(url, protocols=["xoproxy.v1.json"], max_msg_size=0) as ws:
            await ws.send_json({"type": "auth", "token": token})
            await ws.send_json({"type": "subscribe", "id": 1, "query": EVERYTHING})
            size = 0
            async for message in ws:
                size += len(message.data)
                if SNAPSHOT_DONE in message.data:
                    return size
    raise BenchError("the proxy closed the connection")

"""Clocks, memory, processors and processes: what every case needs to measure."""

import asyncio
import ctypes
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.figures import Measured

HERE = Path(__file__).parent
OUT = HERE / "out"
_ANSWER_S = 120.0


class BenchError(Exception):
    """A figure could not be measured; the text says why."""


def median_of(values: Sequence[float], note: str = "", floor: float | None = None) -> Measured:
    return Measured(median(values), min(values), max(values), floor, note)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


# --- processors -----------------------------------------------------------------------------------


def processors() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def pin(number: int, pid: int = 0) -> None:
    """Keep a process on the n-th processor that we may use (no effect when there is only one)."""
    allowed = processors_at_start
    os.sched_setaffinity(pid, {allowed[number % len(allowed)]})


processors_at_start = processors()


# --- memory and time of a process -----------------------------------------------------------------


def anonymous_bytes(pid: int | str = "self") -> int:
    """Return a process's own memory, without that of mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise BenchError("this system does not say how much memory a process has")


def settle_memory() -> None:
    """Give back what is free, so that two looks at the memory can be compared."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def tcp_bytes() -> int:
    """Return the memory that all TCP sockets of the system hold in the kernel."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1]) * resource.getpagesize()
    raise BenchError("this system does not say how much memory sockets have")


def cpu_s(pid: int) -> float:
    """Return the processor time that another process has used, all its threads together."""
    clock = ctypes.c_int()
    # POSIX; Python has it for threads only. The figures in /proc are to 10 ms.
    failed = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if failed:
        raise BenchError(f"process {pid} has no clock: {os.strerror(failed)}")
    return time.clock_gettime(clock.value)


class Stopwatch:
    """Processor and wall time of this process since it was made."""

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self._cpu_s

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._wall_s


# --- programs -------------------------------------------------------------------------------------


def compiled(source: str, *, shared: bool = False) -> Path:
    """Compile one of our C files, unless that was done since it last changed."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError("a C compiler is needed: install gcc or clang")
    path = HERE / source
    target = OUT / (path.stem + (".so" if shared else ""))
    if target.exists() and target.stat().st_mtime > path.stat().st_mtime:
        return target
    OUT.mkdir(exist_ok=True)
    options = ["-O2", "-Wall", "-Wextra", "-Werror", *(["-shared", "-fPIC"] if shared else [])]
    made = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run(  # noqa: S603 - our own source, by the system's compiler
        [compiler, *options, "-o", made, path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{source} does not compile: {done.stderr.strip()}")
    made.rename(target)
    return target


class Child:
    """A process that answers each line on its input by one line of JSON on its output."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, text: str) -> None:
        """Send lines that are not answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        await self._process.stdin.drain()

    async def ask(self, command: str, *, timeout_s: float = _ANSWER_S, **arguments: object) -> Any:  # noqa: ANN401
        """Send a command and return its answer."""
        rest = f" {msgspec.json.encode(arguments).decode()}" if arguments else ""
        await self.tell(f"{command}{rest}\n")
        return await self.answer(timeout_s)

    async def answer(self, timeout_s: float = _ANSWER_S) -> Any:  # noqa: ANN401
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._name} ended (status {await self._process.wait()})")
        return msgspec.json.decode(line)

    async def end(self) -> None:
        """Close the process's input, at which it ends; or else make it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(*argv: str, processor: int) -> AsyncIterator[Child]:
    """Run a program beside us, on one processor."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 << 20,
    )
    pin(processor, process.pid)
    running = Child(process, " ".join(argv[:3]))
    try:
        yield running
    finally:
        await running.end()


async def obey(commands: Mapping[str, Callable[..., Awaitable[object]]]) -> None:
    """Be a `Child`: carry out commands from our input until it ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        name, _, arguments = line.strip().partition(" ")
        result = await commands[name](**(json.loads(arguments) if arguments else {}))
        print(json.dumps(result), flush=True)


def python(module: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *args)

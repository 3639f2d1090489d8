"""The carrier for pools from before JSON-RPC: processes that speak XML-RPC (xmlrpc_worker.py).

XML takes CPU time: a pool of 1,000 machines is some 30 MB of it, seconds of parsing. So it is
parsed in processes of its own, which give back the bytes that a server with JSON-RPC would have
sent; the loop only moves them. Each pool has its own processes, so that a pool can hurt no other:
one for the long poll and one for each call under way, begun when needed; few are kept when idle.

A process does one request at a time. When the patience with it ends, or who asked goes away, it is
killed, for nothing else ends a request that is under way. What it is told, credentials included,
goes through its standard input only.
"""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import msgspec
from yarl import URL

from xoproxy.errors import ErrorCode, PoolUnreachable, RequestRefused
from xoproxy.pool.carrier import USER_AGENT
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.trust import Trust

_WORKER = "xoproxy.pool.xmlrpc_worker"
_LENGTH = struct.Struct(">I")
_KINDS = b"ATP"
_ANSWER, _TROUBLE, _PROGRESS = _KINDS
_PART_BYTES = 256 << 10
_KEPT = 2
"""Idle processes that are kept: the long poll's, and one for the next call."""


class _Trouble(msgspec.Struct):
    message: str = ""
    code: str = "UNREACHABLE"
    cause: str = ""
    refused: bool = False


_read_trouble = msgspec.json.Decoder(_Trouble).decode


class WorkerError(Exception):
    """What went wrong in a process; its text is for the log."""


class XmlRpcCarrier:
    """Has XML-RPC spoken to a pool's servers.

    Args:
        settings: time-outs and bounds.
        trust: whose certificates are good.
    """

    def __init__(self, settings: LinkSettings, trust: Trust) -> None:
        self._settings = settings
        self._trust = trust
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        """All whose end we have not seen."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.kill()
        await asyncio.to_thread(_see_the_end_of, self._workers)

    def forget(self) -> None:
        pass  # connections stay good

    async def post(self, url: URL, body: bytes, patience: asyncio.Timeout) -> list[bytes]:
        worker = self._idle.pop() if self._idle else await self._new_worker()
        unharmed = False
        try:
            await worker.order(self._order(url, body, patience))
            kind, payload = await worker.reply(patience, self._settings.connect_timeout_s)
            unharmed = True
        except (OSError, EOFError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise PoolUnreachable("The process that speaks XML-RPC ended.") from error
        finally:
            if unharmed:
                self._keep(worker)
            else:
                worker.kill()
        if kind == _ANSWER:
            return [payload]
        raise _error(_read_trouble(payload))

    def _order(self, url: URL, body: bytes, patience: asyncio.Timeout) -> bytes:
        settings, ca_path = self._settings, self._trust.ca_path
        ends_s = patience.when()
        left_s = settings.request_timeout_s if ends_s is None else ends_s - _now_s()
        return msgspec.json.encode(
            {
                "url": str(url.origin()),
                "pin": self._trust.pin(url),
                "ca_path": str(ca_path) if ca_path else None,
                "user_agent": USER_AGENT,
                "connect_timeout_s": settings.connect_timeout_s,
                "timeout_s": max(0.1, left_s),
                "reply_bytes": settings.reply_bytes,
                "request": msgspec.Raw(body),
            }
        )

    async def _new_worker(self) -> "_Worker":
        self._workers = {worker for worker in self._workers if worker.alive}
        worker = await _Worker.start()
        self._workers.add(worker)
        return worker

    def _keep(self, worker: "_Worker") -> None:
        if len(self._idle) < _KEPT:
            self._idle.append(worker)
        else:
            worker.dismiss()


class _Worker:
    """One process, and the socket that is its standard input and output."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> Self:
        ours, theirs = socket.socketpair()
        with ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                process = _begin(theirs)
                undo.callback(process.kill)
            reader, writer = await asyncio.open_connection(sock=ours, limit=_PART_BYTES)
            undo.pop_all()
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def order(self, order: bytes) -> None:
        self._writer.write(_LENGTH.pack(len(order)) + order)
        await self._writer.drain()

    async def reply(self, patience: asyncio.Timeout, progress_s: float) -> tuple[int, bytes]:
        """Return kind and content of the answer; progress moves the patience on."""
        while True:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            (kind,) = await self._reader.readexactly(1)
            if kind != _PROGRESS:
                return kind, await self._content(size - 1)
            patience.reschedule(max(patience.when() or 0.0, _now_s() + progress_s))

    async def _content(self, size: int) -> bytes:
        """Read in parts: the loop gets a turn after each."""
        parts = []
        while size:
            part = await self._reader.read(min(size, _PART_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def dismiss(self) -> None:
        """Let it end by itself."""
        self._writer.close()

    def kill(self) -> None:
        self._writer.close()
        self._process.kill()

    def wait(self) -> None:
        """Block until it has ended."""
        self._process.wait()


def _see_the_end_of(workers: Iterable[_Worker]) -> None:
    for worker in workers:
        worker.wait()


def _begin(connection: socket.socket) -> "subprocess.Popen[bytes]":
    """Begin a process; not by way of the loop.

    uvloop forks, which copies the page tables: some 30 ms of standstill for each GB that we hold.
    This does not; and the socket says all that the loop could tell of the process.
    """
    # our settings may hold secrets; what SSL and Python need of the environment stays
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XOPROXY_")}
    return subprocess.Popen(  # noqa: S603 - our own module
        (sys.executable, "-P", "-m", _WORKER),  # nothing is imported from the working directory
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        env=environment,
        start_new_session=True,  # an interrupt at the terminal is for us alone
    )


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _error(why: _Trouble) -> Exception:
    if why.refused:
        return RequestRefused(ErrorCode(why.code), why.message)
    error = PoolUnreachable(why.message, why.code)
    error.__cause__ = WorkerError(why.cause)
    return error

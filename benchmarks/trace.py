"""The standard trace as a client gets it: payloads, batch by batch, and the documents they change.

300 changes a second of all kinds, gathered by XAPI for 50 ms, one flush per reply; the client sees
everything. What is studied about bytes on the wire (`benchmarks.compression`) is studied on this.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.estate import SEED, Estate, play
from benchmarks.line import POOL, Line
from benchmarks.system import EVERYTHING
from xoproxy.cache.query import parse_query
from xoproxy.cache.view import Everything
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import Subscribed

BATCH_CHANGES = 15
BATCHES_PER_S = 20

Message = dict[str, Any]
Batch = list[bytes]
"""The payloads that one flush brings a client; nearly always one."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What two clients of one pool get, one for each encoding.

    Args:
        vms: how large the pool is.
        change_count: of the batches, as journal entries; the past aside.
        start: `subscribed` and the snapshot, in JSON.
        past: the batches of the seconds between, in JSON.
        json, msgpack: the batches to be studied.
    """

    vms: int
    change_count: int
    start: Batch
    past: list[Batch]
    json: list[Batch]
    msgpack: list[Batch]


async def record(estate: Estate, seconds: int, past_s: int) -> Trace:
    """Play the trace on an estate, from some seconds before what is studied."""
    line = Line()
    text, binary = _Client(line, Codec.JSON), _Client(line, Codec.MSGPACK)
    start: Batch = []
    texts: list[Batch] = []
    binaries: list[Batch] = []
    past = past_s * BATCHES_PER_S
    began = 0

    async def replies() -> AsyncIterator[bytes]:
        nonlocal began
        yield estate.reply()
        start.extend([*text.join(), *text.take()])
        binary.join()
        binary.take()
        churn = estate.churn(SEED)
        for number in range(past + seconds * BATCHES_PER_S):
            if number == past:
                began = line.store.seq
            made = 0
            while made < BATCH_CHANGES:
                made += churn.step()
            yield estate.reply()
            texts.append(text.take())
            binaries.append(binary.take())

    await play(await estate.methods(), replies(), line.store, line)
    changes = line.store.seq - began
    return Trace(len(estate.vms()), changes, start, texts[:past], texts[past:], binaries[past:])


class _Client:
    """Keeps what it gets (fits `sessions.member.Outlet`)."""

    def __init__(self, line: Line, codec: Codec) -> None:
        self._line = line
        self._client = Client(self, codec, line.framing, deflate=False)
        self._got: Batch = []

    def join(self) -> Batch:
        """Subscribe to everything; returns what the session would answer."""
        query = parse_query(EVERYTHING)
        info = self._line.hub.join(self._client, 1, query, POOL, Everything())
        self._line.flush()
        return [msgspec.json.encode(Subscribed(1, [info]))]

    def take(self) -> Batch:
        taken, self._got = self._got, []
        return taken

    def write(self, data: bytes) -> None:
        self._got.append(payload(data))

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {code} {reason}")


def payload(frame: bytes) -> bytes:
    """Take the header off a plain, unmasked frame (RFC 6455, 5.2)."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]

"""`python -m benchmarks.compression [--quick]`: what ways of compressing would save, and cost.

The study behind docs/adr/0007-compression.md, on the standard trace: bytes and processor time per
change for every way that one deflate can serve many clients, in both encodings, and with large sets
replaced whole. Everything that is packed here is also unpacked and compared; a way that a client
could not read would fail.
"""

import argparse
import asyncio
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Protocol

import msgspec

from benchmarks import rig, trace
from benchmarks.estate import Estate
from benchmarks.trace import Batch, Trace
from benchmarks.whole_sets import WholeSets
from xoproxy.ws.frames import header

_TAIL = b"\x00\x00\xff\xff"
"""The empty block after a flush: left out on the wire, put back by the client (RFC 7692)."""
_WINDOW = 32_768
_NATIVE, _OWN = 0, 4
"""Bytes before a payload: none with permessage-deflate, else of what kind and how long it is."""
_no_references = partial(re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").sub, b"")
_json = msgspec.json.Decoder().decode


class Packer(Protocol):
    """Packs the payloads of one view, in order."""

    def pack(self, payload: bytes) -> bytes: ...

    def unpack(self, packed: bytes) -> bytes:
        """Be the client."""


class Plain:
    def pack(self, payload: bytes) -> bytes:
        return payload

    def unpack(self, packed: bytes) -> bytes:
        return packed


class Stateless:
    """Each payload by itself, as ws/frames.py does, or against a dictionary that both sides have.

    A compressor that has read the dictionary is copied for each payload: reading 32 KB again would
    double the time.
    """

    def __init__(self, level: int, dictionary: bytes = b"") -> None:
        self._dictionary = dictionary
        self._fresh = _deflater(level, dictionary)

    def pack(self, payload: bytes) -> bytes:
        return _flushed(self._fresh.copy(), payload)

    def unpack(self, packed: bytes) -> bytes:
        return zlib.decompressobj(-zlib.MAX_WBITS, self._dictionary).decompress(packed + _TAIL)


class Stream:
    """One context through all payloads.

    Args:
        level: zlib's.
        restart_every: payloads after which nothing refers back any more, so that clients may
            enter; 0 for never.
    """

    def __init__(self, level: int, restart_every: int = 0) -> None:
        self._deflater = _deflater(level)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._restart_every = restart_every
        self._count = 0

    def pack(self, payload: bytes) -> bytes:
        self._count += 1
        restart = self._restart_every and self._count % self._restart_every == 0
        mode = zlib.Z_FULL_FLUSH if restart else zlib.Z_SYNC_FLUSH
        return _flushed(self._deflater, payload, mode)

    def unpack(self, packed: bytes) -> bytes:
        return self._inflater.decompress(packed + _TAIL)


def _deflater(level: int, dictionary: bytes = b"") -> "zlib._Compress":
    arguments = level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY
    return zlib.compressobj(*arguments, dictionary) if dictionary else zlib.compressobj(*arguments)


def _flushed(deflater: "zlib._Compress", payload: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    return (deflater.compress(payload) + deflater.flush(mode)).removesuffix(_TAIL)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to compress.

    Args:
        name: for people.
        packer: made anew for each trace, from the end of the view's past and from the words of
            another pool's.
        own_bytes: before each payload.
        client: what a client must do.
        each: whether each client needs a packer of its own.
    """

    name: str
    packer: Callable[[bytes, bytes], Packer]
    own_bytes: int
    client: str
    each: bool = False


_NOTHING, _DICTIONARY, _STREAM = "nothing", "keep a dictionary", "inflate; enter and leave"
WAYS = (
    Way("plain", lambda _p, _w: Plain(), _NATIVE, _NOTHING),
    Way("stateless, level 1", lambda _p, _w: Stateless(1), _NATIVE, _NOTHING),
    Way("stateless, level 6", lambda _p, _w: Stateless(6), _NATIVE, _NOTHING),
    Way("dictionary of words", lambda _p, words: Stateless(6, words), _OWN, _DICTIONARY),
    Way("dictionary of the view", lambda past, _w: Stateless(6, past), _OWN, _DICTIONARY),
    Way("shared stream, restart 1 s", lambda _p, _w: Stream(6, 20), _OWN, _STREAM),
    Way("shared stream, restart 5 s", lambda _p, _w: Stream(6, 100), _OWN, _STREAM),
    Way("shared stream, restart 30 s", lambda _p, _w: Stream(6, 600), _OWN, _STREAM),
    Way("context per client, level 1", lambda _p, _w: Stream(1), _NATIVE, _NOTHING, each=True),
    Way("context per client, level 6", lambda _p, _w: Stream(6), _NATIVE, _NOTHING, each=True),
)


@dataclass(frozen=True, slots=True)
class Payloads:
    """A trace in one encoding."""

    name: str
    change_count: int
    past: bytes
    batches: list[bytes]


def variants(played: Trace) -> Iterator[Payloads]:
    """Write a trace with large sets whole, as it is, and as it is in MessagePack."""
    texts, past = list(_flat(played.json)), list(_flat(played.past))
    sets = WholeSets(list(map(_json, played.start)))
    whole_past, whole = ([_encoded(sets.rewrite(_json(p))) for p in ps] for ps in (past, texts))
    yield Payloads("sets whole", played.change_count, _last(whole_past), whole)
    sets.check()
    yield Payloads("JSON", played.change_count, _last(past), texts)
    packed = [msgspec.msgpack.encode(_json(p)) for p in past]
    binary = list(_flat(played.msgpack))
    yield Payloads("MessagePack", played.change_count, _last(packed), binary)


_encoded = msgspec.json.Encoder().encode


def _flat(batches: list[Batch]) -> Iterator[bytes]:
    return (payload for batch in batches for payload in batch)


def _last(payloads: Sequence[bytes]) -> bytes:
    return b"".join(payloads)[-_WINDOW:]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way on one trace, per change."""

    bytes: float
    cpu_us: float


def cost(way: Way, payloads: Payloads, words: bytes) -> Cost:
    """Pack all payloads, and have a client read them."""
    packer = way.packer(payloads.past, words)
    started = time.process_time()
    packed = [packer.pack(payload) for payload in payloads.batches]
    cpu_s = time.process_time() - started
    for sent, payload in zip(packed, payloads.batches, strict=True):
        if packer.unpack(sent) != payload:
            raise rig.BenchError(f"{way.name}: a client reads something else")
    size = sum(len(header(0, n)) + n for n in (way.own_bytes + len(sent) for sent in packed))
    return Cost(size / payloads.change_count, cpu_s / payloads.change_count * 1e6)


def cost_of_many(way: Way, payloads: Payloads, clients: int, rounds: int) -> float:
    """Return microseconds per change when each of many clients has a packer of its own."""
    packers = [way.packer(b"", b"") for _ in range(clients)]
    for packer in packers:  # they get their memory with the first payload
        packer.pack(payloads.batches[0])
    batches = payloads.batches[1 : 1 + rounds]
    started = time.process_time()
    for payload in batches:
        for packer in packers:
            packer.pack(payload)
    per_payload = (time.process_time() - started) / len(batches)
    return per_payload * len(payloads.batches) / payloads.change_count * 1e6


def entry_bytes(payloads: Payloads) -> float:
    """Return what it costs to let a client into a running stream at once.

    It gets the window, packed by itself, and throws away what that inflates to; from then on it
    reads what all read. A dictionary of the view's past is the same bytes.
    """
    sizes = []
    count = len(payloads.batches)
    for at in range(count // 4, count, count // 4):
        deflater = _deflater(6)
        for payload in payloads.batches[:at]:
            _flushed(deflater, payload)
        window = _last(payloads.batches[:at])
        primer = _flushed(_deflater(6), window)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(primer + _TAIL)
        for payload in payloads.batches[at : at + 5]:
            if inflater.decompress(_flushed(deflater, payload) + _TAIL) != payload:
                raise rig.BenchError("who enters a stream by its window reads something else")
        sizes.append(len(primer))
    return mean(sizes)


# --- what is printed ------------------------------------------------------------------------------


def print_ways(traces: Sequence[Trace], written: Sequence[Sequence[Payloads]], many: int) -> None:
    """Print bytes and processor time per change of each way."""
    large = written[0][1]
    print(
        f"\nBytes per change, header included; deflating alone, us per change for 1, {many // 10:,}"
    )
    print(f"and {many:,} clients of one view (JSON, {traces[0].vms:,} VMs)\n")
    names = "".join(f"{p.name:>13}" for p in written[0])
    print(f"{'':28}" + "".join(f"{f'{t.vms:,} VMs':^{13 * len(written[0])}}" for t in traces))
    print(f"{'':28}{names * len(traces)}{'us':>22}   what a client does")
    for way in WAYS:
        cells = ""
        cpu_us = 0.0
        for position, variant in enumerate(written):
            for payloads in variant:
                other = next(p.past for p in written[1 - position] if p.name == payloads.name)
                found = cost(way, payloads, _no_references(other))
                cells += f"{found.bytes:13.1f}"
                if payloads is large:
                    cpu_us = found.cpu_us
        print(f"{way.name:28}{cells}{_spent(way, large, cpu_us, many)}   {way.client}", flush=True)


def _spent(way: Way, payloads: Payloads, cpu_us: float, many: int) -> str:
    """Write what 1, some and many clients cost: the same, or so many times as much."""
    if not way.each:
        return f"{cpu_us:22.1f}"
    some = cost_of_many(way, payloads, many // 10, 20)
    return f"{cpu_us:7.1f}{some:7.0f}{cost_of_many(way, payloads, many, 4):8.0f}"


def print_sizes(payloads: Payloads) -> None:
    """Print from which size deflating pays: patches cut down to so many operations."""
    print(f"\nFrames of few operations, stateless, level 1 ({payloads.name})\n")
    print(f"{'operations':>10} {'plain B':>9} {'deflated B':>11} {'us':>6} {'saved B/us':>11}")
    messages = [_json(payload) for payload in payloads.batches[:400]]
    packer = Stateless(1)
    for count in (1, 2, 3, 4, 6, 10, 20):
        cut = [
            _encoded({**message, "ops": message["ops"][at : at + count]})
            for message in messages
            for at in range(0, len(message["ops"]) - count + 1, count)
        ]
        if not cut:
            continue
        started = time.process_time()
        packed = [packer.pack(payload) for payload in cut]
        cpu_us = (time.process_time() - started) / len(cut) * 1e6
        plain, deflated = mean(map(len, cut)), mean(map(len, packed))
        saved = (plain - deflated) / cpu_us
        print(f"{count:10} {plain:9.0f} {deflated:11.0f} {cpu_us:6.1f} {saved:11.1f}")


def print_entries(written: Sequence[Sequence[Payloads]], traces: Sequence[Trace]) -> None:
    print("\nTo enter a shared stream at once, or to be given a dictionary of the view: bytes\n")
    for played, variant in zip(traces, written, strict=True):
        for payloads in variant:
            print(f"{played.vms:>8,} VMs {payloads.name:>13} {entry_bytes(payloads):9,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trace: does it run at all?")
    quick: bool = parser.parse_args().quick
    rig.pin(0)
    print("QUICK: the figures mean nothing" if quick else "60 s of the standard trace", flush=True)
    traces = asyncio.run(_traces(quick=quick))
    written = [list(variants(played)) for played in traces]
    print_ways(traces, written, 20 if quick else 1000)
    print_sizes(written[0][1])
    print_entries(written, traces)


async def _traces(*, quick: bool) -> list[Trace]:
    seconds, past_s = (1, 1) if quick else (60, 10)
    sizes = [(4, 100), (2, 20)] if quick else [(16, 1000), (4, 60)]
    return [await trace.record(Estate(*size), seconds, past_s) for size in sizes]


if __name__ == "__main__":
    main()

"""Resume by digests: what it costs on the wire and in the loop, beside a snapshot."""

import time
from typing import Any

import msgspec

from benchmarks.estate import Estate, one, play
from benchmarks.figures import Measured
from benchmarks.line import POOL
from benchmarks.rig import BenchError, Stopwatch, median_of
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything
from xoproxy.client.digests import bucket_count, digests, empty_buckets
from xoproxy.client.document import Document
from xoproxy.model import Upsert, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import read_claim
from xoproxy.sessions.frame import FrameLedger
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import Digests, ResumePoint
from xoproxy.sessions.tokens import TokenSigner

_CHANGED = 100
_ALL: dict[str, Any] = {"classes": ["*"]}
_NARROW: dict[str, Any] = {
    "classes": ["VM", "VBD", "VIF", "VDI"],
    "fields": {
        "VM": ["name_label", "power_state", "resident_on", "tags"],
        "VBD": ["VM", "VDI", "device"],
        "VIF": ["VM", "network", "device"],
        "VDI": ["name_label", "SR", "virtual_size"],
    },
}


class _Unframed:
    """Payloads without WebSocket headers (fits `sessions.frame.Framing`)."""

    def __init__(self) -> None:
        self.ledger = FrameLedger()

    def plain(self, payload: bytes, *, binary: bool) -> bytes:
        del binary
        return payload

    deflated = plain


class _Replica:
    """A client that takes all, and handles it later (fits `sessions.member.Outlet`)."""

    def __init__(self, document: Document, buckets: int = 0) -> None:
        self.document = document
        self.writes: list[bytes] = []
        self.token = ""
        self.resets = 0
        self._buckets = buckets

    @property
    def size(self) -> int:
        return sum(map(len, self.writes))

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def read(self) -> None:
        for data in self.writes:
            self._handle(msgspec.json.decode(data))

    def _handle(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "snapshot":
                if "buckets" in message:
                    empty_buckets(self.document, message["buckets"], self._buckets)
                objects = self.document.classes[message["class"]]
                for key, row in zip(message["keys"], message["rows"], strict=True):
                    objects[key] = dict(zip(message["fields"], row, strict=True))
            case "bookmark":
                self.token = message["resume"]
            case "reset":
                self.resets += 1
            case other:
                raise BenchError(f"what is {other} here?")

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {code} {reason}")


class _Pool:
    """A store and a hub, and views of it that are joined, left and compared."""

    def __init__(self, store: Store, query: dict[str, Any]) -> None:
        self.store = store
        # no group lingers: its hashes would be there already for the next one who compares
        self.hub = Hub(_Unframed(), TokenSigner(b"bench"), lambda: None, idle_groups=0)
        self.hub.add_pool(store)
        self._query = parse_query(query)
        self.longest_s = 0.0
        """Of all steps while something was compared."""

    def snapshot(self) -> _Replica:
        document = Document(self._query.for_classes(self.store.classes))
        replica, _ = self._join(_Replica(document))
        return replica

    def compare(self, held: _Replica) -> tuple[int, float]:
        """Bring a copy of what was held to the present; return bytes and processor seconds."""
        buckets = bucket_count(len(held.document))
        said = digests(held.document, buckets)
        point = ResumePoint(held.token, 0, compare=True)
        replica, used_s = self._join(_Replica(held.document.copy(), buckets), point, said)
        if replica.resets or replica.document.classes != self.snapshot().document.classes:
            raise BenchError("the comparison did not lead to the present")
        message = {"type": "digests", "view": 1, "buckets": buckets, "digests": said}
        return replica.size + len(msgspec.json.encode(message)), used_s

    def _join(
        self, replica: _Replica, point: ResumePoint | None = None, said: str = ""
    ) -> tuple[_Replica, float]:
        client = Client(replica, Codec.JSON, _Unframed(), deflate=False)
        resume = self.hub.resume_positions([point] if point else [])
        info = self.hub.join(client, 1, self._query, POOL, Everything(), resume)
        watch = Stopwatch()
        if info.mode == "compare":
            message = Digests(info.view, bucket_count(len(replica.document)), said)
            self.hub.compare(client.members[info.view], read_claim(message))
        while self.hub.has_work:
            steps, begun_s = self.hub.flush(), time.process_time()
            while next(steps, steps) is None:
                if said:
                    self.longest_s = max(self.longest_s, time.process_time() - begun_s)
                begun_s = time.process_time()
        used_s = watch.cpu_s
        self.hub.disconnected(client)
        replica.read()
        return replica, used_s


async def compare(*, quick: bool) -> dict[str, Measured]:
    """Change 100 of 10,000 objects while a client is away, and forget how."""
    estate = Estate(2, 60) if quick else Estate(8, 800)
    store = Store(POOL, "bench")
    await play(await estate.methods(), one(estate.reply()), store)
    everything, narrow = _Pool(store, _ALL), _Pool(store, _NARROW)
    held, held_narrow = everything.snapshot(), narrow.snapshot()
    _change(store, 10 if quick else _CHANGED)
    runs = [everything.compare(held) for _ in range(2 if quick else 5)]
    sizes, used_s = zip(*runs, strict=True)
    size, _ = narrow.compare(held_narrow)
    note = (
        f"both ways, not deflated; {len(held.document):,} objects, of the snapshot"
        f" {sizes[0] / held.size:.1%}; {len(held_narrow.document):,} with few fields:"
        f" {size:,}, {size / held_narrow.size:.1%}"
    )
    longest = f"hashes made anew; the longest step {everything.longest_s * 1e3:.1f} ms of processor"
    return {
        "compare_bytes": Measured(sizes[0], note=note),
        "compare_us_per_object": median_of(
            [s / len(held.document) * 1e6 for s in used_s],
            longest,
        ),
    }


def _change(store: Store, count: int) -> None:
    """Change one field of some VMs, and drop the history."""
    changed = []
    for entry in list(store.entries(XapiClass("VM")))[:count]:
        record = msgspec.json.decode(entry.raw)
        record["name_label"] = "changed meanwhile"
        changed.append(Upsert(entry.cls, entry.ref, msgspec.json.encode(record)))
    prepared = store.prepare(changed)
    while prepared.step():
        pass
    batch = store.commit(prepared, 0.0)
    if len(batch.changes) != count:
        raise BenchError("not all of them changed")
    store.journal.drop_oldest()

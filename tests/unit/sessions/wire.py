"""Talks to a hub as clients do, so that tests read like a trace of what goes over the wire."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.properties.replica import BINARY, TEXT, FrameReader
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything, Visibility
from xoproxy.model import Batch, PoolId, Ref, Removal, Upsert, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.messages import Limits
from xoproxy.sessions.session import Effect, Session
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.frames import SharedFraming

VM, HOST = XapiClass("VM"), XapiClass("host")
POOL = PoolId("p")
VMS = {"classes": ["VM"]}
SECRET = b"a key of thirty-two bytes, kept."


def ref(name: str) -> Ref:
    return Ref(f"OpaqueRef:{name}")


def upsert(name: str, cls=VM, **fields: Any) -> Upsert:
    return Upsert(cls, ref(name), json.dumps(fields).encode())


def removal(name: str) -> Removal:
    return Removal(ref(name))


class Person:
    """A user: what he may see of each pool; None for what does not exist for him."""

    name = "ada"
    role = "administrator"

    def __init__(self, rights: Visibility | None = None, hidden: Iterable[str] = ()) -> None:
        self.rights = rights or Everything()
        self.hidden = set(hidden)

    def visibility(self, pool: PoolId) -> Visibility | None:
        return None if pool in self.hidden else self.rights


class Line:
    """The far end of a connection: keeps what was written, and can be full."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.room: int | None = None
        self.closed: tuple[int, str] | None = None
        self.client: Client

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self.room is not None:
            self.room -= len(data)
            if self.room < 0:
                self.client.pause()

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


class Talker:
    """One client."""

    def __init__(self, desk: "Desk", person: Person, codec: Codec, limits: Limits) -> None:
        self.line = Line()
        self.client = self.line.client = Client(self.line, codec, desk.framing, deflate=False)
        self.session = Session("s1", desk.hub, self.client, person, limits, "xoproxy/test")
        self._desk = desk
        self._reader = FrameReader(BINARY if codec.binary else TEXT, deflate=False)

    def says(self, type_: str, **members: Any) -> Effect | None:
        return self.session.receive({"type": type_, **members})

    def subscribes(self, id_: Any = 1, query: Any = None, **members: Any) -> dict[str, Any]:
        """Subscribe, and return the only view."""
        self.says("subscribe", id=id_, query=query or VMS, **members)
        (answer,) = self.hears()
        assert answer["type"] == "subscribed", answer
        (view,) = answer["views"]
        return view

    def hears(self) -> list[dict[str, Any]]:
        """Return the messages that came since the last time."""
        writes, self.line.writes = self.line.writes, []
        decode = msgspec.msgpack.decode if self.client.codec.binary else msgspec.json.decode
        frames = [decode(p) for data in writes for p in self._reader.feed(data)]
        return [m for f in frames for m in (f if isinstance(f, list) else [f])]

    def hears_of(self, *types: str) -> list[dict[str, Any]]:
        return [m for m in self.hears() if m["type"] in types]

    def stalls(self) -> None:
        """Have its socket full from now on, with one byte in our own buffer."""
        self.line.room = 0
        self.client.pause()

    def drains(self) -> None:
        self.line.room = None
        self._desk.hub.drained(self.client)

    def leaves(self) -> None:
        self._desk.hub.disconnected(self.client)


class Desk:
    """A hub with one pool, and its driver."""

    def __init__(self, budget: JournalBudget | None = None, **sizes: Any) -> None:
        self.framing = SharedFraming()
        self.woken = 0
        self.may_fail = False
        sizes = {"idle_groups": 0} | sizes  # whoever comes again finds nothing, unless asked for
        self.hub = Hub(self.framing, TokenSigner(SECRET), self._wake, **sizes)
        self.budget = budget or JournalBudget()
        self.store = self.add_pool(POOL)

    def _wake(self) -> None:
        self.woken += 1

    def add_pool(self, pool: str, *, classes: Iterable[XapiClass] = (VM, HOST)) -> Store:
        store = Store(PoolId(pool), f"epoch-{pool}", self.budget)
        store.classes = frozenset(classes)
        self.hub.add_pool(store)
        return store

    def commit(self, *events: Any, store: Store | None = None) -> Batch:
        """Have a pool say something; the first time, it is loaded by it."""
        store = self.store if store is None else store
        prepared = store.prepare(events)
        while prepared.step():
            pass
        was_loaded = store.loaded
        batch = store.commit(prepared, store.seq)
        if was_loaded:
            self.hub.committed(batch)
        else:
            self.hub.loaded(store.pool)
        return batch

    def connect(
        self,
        person: Person | None = None,
        *,
        codec: Codec = Codec.JSON,
        limits: Limits | None = None,
    ) -> Talker:
        return Talker(self, person or Person(), codec, limits or Limits())

    def flush(self, steps: int = 10_000) -> None:
        """Take the steps of flushes until nothing is left to do."""
        for _ in range(100):
            if not self.hub.has_work:
                self._check_faults()
                return
            for _ in self.hub.flush():
                steps -= 1
                assert steps, "the flush does not end"
        raise AssertionError("there is always more to flush")

    def _check_faults(self) -> None:
        """Have a fault that was contained, but that no test provoked, fail the test."""
        if not self.may_fail:
            for fault in self.hub.take_faults():
                raise AssertionError(f"a fault in {fault.where}") from fault.error

    def bookmarks(self) -> None:
        for _ in self.hub.bookmarks():
            pass


def loaded(**sizes: Any) -> Desk:
    """Return a desk whose pool has VMs a and b on host h."""
    desk = Desk(**sizes)
    desk.commit(
        upsert("a", name_label="web", power_state="Running"),
        upsert("b", name_label="db", power_state="Halted"),
        upsert("h", HOST, name_label="host"),
    )
    return desk

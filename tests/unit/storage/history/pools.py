"""A pool to keep a history of: its store, what happens to it, and how it looks."""

import json

from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId, Ref, Removal, Upsert, XapiClass
from xoproxy.storage.history.pool_history import DiskBudget, PoolHistory

KEY = b"k" * 32
POOL = PoolId("p1")
VM = XapiClass("VM")


class Pool:
    """A store with a history, as the proxy keeps it."""

    def __init__(self, directory, total_bytes=1 << 30, budget=None):
        self.directory = directory
        self.budget = budget or JournalBudget()
        self.disk = DiskBudget(total_bytes, lambda: False)
        self.store = Store(POOL, "epoch", self.budget)
        self.store.classes = frozenset({VM})
        self.history = self.new_history()
        self.at_s = 0.0

    def new_history(self):
        return PoolHistory(self.directory / POOL, KEY, self.store, self.disk)

    def load(self, **records) -> None:
        self.commit(*(upsert(name, **record) for name, record in records.items()))

    def commit(self, *events) -> Batch:
        """Do what the watch and the sink do."""
        prepared = self.store.prepare(events)
        while prepared.step():
            pass
        first = not self.store.loaded
        self.at_s += 1
        batch = self.store.commit(prepared, self.at_s, f"token-{self.at_s}")
        if first:
            self.history.begin()
        elif batch.changes:
            self.history.append(batch)
        return batch

    def go_on(self, restored) -> None:
        self.store = restored.store
        self.history = self.new_history()
        self.history.go_on(restored)


def upsert(name: str, **record) -> Upsert:
    return Upsert(VM, Ref(f"OpaqueRef:{name}"), json.dumps(record).encode())


def removal(name: str) -> Removal:
    return Removal(Ref(f"OpaqueRef:{name}"))


def look(store: Store) -> dict:
    """Everything about a store that anybody could ever notice, spelling of JSON aside."""
    journal = store.journal
    return {
        "epoch": store.epoch,
        "seq": store.seq,
        "next_key": store.next_key,
        "token": store.xapi_token,
        "classes": store.classes,
        "tail": journal.tail,
        "bytes": journal.used_bytes,
        "entries": {
            cls: {e.ref: (e.key, e.cls, e.seq, json.loads(e.raw)) for e in store.entries(cls)}
            for cls in sorted(store.by_class.classes())
            if store.by_class.count(cls)
        },
        "changes": list(journal.since(journal.tail)),
    }

"""A recorded trace: a simulated pool's replies to `event.from`, the first of which lists it all.

Each reply ends a batch with a mark, a number that counts upwards in a text of the pool's record,
as in benchmarks/pool.py; so the mark of a batch is its number.
"""

from pathlib import Path

import msgspec

from benchmarks.estate import SEED, Estate
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.model import Batch, Event, Ref, Removal, Upsert
from xoproxy.pool import replies

_decode = msgspec.json.Decoder(replies.EventEnvelope).decode


def record(path: Path, estate: Estate, batches: int, changes: int) -> None:
    """Write so many batches to a file, each of so many writes: one reply a line, as XAPI has it."""
    churn = estate.churn(SEED)
    row = estate.db.refs("pool")[0]
    with path.open("wb") as file:
        for mark in range(batches + 1):
            made = 1
            while mark and made < changes:
                made += churn.step()
            estate.db.write("pool", row, "name_description", f"mark-{mark}")
            body = estate.reply()
            assert b"\n" not in body
            file.write(body + b"\n")


def commit(body: bytes, store: Store, at_s: float) -> Batch:
    """Take in a reply as a watch does, without its checks of the pool's health."""
    reply = _decode(body).result
    assert reply is not None
    prepared = store.prepare(map(_event, reply.events))
    while prepared.step():
        pass
    return store.commit(prepared, at_s)


def _event(told: replies.Event) -> Event:
    if told.operation == "del":
        return Removal(Ref(told.ref))
    cls = SCHEMA.proper_case(told.cls)
    assert cls is not None
    return Upsert(cls, Ref(told.ref), bytes(told.record))

"""Whatever a client still holds, digests lead it to what it may see, and show it nothing else."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties import digests, world
from tests.properties.replica import Document, Replica
from tests.properties.test_replica import Line, Reader, histories
from xoproxy.cache.query import parse_query
from xoproxy.cache.view import View
from xoproxy.sessions import compare
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import read_claim
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.group import Group
from xoproxy.sessions.messages import Digests

_buckets = st.sampled_from([1, 2, 4, 16, 1024])


@pytest.fixture(autouse=True, params=[1, 3, 100])
def slices(request, monkeypatch):
    monkeypatch.setattr(compare, "_SLICE", request.param)
    monkeypatch.setattr(compare, "_FOLDED_PER_STEP", request.param)


def seen_by(line: Line, rights: Any, codec: Codec) -> Line:
    """Return the same pool with another group on it."""
    other = copy.copy(line)
    query = parse_query(line.question.query())
    classes = line.view.classes
    other.rights, other.view = rights, View(classes, query.filter, query.masks, rights)
    group = line.group
    other.group = Group(
        1,
        line.routing,
        other.view,
        group.view_hash,
        codec,
        group._writer._framing,
        group._writer._signer,
    )
    line.routing.add(other.group)
    return other


class Returning:
    """A client that is back and offers to compare what it holds."""

    def __init__(self, line: Line, held: Document) -> None:
        self.line = line
        self.replica = Replica(binary=line.group.codec.binary, deflate=False)
        self.replica.will_subscribe(1, line.question, [held], compare=True)
        info = {
            "view": 1,
            "pool": held.pool,
            "epoch": held.epoch,
            "seq": line.group.position,
            "classes": held.classes,
            "mode": "compare",
        }
        self.replica._on_subscribed({"id": 1, "views": [info]})
        self.document = self.replica.documents[1]

    def asks(self, buckets: int) -> Delivery:
        message = self.replica.digests(self.document, buckets, spoilt=False)
        claim = read_claim(Digests(message["view"], message["buckets"], message["digests"]))
        return self.line.group.comparison(claim)

    def takes(self, delivery: Delivery) -> None:
        for frame in delivery.frames:
            self.replica.receive(frame.wire(deflate=False))

    def check(self, delivery: Delivery) -> None:
        assert self.document.complete
        assert self.document.position == delivery.to
        past = self.line.question.project(self.line.model.past[delivery.to], self.line.rights)
        assert digests.canonical(self.document.by_ref()) == digests.canonical(past)


@given(
    world.full_pools(),
    histories,
    histories,
    world.questions(),
    st.tuples(world.rights, world.rights),
    st.tuples(st.sampled_from(Codec), st.sampled_from(Codec)),
    st.lists(_buckets, min_size=1, max_size=3),
)
@example(  # nothing at all
    first=[],
    history=[[]],
    later=[[]],
    question=world.Question(("VM",)),
    rights=(world.EVERYTHING, world.EVERYTHING),
    codecs=(Codec.JSON, Codec.MSGPACK),
    asked=[1, 1024],
)
def test_a_comparison_leads_to_the_view(first, history, later, question, rights, codecs, asked):
    """Clients come back with what they saw under other rights, while the pool goes on."""
    line = Line(first, question, rights[0], codecs[0])
    held = Reader(line).replica.documents[1]
    for batch in history:
        line.commit(batch)
    line = seen_by(line, rights[1], codecs[1])
    clients = [(client := Returning(line, held), client.asks(buckets)) for buckets in asked]
    batches = iter(later)
    for _ in itertools.count():
        unfinished = [d for _, d in clients if not d.complete and not d.lost]
        if not unfinished:
            break
        for delivery in unfinished:
            delivery.step()
        if (batch := next(batches, None)) is not None:
            line.commit(batch)
    for client, delivery in clients:
        assert delivery.lost is None
        client.takes(delivery)
        client.check(delivery)


@given(world.full_pools(), world.questions(), world.rights, _buckets)
def test_who_holds_all_gets_nothing(first, question, rights, buckets):
    line = Line(first, question, rights)
    client = Returning(line, Reader(line).replica.documents[1])
    delivery = client.asks(buckets)
    while delivery.work is not None:
        delivery.step()
    client.takes(delivery)
    client.check(delivery)
    answer, bookmark = client.replica.messages
    assert (answer["type"], answer["buckets"], answer["rows"]) == ("snapshot", [], [])
    assert bookmark["type"] == "bookmark"

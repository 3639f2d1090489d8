"""A replica is the view: whatever the history, the query and the rights, at every position.

Here a group is asked directly for snapshots and patches, so that many histories are tried;
test_session_machine.py adds the hub, the clients and their misfortunes.
"""

import itertools
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties import world
from tests.properties.replica import Replica, canonical
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import View
from xoproxy.model import Change, PoolId
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import Delivery
from xoproxy.sessions.group import Group
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import TokenSigner, view_hash
from xoproxy.ws.frames import SharedFraming

histories = st.lists(world.batches, min_size=1, max_size=6)
_FRAMING = SharedFraming(threshold_bytes=64)
_SIGNER = TokenSigner(b"k" * 32)


class Line:
    """A pool with its past, and a group that shows it."""

    def __init__(
        self, first: Any, question: world.Question, rights: Any, codec=Codec.JSON, **sizes: int
    ) -> None:
        self.model = world.Model()
        self.question = question
        self.rights = rights
        self.store = Store(PoolId("p"), "epoch")
        self.store.classes = world.CLASSES
        self.commit(first)
        query = parse_query(question.query())
        self.view = View(query.for_classes(self.store.classes), query.filter, query.masks, rights)
        hash_ = view_hash(query.view_key, rights.scope, self.view.classes)
        self.routing = Routing(self.store)
        self.group = Group(1, self.routing, self.view, hash_, codec, _FRAMING, _SIGNER, **sizes)
        self.routing.add(self.group)

    def commit(self, batch: Any) -> tuple[Change, ...]:
        committed = world.play(self.store, self.model.apply(batch))
        self.model.committed(self.store.seq)
        if committed.changes and hasattr(self, "group"):
            self.routing.committed(committed)
        return committed.changes

    def advance(self) -> Delivery | None:
        """Let the group read what is new; return the patch if there is one."""
        before = self.group.position
        for _ in self.routing.route({}):
            pass
        for _ in self.group.advance():
            pass
        return self.group.patch_from(before) if self.group.position != before else None

    def expected(self, seq: int | None = None) -> str:
        pool = self.model.now if seq is None else self.model.past[seq]
        return canonical(self.question.project(pool, self.rights))


class Reader:
    """A client of one view."""

    def __init__(self, line: Line, *, deflate: bool = False) -> None:
        self.deflate = deflate
        self.replica = Replica(binary=line.group.codec.binary, deflate=deflate)
        self.replica.will_subscribe(1, line.question, [])
        self.replica._on_subscribed(
            {
                "id": 1,
                "views": [
                    {
                        "view": 1,
                        "pool": "p",
                        "epoch": "epoch",
                        "seq": line.group.position,
                        "classes": line.view.classes,
                        "mode": "snapshot",
                    }
                ],
            }
        )
        self.take(line.group.snapshot())

    def take(self, delivery: Delivery) -> None:
        while not delivery.complete:
            delivery.step()
        for frame in delivery.frames:
            self.replica.receive(frame.wire(deflate=self.deflate))

    @property
    def position(self) -> int:
        return self.replica.documents[1].position

    def held(self) -> str:
        return canonical(self.replica.documents[1].by_ref())


_VM_ON_A = {"tags": ["blue"], "resident_on": world.ref("host-a")}


@given(world.full_pools(), histories, world.questions(), world.rights, st.sampled_from(Codec))
# A filter looks through a reference at another one, whose target comes into sight.
@example(
    first=[("all", "vm-b", _VM_ON_A), ("all", "vbd-b", {"VM": world.ref("vm-b")})],
    history=[[("all", "host-a", {})]],
    question=world.Question(("VBD",), world.condition("VM.resident_on:null")),
    rights=world.RIGHTS[2],
    codec=Codec.JSON,
)
def test_a_snapshot_and_every_patch_are_the_view(first, history, question, rights, codec):
    line = Line(first, question, rights, codec)
    reader = Reader(line, deflate=True)
    assert reader.held() == line.expected()
    for batch in history:
        line.commit(batch)
        patch = line.advance()
        if patch is not None:
            reader.take(patch)
        assert reader.held() == line.expected()
        assert reader.position == line.group.position


@given(
    world.full_pools(),
    histories,
    world.questions(),
    world.rights,
    st.sampled_from([200, 65_536]),
)
def test_one_patch_is_as_good_as_the_sequence(first, history, question, rights, frame_bytes):
    """From every position at which a client may have stopped, one patch leads to the present."""
    line = Line(first, question, rights, frame_bytes=frame_bytes)
    stopped = []
    for batch in history:
        reader = Reader(line)
        stopped.append(reader)
        line.commit(batch)
        line.advance()
    for reader in stopped:
        if reader.position != line.group.position:
            reader.take(line.group.patch_from(reader.position))
        assert reader.held() == line.expected()


@given(world.full_pools(), histories, world.questions(), world.rights)
def test_a_snapshot_of_the_past_is_the_past(first, history, question, rights):
    """A group that has not read the latest history begins its members where it stands."""
    line = Line(first, question, rights)
    seq = line.store.seq
    for batch in history:
        line.commit(batch)
        reader = Reader(line)
        assert reader.position == seq
        assert reader.held() == line.expected(seq)
        line.group.forget_unused()


@given(world.full_pools(), histories, world.questions(), world.rights, st.integers(0, 12))
def test_a_snapshot_built_while_the_pool_changes_is_of_its_position(
    first, history, question, rights, pause
):
    line = Line(first, question, rights)
    delivery = line.group.snapshot()
    seq = line.group.position
    batches = iter(history)
    for number in itertools.count():
        if delivery.complete:
            break
        delivery.step()
        if number >= pause and (batch := next(batches, None)) is not None:
            line.commit(batch)
    reader = Reader(line)
    assert reader.position == seq
    assert reader.held() == line.expected(seq)

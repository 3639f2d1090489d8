"""The client library holds what a plain reading of the protocol holds, whatever happens.

Programs in the scenes of test_session_machine.py and test_window_machine.py read the same messages
with the library's core and with replica.py, which share nothing, over drops, resumes, comparisons,
moves and changes of rights. What the library tells of changes is applied to a mirror, which must
show the same again.
"""

import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.properties import digests, test_window_machine, world
from tests.properties.replica import Document, canonical
from tests.properties.scene import MANY, SLICES, Held, Peer, Scene
from xoproxy.client import digests as library_digests
from xoproxy.client.document import Document as LibraryDocument
from xoproxy.client.events import Changed, Comparing, Event
from xoproxy.client.protocol import Protocol
from xoproxy.client.replica import Replica

_SIZES: dict[str, list[int]] = {
    "journal_bytes": [1 << 20, 1 << 20, 6_000, 1_500, 0],
    "frame_bytes": [65_536, 400, 200],
    "chunk_bytes": [32_768, 150, 1],
    "slice_clients": [250, 2],
    "frames_total_bytes": [1 << 28, 3000],
    "slice_size": [50, 2],
    "threshold_bytes": [100, 0],
}


@pytest.fixture(autouse=True)
def slices(monkeypatch):
    """Put the sizes of slices back."""
    for module, names in {**SLICES, **test_window_machine._OURS}.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))


class Shadow:
    """The library's core, which reads what replica.py reads."""

    def __init__(self) -> None:
        self.protocol = Protocol()
        self.due: list[Replica] = []
        """Views whose digests the proxy waits for."""
        self._mirror: dict[tuple[Any, str | None], dict[str, Any]] = {}
        """What changes have told: by subscription and pool, by reference."""

    def follow(self, peer: Peer) -> None:
        """Read all that a peer reads."""
        judged = peer.replica._handle

        def handle(message):
            judged(message)
            self.note(self.protocol.receive(deepcopy(message)))
            assert self.protocol.faults == 0
            self._compare(peer)

        peer.replica._handle = handle  # type: ignore[method-assign]
        self.protocol.connected()

    def note(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Changed(slot, deltas):
                    shown = self._mirror.setdefault((slot.subscription.id, slot.pool), {})
                    for _, _, before, after in deltas:
                        if before is not None:
                            assert canonical(shown.pop(_identity(before))) == canonical(before)
                        if after is not None:
                            assert _identity(after) not in shown
                            shown[_identity(after)] = after
                case Comparing(replica):
                    self.due.append(replica)
                case _:
                    pass

    def _compare(self, peer: Peer) -> None:
        """Both hold the same, and so does whoever was told of changes only."""
        found = 0
        for document in peer.replica.documents.values():
            for id_ in document.subscriptions:
                found += 1
                slot = self.protocol.subscriptions[id_].slots[document.pool]
                assert slot.replica.number == document.view
                assert slot.replica.complete == document.complete
                if document.complete:
                    assert slot.replica.position == document.position
                    assert slot.shown is slot.replica.document
                    assert canonical(slot.shown.as_json()) == canonical(document.content)
        for subscription in self.protocol.subscriptions.values():
            for slot in subscription.slots.values():
                objects = {
                    _identity(members): members
                    for by_key in slot.shown.classes.values()
                    for members in by_key.values()
                }
                told = self._mirror.get((subscription.id, slot.pool), {})
                assert canonical(told) == canonical(objects)
                found -= slot.subscription.answered
        assert found == 0


class Program:
    """A program that uses the library, over all its connections."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.rng = rng
        self.shadow = Shadow()
        self.protocol = self.shadow.protocol
        self.questions: dict[int, world.Question] = {}
        self.peer: Peer | None = None
        self.rights: Held = rng.choice([world.EVERYTHING, *world.RIGHTS])
        self._held: dict[int, list[Document]] = {}
        """What replica.py held when the connection was lost."""

    def connect(self) -> None:
        self.peer = peer = self.scene.connect(
            binary=self.rng.random() < 0.5,
            deflate=self.rng.random() < 0.5,
            rights=self.rights,
            room=self.rng.choice([None, None, 0, 300]),
        )
        self.shadow.follow(peer)
        self._send()

    def subscribe(self, question: world.Question) -> None:
        id_ = len(self.questions) + 1
        self.questions[id_] = question
        pools = self.rng.choice([None, None, ["p"]])
        self.protocol.subscribe(question.query(pools), id_, compare=self.rng.random() < 0.5)
        self._send()

    def drop(self) -> None:
        assert self.peer is not None
        share = self.rng.choice([None, self.rng.random()])
        gone = self.scene.drop(self.peer, share)
        for id_, one in zip(self.peer.asked, gone, strict=True):
            if self.protocol.subscriptions[id_].answered:  # else what was held before still is
                self._held[id_] = one.documents
        self.rights = self.peer.held
        self.peer = None
        self.shadow.due.clear()
        self.shadow.note(self.protocol.disconnected())

    def say_digests(self) -> None:
        """Both must say the same of what they hold."""
        if self.peer is None:
            return
        for replica in self.shadow.due:
            message = replica.digests()
            document = self.peer.replica.documents.get(replica.number)
            if document is not None and document.claim == "due":
                said = self.peer.replica.digests(document, message["buckets"], spoilt=False)
                assert canonical(said) == canonical(message)
                self.peer.request(**message)
        self.shadow.due.clear()
        self.scene.check()

    def _send(self) -> None:
        while self.protocol.outgoing and self.peer is not None:
            message = self.protocol.outgoing.popleft()
            assert message["type"] == "subscribe"
            id_, points = message["id"], message.get("resume", [])
            question = self.questions[id_]
            held = self._held.get(id_, [])
            offered = [p for d in held if (p := d.resume_point) is not None]
            assert _ordered(offered) == _ordered([_point(p) for p in points])
            self.peer.asked[id_] = question
            self.peer.asked_ever[id_] = question, self.scene.now_s
            compare = any("compare" in point for point in points)
            self.peer.replica.will_subscribe(id_, question, held, compare=compare)
            self.peer.request(**message)
            self.scene.check()


def _identity(members: dict[str, Any]) -> str:
    return f"{members.get('$pool')}/{members['$ref']}"


def _point(point: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != "compare"}


def _ordered(points: list[dict[str, Any]]) -> list[str]:
    return sorted(map(canonical, points))


class Story:
    """Random steps, the likely ones more often."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.scene = Scene(**{name: self.rng.choice(v) for name, v in _SIZES.items()})
        self.popular = [world.random_question(self.rng) for _ in range(2)]
        records = [("all", name, world.random_record(self.rng, name)) for name in world.OBJECTS]
        self.scene.commit("p", records)
        self.programs = [Program(self.scene, self.rng) for _ in range(3)]
        # the scene lets everybody catch up in the end; what digests are said is the library's
        self.scene.say_digests = lambda *_: self.say_digests()  # type: ignore[method-assign]

    def play(self, length: int) -> None:
        steps = {
            self.commit: 40,
            self.come_or_go: 12,
            self.subscribe: 8,
            self.pace: 10,
            self.change_rights: 4,
            self.say_digests: 12,
            self.mark: 4,
            self.scene.toggle_a_pool: 1,
        }
        for _ in range(length):
            self.rng.choices(list(steps), list(steps.values()))[0]()
            self.scene.flush(self.rng.choice([0, 1, 3, 8, MANY]))
        self.say_digests()
        self.scene.end()

    def commit(self) -> None:
        batch = [world.random_edit(self.rng) for _ in range(self.rng.choice([1, 1, 2, 6]))]
        self.scene.commit(self.rng.choice("pppq"), batch)

    def come_or_go(self) -> None:
        program = self.rng.choice(self.programs)
        if program.peer is None:
            program.connect()
        else:
            program.drop()

    def subscribe(self) -> None:
        program = self.rng.choice(self.programs)
        if len(program.questions) < 3:
            program.subscribe(self.rng.choice(self.popular))

    def pace(self) -> None:
        program = self.rng.choice(self.programs)
        if program.peer is not None:
            room = self.rng.choice([0, 200, None, None])
            self.scene.pace(program.peer, room, takes=self.rng.random() < 0.7)

    def change_rights(self) -> None:
        program = self.rng.choice(self.programs)
        if program.peer is not None:
            self.scene.change_rights(program.peer, self.rng.choice(world.RIGHTS))

    def say_digests(self) -> None:
        for program in self.programs:
            program.say_digests()

    def mark(self) -> None:
        self.scene.mark(self.rng.randrange(1, 6))


class WindowStory(test_window_machine.Storm):
    """The storm of test_window_machine.py; everybody in it is shadowed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._connect = self.scene.connect
        self.scene.connect = self._shadowed  # type: ignore[method-assign]

    def _shadowed(self, **options: Any) -> Peer:
        peer = self._connect(**options)
        shadow = Shadow()
        shadow.follow(peer)
        request = peer.request

        def mirrored(**message: Any) -> None:
            protocol, id_ = shadow.protocol, message["id"]
            match message["type"]:
                case "subscribe":
                    protocol.subscribe(message["query"], id_)
                case "window":
                    protocol.move_window(protocol.subscriptions[id_], *message["window"])
                case "unsubscribe":
                    protocol.unsubscribe(protocol.subscriptions[id_])
            assert protocol.outgoing.pop()["type"] == message["type"]
            request(**message)

        peer.request = mirrored  # type: ignore[method-assign]
        return peer


@given(st.integers(0, 2**32), st.integers(1, 100))
@settings(max_examples=25)
def test_windows_hold_what_the_protocol_says(seed, length):
    WindowStory(seed).play(length)


@given(st.integers(0, 2**32), st.integers(1, 150))
@settings(max_examples=40)
@example(seed=3199073700, length=150)  # an object that was out of sight came with another key
def test_programs_hold_what_the_protocol_says(seed, length):
    Story(seed).play(length)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('a\u0000"é~/\uffee\U0001f600'), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_values)
def test_canonical_texts_are_those_of_the_specification(value):
    assert library_digests.canonical(value).decode() == digests.canonical(value)


@given(
    st.dictionaries(st.text("ab", min_size=1, max_size=3), _values, max_size=20),
    st.sampled_from([1, 2, 16, 256]),
)
def test_digests_are_those_of_the_specification(objects, buckets):
    content = {"VM": {key: {"$ref": key, "value": value} for key, value in objects.items()}}
    document = LibraryDocument(["VM"])
    document.classes.update(content)
    assert library_digests.digests(document, buckets) == digests.digests(content, buckets)

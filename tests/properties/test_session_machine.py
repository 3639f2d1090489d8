"""Whatever happens, in whatever order: every client holds exactly what it may see, never more.

Two ways into the same scene (scene.py): a state machine, whose failures shrink to a few steps, and
a storm of weighted random steps, which gets further in the same time. A failing storm is repeated
by its seed and length.
"""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from tests.properties import machine, standings, storm, world
from tests.properties.scene import MANY, SLICES, Scene

_SIZES = {**storm.SIZES, "idle_groups": [256, 1, 0]}
_BUCKETS = [1, 2, 4, 16, 256]
_buckets = st.sampled_from(_BUCKETS)
_SPOILS = [*[""] * 12, "length", "buckets", "base64"]
_spoils = st.sampled_from(_SPOILS)
_FORGED = ["", "AA", "x" * 600, "é"]


@pytest.fixture(autouse=True)
def slices(monkeypatch):
    """Put the sizes of slices back."""
    for module, names in SLICES.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))


class Machine(machine.Machine[Scene]):
    @initialize(
        sizes=machine.sizes(_SIZES),
        first=world.full_pools(),
        popular=world.questions(),
        audience=st.lists(
            st.tuples(st.booleans(), st.booleans(), machine.held, machine.rooms),
            min_size=1,
            max_size=4,
        ),
    )
    def begin(self, sizes, first, popular, audience):
        self.scene = scene = Scene(**sizes)
        self.popular = popular
        scene.commit("p", first)
        for binary, deflate, rights, room in audience:
            peer = scene.connect(binary=binary, deflate=deflate, rights=rights, room=room)
            scene.subscribe(peer, popular)
        scene.flush(MANY)

    @rule(name=st.sampled_from("pppq"), batches=machine.batches, relisted=machine.relisted)
    def commit(self, name, batches, relisted):
        self.commit_all(name, batches, relisted)

    @precondition(lambda self: len(self.here.peers) < 5)
    @rule(
        ends=st.tuples(st.booleans(), st.booleans(), machine.held, machine.rooms),
        questions=st.lists(st.none() | world.questions(), min_size=1, max_size=3),
        pools=machine.pools,
        steps=machine.steps,
    )
    def connect(self, ends, questions, pools, steps):
        """Somebody comes and asks what everybody asks, or something of his own."""
        binary, deflate, rights, room = ends
        peer = self.here.connect(binary=binary, deflate=deflate, rights=rights, room=room)
        for question in questions:
            self.here.subscribe(peer, question or self.popular, pools)
        self.here.flush(steps)

    @precondition(lambda self: self.here.peers)
    @rule(data=st.data(), question=world.questions(), pools=machine.pools)
    def subscribe(self, data, question, pools):
        peer = self.any_peer(data)
        if len(peer.asked) < 4:
            if peer.asked and data.draw(st.booleans()):
                question = data.draw(st.sampled_from(list(peer.asked.values())))
            self.here.subscribe(peer, question, pools)

    @rule(changes=st.lists(standings.changes, min_size=1, max_size=3), steps=machine.steps)
    def administer(self, changes, steps):
        """Accounts, groups, roles and grants change, and what all see who are concerned."""
        for change in changes:
            self.here.administer(change)
            self.here.flush(steps)

    @precondition(lambda self: self.here.peers)
    @rule(
        data=st.data(),
        share=st.none() | st.floats(0, 1),
        at_once=st.none() | st.booleans(),
        steps=machine.steps,
    )
    def drop(self, data, share, at_once, steps):
        """A connection is cut; the client may be back before anything else happens."""
        peer = self.any_peer(data)
        absent = self.here.drop(peer, share)
        if at_once is None:
            self.here.absent += absent
        else:
            deflate, rights = peer.client.deflate, peer.held
            again = self.here.connect(binary=at_once, deflate=deflate, rights=rights, room=None)
            for one in absent:
                self.here.subscribe(again, one.question, documents=one.documents)
        self.here.flush(steps)

    @precondition(lambda self: self.here.absent and len(self.here.peers) < 6)
    @rule(
        data=st.data(),
        ends=st.tuples(st.booleans(), st.booleans(), st.none() | machine.held, machine.rooms),
        compare=st.booleans(),
        steps=machine.steps,
    )
    def come_back(self, data, ends, compare, steps):
        """Somebody is back, perhaps with other rights."""
        absent = data.draw(st.sampled_from(self.here.absent))
        self.here.absent.remove(absent)
        binary, deflate, rights, room = ends
        rights = rights or absent.held
        peer = self.here.connect(binary=binary, deflate=deflate, rights=rights, room=room)
        documents = absent.documents
        self.here.subscribe(peer, absent.question, documents=documents, compare=compare)
        self.here.flush(steps)

    @precondition(lambda self: any(peer.replica.due for peer in self.here.peers))
    @rule(data=st.data(), buckets=_buckets, spoil=_spoils, steps=machine.steps)
    def say_digests(self, data, buckets, spoil, steps):
        peer = data.draw(st.sampled_from([p for p in self.here.peers if p.replica.due]))
        self.here.say_digests(peer, buckets, spoil)
        self.here.flush(steps)

    @precondition(lambda self: self.here.peers)
    @rule(data=st.data(), question=world.questions(), forged=st.sampled_from(_FORGED))
    def do_something_rare(self, data, question, forged):
        match data.draw(st.sampled_from(["ping", "pool", "foreign"])):
            case "ping":
                self.any_peer(data).request(type="ping")
            case "pool":
                self.here.toggle_a_pool()
            case "foreign" if self.here.absent:
                peer, absent = self.any_peer(data), self.here.absent[0]
                if len(peer.asked) < 4:
                    self.here.hand_in_foreign_tokens(peer, question, absent, forged)

    @rule(flush=machine.steps, mark=st.integers(0, 5))
    def drive(self, flush, mark):
        self.here.flush(flush)
        self.here.mark(mark)


def test_every_client_holds_exactly_what_it_may_see():
    run_state_machine_as_test(
        Machine,
        settings=settings(settings.default, max_examples=machine.share(2), stateful_step_count=30),
    )


class Storm(storm.Storm[Scene]):
    """Random steps on a scene of views."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, self._make, "ppppq")
        one, other = (world.random_question(self.rng) for _ in range(2))
        self.popular = [replace(one, condition=None), other]
        self.steps |= {
            self.commit: 45,
            self.administer: 8,
            self.connect: 10,
            self.drop: 10,
            self.come_back: 10,
            self.say_digests: 8,
            self.subscribe: 4,
            self.mark: 2,
            self.ping: 1,
            self.hand_in_foreign_tokens: 1,
        }

    @staticmethod
    def _make(rng: random.Random) -> Scene:
        return Scene(**{name: rng.choice(values) for name, values in _SIZES.items()})

    def question(self) -> world.Question:
        if self.rng.random() < 0.7:
            return self.rng.choice(self.popular)
        return world.random_question(self.rng)

    def connect(self) -> None:
        if len(self.scene.peers) < 6:
            peer = self.somebody_new()
            for _ in range(self.rng.choice([1, 1, 2])):
                self.scene.subscribe(peer, self.question(), self.rng.choice([None, ["p"]]))

    def drop(self) -> None:
        if len(self.scene.peers) > 1 and (peer := self.somebody()):
            gone = self.scene.drop(peer, self.rng.choice([None, self.rng.random()]))
            if self.rng.random() < 0.3:
                again = self.somebody_new(peer.held)
                for one in gone:
                    self.scene.subscribe(again, one.question, documents=one.documents)
            else:
                self.scene.absent.extend(gone)

    def come_back(self) -> None:
        absent = self.scene.absent
        if absent and len(self.scene.peers) < 6:
            one = absent.pop(self.rng.randrange(len(absent)))
            compare = self.rng.random() < 0.5
            peer = self.somebody_new(one.held if self.rng.random() < 0.7 else None)
            self.scene.subscribe(peer, one.question, documents=one.documents, compare=compare)
            if compare and self.rng.random() < 0.5:
                self.say_digests()

    def say_digests(self) -> None:
        for peer in self.scene.peers:
            self.scene.say_digests(peer, self.rng.choice(_BUCKETS), self.rng.choice(_SPOILS))

    def subscribe(self) -> None:
        if (peer := self.somebody()) and len(peer.asked) < 4:
            self.scene.subscribe(peer, self.question(), self.rng.choice([None, ["p"]]))

    def mark(self) -> None:
        self.scene.mark(self.rng.randrange(1, 6))

    def ping(self) -> None:
        if peer := self.somebody():
            peer.request(type="ping")

    def hand_in_foreign_tokens(self) -> None:
        peer, absent = self.somebody(), self.scene.absent
        if peer and absent and len(peer.asked) < 4:
            self.scene.hand_in_foreign_tokens(
                peer, self.question(), self.rng.choice(absent), self.rng.choice(_FORGED)
            )


def test_other_rights_act_at_once_whatever_the_rate():
    scene = Scene(**{name: sizes[0] for name, sizes in _SIZES.items()})
    rng = random.Random(1)
    scene.commit("p", [("all", name, world.random_record(rng, name)) for name in world.OBJECTS])
    peer = scene.connect(binary=False, deflate=False, rights=world.EVERYTHING, room=None)
    scene.subscribe(peer, world.Question(("*",), None, (), rate=0.7))
    scene.flush(MANY)
    for rights in world.RIGHTS[1:]:
        scene.change_rights(peer, rights)
        scene.flush(5)
        scene.flush(5)
    scene.end()


@given(st.integers(0, 2**32), st.integers(1, 400))
@settings(max_examples=machine.share(1))
def test_no_storm_leaves_a_client_astray(seed, length):
    Storm(seed).play(length)

"""Whatever happens: a window shows exactly the part of the list that it should, and the counts.

The ways into the scene are those of test_session_machine.py: a state machine, whose failures shrink
to a few steps, and a storm of weighted random steps.
"""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from tests.properties import machine, standings, storm, window_world, world
from tests.properties.scene import MANY, SLICES
from tests.properties.window_scene import WindowScene
from xoproxy.cache import listing, ordered_list
from xoproxy.sessions import window_content, window_group, window_work

_OURS = {
    listing: ["_SLICE"],
    window_content: ["_SLICE"],
    window_group: ["_SLICE", "_CONTENTS_KEPT", "_PATCHES_KEPT"],
    window_work: ["_ROWS_PER_STEP", "_BUILT_PER_TURN"],
    ordered_list: ["_BLOCK"],
}


@pytest.fixture(autouse=True)
def slices(monkeypatch):
    """Put the sizes of slices back."""
    for module, names in {**SLICES, **_OURS}.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))


def _scene(sizes: dict[str, int]) -> WindowScene:
    for module, names in _OURS.items():
        for name in names:
            setattr(module, name, max(2, sizes["slice_size"]))
    return WindowScene(**sizes)


class Machine(machine.Machine[WindowScene]):
    @initialize(
        sizes=machine.sizes(storm.SIZES),
        first=world.full_pools(),
        second=world.full_pools(),
        popular=window_world.questions,
        audience=st.lists(
            st.tuples(st.booleans(), machine.held, machine.rooms, window_world.spans),
            min_size=1,
            max_size=4,
        ),
    )
    def begin(self, sizes, first, second, popular, audience):
        self.scene = scene = _scene(sizes)
        self.popular = popular
        scene.commit("p", first)
        for binary, rights, room, span in audience:
            peer = scene.connect(binary=binary, deflate=False, rights=rights, room=room)
            scene.look(peer, popular, span)
        scene.flush(MANY)
        scene.commit("q", second)

    @rule(name=st.sampled_from("ppqq"), batches=machine.batches, relisted=machine.relisted)
    def commit(self, name, batches, relisted):
        self.commit_all(name, batches, relisted)

    @precondition(lambda self: len(self.here.peers) < 5)
    @rule(
        ends=st.tuples(st.booleans(), st.booleans(), machine.held, machine.rooms),
        looks=st.lists(
            st.tuples(st.none() | window_world.questions, window_world.spans),
            min_size=1,
            max_size=3,
        ),
        pools=machine.pools,
        steps=machine.steps,
    )
    def connect(self, ends, looks, pools, steps):
        binary, deflate, rights, room = ends
        peer = self.here.connect(binary=binary, deflate=deflate, rights=rights, room=room)
        for question, span in looks:
            self.here.look(peer, question or self.popular, span, pools)
        self.here.flush(steps)

    @precondition(lambda self: self.here.peers)
    @rule(data=st.data(), question=world.questions(), pools=machine.pools)
    def subscribe(self, data, question, pools):
        """Somebody looks at a whole view, too."""
        peer = self.any_peer(data)
        if len(peer.asked) < 4:
            self.here.subscribe(peer, question, pools)

    @precondition(lambda self: any(self.here.windows_of(peer) for peer in self.here.peers))
    @rule(
        data=st.data(),
        spans=st.lists(window_world.spans, min_size=1, max_size=3),
        steps=machine.steps,
    )
    def move(self, data, spans, steps):
        peer = data.draw(st.sampled_from([p for p in self.here.peers if self.here.windows_of(p)]))
        id_ = data.draw(st.sampled_from(self.here.windows_of(peer)))
        for span in spans:
            self.here.move(peer, id_, span)
        self.here.flush(steps)

    @precondition(lambda self: len(self.here.peers) > 1)
    @rule(data=st.data(), share=st.none() | st.floats(0, 1))
    def drop(self, data, share):
        self.here.drop(self.any_peer(data), share)

    @rule(change=standings.changes, steps=machine.steps)
    def administer(self, change, steps):
        self.here.administer(change)
        self.here.flush(steps)

    @rule(steps=machine.steps)
    def toggle_a_pool(self, steps):
        self.here.toggle_a_pool()
        self.here.flush(steps)

    @rule(flush=machine.steps)
    def drive(self, flush):
        self.here.flush(flush)


def test_every_window_shows_what_it_should():
    run_state_machine_as_test(
        Machine,
        settings=settings(settings.default, max_examples=machine.share(2), stateful_step_count=25),
    )


class Storm(storm.Storm[WindowScene]):
    """Random steps on a scene of windows."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, self._make, "ppq")
        one, other = (window_world.random_question(self.rng) for _ in range(2))
        self.popular = [replace(one, condition=None), other]
        self.steps |= {
            self.commit: 40,
            self.administer: 5,
            self.move: 20,
            self.connect: 10,
            self.drop: 5,
            self.look: 4,
            self.subscribe: 2,
            self.toggle_a_pool: 2,
        }

    @staticmethod
    def _make(rng: random.Random) -> WindowScene:
        return _scene({name: rng.choice(values) for name, values in storm.SIZES.items()})

    def connect(self) -> None:
        if len(self.scene.peers) < 6:
            self.somebody_new()
            self.look()

    def look(self) -> None:
        if (peer := self.somebody()) and len(peer.asked) < 4:
            question = self.rng.choice(self.popular)
            if self.rng.random() < 0.3:
                question = window_world.random_question(self.rng)
            pools: Any = self.rng.choice([None, None, ["p"]])
            self.scene.look(peer, question, self.rng.choice(window_world.SPANS), pools)

    def subscribe(self) -> None:
        if (peer := self.somebody()) and len(peer.asked) < 4:
            self.scene.subscribe(peer, world.random_question(self.rng))

    def move(self) -> None:
        if (peer := self.somebody()) and (ids := self.scene.windows_of(peer)):
            for _ in range(self.rng.choice([1, 1, 2])):
                self.scene.move(peer, self.rng.choice(ids), self.rng.choice(window_world.SPANS))

    def drop(self) -> None:
        if len(self.scene.peers) > 1 and (peer := self.somebody()):
            self.scene.drop(peer, self.rng.choice([None, self.rng.random()]))


@given(st.integers(0, 2**32), st.integers(1, 150))
@example(6153347, 60)  # all windows on a list go while the first of them takes up news
@settings(max_examples=machine.share(2))
def test_no_storm_shows_a_wrong_window(seed, length):
    Storm(seed).play(length)

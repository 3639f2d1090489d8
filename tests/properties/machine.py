"""Rules for a scene, whatever is looked at in it; Hypothesis draws what happens."""

from typing import Generic

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.properties import storm, world
from tests.properties.scene import MANY

steps = st.sampled_from([0, 0, 1, 2, 3, 5, 8, MANY, MANY, MANY])
"""How far the driver comes before the next thing happens."""
rooms = st.sampled_from(storm.ROOMS)
pools = st.sampled_from([None, None, ["p"]])
held = st.sampled_from(storm.RIGHTS)
batches = st.lists(st.tuples(world.batches, steps), min_size=1, max_size=4)
relisted = st.just(()) | st.lists(st.sampled_from(sorted(world.CLASSES)), min_size=1)


def sizes(choices: dict[str, list[int]]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in choices.items()}
    )


def share(part: int) -> int:
    """Return a part of the examples that the profile asks for: each of these is a long one."""
    assert settings.default is not None
    return max(1, settings.default.max_examples // part)


class Machine(RuleBasedStateMachine, Generic[storm.SceneT]):
    """What all state machines have in common; their `begin` makes the scene."""

    scene: storm.SceneT | None = None

    @property
    def here(self) -> storm.SceneT:
        assert self.scene is not None
        return self.scene

    def any_peer(self, data):
        return data.draw(st.sampled_from(self.here.peers))

    def commit_all(self, name, batches, relisted):
        for batch, steps in batches:
            self.here.commit(name, batch, relisted)
            self.here.flush(steps)

    @precondition(lambda self: any(peer.asked for peer in self.here.peers))
    @rule(data=st.data())
    def unsubscribe(self, data):
        peer = data.draw(st.sampled_from([p for p in self.here.peers if p.asked]))
        self.here.unsubscribe(peer, data.draw(st.sampled_from(list(peer.asked))))

    @precondition(lambda self: self.here.peers)
    @rule(
        data=st.data(),
        room=st.sampled_from([0, 0, 200, 500, None]),
        takes=st.booleans(),
        steps=steps,
    )
    def pace(self, data, room, takes, steps):
        self.here.pace(self.any_peer(data), room, takes=takes)
        self.here.flush(steps)

    @precondition(lambda self: self.here.peers)
    @rule(data=st.data(), rights=held, steps=steps)
    def change_rights(self, data, rights, steps):
        """Somebody may see more, less or something else, whatever he is getting at the moment."""
        self.here.change_rights(self.any_peer(data), rights)
        self.here.flush(steps)

    def teardown(self):
        if self.scene is not None:
            self.scene.end()

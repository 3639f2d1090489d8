"""Random steps on a scene, the likely ones more often than the odd ones."""

import random
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.properties import standings, world
from tests.properties.scene import MANY, Held, Peer, Scene

SceneT = TypeVar("SceneT", bound=Scene)

RIGHTS: list[Held] = [*[world.EVERYTHING] * 6, *world.RIGHTS, *standings.ACCOUNTS * 4]
ROOMS: list[int | None] = [None, None, None, 0, 300]
"""How many bytes may wait for somebody; None for any number."""
SIZES = {
    "journal_bytes": [1 << 20, 1 << 20, 1 << 20, 6_000, 1_500, 300, 0],
    "frame_bytes": [65_536, 400, 200],
    "chunk_bytes": [32_768, 150, 1],
    "slice_clients": [250, 2, 1],
    "frames_total_bytes": [1 << 28, 3000, 1],
    "slice_size": [50, 2, 1],
    "threshold_bytes": [100, 0],
}
"""What a scene may be made with: enough for everything first, then less and less."""


class Storm(Generic[SceneT]):
    """What all kinds of storms have in common.

    Args:
        seed: decides everything.
        make: makes the scene, empty.
        pools: names, as often as a pool shall be chosen.
    """

    def __init__(
        self,
        seed: int,
        make: Callable[[random.Random], SceneT],
        pools: str,
    ) -> None:
        self.rng = random.Random(seed)
        self.scene = make(self.rng)
        self.steps: dict[Callable[[], None], int] = {
            self.pace: 15,
            self.change_rights: 4,
            self.interrupt: 3,
            self.unsubscribe: 3,
            self.toggle_a_pool: 1,
        }
        self._pools = pools
        self._chosen: Peer | None = None
        self._loads = self.rng.choice([[0, 0, 200, None, None], [0, 200, *[None] * 12]])
        """How many bytes may wait for somebody whose pace changes."""
        records = [("all", name, world.random_record(self.rng, name)) for name in world.OBJECTS]
        self.scene.commit("p", records)
        if self.rng.random() < 0.6:
            for change in standings.ALL_ARE_VIEWERS:
                self.scene.administer(change)
        for _ in range(self.rng.choice([0, 8, 20])):
            self.administer()

    def connect(self) -> None:
        """Have somebody connect and ask for something."""
        raise NotImplementedError

    def play(self, length: int) -> None:
        for _ in range(self.rng.choice([1, 2, 4])):
            self.connect()
        steps, weights = list(self.steps), list(self.steps.values())
        for _ in range(length):
            self.rng.choices(steps, weights)[0]()
            self.scene.flush(self.rng.choice([0, 0, 1, 2, 3, 5, 8, 20, MANY]))
        self.scene.end()

    def somebody(self) -> Peer | None:
        if self._chosen in self.scene.peers:
            return self._chosen
        return self.rng.choice(self.scene.peers) if self.scene.peers else None

    def somebody_new(self, rights: Held | None = None) -> Peer:
        return self.scene.connect(
            binary=self.rng.random() < 0.5,
            deflate=self.rng.random() < 0.5,
            rights=rights or self.rng.choice(RIGHTS),
            room=self.rng.choice(ROOMS),
        )

    def commit(self) -> None:
        relisted = self.rng.sample(sorted(world.CLASSES), 2) if self.rng.random() < 0.15 else ()
        count = self.rng.choice([1, 1, 1, 2, 3, 6])
        batch = [world.random_edit(self.rng) for _ in range(count)]
        self.scene.commit(self.rng.choice(self._pools), batch, relisted)

    def pace(self) -> None:
        if peer := self.somebody():
            room = self.rng.choice(self._loads)
            self.scene.pace(peer, room, takes=room is None or self.rng.random() < 0.7)

    def change_rights(self) -> None:
        if peer := self.somebody():
            self.scene.change_rights(peer, self.rng.choice(RIGHTS))

    def administer(self) -> None:
        self.scene.administer(standings.random_change(self.rng))

    def unsubscribe(self) -> None:
        if (peer := self.somebody()) and peer.asked:
            self.scene.unsubscribe(peer, self.rng.choice(list(peer.asked)))

    def toggle_a_pool(self) -> None:
        self.scene.toggle_a_pool()

    def interrupt(self) -> None:
        """Have things happen to somebody one of whose frames waits for those of his other views."""
        self.commit()
        self._chosen = self.scene.flush_until_gathered()
        if self._chosen is not None:
            for step in self.rng.choices(list(self.steps), k=self.rng.choice([1, 2, 2, 3])):
                step()
        self._chosen = None

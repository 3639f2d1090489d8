"""Whatever was granted to whom: what a user is told holds nothing that he may not see.

What many steps do to clients is in test_session_machine.py and test_window_machine.py, which play
accounts, groups, roles and grants, too. Here, random grants on a random pool are judged by plain
Python (standings.py), and the bytes that a user gets are searched as they are.
"""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.properties import standings, window_world, world
from tests.properties.replica import BINARY, TEXT, FrameReader, canonical
from tests.properties.scene import MANY, Scene
from tests.properties.window_scene import WindowScene
from xoproxy.auth.directory import Directory
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import Eyes, View, Visibility
from xoproxy.model import PoolId, Ref, XapiClass

_SIZES = {
    "journal_bytes": 1 << 20,
    "frame_bytes": 65_536,
    "chunk_bytes": 32_768,
    "slice_clients": 250,
    "slice_size": 50,
    "threshold_bytes": 0,
}
_VM = XapiClass("VM")
_histories = st.lists(standings.changes, max_size=25)
_everything = world.Question(("*",))
_ON_SECRETS = [
    world.Question(("*",), world.condition(text))
    for text in ("other_config.secret-x:v", "name_description:n", "VBDs:null")
]


def _administered(changes: Iterable[standings.Change]) -> Directory:
    directory = standings.new_directory()
    for change in changes:
        standings.play(directory, change)
    return directory


def _pool(records: Any) -> tuple[world.Pool, Store]:
    model = world.Model("p")
    store = Store(PoolId("p"), "epoch", JournalBudget(1 << 20, 1 << 20, age_s=1e9))
    world.play(store, model.apply(records))
    store.classes = world.CLASSES
    for _ in store.index_references():
        pass
    return model.now, store


def _eyes(visibility: Visibility, store: Store) -> Eyes:
    return Eyes(View(tuple(sorted(world.CLASSES)), None, (), visibility), State(store, store.seq))


@given(_histories, world.full_pools())
def test_grants_come_to_what_they_say(changes, records):
    """Grant by grant, in plain Python, and as the product adds them up: the same is seen."""
    directory = _administered(changes)
    pool, store = _pool(records)
    for name in standings.ACCOUNTS:
        held = standings.held_by(directory, name)
        expected = {r for r in pool if standings.may_see(held, "p", pool, r)}
        visibility = directory.rights(name).visibility(PoolId("p"))
        if visibility is None:
            assert expected == set()
            continue
        eyes = _eyes(visibility, store)
        assert {r for r in pool if eyes.sees(Ref(r))} == expected
        shows = visibility.shows_key(_VM, "other_config", "my_secret")
        assert shows == standings.sees_secrets(held, "p")


# --- bytes ----------------------------------------------------------------------------------------

_NAMES = {
    text.encode() for name in world.OBJECTS for text in (world.ref(name), world.uuid_of(name))
}


class Tap:
    """All that was written to a user, as bytes, inflated where it was deflated."""

    def __init__(self, scene: Scene, name: str, *, binary: bool, deflate: bool) -> None:
        self.peer = scene.connect(binary=binary, deflate=deflate, rights=name, room=None)
        self._reader = FrameReader(BINARY if binary else TEXT, deflate=deflate)
        self._binary = binary
        self.payloads: list[bytes] = []
        outlet = self.peer.outlet
        self._write = outlet.write
        outlet.client.put = outlet.write = self.write  # type: ignore[method-assign]

    def write(self, data: bytes) -> None:
        self.payloads += self._reader.feed(data)
        self._write(data)

    def take(self) -> bytes:
        """Return the bytes since the last time."""
        payloads, self.payloads = self.payloads, []
        return b"\n".join(payloads)


def _visible(scene: Scene, name: str) -> bytes:
    """Write down all that an account may see of all pools, in plain Python."""
    found = []
    for pool in scene.pools:
        visibility = scene.directory.rights(name).visibility(PoolId(pool))
        now = scene.pools[pool].model.now
        if visibility is not None:
            found += [(r, world.permitted(now, visibility, r)) for r in now]
    return canonical([one for one in found if one[1] is not None]).encode()


def _traces(data: bytes) -> set[bytes]:
    marks = world.MARKS.findall(data.decode(errors="replace"))
    return {mark.encode() for mark in marks} | {name for name in _NAMES if name in data}


@given(
    st.lists(standings.changes, min_size=3, max_size=25),
    world.full_pools(),
    world.full_pools(),
    st.tuples(st.booleans(), st.booleans()),
    st.lists(world.questions(), max_size=2),
)
def test_a_snapshot_has_not_one_byte_of_what_may_not_be_seen(changes, first, second, codec, asked):
    scene = Scene(**_SIZES)
    scene.commit("p", first)
    scene.commit("q", second)
    for change in changes:
        scene.administer(change)
    for name in standings.ACCOUNTS:
        tap = Tap(scene, name, binary=codec[0], deflate=codec[1])
        for question in (_everything, *asked):
            scene.subscribe(tap.peer, question)
        scene.flush(MANY)
        told, may = tap.take(), _visible(scene, name)
        assert _traces(told) <= _traces(may)
        if not standings.held_by(scene.directory, name):
            assert _traces(told) == set()
            assert not tap.peer.replica.documents
    scene.end()


@given(
    st.lists(standings.changes, min_size=3, max_size=20),
    world.full_pools(),
    st.lists(world.batches, min_size=1, max_size=4),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from([None, 0, 200]),
)
def test_after_everything_was_taken_nothing_more_is_told(changes, first, later, codec, room):
    """Also to who is stalled, with frames waiting; also to who comes back with his old tokens."""
    scene = Scene(**_SIZES)
    scene.commit("p", first)
    for change in changes:
        scene.administer(change)
    taps = [Tap(scene, n, binary=codec[0], deflate=codec[1]) for n in standings.ACCOUNTS]
    for tap in taps:
        scene.subscribe(tap.peer, _everything)
        scene.flush(MANY)
        tap.peer.read()
        scene.mark(50)
        scene.pace(tap.peer, room, takes=False)
    for batch in later:
        scene.commit("p", batch)
        scene.flush(2)
    for grant in list(scene.directory.grants):
        scene.administer(standings.Change("ungrant", grant))
    for name in standings.ACCOUNTS:
        scene.administer(standings.Change("account", name, ("", True)))
    for tap in taps:
        tap.take()
    scene.commit("p", later[0])
    scene.flush(MANY)
    for tap in taps:
        scene.pace(tap.peer, None, takes=True)
    scene.flush(MANY)
    for tap in taps:
        assert _traces(tap.take()) == set()
        name = str(tap.peer.held)
        for absent in scene.drop(tap.peer, 1.0):
            again = Tap(scene, name, binary=codec[0], deflate=codec[1])
            scene.subscribe(again.peer, absent.question, documents=absent.documents)
            scene.flush(MANY)
            assert _traces(again.take()) == set()
            assert not again.peer.replica.documents
    scene.end()


# --- oracles --------------------------------------------------------------------------------------

_TOLD = ("name_label", "name_description", "start_time", "progress", "enabled", "empty", "name")
"""Fields that no scope reads and that relate nothing."""


def _altered(records: Any, pool: world.Pool, rights: Visibility | None) -> Any:
    """Return the same objects; only what these rights hide says something else."""
    changed = []
    for kind, name, fields in records:
        other = dict(fields)
        if rights is None or not world.sees(pool, rights, world.ref(name)):
            other |= {f: _otherwise(f, v) for f, v in fields.items() if f in _TOLD}
        elif not rights.shows_key(_VM, "other_config", "secret-x"):
            config = fields.get("other_config", {})
            other["other_config"] = {k: "x" if "secret" in k else v for k, v in config.items()}
            if world.OBJECTS[name] == "VM" and not rights.shows(_VM, "xenstore_data"):
                other["xenstore_data"] = {"k": "hidden"}
        changed.append((kind, name, {f: v for f, v in other.items() if f in fields}))
    return changed


def _otherwise(field: str, value: Any) -> Any:
    others = {"progress": 0.25, "enabled": not value, "empty": not value}
    return others.get(field, "hidden")


@given(
    st.lists(standings.changes, min_size=3, max_size=25),
    world.full_pools(),
    st.lists(world.questions(), max_size=3),
    st.lists(st.tuples(window_world.questions, window_world.spans), max_size=3),
    st.booleans(),
)
def test_what_is_hidden_changes_no_byte_of_any_answer(changes, records, asked, windows, binary):
    """Filters, errors, orders, totals and facets tell nothing of it: they read what is shown."""
    plain = [_unmarked(edit) for edit in records]
    for name in standings.ACCOUNTS:
        scene = _scene_of(changes, plain)
        rights = scene.directory.rights(name).visibility(PoolId("p"))
        altered = _altered(plain, scene.pools["p"].model.now, rights)
        answers = _answers(scene, name, asked, windows, binary=binary)
        other = _scene_of(changes, altered)
        assert answers == _answers(other, name, asked, windows, binary=binary)


def _unmarked(edit: tuple[str, str, Any]) -> tuple[str, str, Any]:
    """Take out the marks, which are counted: the two pools shall be equal but for what we alter."""
    kind, name, fields = edit
    return kind, name, json.loads(json.dumps(fields).replace("@", "."))


def _scene_of(changes: Iterable[standings.Change], records: Any) -> WindowScene:
    scene = WindowScene(**_SIZES)
    scene.commit("p", records)
    scene.commit("q", [])
    for change in changes:
        scene.administer(change)
    return scene


def _answers(scene: WindowScene, name: str, asked: Any, windows: Any, *, binary: bool) -> bytes:
    tap = Tap(scene, name, binary=binary, deflate=False)
    for question in (_everything, *_ON_SECRETS, *asked):
        scene.subscribe(tap.peer, question)
        scene.subscribe(tap.peer, question, ["p"])
    for window, span in windows:
        scene.look(tap.peer, window, span)
    scene.flush(MANY)
    told = tap.take()
    scene.end()
    return told


@given(_histories, st.sampled_from(standings.ACCOUNTS), st.booleans())
def test_a_forbidden_pool_and_one_that_there_is_not_answer_alike(changes, name, binary):
    scene = Scene(**_SIZES)
    for change in changes:
        scene.administer(change)
    for pool in scene.pools:
        if scene.directory.rights(name).visibility(PoolId(pool)) is None:
            answers = []
            for asked in (pool, "z"):
                tap = Tap(scene, name, binary=binary, deflate=False)
                tap.take()
                tap.peer.request(
                    type="subscribe", id=1, query={"classes": ["VM"], "pools": [asked]}
                )
                answers.append(tap.take().replace(asked.encode() + b"'", b"_'"))
            assert answers[0] == answers[1]
            assert b"NOT_FOUND" in answers[0]

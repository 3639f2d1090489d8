"""Random changes to every class of a simulated pool, straight in its database."""

import random
from typing import Any

from xoproxy.simulator.database import Database
from xoproxy.simulator.wiretypes import MapType, SetType, StringType, WireType

NULL = "OpaqueRef:NULL"
_TEXTS = ["", "plain", "Zürich ☃ \U0001f40d", 'quote " back \\ slash /', "a~b/c", "\t\n", "x" * 500]
_KEYS = ["a", "a/b", "a~b", "~1", "with space", "ünï", "OpaqueRef:none"]
# What is not cached has no business here; what the database derives, it writes itself.
_NOT_FOLLOWED = {"session", "secret", "user", "message", "event", "task"}
_NOT_WRITTEN = {"uuid", "master"}  # who leads a pool is for faults to change


class RandomChanges:
    """A seeded source of writes, creations and destructions over all classes with events."""

    def __init__(self, database: Database, seed: int) -> None:
        self._db = database
        self._random = random.Random(seed)
        self._models = [
            model
            for name, model in sorted(database.model.classes.items())
            if model.gen_events and model.in_db and name not in _NOT_FOLLOWED
            if set(model.fields) - {"uuid"} - model.derived
        ]
        self._made: list[tuple[str, str]] = []

    def step(self) -> None:
        chance = self._random.random()
        if chance < 0.05:
            self._create()
        elif chance < 0.08 and self._made:
            cls, ref = self._made.pop(self._random.randrange(len(self._made)))
            if self._db.exists(cls, ref):
                self._db.destroy(cls, ref)
        else:
            self._write()

    def _create(self) -> None:
        model = self._random.choice(self._models)
        self._made.append((model.name, self._db.create(model.name, {})))

    def _write(self) -> None:
        model = self._random.choice(self._models)
        refs = self._db.refs(model.name)
        if not refs:
            return
        ref = self._random.choice(refs)
        names = [
            n
            for n, field in model.fields.items()
            if n not in _NOT_WRITTEN | model.derived and _takes_any_text(field.type)
        ]
        name = self._random.choice(names)
        self._db.write(model.name, ref, name, self._value(self._db.get(model.name, ref, name)))

    def _value(self, old: Any) -> Any:  # noqa: PLR0911 - a case per type
        rng = self._random
        match old:
            case bool():
                return not old
            case int():
                return rng.choice([0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), rng.randrange(10**6)])
            case float():
                # XML-RPC has 16 digits at most
                return rng.choice([0.0, 1.0, -2.5, 1e300, round(rng.random(), 15)])
            case list():
                return rng.sample(_TEXTS, rng.randrange(4))
            case dict():
                return {key: rng.choice(_TEXTS) for key in rng.sample(_KEYS, rng.randrange(5))}
            case str() if old.startswith("OpaqueRef:"):
                return NULL
            case str() if len(old) == 18 and old.endswith("Z") and old[8] == "T":
                return f"202601{rng.randrange(10, 28)}T00:00:00Z"
            case _:
                return rng.choice(_TEXTS)


def _takes_any_text(kind: WireType) -> bool:
    """Whether a field is no collection, or one of plain texts: of others not any text will do."""
    match kind:
        case SetType():
            return isinstance(kind.item, StringType)
        case MapType():
            return isinstance(kind.value, StringType)
        case _:
            return True

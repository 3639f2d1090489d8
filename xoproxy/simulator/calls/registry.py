"""What a call gets, and the list of the calls that are written by hand.

A module per family of classes registers its calls by their wire names:

    @operation("VM.clone")
    def clone(call: Call, vm: str, new_name: str) -> str: ...

The parameters come decoded and without the session; optional ones are filled in. A call returns
a value of the message's type, or a Result; it may be a coroutine. Failures are raised.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from xoproxy.simulator.database import Database, Row
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.events import Events
from xoproxy.simulator.hardware import Hardware
from xoproxy.simulator.hosts import Hosts
from xoproxy.simulator.legacy_events import LegacyEvents
from xoproxy.simulator.rpc import Codec
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.statistics import Statistics
from xoproxy.simulator.tasks import Tasks
from xoproxy.simulator.toolstack import Toolstack
from xoproxy.simulator.wiretypes import NULL, Json

Handler = Callable[..., Json]
_H = TypeVar("_H", bound=Handler)

OPERATIONS: dict[str, Handler] = {}


def operation(name: str) -> Callable[[_H], _H]:
    """Register a call under its wire name."""

    def register(handler: _H) -> _H:
        if name in OPERATIONS:
            raise ValueError(f"{name} is registered twice")
        OPERATIONS[name] = handler
        return handler

    return register


@dataclass(frozen=True, slots=True)
class World:
    """The parts of a pool that calls work on."""

    db: Database
    sessions: Sessions
    tasks: Tasks
    events: Events
    legacy: LegacyEvents
    group: asyncio.TaskGroup
    speed: float
    hosts: Hosts
    toolstack: Toolstack
    hardware: Hardware = field(default_factory=Hardware)
    statistics: Statistics = field(default_factory=Statistics)


@dataclass(frozen=True, slots=True)
class Call:
    """One running call. `task` is empty for calls that have no asynchronous form.

    `here` is the host that was asked, for the few calls that any host answers.
    """

    world: World
    session: str
    task: str
    here: str = NULL

    @property
    def db(self) -> Database:
        return self.world.db


@dataclass(frozen=True, slots=True)
class RecordResult:
    """The record of one row."""

    model: ClassModel
    row: Row

    def encode(self, codec: Codec) -> bytes:
        return codec.record(self.model, self.row)


@dataclass(frozen=True, slots=True)
class RecordsResult:
    """A map from references to records."""

    model: ClassModel
    rows: Iterable[Row]

    def encode(self, codec: Codec) -> bytes:
        return codec.struct((row.ref, codec.record(self.model, row)) for row in self.rows)

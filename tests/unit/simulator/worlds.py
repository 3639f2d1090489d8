"""A small world for tests: one host, its control domain, two VMs, no sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from xoproxy.simulator.calls.registry import World
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dispatch import Dispatcher
from xoproxy.simulator.events import Events
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hosts import Hosts
from xoproxy.simulator.legacy_events import LegacyEvents
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.tasks import Tasks
from xoproxy.simulator.toolstack import Toolstack
from xoproxy.simulator.wiretypes import Json

HOST, POOL, DOM0 = "OpaqueRef:host", "OpaqueRef:pool", "OpaqueRef:dom0"
VM, OTHER = "OpaqueRef:vm", "OpaqueRef:other"

# What a VM must have before it can start.
SIZE: dict[str, Json] = {
    "VCPUs_max": 2,
    "VCPUs_at_startup": 1,
    "memory_static_min": 1 << 28,
    "memory_dynamic_min": 1 << 29,
    "memory_dynamic_max": 1 << 30,
    "memory_static_max": 1 << 30,
    "domain_type": "hvm",
    "HVM_boot_policy": "BIOS order",
}

ESTATE: dict[str, dict[str, dict[str, Json]]] = {
    "pool": {POOL: {"uuid": "pool-uuid", "master": HOST}},
    "host": {HOST: {"uuid": "host-uuid", "enabled": False, "control_domain": DOM0}},
    "VM": {
        VM: {**SIZE, "uuid": "vm-uuid", "name_label": "one", "other_config": {"mac_seed": "s"}},
        OTHER: {**SIZE, "uuid": "other-uuid", "name_label": "two"},
        DOM0: {
            "uuid": "dom0-uuid",
            "is_control_domain": True,
            "power_state": "Running",
            "resident_on": HOST,
        },
    },
}


class Client:
    """Calls a world as a logged-in client would, without a wire."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.db = world.db
        self.dispatcher = Dispatcher(world.db.model, world)
        self.session = ""

    async def call(self, method: str, *params: Json) -> Json:
        """Call with our session; returns the undecoded result."""
        return (await self.dispatcher.run(method, [self.session, *params]))[1]

    async def error(self, method: str, *params: Json) -> list[str]:
        """Call and return how it fails."""
        return await self.raw_error(method, self.session, *params)

    async def raw_error(self, method: str, *params: Json) -> list[str]:
        try:
            value = await self.dispatcher.run(method, list(params))
        except XapiError as error:
            return error.description
        raise AssertionError(f"{method} returned {value}")


def load(release: str | None = None) -> Database:
    database = Database(DataModel.load(release))
    database.load(ESTATE)
    return database


@contextlib.asynccontextmanager
async def client(release: str | None = None) -> AsyncIterator[Client]:
    """Open a world and log in."""
    database = load(release)
    async with asyncio.TaskGroup() as group:
        sessions = Sessions(database, "root", "secret")
        events = Events(database, sessions.check)
        legacy = LegacyEvents(database, sessions.check)
        sessions.ended += [events.wake, legacy.wake]
        hosts = Hosts(database)
        tasks = Tasks(database)
        toolstack = Toolstack(database, sessions, tasks, hosts)
        world = World(
            *(database, sessions, tasks, events, legacy, group, 1.0),
            hosts=hosts,
            toolstack=toolstack,
        )
        made = Client(world)
        made.session = await sessions.login("root", "secret", "test")
        yield made

"""A simulated pool: everything put together behind the addresses of its hosts."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeAlias

from xoproxy.simulator.calls.registry import World
from xoproxy.simulator.consoles import ConsoleHandlers, Consoles
from xoproxy.simulator.control import Control
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dispatch import Dispatcher
from xoproxy.simulator.events import Events
from xoproxy.simulator.hosts import Host, Hosts
from xoproxy.simulator.http import Handler, HttpServer
from xoproxy.simulator.http_auth import HttpAuth
from xoproxy.simulator.legacy_events import LegacyEvents
from xoproxy.simulator.protocols import protocols
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.statistics import StatisticsHandlers
from xoproxy.simulator.tasks import Tasks
from xoproxy.simulator.toolstack import Toolstack
from xoproxy.simulator.transfer import TransferHandlers
from xoproxy.simulator.wiretypes import Json

COLLECT_S: Final = 30.0

Estate = Mapping[str, Mapping[str, Mapping[str, Json]]]
Provider: TypeAlias = Callable[[Host], Mapping[tuple[str, str], Handler]]
"""Gives the handlers that a host has for what is no call, by method and path."""


class _StoppedError(Exception):
    """The pool is asked to end."""


class SimulatedPool:
    """A pool to log in to: `async with SimulatedPool(estate) as pool: ... pool.url`.

    Args:
        estate: {class: {ref: record}}, records in JSON form.
        stamps: {ref: (created, modified)} of the estate's rows, where known.
        generation: of the stored database.
        listen: address and port of the coordinator; port 0 takes a free one. See `hosts`.
        tls: serve HTTPS instead of plain HTTP, each host with a certificate of its own.
        user, password: the only account.
        speed: how many times faster than a real pool's the delays are.
        release: of XAPI, as `DataModel.load` knows them; None is the newest.
    """

    def __init__(
        self,
        estate: Estate,
        *,
        stamps: Mapping[str, tuple[int, int]] | None = None,
        generation: int = 1,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls: bool = False,
        user: str = "root",
        password: str = "x",  # noqa: S107  (a simulator's default)
        speed: float = 1.0,
        release: str | None = None,
    ) -> None:
        self.user = user
        self.password = password
        self.speed = speed
        model = DataModel.load(release)
        if model.release is not None:
            estate = model.release.estate(estate)
        self.database = Database(model)
        self.database.load(estate, stamps, generation)
        self.sessions = Sessions(self.database, user, password, speed)
        self.tasks = Tasks(self.database)
        self.events = Events(self.database, self.sessions.check, speed)
        self.legacy = LegacyEvents(self.database, self.sessions.check, speed)
        self.sessions.ended += [self.events.wake, self.legacy.wake]
        self.group = asyncio.TaskGroup()
        self.hosts = Hosts(self.database, listen, tls=tls)
        self.toolstack = Toolstack(self.database, self.sessions, self.tasks, self.hosts, speed)
        self.world = World(
            self.database,
            self.sessions,
            self.tasks,
            self.events,
            self.legacy,
            self.group,
            speed,
            self.hosts,
            self.toolstack,
        )
        self.dispatcher = Dispatcher(self.database.model, self.world)
        auth = HttpAuth(self.database, self.sessions, self.tasks)
        statistics = StatisticsHandlers(self.database, auth, self.hosts, self.world.statistics)
        consoles = ConsoleHandlers(self.database, auth, Consoles(self.database), speed)
        transfer = TransferHandlers(self.database, auth)
        self.providers: list[Provider] = [statistics.of, consoles.of, transfer.of]
        self.hosts.serve(self._server_of)
        self.control = Control(self)

    @property
    def address(self) -> tuple[str, int]:
        """Where the pool was told to listen: the host that led at first."""
        return self.hosts.address

    @property
    def url(self) -> str:
        return self.hosts.site.origin(self.address[0])

    def _server_of(self, host: Host) -> HttpServer:
        handlers = {key: handler for give in self.providers for key, handler in give(host).items()}
        answer = functools.partial(self.dispatcher.answer, here=host.ref)
        json, xml = protocols(self.database.model)
        return HttpServer(answer, json=json, xml=xml, group=self.group, handlers=handlers)

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        await self.hosts.open()
        self.group.create_task(self._collect(), name="simulator-collect")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the listeners, reset the connections and cancel whatever still runs."""
        self.hosts.close()
        self.control.faults.close()
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            kind, error, trace = _StoppedError, _StoppedError(), None
        try:
            await self.group.__aexit__(kind, error, trace)
        except* _StoppedError:
            pass  # a task group ends its tasks only when its body fails

    async def _collect(self) -> None:
        """Remove what XAPI removes by itself: idle sessions, old tasks."""
        while True:
            await asyncio.sleep(COLLECT_S)
            self.sessions.collect(self.tasks.busy_sessions())
            self.tasks.collect()

"""A simulated pool: everything put together behind one address."""

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from xoproxy.simulator.calls.registry import World
from xoproxy.simulator.control import Control
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dispatch import Dispatcher
from xoproxy.simulator.events import Events
from xoproxy.simulator.http import HttpServer
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.legacy_events import LegacyEvents
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.tasks import Tasks
from xoproxy.simulator.wiretypes import Json
from xoproxy.simulator.xmlrpc import XmlRpc

COLLECT_S: Final = 30.0

Estate = Mapping[str, Mapping[str, Mapping[str, Json]]]


class _StoppedError(Exception):
    """The pool is asked to end."""


class SimulatedPool:
    """A pool to log in to: `async with SimulatedPool(estate) as pool: ... pool.url`.

    Args:
        estate: {class: {ref: record}}, records in JSON form.
        stamps: {ref: (created, modified)} of the estate's rows, where known.
        generation: of the stored database.
        listen: address and port; port 0 takes a free one.
        tls: serve HTTPS with this context instead of plain HTTP.
        user, password: the only account.
        speed: how many times faster than a real pool's the delays are.
    """

    def __init__(
        self,
        estate: Estate,
        *,
        stamps: Mapping[str, tuple[int, int]] | None = None,
        generation: int = 1,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls: ssl.SSLContext | None = None,
        user: str = "root",
        password: str = "x",  # noqa: S107  (a simulator's default)
        speed: float = 1.0,
    ) -> None:
        self.address = listen
        self.tls = tls
        self.user = user
        self.password = password
        self.speed = speed
        self.database = Database(DataModel.load())
        self.database.load(estate, stamps, generation)
        self.sessions = Sessions(self.database, user, password, speed)
        self.tasks = Tasks(self.database)
        self.events = Events(self.database, self.sessions.check, speed)
        self.legacy = LegacyEvents(self.database, self.sessions.check, speed)
        self.sessions.ended += [self.events.wake, self.legacy.wake]
        self.group = asyncio.TaskGroup()
        self.world = World(
            self.database,
            self.sessions,
            self.tasks,
            self.events,
            self.legacy,
            self.group,
            speed,
        )
        self.dispatcher = Dispatcher(self.database.model, self.world)
        self.server = HttpServer(
            self.dispatcher.answer, json=JsonRpc(), xml=XmlRpc(), group=self.group
        )
        self.control = Control(self)

    @property
    def url(self) -> str:
        host, port = self.address
        return f"{'https' if self.tls else 'http'}://{host}:{port}"

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        self.address = await self.server.listen(*self.address, self.tls)
        self.group.create_task(self._collect(), name="simulator-collect")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the listener, reset the connections and cancel whatever still runs."""
        self.server.stop_listening()
        self.control.faults.close()
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            kind, error, trace = _StoppedError, _StoppedError(), None
        try:
            await self.group.__aexit__(kind, error, trace)
        except* _StoppedError:
            pass  # a task group ends its tasks only when its body fails

    async def restart(self, seconds: float, *, lost_changes: int = 0) -> None:
        """Behave as when xapi restarts: away for a while, then nobody is logged in.

        Every row of the classes with a derived field is new to events, and deletions from before
        are forgotten.

        Args:
            seconds: how long nothing listens.
            lost_changes: so many of the newest changes the stored database does not have.
        """
        self.server.stop_listening()
        self.database.rewind(lost_changes)
        self.sessions.expire_all()
        self.server.abort_connections()
        await asyncio.sleep(seconds)
        self.database.reindex()
        await self.server.listen(*self.address, self.tls)

    async def _collect(self) -> None:
        """Remove what XAPI removes by itself: idle sessions, old tasks."""
        while True:
            await asyncio.sleep(COLLECT_S)
            self.sessions.collect()
            self.tasks.collect()

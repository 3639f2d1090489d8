"""The HTTP side of consoles (console.ml).

CONNECT /console?uuid=|ref=     the connection becomes the console's own
GET     /console?uuid=|ref=     for WebSockets, which need a daemon that is not here (501)
GET     /vncsnapshot?uuid=|ref= a picture of the screen, as JPEG
"""

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.consoles import jpeg
from xoproxy.simulator.consoles.consoles import (
    PROTOCOLS,
    Consoles,
    NoConsoleError,
    Viewer,
    Viewing,
)
from xoproxy.simulator.consoles.rfb import RfbError
from xoproxy.simulator.database import Database
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.http import ClosedError, Connection, Handler, Head, PageError, Reply
from xoproxy.simulator.http_auth import HttpAuth

ACCEPTED: Final = (
    b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nCache-Control: no-cache, no-store\r\n\r\n"
)
PIECE: Final = 1024  # bytes of input that are taken in at once
LABEL: Final = "Connection to VM console"


class _EndedError(Exception):
    """A viewer's time is over, whoever ended it."""


@dataclass(frozen=True, slots=True)
class ConsoleHandlers:
    """Answers for the consoles of all hosts of a pool.

    Args:
        speed: how many times faster than a real pool's the idle limits pass.
    """

    db: Database
    auth: HttpAuth
    consoles: Consoles
    speed: float = 1.0

    def of(self, host: Host) -> Mapping[tuple[str, str], Handler]:
        """Return the handlers of one host."""
        return {
            ("CONNECT", "/console"): functools.partial(self._connect, host),
            ("GET", "/console"): functools.partial(self._websocket, host),
            ("GET", "/vncsnapshot"): functools.partial(self._picture, host),
        }

    async def _connect(self, host: Host, connection: Connection, head: Head) -> None:
        async with self.auth.admit(head, "connect_console", LABEL) as session:
            console = self._console_here(host, head)
            if self.db.get("console", console, "protocol") not in PROTOCOLS:
                raise PageError(404, bare=True)
            vm = self.db.get("console", console, "VM")
            if self._is_limited() and self.consoles.viewers_of(vm):
                raise PageError(503, reason="Connection Limit Exceeded")
            user = self.db.get("session", session, "auth_user_name")
            viewing = self.consoles.begin(console, host.ref, user)
            try:
                await connection.write(ACCEPTED)
                await self._view(viewing, connection)
            finally:
                self.consoles.end(viewing)
                if connection.unsent:
                    connection.abort()  # nobody reads it, so it would wait for ever

    async def _websocket(self, host: Host, _connection: Connection, head: Head) -> Reply:
        async with self.auth.admit(head, "connect_console_ws", LABEL):
            self._console_here(host, head)
            raise PageError(503 if self._is_limited() else 501, bare=True)

    async def _picture(self, host: Host, _connection: Connection, head: Head) -> Reply:
        async with self.auth.admit(head, "get_vncsnapshot", "Taking snapshot of VM console"):
            console = self._console(head)
            if not self.consoles.is_shown(console, host.ref):
                raise PageError(404, bare=True)
            try:
                return Reply(jpeg.picture(self.consoles.screen(console)), "")
            except NoConsoleError:
                raise PageError(500) from None

    def _console(self, head: Head) -> str:
        try:
            return self.consoles.find(head.query.get("ref"), head.query.get("uuid"))
        except NoConsoleError:
            raise PageError(500) from None

    def _console_here(self, host: Host, head: Head) -> str:
        console = self._console(head)
        if not self.consoles.is_shown(console, host.ref):
            raise PageError(500)
        return console

    def _is_limited(self) -> bool:
        return any(
            self.db.get("pool", ref, "limit_console_sessions") for ref in self.db.refs("pool")
        )

    def _idle_limit_s(self, viewing: Viewing) -> float | None:
        """Return how long nobody may touch keys or pointer; read when somebody connects."""
        if self.db.get("VM", viewing.vm, "is_control_domain"):
            limits = [self.db.get("host", viewing.host, "console_idle_timeout")]
        else:
            pools = self.db.refs("pool")
            limits = [self.db.get("pool", ref, "vm_console_idle_timeout") for ref in pools]
        return next((limit / self.speed for limit in limits if limit > 0), None)

    async def _view(self, viewing: Viewing, connection: Connection) -> None:
        """Serve a viewer until it leaves, is idle for too long, or the console goes."""
        news = asyncio.Event()
        viewer = self.consoles.viewer(viewing, news.set)
        news.set()
        try:
            async with asyncio.TaskGroup() as group:
                idle_s = self._idle_limit_s(viewing)
                listening = self._listen(viewer, connection, news, idle_s)
                group.create_task(listening, name="simulator-console-in")
                group.create_task(_tell(viewer, connection, news), name="simulator-console-out")
                group.create_task(_until_ended(viewing), name="simulator-console-end")
        except* _EndedError:
            pass
        finally:
            viewer.close()

    async def _listen(
        self, viewer: Viewer, connection: Connection, news: asyncio.Event, idle_s: float | None
    ) -> None:
        """Take in what a viewer sends. Never faster than it is done: nothing piles up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(idle_s) as idle:
                while True:
                    data = await connection.read_some()
                    for begin in range(0, len(data), PIECE):
                        active = viewer.receive(data[begin : begin + PIECE])
                        news.set()
                        if active and idle_s is not None:
                            idle.reschedule(loop.time() + idle_s)
                        await asyncio.sleep(0)  # a viewer who types a lot is not alone
        except (ClosedError, ConnectionError, RfbError, TimeoutError):
            raise _EndedError from None


async def _until_ended(viewing: Viewing) -> None:
    await viewing.ended.wait()
    raise _EndedError


async def _tell(viewer: Viewer, connection: Connection, news: asyncio.Event) -> None:
    """Send what there is to see. A viewer that does not read is told later, and less."""
    try:
        while True:
            await news.wait()
            news.clear()
            if data := viewer.take():
                await connection.write(data)
    except ConnectionError:
        raise _EndedError from None

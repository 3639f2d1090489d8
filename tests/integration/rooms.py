"""A pool whose consoles are looked at."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.integration.viewers import Line, RefusedError, RfbViewer, connected
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.statistics.sources import vms_on


class Room:
    """A pool with VMs on two hosts, and a login."""

    def __init__(self, pool: SimulatedPool, session: str) -> None:
        self.pool = pool
        self.db = pool.database
        self.session = session
        self.coordinator, self.member = list(pool.hosts)
        self.observers = list(pool.database.observers)
        self.vm = self.vm_on(self.coordinator)
        self.name = self.db.get("VM", self.vm, "name_label")

    def vm_on(self, host: Host) -> str:
        return next(
            vm
            for vm in vms_on(self.db, host.ref)
            if not self.db.get("VM", vm, "is_control_domain")
            and self.db.get("VM", vm, "power_state") == "Running"
        )

    def console(self, vm: str, protocol: str = "rfb") -> str:
        consoles = self.db.get("VM", vm, "consoles")
        return next(c for c in consoles if self.db.get("console", c, "protocol") == protocol)

    def target(self, vm: str | None = None, protocol: str = "rfb", *, session: bool = True) -> str:
        uuid = self.db.get("console", self.console(vm or self.vm, protocol), "uuid")
        return f"/console?uuid={uuid}" + (f"&session_id={self.session}" if session else "")

    def address(self, host: Host | None = None) -> tuple[str, int]:
        bind = (host or self.coordinator).bind
        assert bind is not None
        return bind, self.pool.address[1]

    @contextlib.asynccontextmanager
    async def line(
        self, target: str, *headers: str, host: Host | None = None, version: str = "1.1"
    ) -> AsyncIterator[Line]:
        async with connected(self.address(host), target, *headers, version=version) as line:
            yield line

    @contextlib.asynccontextmanager
    async def viewer(self, vm: str | None = None) -> AsyncIterator[RfbViewer]:
        async with self.line(self.target(vm)) as line:
            yield await RfbViewer(line).open()

    async def refusal(self, target: str, *headers: str, host: Host | None = None) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            async with self.line(target, *headers, host=host):
                pass
        return caught.value


@contextlib.asynccontextmanager
async def opened(*, tls: bool = False) -> AsyncIterator[Room]:
    async with SimulatedPool(generate(2, 14, seed=4), speed=100, tls=tls) as pool:
        yield Room(pool, await pool.sessions.login("root", "x", "test"))


async def get(room: Room, target: str, *headers: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(*room.address())
    try:
        writer.write("\r\n".join((f"GET {target} HTTP/1.1", *headers, "", "")).encode())
        async with asyncio.timeout(5):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split(b" ")[1]), body


async def settled() -> None:
    """Let the server notice what happened."""
    await asyncio.sleep(0.05)

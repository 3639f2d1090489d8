"""xapi and the hosts that it runs on: restarts, deaths and boots, and who leads afterwards."""

import asyncio
import contextlib
import random
from typing import Final

from xoproxy.simulator import certificates
from xoproxy.simulator.database import Database, RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hosts import Host, Hosts
from xoproxy.simulator.lifecycle import Power, Steps, Takes, Writes
from xoproxy.simulator.lifecycle.hosts import Machines
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.tasks import Tasks

STEP_S: Final = 0.05


class Toolstack:
    """What befalls a pool's hosts. `up` is set while the coordinator's xapi runs.

    Args:
        speed: how many times faster than a real pool's the delays are.
    """

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        tasks: Tasks,
        hosts: Hosts,
        speed: float = 1.0,
    ) -> None:
        self._db = database
        self._sessions = sessions
        self._tasks = tasks
        self._hosts = hosts
        self._speed = speed
        self._turn = asyncio.Lock()
        self.up = asyncio.Event()
        self.up.set()

    @property
    def restarting(self) -> bool:
        """Whether all xapis are away to come back by themselves."""
        return self._turn.locked()

    async def restart(
        self, seconds: float, *, lost_changes: int = 0, master: str | None = None
    ) -> None:
        """Be away on all hosts for a while; then nobody is logged in, and nothing is under way.

        Every row of the classes with a derived field is new to events, and deletions from before
        are forgotten. Restarts that are asked for at once run one after the other.

        Args:
            seconds: how long nothing listens.
            lost_changes: so many of the newest changes the stored database does not have.
            master: the host that leads afterwards, if it is another one.
        """
        async with self._turn:
            self.up.clear()
            try:
                self._hosts.silence()
                self._db.rewind(lost_changes)
                self._sessions.expire_all()
                await asyncio.sleep(seconds)
                if master is not None and self._hosts.get(master) is not None:
                    for pool in self._db.refs("pool"):
                        self._db.write("pool", pool, "master", master)
                self._load()
                await self._hosts.answer()
            finally:
                self._tell_up()

    async def restart_agent(self, host: Host, seconds: float) -> None:
        """Restart the xapi of one host; the coordinator's takes all sessions with it."""
        if host is self._hosts.coordinator:
            await self.restart(seconds)
            return
        self._hosts.silence(host)
        await asyncio.sleep(seconds)
        await self._hosts.answer(host)

    def die(self, host: Host) -> None:
        """Let a host be gone from one moment to the next; without a coordinator nobody leads."""
        host.alive = False
        for task in self._tasks_on(host.ref):
            self._tasks.doom(task, XapiError("HOST_OFFLINE", host.ref))
        self._hosts.silence(host)
        if host is self._hosts.coordinator:
            self.up.clear()
            self._sessions.expire_all()
        else:
            self.declare_dead(host)

    def _tasks_on(self, host: str) -> set[str]:
        """List the tasks of what is under way on a host, and on the VMs that it runs."""
        if not self._db.exists("host", host):
            return set()
        objects = [
            ("host", host),
            *(("VM", vm) for vm in self._db.get("host", host, "resident_VMs")),
        ]
        return {task for o in objects for task in self._db.get(*o, "current_operations")}

    def declare_dead(self, host: Host) -> None:
        """Say that a host is gone, before it is."""
        if host.ref:
            self._machines().set_live(host.ref, live=False)

    async def boot(self, host: Host) -> None:
        """Let a dead host come up as what it is by now: the coordinator, or a member."""
        if host is self._hosts.coordinator:
            async with self._turn:
                if not self._may_boot(host):
                    return
                host.alive = True
                self._load()
                await self._hosts.answer(host)
                self._tell_up()
        else:
            await self.up.wait()  # it has to find its coordinator
            if not self._may_boot(host):
                return
            host.alive = True
            await self._hosts.answer(host)
        if host.ref:
            with contextlib.suppress(RowMissingError):  # it has left the pool meanwhile
                await self._drive(self._machines().boot(host.ref, enabled=host.auto_enable))

    def _may_boot(self, host: Host) -> bool:
        """Whether a host is dead and still one of ours: others may have been faster."""
        return not host.alive and self._hosts.get(host.ref) is host

    def _load(self) -> None:
        """Do what xapi does when it comes up with a stored database."""
        self._db.reindex()
        Power(Writes(self._db, random.Random())).recover()
        machines = self._machines()
        for host in self._hosts:
            if host.ref and not host.alive:
                machines.set_live(host.ref, live=False)
            elif host.ref and self._hosts.tls:
                certificates.correct(self._db, host)  # an older database has older rows

    def _tell_up(self) -> None:
        if self._hosts.coordinator.alive:
            self.up.set()

    def _machines(self) -> Machines:
        return Machines(Writes(self._db, random.Random()))

    async def _drive(self, steps: Steps) -> None:
        for step in steps:
            seconds = STEP_S + (step.seconds if isinstance(step, Takes) else 0.0)
            await asyncio.sleep(seconds / self._speed)

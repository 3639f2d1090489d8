"""xapi itself, as it runs on all hosts of a pool: it restarts, and another host leads."""

import asyncio
import random

from xoproxy.simulator.database import Database
from xoproxy.simulator.hosts import Hosts
from xoproxy.simulator.lifecycle import Power, Writes
from xoproxy.simulator.sessions import Sessions


class Toolstack:
    """Restarts a pool's xapi. `up` is set except while that is under way."""

    def __init__(self, database: Database, sessions: Sessions, hosts: Hosts) -> None:
        self._db = database
        self._sessions = sessions
        self._hosts = hosts
        self._turn = asyncio.Lock()
        self.up = asyncio.Event()
        self.up.set()

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
                for pool in self._db.refs("pool") if master else ():
                    self._db.write("pool", pool, "master", master)
                self._db.reindex()
                Power(Writes(self._db, random.Random())).recover()
                await self._hosts.answer()
            finally:
                self.up.set()

"""Logins: rows of class `session`, who may log in, and when a session ends by itself."""

import asyncio
import hmac
import time
import uuid as uuids
from collections.abc import Callable, Collection
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError

WRONG_PASSWORD_S: Final = 5.0
REFRESH_S: Final = 600.0  # a session's last_active is written at most so often
IDLE_LIMIT_S: Final = 24 * 3600.0
PER_ORIGINATOR: Final = 500
ANONYMOUS: Final = 400


class Sessions:
    """Who is logged in. `ended` callbacks run when sessions go, to wake those who wait on them.

    Args:
        speed: how many times faster than XAPI's the delays are.
    """

    def __init__(self, database: Database, user: str, password: str, speed: float = 1.0) -> None:
        self._db = database
        self._user = user
        self._password = password
        self._speed = speed
        self._active: dict[str, float] = {}
        self._local: set[str] = set()
        self.ended: list[Callable[[], None]] = []

    async def login_locally(self, user: str, password: str) -> str:
        """Return a session for the calls that every host answers itself; it has no row."""
        await self._authenticate(user, password)
        ref = f"OpaqueRef:{uuids.uuid4()}"
        self._local.add(ref)
        return ref

    async def login(self, user: str, password: str, originator: str) -> str:
        """Return a new session; a wrong password is answered late, as XAPI does."""
        await self._authenticate(user, password)
        return self.open(user, originator)

    def open(self, user: str, originator: str) -> str:
        """Return a new session of somebody whom we know already."""
        pools = self._db.refs("pool")
        record = {
            "this_host": self._db.get("pool", pools[0], "master") if pools else "OpaqueRef:NULL",
            "last_active": self._db.now(),
            "validation_time": self._db.now(),
            "is_local_superuser": True,
            "auth_user_name": user,
            "originator": originator,
        }
        ref = self._db.create("session", record)
        self._active[ref] = time.monotonic()
        return ref

    async def _authenticate(self, user: str, password: str) -> None:
        same = hmac.compare_digest(password.encode(), self._password.encode())
        if user != self._user or not same:
            await asyncio.sleep(WRONG_PASSWORD_S / self._speed)
            reason = "Authentication failure"
            raise XapiError("SESSION_AUTHENTICATION_FAILED", user, reason)

    def change_password(self, old: str, new: str) -> None:
        if old != self._password:
            raise XapiError("SESSION_AUTHENTICATION_FAILED", self._user, "Authentication failure")
        self._password = new

    def check(self, ref: str, *, local: bool = False) -> None:
        """Let a call pass (`local`: with a local session too), or raise SESSION_INVALID."""
        if local and ref in self._local:
            return
        seen = self._active.get(ref)
        if seen is None:
            raise XapiError("SESSION_INVALID", ref)
        moment = time.monotonic()
        if moment - seen >= REFRESH_S:
            self._active[ref] = moment
            self._db.write("session", ref, "last_active", self._db.now())

    def logout(self, ref: str) -> None:
        self._local.discard(ref)
        self._end([ref])

    def expire_all(self) -> None:
        """End every session at once."""
        self._local.clear()
        self._end(list(self._active))

    def collect(self, busy: Collection[str] = ()) -> None:
        """End the idle sessions, and the least recently used above the limits.

        Args:
            busy: sessions whose tasks have not ended; they go on, and do not count.
        """
        moment = time.monotonic()
        lost = [r for r in self._active if not self._db.exists("session", r)]
        free = {r: s for r, s in self._active.items() if r not in busy and r not in lost}
        idle = [r for r, seen in free.items() if moment - seen > IDLE_LIMIT_S]
        groups: dict[str, list[str]] = {}
        for ref in sorted(free, key=lambda r: free[r], reverse=True):
            groups.setdefault(self._db.get("session", ref, "originator"), []).append(ref)
        limits = {name: PER_ORIGINATOR if name else ANONYMOUS for name in groups}
        surplus = [ref for name, refs in groups.items() for ref in refs[limits[name] :]]
        self._end([*lost, *idle, *surplus])

    def __len__(self) -> int:
        return len(self._active)

    def _end(self, refs: list[str]) -> None:
        for ref in refs:
            if self._active.pop(ref, None) is not None and self._db.exists("session", ref):
                self._db.destroy("session", ref)
        if refs:
            for callback in self.ended:
                callback()

"""Writes the audit log: in batches, behind those who act, and before those who must wait for it.

Theory of operation. What happens is put into a queue in memory, and one writer stores it, many
records a transaction. Calls and sign-ins do not wait (`note`); a change of rights is acknowledged
when its record is stored (`record`), and not begun while the log cannot be written (`ready`).

The queue is bounded. When it is full, because the database has not taken records for long, further
ones that nobody waits for are counted, and the count is written as a record of its own (`lost`).
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from xoproxy.auth import Directory
from xoproxy.auth.audit import Action, Checked, Place, Record
from xoproxy.auth.audit_rates import WINDOW_S, Rates
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.settings import AuditSettings
from xoproxy.storage import Storage
from xoproxy.storage.audit import NotStored, StoredAudit
from xoproxy.telemetry import Sample

_log = structlog.get_logger(__name__)

_LINGER_S = 0.2
"""How long a record waits for others."""
_BATCH = 50
"""Records a transaction, and a step of the loop: about a millisecond of it."""
_ACKNOWLEDGED_S = 10.0
_RETRY_S = 1.0
_LET_GO_S = 3600.0
_DAMAGED = "auditDamaged"
_LOST = "auditLost"


@asynccontextmanager
async def audit_log(
    storage: Storage, directory: Directory, settings: AuditSettings
) -> AsyncIterator["AuditLog"]:
    """Open the audit log; what waits at the end is stored then."""
    log = AuditLog(StoredAudit(storage.database, storage.audit_key), directory, settings)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@dataclass(slots=True)
class _Waiting:
    action: Action
    at: datetime
    stored: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _Batch:
    """Records on their way into the database; the same ones again after a failure."""

    records: list[Record] = field(default_factory=list)
    waiting: list[_Waiting] = field(default_factory=list)


class AuditLog:
    """The audit log of a running proxy.

    Args:
        stored: where it lasts.
        directory: knows which names are somebody's.
        settings: its bounds.
    """

    def __init__(
        self,
        stored: StoredAudit,
        directory: Directory,
        settings: AuditSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._directory = directory
        self._settings = settings
        self._now = now
        self._clock = clock
        self._rates = Rates()
        self._queue: deque[_Waiting] = deque()
        self._batch = _Batch()
        self._place: Place
        self._fails = False
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()
        self._let_go_at_s = 0.0
        self._lost_count = 0
        self.stored_count = 0
        self.lost_total = 0

    async def open(self) -> None:
        """Find the end of the log, and say in it if something is wrong there."""
        self._place, complaint = await self._stored.open()
        if complaint:
            _log.error("audit log damaged", number=self._place.number, reason=complaint)
            self._put(Action(_DAMAGED, result=complaint))

    def ready(self) -> None:
        """Refuse what must be recorded, while it cannot be.

        Raises:
            RequestRefused: BUSY.
        """
        if self._fails or len(self._queue) >= self._settings.queue:
            text = "the audit log cannot be written just now, so nothing is changed; try again"
            raise RequestRefused(ErrorCode.BUSY, text)

    def note(self, action: Action) -> None:
        """Have an action recorded soon."""
        action = self._known(action)
        if self._rates.admit(action):
            self._put(action)
        else:
            self._some.set()  # so that what is held back is written in the end

    async def record(self, action: Action) -> None:
        """Have an action recorded, and wait until that is on the disk.

        Raises:
            RequestRefused: INTERNAL, it is not.
        """
        stored = asyncio.get_running_loop().create_future()
        self._say_lost()
        self._queue.append(_Waiting(self._known(action), self._now(), stored))
        self._some.set()
        self._urgent.set()
        try:
            async with asyncio.timeout(_ACKNOWLEDGED_S):
                await stored
        except (NotStored, TimeoutError):
            text = "it was done, but the audit log cannot be written just now"
            raise RequestRefused(ErrorCode.INTERNAL, text) from None

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        return await self._stored.read(after, limit)

    async def number_before(self, moment: datetime) -> int:
        return await self._stored.number_before(moment)

    async def check(self, after: int, limit: int) -> Checked:
        return await self._stored.check(after, limit)

    async def run(self) -> None:
        """Store what is noted, and let go what is old enough, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WINDOW_S):
                    await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._urgent.wait()
            self._some.clear()
            self._urgent.clear()
            for action in self._rates.due(self._clock()):
                self._put(action)
            while self._queue or self._batch.records:
                if not await self._store():
                    await asyncio.sleep(_RETRY_S)
            await self._let_go()

    async def close(self) -> None:
        """Store what is still waiting, once."""
        for action in self._rates.due(self._clock(), at_once=True):
            self._put(action)
        self._say_lost()
        while self._queue or self._batch.records:
            if not await self._store():
                _log.error("audit records lost", count=len(self._queue) + len(self._batch.records))
                return

    def samples(self) -> list[Sample]:
        return [
            Sample("xoproxy_audit_records_total", self.stored_count),
            Sample("xoproxy_audit_lost_total", self.lost_total),
            Sample("xoproxy_audit_queue", len(self._queue)),
        ]

    def _known(self, action: Action) -> Action:
        """Leave out a name that is nobody's: people type their password there by mistake."""
        if action.account_id or not action.user:
            return action
        account = self._directory.account_named(action.user)
        if account is None:
            return replace(action, user="")
        return replace(action, account_id=account.id)

    def _put(self, action: Action) -> None:
        if len(self._queue) >= self._settings.queue:
            self._lost_count += 1
            self.lost_total += 1
            return
        self._say_lost()
        self._queue.append(_Waiting(action, self._now()))
        self._some.set()

    def _say_lost(self) -> None:
        if self._lost_count:
            lost, self._lost_count = self._lost_count, 0
            self._queue.append(_Waiting(Action(_LOST, count=lost), self._now()))

    async def _store(self) -> bool:
        """Store one batch; the same one as before if that one is not known to be stored."""
        batch = self._batch
        if not batch.records:
            batch.waiting = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            found = [(waiting.action, waiting.at) for waiting in batch.waiting]
            batch.records = self._stored.records(self._place, found)
        try:
            await self._stored.append(batch.records)
        except NotStored as error:
            if not self._fails:
                _log.error("audit log cannot be written", cause=str(error))
            self._fails = True
            self._fail_all(error)
            return False
        if self._fails:
            _log.info("audit log can be written again")
        self._fails = False
        self._place = batch.records[-1].place
        self.stored_count += len(batch.records)
        for waiting in batch.waiting:
            if waiting.stored is not None and not waiting.stored.done():
                waiting.stored.set_result(None)
        self._batch = _Batch()
        return True

    def _fail_all(self, error: NotStored) -> None:
        for waiting in (*self._batch.waiting, *self._queue):
            if waiting.stored is not None and not waiting.stored.done():
                waiting.stored.set_exception(error)

    async def _let_go(self) -> None:
        if self._clock() < self._let_go_at_s:
            return
        self._let_go_at_s = self._clock() + _LET_GO_S
        before = self._now() - timedelta(days=self._settings.keep_days)
        more = True
        with suppress(NotStored):
            while more:
                more = await self._stored.let_go(self._settings.keep_records, before)

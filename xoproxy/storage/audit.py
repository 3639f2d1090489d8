"""The audit log in the database: appended to, read, verified, and let go at its old end.

Nothing here changes a record.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from xoproxy.auth import audit as chain
from xoproxy.auth.audit import BEGINNING, Action, Checked, Ends, Fault, Place, Record
from xoproxy.storage.database import Database
from xoproxy.storage.schema import audit, audit_ends

_LET_GO = 1_000
"""Records per transaction."""
_CHECKED = 50
"""Records that are verified before the rest of the proxy has its turn."""


class NotStored(Exception):  # noqa: N818 - reads as what happened
    """The database cannot be written just now; it may be later."""


class StoredAudit:
    """Reads and writes the audit log.

    Args:
        database: where it is.
        key: what holds it together; not to be had from the database alone.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    async def open(self) -> tuple[Place, str]:
        """Return where to go on, and what is wrong there in one sentence; "" if nothing is."""
        async with self._database.reading() as connection:
            head = await self._end(connection, Ends.HEAD)
            last = await _last(connection)
        if head is None:
            return last, "" if last == BEGINNING else "the seal of the newest record does not fit"
        if last == head:
            return head, ""
        if last.number > head.number:
            return last, f"records after {head.number} were added by somebody else"
        return head, "the newest records are missing"

    def records(self, after: Place, actions: Sequence[tuple[Action, datetime]]) -> list[Record]:
        """Write actions down behind a place; nothing is stored yet."""
        return chain.records(self._key, after, actions)

    async def append(self, records: Sequence[Record]) -> None:
        """Store records; what was stored before (an answer was lost) is not stored again.

        Raises:
            NotStored: they are not, or nobody knows.
        """
        try:
            async with self._database.writing() as connection:
                last = await _last(connection)
                rows = [_row(record) for record in records if record.number > last.number]
                if rows:
                    await connection.execute(insert(audit), rows)
                    await self._put_end(connection, Ends.HEAD, records[-1].place)
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is one
            raise NotStored(type(error).__name__) from error

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records, oldest first."""
        async with self._database.reading() as connection:
            return await _read(connection, after, limit)

    async def number_before(self, moment: datetime) -> int:
        """Return the number before the first record of a moment or later."""
        query = select(func.max(audit.c.number)).where(audit.c.at < moment)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one() or 0

    async def check(self, after: int, limit: int) -> Checked:
        """Verify a stretch of the log.

        Args:
            after: number of a record that was verified before; 0 begins at the oldest one.
            limit: how many.
        """
        async with self._database.reading() as connection:
            anchor = await self._end(connection, Ends.ANCHOR)
            head = await self._end(connection, Ends.HEAD)
            start = anchor or BEGINNING
            if after > start.number:
                start = await _place(connection, after) or start
            at, fault = start, None
            while fault is None and at.number < start.number + limit:
                found = await _read(connection, at.number, _CHECKED)
                fault = chain.check(self._key, at, found)
                if not found or fault is not None:
                    break
                at = found[-1].place
            last = await _last(connection)
        if fault is None and at.number >= last.number and (head or anchor or last.number):
            fault = _at_the_end(at, head)
        return Checked(fault, start.number, at.number, head or last)

    async def let_go(self, keep: int, before: datetime) -> bool:
        """Let some of the oldest records go, and seal where the log begins now.

        Args:
            keep: so many of the newest may stay.
            before: older ones go.

        Returns:
            Whether there are more to let go.

        Raises:
            NotStored: the database cannot be written just now.
        """
        try:
            async with self._database.writing() as connection:
                return await self._let_go(connection, keep, before)
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is one
            raise NotStored(type(error).__name__) from error

    async def _let_go(self, connection: AsyncConnection, keep: int, before: datetime) -> bool:
        newest = (await _last(connection)).number
        old = select(func.max(audit.c.number)).where(audit.c.at < before)
        # never all: the newest record is what the head seals
        last = max(newest - keep, (await connection.execute(old)).scalar_one() or 0)
        last = min(last, newest - 1)
        oldest = (await connection.execute(select(func.min(audit.c.number)))).scalar_one() or 0
        upto = min(last, oldest + _LET_GO - 1)
        place = await _place(connection, upto)
        if place is None or upto < oldest:
            return False
        await connection.execute(delete(audit).where(audit.c.number <= upto))
        await self._put_end(connection, Ends.ANCHOR, place)
        return upto < last

    async def _end(self, connection: AsyncConnection, end: Ends) -> Place | None:
        """Return a sealed end; None if there is none, or it was not sealed by us."""
        query = select(audit_ends).where(audit_ends.c.name == end.value)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        place = Place(row.number, row.hash)
        return place if chain.is_sealed(self._key, end, place, row.seal) else None

    async def _put_end(self, connection: AsyncConnection, end: Ends, place: Place) -> None:
        sealed = chain.seal(self._key, end, place)
        row = {"name": end.value, "number": place.number, "hash": place.hash, "seal": sealed}
        await connection.execute(delete(audit_ends).where(audit_ends.c.name == end.value))
        await connection.execute(insert(audit_ends).values(row))


def _at_the_end(last: Place, head: Place | None) -> Fault | None:
    if head is None:
        return Fault(last.number, "the seal of the newest record is missing, or does not fit")
    if last.number < head.number:
        return Fault(last.number + 1, "the records from here to the end are missing")
    if last != head:
        return Fault(head.number + 1, "the records from here on were added by somebody else")
    return None


async def _read(connection: AsyncConnection, after: int, limit: int) -> list[Record]:
    query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
    return [_record(row) for row in await connection.execute(query)]


async def _last(connection: AsyncConnection) -> Place:
    query = select(audit).order_by(audit.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return BEGINNING if row is None else _record(row).place


async def _place(connection: AsyncConnection, number: int) -> Place | None:
    query = select(audit).where(audit.c.number == number)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _record(row).place


def _record(row: Any) -> Record:  # noqa: ANN401 - a row
    return Record(row.number, row.at, row.content, bytes(row.hash))


def _row(record: Record) -> dict[str, object]:
    return {
        "number": record.number,
        "at": record.at,
        "content": record.content,
        "hash": record.hash,
    }

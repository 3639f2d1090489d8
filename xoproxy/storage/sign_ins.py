"""What guessing has come to, in the database: auth/throttle.py says what and why."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select

from xoproxy.auth import Note
from xoproxy.auth.throttle import Kind
from xoproxy.storage.database import Database
from xoproxy.storage.schema import sign_ins


class StoredSignIns:
    """Reads and writes all notes of a `Throttle` at once; there are a few thousand at most."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def notes(self) -> Sequence[Note]:
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(sign_ins))).all()
        return [
            Note(Kind(row.kind), bytes(row.digest), row.failures, row.at.timestamp())
            for row in rows
        ]

    async def write(self, notes: Sequence[Note]) -> None:
        """Keep these notes instead of those of before."""
        rows = [
            {
                "kind": note.kind.value,
                "digest": note.digest,
                "failures": note.failures,
                "at": datetime.fromtimestamp(note.at_s, UTC),
            }
            for note in notes
        ]
        async with self._database.writing() as connection:
            await connection.execute(delete(sign_ins))
            if rows:
                await connection.execute(insert(sign_ins), rows)

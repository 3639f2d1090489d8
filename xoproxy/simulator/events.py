"""event.from: what changed since a token.

The server keeps nothing for its clients. A token is (generation, generation of messages), and a
call looks for rows that were modified after it. So changes of one row coalesce, a row that came
and went in between is not reported, and a deletion is only while its tombstone is kept; the
counts of rows that each answer carries are the client's means to notice.
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from xoproxy.simulator.bell import Bell
from xoproxy.simulator.database import Database, Row, Table
from xoproxy.simulator.datamodel import HIDDEN_TABLES, ClassModel, DataModel
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rpc import Codec
from xoproxy.simulator.wiretypes import StringType

DAY_S: Final = 24 * 3600.0
_INT64: Final = 1 << 63

_TOKEN = re.compile(r"([-+]?\d[\d_]*),([-+]?\d[\d_]*)", re.ASCII)
_TEXT = StringType()


@dataclass(frozen=True, slots=True)
class Pace:
    """How a release waits for changes to gather.

    Attributes:
        before_s: before the first look.
        between_s: after a wake; doubles up to `longest_s`.
        slack_s: how much longer than asked an idle wait lasts.
    """

    before_s: float = 0.05
    between_s: float = 0.00625
    longest_s: float = 0.05
    slack_s: float = 0.0

    @staticmethod
    def of(model: DataModel) -> "Pace":
        """Return a release's pace (xapi_event.ml at v1.249.32, v24.19.2, v25.6.0 and v26.17.0)."""

        def older(than: str) -> bool:
            releases, release = model.releases, model.release
            return release is not None and releases.place(release.name) < releases.place(than)

        if not older("26.0.0"):
            return Pace()
        return Pace(before_s=0.0, between_s=0.05, slack_s=0.5 if older("25.2.0") else 0.0)


@dataclass(frozen=True, slots=True)
class Token:
    """A position; the second part is that of the messages."""

    generation: int
    messages: int

    @staticmethod
    def parse(text: str) -> "Token":
        if text == "":
            return Token(0, 0)
        found = _TOKEN.fullmatch(text)
        parts = [int(part) for part in found.groups()] if found else [_INT64]
        if not all(-_INT64 <= part < _INT64 for part in parts):
            raise XapiError("EVENT_FROM_TOKEN_PARSE_FAILURE", text)
        return Token(*parts)

    def __str__(self) -> str:
        return f"{self.generation:020d},{self.messages:020d}"


class Subscription:
    """What a call asks for: `*`, a class in any case, or `class/ref`."""

    def __init__(self, classes: Iterable[str]) -> None:
        self._tables: set[str] = set()
        self._objects: dict[str, set[str]] = {}
        for text in classes:
            name, slash, ref = text.partition("/")
            if slash:
                self._objects.setdefault(name.lower(), set()).add(ref)
            else:
                self._tables.add(name.lower())
        self._all = "*" in self._tables

    def asks_table(self, model: ClassModel) -> bool:
        if not model.gen_events:
            return False
        return self._all or model.table in self._tables or model.table in self._objects

    def only(self, model: ClassModel) -> set[str] | None:
        """Return the refs that are asked for, or None when all of the class are."""
        if self._all or model.table in self._tables:
            return None
        return self._objects[model.table]

    def asks(self, model: ClassModel, ref: str) -> bool:
        if not self.asks_table(model):
            return False
        only = self.only(model)
        return only is None or ref in only

    @property
    def tasks_only(self) -> bool:
        return not self._all and self._tables | set(self._objects) == {"task"}


@dataclass(frozen=True, slots=True)
class Event:
    operation: str
    model: ClassModel
    ref: str
    generation: int
    row: Row | None  # None for del


@dataclass(slots=True)
class Batch:
    """One look at the database: an answer of event.from."""

    token: Token
    counts: dict[str, int]
    messages: list[Event] = field(default_factory=list)
    adds: list[Event] = field(default_factory=list)
    mods: list[Event] = field(default_factory=list)
    dels: list[Event] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        return [*self.messages, *self.adds, *self.mods, *self.dels]

    def encode(self, codec: Codec) -> bytes:
        counts = ((table, codec.count(n)) for table, n in self.counts.items())
        return codec.struct(
            [
                ("events", codec.array(encode_events(codec, self.events))),
                ("valid_ref_counts", codec.struct(counts)),
                ("token", codec.value(_TEXT, str(self.token))),
            ]
        )


def encode_events(codec: Codec, events: Sequence[Event]) -> list[bytes]:
    def text(value: str) -> bytes:
        return codec.value(_TEXT, value)

    words = {word: text(word) for word in ("0.0", "add", "mod", "del")}
    names = {e.model: text(e.model.table) for e in events}
    encoded = []
    for event in events:
        members = [
            ("id", text(str(event.generation))),
            ("timestamp", words["0.0"]),
            ("class", names[event.model]),
            ("operation", words[event.operation]),
            ("ref", text(event.ref)),
        ]
        if event.row is not None:
            members.append(("snapshot", codec.record(event.model, event.row)))
        encoded.append(codec.struct(members))
    return encoded


class Events:
    """Answers event.from and event.inject.

    Args:
        check_session: raises when a session has ended.
        speed: how many times faster than XAPI's the delays are.
    """

    def __init__(
        self, database: Database, check_session: Callable[[str], None], speed: float = 1.0
    ) -> None:
        self._db = database
        self._check_session = check_session
        self._speed = speed
        self._pace = Pace.of(database.model)
        self._bell = Bell()
        self.waiting = 0
        database.changed.append(self._bell.ring)

    def wake(self) -> None:
        """Let everybody who waits look again (their session may have ended)."""
        self._bell.ring()

    async def since(
        self, session: str, classes: Sequence[str], token: str, timeout_s: float
    ) -> Batch:
        """Wait for events after a token; an idle wait ends with an empty batch.

        Raises:
            XapiError: the token does not parse, or the session ended while waiting.
        """
        position = Token.parse(token)
        wanted = Subscription(classes)
        slack_s = self._pace.slack_s / self._speed
        deadline = asyncio.get_running_loop().time() + _sane(timeout_s) + slack_s
        self.waiting += 1
        try:
            return await self._wait(session, wanted, position, deadline)
        finally:
            self.waiting -= 1

    async def _wait(
        self, session: str, wanted: Subscription, position: Token, deadline: float
    ) -> Batch:
        loop = asyncio.get_running_loop()
        pause = self._pace.between_s
        if not wanted.tasks_only:
            await asyncio.sleep(self._pace.before_s / self._speed)
        while True:
            self._check_session(session)
            batch = self.look(wanted, position)
            if batch.events or loop.time() >= deadline:
                return batch
            position = batch.token
            await self._bell.wait(deadline)
            self._check_session(session)
            await asyncio.sleep(min(pause / self._speed, max(0.0, deadline - loop.time())))
            pause = min(pause * 2, self._pace.longest_s)

    def inject(self, cls: str, ref: str) -> str:
        """Touch a row; returns a token that an event.from which saw it has passed."""
        table = self._db.tables.get(cls)
        if table is None or table.model.hidden or cls == "message" or ref not in table.rows:
            raise XapiError("HANDLE_INVALID", cls, ref)
        token = Token(self._db.generation - 1, 0)
        self._db.touch(cls, ref)
        return str(token)

    def look(self, wanted: Subscription, position: Token) -> Batch:
        """Collect what changed after a position."""
        batch = Batch(position, self._counts())
        newest = position.generation
        messages = 0
        for table in self._db.tables.values():
            if not wanted.asks_table(table.model):
                continue
            if table.model.name == "message":
                messages = _look_at_messages(table, wanted, position.messages, batch)
            else:
                newest = max(newest, _look_at_table(table, wanted, position.generation, batch))
        batch.token = Token(newest, messages)
        return batch

    def _counts(self) -> dict[str, int]:
        counts = dict.fromkeys(HIDDEN_TABLES, 0)
        for model in self._db.model.classes.values():
            if not model.hidden:
                counts[model.table] = self._db.count(model.name) if model.in_db else 0
        return counts


def _look_at_table(table: Table, wanted: Subscription, since: int, batch: Batch) -> int:
    """Add a table's events to a batch; returns the newest generation among them."""
    newest = since
    only = wanted.only(table.model)
    for row in reversed(table.rows.values()):  # the latest change first
        if row.modified <= since:
            break
        if only is not None and row.ref not in only:
            continue
        newest = max(newest, row.modified)
        if row.created > since:
            batch.adds.append(Event("add", table.model, row.ref, row.created, row))
        else:
            batch.mods.append(Event("mod", table.model, row.ref, row.modified, row))
    for stone in reversed(table.tombstones):
        if stone.deleted <= since:
            break
        # One that came and went since the token is not even known to have been.
        if stone.created <= since and (only is None or stone.ref in only):
            newest = max(newest, stone.deleted)
            batch.dels.append(Event("del", table.model, stone.ref, stone.deleted, None))
    return newest


def _look_at_messages(table: Table, wanted: Subscription, since: int, batch: Batch) -> int:
    """Add message events, whose ids are always 0 and which come in order of time."""
    only = wanted.only(table.model)
    found: list[tuple[int, Event]] = []
    for row in reversed(table.rows.values()):
        if row.created <= since:
            break
        found.append((row.created, Event("add", table.model, row.ref, 0, row)))
    for stone in reversed(table.tombstones):
        if stone.deleted <= since:
            break
        if stone.created <= since:
            found.append((stone.deleted, Event("del", table.model, stone.ref, 0, None)))
    found.sort(key=lambda pair: pair[0])
    batch.messages += [e for _, e in found if only is None or e.ref in only]
    return max([since, *(generation for generation, _ in found)])


def _sane(timeout_s: float) -> float:
    """XAPI waits a day where a number makes no sense."""
    if math.isnan(timeout_s) or timeout_s < 0 or timeout_s > DAY_S:
        return DAY_S
    return timeout_s

"""What a window shows at one position, and how that is written: whole, or as a difference.

A content is a plain value: at most a thousand rows, which contents that follow each other share. So
what leads from any content to any other is their difference, without a look at history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from xoproxy.cache.diff import Fields, Operation, Put, Remove, join, operations
from xoproxy.cache.facets import Shown
from xoproxy.cache.store import Store
from xoproxy.model import XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import Delivery, Frame, Framing
from xoproxy.sessions.messages import Patch, ServerMessage, Snapshot

_SLICE = 48
"""Rows per step of long work."""
_FEW_OPERATIONS = 4
_RECORD_SHARE = 0.6
"""As for other views: see `group.py`."""
_FRAME_OVERHEAD_BYTES = 128

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Row:
    """An object as the window shows it.

    Args:
        fields: `$ref` and `$pool` among them.
        since: the position at which it came to look like this here.
    """

    fields: Fields
    since: int


@dataclass(frozen=True, slots=True)
class Content:
    """All that a window shows.

    Args:
        rows: by name, in order.
        total: the objects that there are.
        facets: None if none were asked for.
        reached: how far the pools' histories were read when it came to be.
    """

    rows: Mapping[str, Row]
    total: int
    facets: Shown | None
    reached: Mapping[Store, int] = field(compare=False)


class WindowWriter:
    """Writes a window's contents into frames.

    Args:
        cls: of all its objects.
        codec, framing: how.
        frame_bytes, chunk_bytes: see `Group`.
        sets_by_member: whether a patch may change single members of sets.
    """

    def __init__(
        self,
        cls: XapiClass,
        codec: Codec,
        framing: Framing,
        frame_bytes: int,
        chunk_bytes: int,
        *,
        sets_by_member: bool,
    ) -> None:
        self._cls = cls
        self._codec = codec
        self._framing = framing
        self._frame_bytes = frame_bytes
        self._chunk_bytes = chunk_bytes
        self._sets_by_member = sets_by_member

    def make(self, delivery: Delivery, work: Iterator[None]) -> None:
        """Begin to make a delivery; what windows hold meanwhile is small."""
        delivery.make(work, self._framing.ledger, 0)

    def frame(self, message: ServerMessage | Sequence[ServerMessage]) -> Frame:
        return Frame(self._codec.encode(message), binary=self._codec.binary, framing=self._framing)

    def patch(
        self, view: int, span: tuple[int, int], old: Content, new: Content, frames: list[Frame]
    ) -> Iterator[None]:
        """Write, in slices, what leads from one content to another.

        Args:
            view: the number that the client knows.
            span: the positions of the two contents.
            old: the one.
            new: the other.
            frames: where the frames go.
        """
        part: list[msgspec.Raw] = []
        room = self._frame_bytes - _FRAME_OVERHEAD_BYTES
        for number, operation in enumerate(self._difference(old, new), 1):
            size = len(operation) + 1
            if size > room and part:
                frames.append(self.frame(Patch(view, *span, part, more=True)))
                part = []
                room = self._frame_bytes - _FRAME_OVERHEAD_BYTES
            part.append(msgspec.Raw(operation))
            room -= size
            if number % _SLICE == 0:
                yield
        frames.append(self.frame(Patch(view, *span, part)))

    def snapshot(
        self, view: int, seq: int, content: Content, frames: list[Frame]
    ) -> Iterator[None]:
        """Write a whole content, in slices."""
        names: tuple[str, ...] = ()
        keys: list[str] = []
        rows: list[msgspec.Raw] = []
        size = 0
        for number, (key, row) in enumerate(content.rows.items(), 1):
            encoded = self._codec.row(list(row.fields.values()))
            if rows and (tuple(row.fields) != names or size + len(encoded) > self._chunk_bytes):
                message = Snapshot(
                    view, seq, last=False, class_=self._cls, fields=names, keys=keys, rows=rows
                )
                frames.append(self.frame(message))
                keys, rows, size = [], [], 0
            names = tuple(row.fields)
            keys.append(key)
            rows.append(msgspec.Raw(encoded))
            size += len(encoded) + len(key) + 4
            if number % _SLICE == 0:
                yield
        last = Snapshot(
            view,
            seq,
            last=True,
            class_=self._cls,
            fields=names,
            keys=keys,
            rows=rows,
            order=list(content.rows),
            total=content.total,
            facets=UNSET if content.facets is None else content.facets,
        )
        frames.append(self.frame(last))

    def _difference(self, old: Content, new: Content) -> Iterator[bytes]:
        for key in old.rows:
            if key not in new.rows:
                yield self._codec.operation(Remove(f"/{self._cls}/{key}"))
        for key, row in new.rows.items():
            before = old.rows.get(key)
            if before is not row:
                yield from self._row_difference(f"/{self._cls}/{key}", before, row)
        if list(old.rows) != list(new.rows):
            yield self._replace("/order", list(new.rows))
        if old.total != new.total:
            yield self._replace("/total", new.total)
        if old.facets != new.facets:
            yield self._replace("/facets", new.facets)

    def _row_difference(self, path: str, old: Row | None, new: Row) -> Iterator[bytes]:
        """Write a row's changes, or all of it where that is hardly longer."""
        if old is None:
            yield self._record("add", path, new)
            return
        by_member = self._sets_by_member
        found = operations(path, old.fields, new.fields, sets_by_member=by_member)
        encoded = [self._codec.operation(operation) for operation in found]
        if len(encoded) >= _FEW_OPERATIONS:
            whole = self._record("replace", path, new)
            if sum(map(len, encoded)) > _RECORD_SHARE * len(whole):
                encoded = [whole]
        yield from encoded

    def _record(self, op: str, path: str, row: Row) -> bytes:
        return self._codec.operation(Put(op, path, msgspec.Raw(join(row.fields))))

    def _replace(self, path: str, value: object) -> bytes:
        operation: Operation = Put("replace", path, msgspec.Raw(_encode(value)))
        return self._codec.operation(operation)


def own_fields(ref: str, pool: str) -> dict[str, msgspec.Raw]:
    """Return the members of a row that are ours."""
    return {"$ref": msgspec.Raw(_encode(ref)), "$pool": msgspec.Raw(_encode(pool))}

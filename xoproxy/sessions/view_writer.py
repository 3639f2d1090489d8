"""How a view's content is written: patches between two looks at it, snapshots, bookmarks.

Everything that takes long is a generator, one slice a step; between two steps, the states that it
looks at keep up with what was committed. Frames that belong together are added together.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from xoproxy.cache.diff import Fields, Put, Remove, join, operations
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import (
    Enter,
    Eyes,
    Leave,
    Update,
    View,
    ViewChange,
    changes_between,
    differences,
    eyes_at,
    look_at_all,
)
from xoproxy.model import Change, Cursor, Entry, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.compare import Claim, ViewDigests
from xoproxy.sessions.frame import Frame, Framing, GivenUp
from xoproxy.sessions.messages import Bookmark, Moved, Patch, Reset, ServerMessage
from xoproxy.sessions.rows import Chunk, Row, SharedRows, make_row
from xoproxy.sessions.tokens import TokenSigner, ViewHash

_SLICE = 48
"""Objects per step of long work: about a millisecond for whole VM records."""
_FEW_OPERATIONS = 4
"""Fewer operations on one object are never longer than the whole record."""
_RECORD_SHARE = 0.6
"""A patch of an object longer than this share of its record gives way to the record."""
_FRAME_OVERHEAD_BYTES = 128
_BEHIND_BYTES = 256
"""Room for `moved`, or for a bookmark."""


class ViewWriter:
    """Writes one view.

    Args:
        number: its name on the wire.
        store: the pool.
        view: what is shown.
        view_hash: names it in resume tokens.
        codec: of all who read it.
        framing, signer: how frames are built and tokens signed.
        frame_bytes: bound of a patch's parts; a single larger operation may exceed it.
        chunk_bytes: aim for the messages of a snapshot.
    """

    def __init__(
        self,
        number: int,
        store: Store,
        view: View,
        view_hash: ViewHash,
        codec: Codec,
        framing: Framing,
        signer: TokenSigner,
        *,
        frame_bytes: int,
        chunk_bytes: int,
    ) -> None:
        self.ledger = framing.ledger
        self._number = number
        self._store = store
        self._view = view
        self._view_hash = view_hash
        self._codec = codec
        self._framing = framing
        self._signer = signer
        self._frame_bytes = frame_bytes
        self._chunk_bytes = chunk_bytes

    def frame(self, message: ServerMessage | Sequence[ServerMessage]) -> Frame:
        return Frame(self._codec.encode(message), binary=self._codec.binary, framing=self._framing)

    def reset(self, position: int, reason: str, *, gone: bool = False) -> Reset:
        epoch = self._store.epoch
        return Reset(self._number, reason, epoch, position, gone=True if gone else UNSET)

    def bookmark_message(self, cursor: Cursor, position: int) -> Bookmark:
        token = self._signer.sign(cursor, self._store.pool, self._view_hash)
        return Bookmark(self._number, position, token)

    def bookmark_frame(self, cursor: Cursor, position: int) -> Frame:
        return self.frame(self.bookmark_message(cursor, position))

    # --- patches --------------------------------------------------------------------------------

    def patch(
        self, frames: list[Frame], seq: int, to: int, before: Eyes, after: Eyes
    ) -> Iterator[None]:
        encoded: list[bytes] = []
        yield from self.encode_between(before, after, encoded)
        parts: list[Frame] = []
        yield from self.pack(encoded, seq, to, parts)
        frames.extend(parts)

    def arrival(
        self, frames: list[Frame], number: int, to: int, before: Eyes, after: Eyes
    ) -> Iterator[None]:
        """Lead from another view, by its number, to this one, and say that it goes on here.

        The end of the patch, `moved` and the bookmark are one frame. A client that was cut off
        between them would hold the new content by the old number, and resume with a token of the
        old rights: should they come back, we would take it for what they showed.
        """
        seq, states = before.state.seq, (before.state, after.state)
        referrers = before.view.needs_references or after.view.needs_references
        for preparation in (
            self._store.index_references() if referrers else (),
            *(state.prepare(referrers=referrers) for state in states),
        ):
            for _ in preparation:
                yield
                before.state.keep_up()
                after.state.keep_up()
        encoded: list[bytes] = []
        for done, change in enumerate(differences(before, after), 1):
            if change is not None:
                encoded.extend(self._encode_change(change, after))
            if done % _SLICE == 0:
                yield
                before.state.keep_up()
                after.state.keep_up()
        parts: list[Frame] = []
        cursor = Cursor(self._store.epoch, after.state.seq)
        moved = Moved(number, self._number, to)
        behind: list[ServerMessage] = [moved, self.bookmark_message(cursor, to)]
        yield from self.pack(encoded, seq, to, parts, number, behind)
        frames += parts

    def encode_between(
        self,
        before: Eyes,
        after: Eyes,
        encoded: list[bytes],
        news: list[Change] | None = None,
    ) -> Iterator[None]:
        """Encode how the view looks different; `news` are the changes that may show, if known."""
        if news is None:
            news = list(self._store.journal.since(before.state.seq, after.state.seq))
        for _ in self.index_references(before.state, after.state):
            yield
        if not self._view.shows_all:  # otherwise a change says all that we need of the past
            for _ in before.state.prepare(referrers=self._view.needs_references):
                yield
                after.state.keep_up()
        for number, change in enumerate(changes_between(before, after, news), 1):
            if change is not None:
                encoded.extend(self._encode_change(change, after))
            if number % _SLICE == 0:
                yield
                before.state.keep_up()
                after.state.keep_up()

    def _encode_change(self, change: ViewChange, after: Eyes) -> list[bytes]:
        match change:
            case Enter(entry, fields):
                return [self._codec.operation(Put("add", _path(entry), _record(entry, fields)))]
            case Leave(cls, key):
                return [self._codec.operation(Remove(f"/{cls}/{key}"))]
            case Update(entry, old, new):
                by_member = self._view.sets_by_member
                found = operations(_path(entry), old, new, sets_by_member=by_member)
                encoded = [self._codec.operation(operation) for operation in found]
                if len(encoded) < _FEW_OPERATIONS:
                    return encoded
                return self._shorter(entry, encoded, after)

    def _shorter(self, entry: Entry, encoded: list[bytes], after: Eyes) -> list[bytes]:
        """Choose between an object's operations and its whole record."""
        size = sum(map(len, encoded))
        fields = after.look(entry)
        if fields is None:
            return encoded
        whole = self._codec.operation(Put("replace", _path(entry), _record(entry, fields)))
        return [whole] if size > _RECORD_SHARE * len(whole) else encoded

    def pack(
        self,
        encoded: list[bytes],
        seq: int,
        to: int,
        frames: list[Frame],
        number: int | None = None,
        behind: Sequence[ServerMessage] = (),
    ) -> Iterator[None]:
        """Put operations into as many frames as their size asks for, one a step.

        What is to stand right behind the patch goes into the last one, too.
        """
        number = self._number if number is None else number
        part: list[msgspec.Raw] = []
        overhead_bytes = _FRAME_OVERHEAD_BYTES + len(behind) * _BEHIND_BYTES
        room = self._frame_bytes - overhead_bytes
        for operation in encoded:
            size = len(operation) + 1
            if size > room and part:
                frames.append(self.frame(Patch(number, seq, to, part, more=True)))
                yield
                part = []
                room = self._frame_bytes - overhead_bytes
            part.append(msgspec.Raw(operation))
            room -= size
        last = Patch(number, seq, to, part)
        frames.append(self.frame([last, *behind] if behind else last))

    # --- snapshots ------------------------------------------------------------------------------

    def snapshot(self, frames: list[Frame], to: int, eyes: Eyes) -> Iterator[None]:
        yield from self.prepare(eyes.state)
        rows = (seen and make_row(self._codec, *seen) for seen in look_at_all(eyes))
        yield from self._write_rows(frames, to, eyes, rows)

    def comparison(self, frames: list[Frame], digests: ViewDigests, claim: Claim) -> Iterator[None]:
        difference = yield from digests.difference(claim)
        if difference.is_great:
            raise GivenUp("differs")
        eyes = eyes_at(self._view, self._store, digests.seq)
        yield from self.prepare(eyes.state)
        rows = self._shared_rows(eyes, difference.entries, digests.rows)
        yield from self._write_rows(frames, digests.position, eyes, rows, difference.buckets)

    def _shared_rows(
        self, eyes: Eyes, entries: Iterable[Entry], known: SharedRows
    ) -> Iterator[Row | None]:
        for entry in entries:
            row = known.get(entry.key)
            fields = eyes.look(entry) if row is None else None
            if fields is not None:
                row = make_row(self._codec, entry, fields)
                known.put(row)
            yield row

    def _write_rows(
        self,
        frames: list[Frame],
        to: int,
        eyes: Eyes,
        rows: Iterable[Row | None],
        buckets: list[int] | UnsetType = UNSET,
    ) -> Iterator[None]:
        """Write objects as a snapshot's messages, to the last one, and its bookmark."""
        chunk = Chunk(self._view.classes[0] if self._view.classes else XapiClass(""), buckets)
        for number, row in enumerate(rows, 1):
            if row is not None:
                if not chunk.takes(row, self._chunk_bytes):
                    frames.append(self.frame(chunk.message(self._number, to, last=False)))
                    chunk = Chunk(row.cls)
                chunk.add(row)
            if number % _SLICE == 0:
                yield
                if self._view.needs_references:  # others are judged by what was pinned alone
                    eyes.state.keep_up()
        frames.append(self.frame(chunk.message(self._number, to, last=True)))
        cursor = Cursor(self._store.epoch, eyes.state.seq)
        frames.append(self.bookmark_frame(cursor, to))

    # --- what has to be there before anybody can look -------------------------------------------

    def prepare(self, state: State) -> Iterator[None]:
        yield from self.index_references(state)
        yield from state.prepare(referrers=self._view.needs_references)

    def index_references(self, *states: State) -> Iterator[None]:
        if self._view.needs_references:
            for _ in self._store.index_references():
                yield
                for state in states:
                    state.keep_up()


def _path(entry: Entry) -> str:
    return f"/{entry.cls}/{entry.key}"


def _ref(entry: Entry) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(entry.ref))


def _record(entry: Entry, fields: Fields) -> msgspec.Raw:
    return msgspec.Raw(join({"$ref": _ref(entry), **fields}))

"""One pool's log and checkpoint, kept in step with its store.

Theory of operation. The loop appends every batch to the open segment before any client hears of
it. From time to time a checkpoint is taken: the loop lists the entries and begins a new segment,
both at one position; a thread writes the list beside the old checkpoint; the loop puts it in its
place, and segments that the journal no longer needs go. At every moment the files on disk are a
checkpoint and a log that leads from it, or before it, to the last batch.

When something cannot be written, the files end before what clients know, so they must not be
believed by anybody: they are deleted at once, and the pool lives on in memory only. `begin` may
start anew at any position: same epoch, but no past.
"""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from xoproxy.cache.store import SavedStore, Store
from xoproxy.model import Batch, XapiClass
from xoproxy.storage.history.records import Classes, End, Logged, Mark, Opening, encode
from xoproxy.storage.history.restoring import Restored
from xoproxy.storage.history.sealed import OVERHEAD_BYTES
from xoproxy.storage.history.segments import (
    CHECKPOINT,
    OpenSegment,
    Segment,
    remove_files,
    removed,
    segment_path,
)

_log = structlog.get_logger(__name__)
_OPENING_BYTES = 4096
"""More than the first record of a segment takes."""


class DiskBudget:
    """The bound that all histories share.

    Args:
        total_bytes: of all their files.
        reclaim: deletes something that can be missed; tells whether there was anything.
    """

    def __init__(self, total_bytes: int, reclaim: Callable[[], bool]) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self._reclaim = reclaim

    def reserve(self, size: int) -> None:
        """Make room for so many more bytes.

        Raises:
            OSError: there is none.
        """
        while self.used_bytes + size > self.total_bytes:
            if not self._reclaim():
                raise OSError(errno.EDQUOT, "storage.history_bytes is used up")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A checkpoint in the making.

    Args:
        saved: what it holds.
        life: of the history to which it belongs.
    """

    saved: SavedStore
    life: int


class PoolHistory:
    """Keeps one pool's files.

    Args:
        directory: for these files alone; made when they are.
        key: of the storage.
        store: of the pool.
        disk: that all pools share.
        now: seconds since 1970.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        store: Store,
        disk: DiskBudget,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.directory = directory
        self.segments: list[Segment] = []
        """All of the log, the open one last."""
        self.checkpoint_seq: int | None = None
        """Where the checkpoint stands; None: there is none yet."""
        self.checkpoint_at_s = 0.0
        self.checkpoint_bytes = 0
        self.bytes_since = 0
        """Logged since the last checkpoint was begun."""
        self.changed_since = False
        self.ended = False
        """Whether nothing follows, and the log says so."""
        self.failures = 0
        """How often the history was lost because it could not be written."""
        self.failed_at_s = float("-inf")
        """When something could not be written, by the monotonic clock."""
        self._key = key
        self._disk = disk
        self._now = now
        self._clock = clock
        self._open: OpenSegment | None = None
        self._life = 0
        """Counts the times that it was given up: what was begun before is of no use after."""
        self._classes: frozenset[XapiClass] = frozenset()
        self._number = 0
        self._known_at_s = 0.0

    @property
    def writing(self) -> bool:
        """Whether what happens is logged."""
        return self._open is not None

    @property
    def used_bytes(self) -> int:
        return self.checkpoint_bytes + sum(segment.size for segment in self.segments)

    def begin(self) -> None:
        """Start a history at the store's position; it is one once there is a checkpoint."""
        self.give_up()
        self._known_at_s = self._known_at_s or self._now()
        try:
            remove_files(self.directory)
            self.directory.mkdir(mode=0o700)
            self._next_segment()
        except OSError as error:
            self._fail(error)

    def go_on(self, restored: Restored) -> None:
        """Continue a history that was read back, in a segment of its own."""
        self._known_at_s = restored.store.known_at_s or 0.0
        self.segments = restored.segments
        self.checkpoint_seq = restored.checkpoint_seq
        self.checkpoint_bytes = restored.checkpoint_bytes
        self.checkpoint_at_s = self._clock() - restored.checkpoint_age_s
        self._disk.used_bytes += self.used_bytes
        self._number = restored.segments[-1].number
        unsaved = [s for s in self.segments if s.to_seq > restored.checkpoint_seq]
        self.bytes_since = sum(segment.size for segment in unsaved)
        self.changed_since = bool(unsaved)
        try:
            self._next_segment()
        except OSError as error:
            self._fail(error)

    def append(self, batch: Batch) -> None:
        """Log a batch; when this returns, it survives our death, or there is no history."""
        self._known_at_s = self._now()
        if self._open is None:
            return
        if self.store.classes is not self._classes:
            self._note_classes()
        record = Logged(
            batch.from_seq,
            batch.to_seq,
            batch.xapi_token,
            batch.next_key,
            self._known_at_s,
            batch.changes,
        )
        if self._write(record):
            self.segments[-1].to_seq = batch.to_seq
            self.changed_since = True

    def mark(self) -> None:
        """Note that the store is what the pool has."""
        self._known_at_s = self._now()
        self._write(Mark(self._known_at_s))

    # --- checkpoints ---

    def pin(self) -> Pinned | None:
        """Begin a checkpoint: list what is to be written, and a segment that follows it."""
        if self._open is None:
            return None
        try:
            self._next_segment()
        except OSError as error:
            self._fail(error)
            return None
        self.bytes_since = 0
        self.changed_since = False
        return Pinned(self.store.saved(), self._life)

    def put(self, pinned: Pinned, draft: Path, size: int) -> bool:
        """Put a written checkpoint in place of the old one; tells whether it still was wanted.

        Raises:
            OSError: it could not be; the old one is still good.
        """
        if pinned.life != self._life or self._open is None:
            draft.unlink(missing_ok=True)
            return False
        draft.replace(self.directory / CHECKPOINT)
        self.checkpoint_seq = pinned.saved.seq
        self._disk.used_bytes += size - self.checkpoint_bytes
        self.checkpoint_bytes = size
        self.checkpoint_at_s = self._clock()
        return True

    def checkpoint_failed(self, pinned: Pinned, error: OSError) -> None:
        """Note that a checkpoint could not be written: the log goes on from the one before."""
        if pinned.life == self._life:
            self.failed_at_s = self._clock()
            _log.warning("checkpoint_failed", pool=self.store.pool, error=error.strerror)

    def forget_oldest(self, wanted_seq: int | None = None) -> bool:
        """Delete the oldest segment if the checkpoint covers it; tells whether it did.

        Args:
            wanted_seq: what goes on after this position stays; None: all of the past may go.
        """
        if self.checkpoint_seq is None or len(self.segments) == 1:
            return False
        oldest = self.segments[0]
        if oldest.to_seq > self.checkpoint_seq:
            return False
        if wanted_seq is not None and oldest.to_seq > wanted_seq:
            return False
        oldest.path.unlink(missing_ok=True)
        del self.segments[0]
        self._disk.used_bytes -= oldest.size
        return True

    # --- ends ---

    def end(self, *, live: bool) -> None:
        """Say that nothing follows; to be believed once all is on the disk.

        Args:
            live: whether the store is what the pool has.
        """
        if live:
            self.mark()
        self.ended = self._write(End())
        self._close()

    def give_up(self) -> None:
        """Stop writing; what was written stays."""
        self._life += 1
        self._close()
        self._disk.used_bytes -= self.used_bytes
        self.segments = []
        self.checkpoint_seq = None
        self.checkpoint_bytes = self.bytes_since = 0
        self.changed_since = False

    # --- within ---

    def _next_segment(self) -> None:
        self._disk.reserve(_OPENING_BYTES)
        seq, classes = self.store.seq, self.store.classes
        number = self._number + 1
        segment = Segment(segment_path(self.directory, number), number, self._now(), seq)
        opened = OpenSegment(
            segment,
            self._key,
            Opening(
                self.store.pool, self.store.epoch, number, seq, sorted(classes), self._known_at_s
            ),
        )
        self._close()
        self._disk.used_bytes += segment.size
        self._open = opened
        self._number = number
        self._classes = classes
        self.segments.append(segment)

    def _note_classes(self) -> None:
        if self.store.classes != self._classes:
            self._write(Classes(sorted(self.store.classes)))
        self._classes = self.store.classes

    def _write(self, record: msgspec.Struct) -> bool:
        """Write a record; tells whether it is there. If not, there is no history any more."""
        if self._open is None:
            return False
        plain = encode(record)
        try:
            self._disk.reserve(len(plain) + OVERHEAD_BYTES)
            size = self._open.append(plain)
        except OSError as error:
            self._fail(error)
            return False
        self._disk.used_bytes += size
        self.bytes_since += size
        return True

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _fail(self, error: OSError) -> None:
        """Go on without a history, and leave nothing that would be taken for one."""
        self.failures += 1
        self.failed_at_s = self._clock()
        self.give_up()
        removed(self.directory)
        _log.error(
            "history_lost",
            pool=self.store.pool,
            error=error.strerror,
            hint="the pool is served as before; after a restart its clients load it anew",
        )

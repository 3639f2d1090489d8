"""What a pool's files say: its store as it was, or why they cannot be trusted."""

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.replay import BrokenHistory, replay
from xoproxy.cache.store import SavedStore, Store
from xoproxy.model import Batch, Entry
from xoproxy.storage.history.records import (
    CheckpointRecord,
    Classes,
    End,
    Head,
    Logged,
    LogRecord,
    Mark,
    Objects,
    Opening,
    decode_checkpoint,
    decode_log,
)
from xoproxy.storage.history.sealed import Damaged, unsealed
from xoproxy.storage.history.segments import (
    CHECKPOINT,
    Segment,
    checkpoint_context,
    log_context,
    segment_paths,
)


@dataclass(frozen=True, slots=True)
class Restored:
    """A pool's past.

    Args:
        store: as it was when the last batch was logged.
        segments: the log, oldest first.
        checkpoint_seq: where the checkpoint stands.
        checkpoint_bytes, checkpoint_age_s: its size and age.
    """

    store: Store
    segments: list[Segment]
    checkpoint_seq: int
    checkpoint_bytes: int
    checkpoint_age_s: float


def restore(directory: Path, key: bytes, budget: JournalBudget, *, ended: bool) -> Restored | None:
    """Read a pool's history back.

    Args:
        directory: of the pool; named as it.
        key: of the storage.
        budget: bound of the journal.
        ended: whether the log must say that it ends where it does: after a clean shutdown.

    Returns:
        The pool's past; None when there is no checkpoint: it was never loaded, or was given up.

    Raises:
        Damaged: files are not as they were written, or do not belong together.
        OSError: they cannot be read.
    """
    path = directory / CHECKPOINT
    if not path.exists():
        return None
    try:
        saved, size = _read_checkpoint(path, key)
        log = _Log(saved)
        for number, segment in segment_paths(directory):
            log.read(number, segment, key)
        log.check(ended=ended)
        store = replay(saved, log.batches, budget)
    except (BrokenHistory, msgspec.DecodeError) as error:
        raise Damaged(str(error)) from error
    store.classes = log.classes
    store.known_at_s = log.known_at_s
    age_s = max(0.0, time.time() - path.stat().st_mtime)
    return Restored(store, log.segments, saved.seq, size, age_s)


def _read_checkpoint(path: Path, key: bytes) -> tuple[SavedStore, int]:
    content = path.read_bytes()
    head: Head | None = None
    entries: list[Entry] = []
    complete = False
    for plain in unsealed(content, key, checkpoint_context(path.parent.name)):
        record: CheckpointRecord = decode_checkpoint(plain)
        match record:
            case Head() as head:
                pass
            case Objects(some):
                entries += some
            case End():
                complete = True
    if head is None or not complete or len(entries) != head.count:
        raise Damaged("the checkpoint is not whole")
    saved = SavedStore(
        pool=head.pool,
        epoch=head.epoch,
        seq=head.seq,
        next_key=head.next_key,
        xapi_token=head.xapi_token,
        classes=frozenset(head.classes),
        entries=entries,
    )
    return saved, len(content)


class _Log:
    """What a log says, read segment by segment, oldest first."""

    def __init__(self, saved: SavedStore) -> None:
        self.batches: list[Batch] = []
        self.segments: list[Segment] = []
        self.classes = saved.classes
        self.known_at_s = 0.0
        self._saved = saved
        self._ended = False
        self._clock = _Clock()

    def read(self, number: int, path: Path, key: bytes) -> None:
        content = path.read_bytes()
        seq = self.segments[-1].to_seq if self.segments else None
        began = self._ended = False
        for plain in unsealed(content, key, log_context(path.parent.name)):
            record: LogRecord = decode_log(plain)
            match record:
                case Opening() as opening:
                    self._open(opening, seq)
                    began, seq = True, opening.seq
                case Logged() as logged:
                    if seq != logged.from_seq:
                        raise Damaged(f"no batch from {seq}")
                    self._take(logged)
                    seq = logged.to_seq
                case Classes(classes):
                    self.classes = frozenset(classes)
                case Mark(at_s):
                    self.known_at_s = max(self.known_at_s, at_s)
                case End():
                    self._ended = True
        if not began:  # cut short at once; its number will be used again
            path.unlink()
        elif seq is not None:
            began_at_s = path.stat().st_mtime
            self.segments.append(Segment(path, number, began_at_s, seq, len(content)))

    def check(self, *, ended: bool) -> None:
        """Raise `Damaged` unless the log leads from the checkpoint, or before, to its end."""
        if not self.segments:
            raise Damaged("there is no log")
        first = self.batches[0].from_seq if self.batches else self.segments[0].to_seq
        if not first <= self._saved.seq <= self.segments[-1].to_seq:
            raise Damaged("the log does not reach the checkpoint")
        if ended and not self._ended:
            raise Damaged("the log ends early")

    def _open(self, opening: Opening, seq: int | None) -> None:
        if (opening.pool, opening.epoch) != (self._saved.pool, self._saved.epoch):
            raise Damaged("the log is of another pool or epoch")
        if seq is not None and opening.seq != seq:
            raise Damaged(f"the log has a gap at {seq}")
        self.classes = frozenset(opening.classes)
        self.known_at_s = max(self.known_at_s, opening.known_at_s)

    def _take(self, logged: Logged) -> None:
        self.known_at_s = max(self.known_at_s, logged.at_s)
        self.batches.append(
            Batch(
                pool=self._saved.pool,
                epoch=self._saved.epoch,
                from_seq=logged.from_seq,
                to_seq=logged.to_seq,
                xapi_token=logged.xapi_token,
                changes=logged.changes,
                at_s=self._clock.monotonic(logged.at_s),
                next_key=logged.next_key,
            )
        )


class _Clock:
    """Turns moments since 1970 into those of this process's monotonic clock; never backwards."""

    def __init__(self) -> None:
        self._now_s = time.time()
        self._monotonic_s = time.monotonic()
        self._last_s = float("-inf")

    def monotonic(self, at_s: float) -> float:
        age_s = max(0.0, self._now_s - at_s)
        self._last_s = max(self._last_s, self._monotonic_s - age_s)
        return self._last_s

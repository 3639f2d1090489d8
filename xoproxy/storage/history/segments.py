"""The pieces of a pool's log: one that is open, and those before it, down to where it reaches."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from xoproxy.storage.history.records import encode
from xoproxy.storage.history.sealed import Sealer

_log = structlog.get_logger(__name__)
CHECKPOINT = "checkpoint"
_LOG = "log-"


@dataclass(slots=True)
class Segment:
    """One piece of a log.

    Args:
        path: its file.
        number: counts on from the one before it.
        began_at_s: in seconds since 1970.
        to_seq: where it ends.
        size: bytes.
    """

    path: Path
    number: int
    began_at_s: float
    to_seq: int
    size: int = 0


class OpenSegment:
    """The piece that is written: each record with one `write`, never with an fsync.

    What `write` has taken survives the death of this process.

    Args:
        segment: where; there must be no such file.
        key: of the storage.
        opening: the first record.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, segment: Segment, key: bytes, opening: msgspec.Struct) -> None:
        self.segment = segment
        self._sealer = Sealer(key, log_context(segment.path.parent.name))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(segment.path, flags, 0o600)
        try:
            self._write(self._sealer.header + self._sealer.seal(encode(opening)))
        except OSError:
            self.close()
            raise

    def append(self, plain: bytes) -> int:
        """Write an encoded record; returned is what it takes.

        Raises:
            OSError: it is not there, or not whole: nothing may follow it.
        """
        data = self._sealer.seal(plain)
        self._write(data)
        return len(data)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        while written < len(data):  # the disk is nearly full: the rest fails, and says why
            written += os.write(self._descriptor, data[written:])
        self.segment.size += len(data)


def log_context(pool: str) -> str:
    return f"log/{pool}"


def checkpoint_context(pool: str) -> str:
    return f"checkpoint/{pool}"


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{_LOG}{number:08d}"


def segment_paths(directory: Path) -> list[tuple[int, Path]]:
    """Find a pool's log, oldest first; what else lies about there is not ours to read."""
    found = []
    for path in directory.glob(f"{_LOG}*"):
        number = path.name.removeprefix(_LOG)
        if number.isdecimal():
            found.append((int(number), path))
    return sorted(found)


def remove_files(directory: Path) -> None:
    """Delete a pool's history, the checkpoint first: without it, nothing else means anything.

    Raises:
        OSError: something is left.
    """
    (directory / CHECKPOINT).unlink(missing_ok=True)
    if not directory.exists():
        return
    for path in list(directory.iterdir()):
        path.unlink(missing_ok=True)
    directory.rmdir()


def removed(directory: Path) -> bool:
    """Delete a pool's history; tells whether nothing is left of it."""
    try:
        remove_files(directory)
    except OSError as error:
        _log.error("history_not_removed", pool=directory.name, error=error.strerror)
        return False
    return True

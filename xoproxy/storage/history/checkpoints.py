"""Writes a checkpoint beside the old one, in a thread: nothing here touches what the loop changes.

Entries are immutable, so the list of them that the loop took is all that the thread needs. It
works in pieces, and encryption and writing let the loop run meanwhile.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from xoproxy.cache.store import SavedStore
from xoproxy.model import Entry
from xoproxy.storage.history.records import End, Head, Objects, encode
from xoproxy.storage.history.sealed import Sealer
from xoproxy.storage.history.segments import CHECKPOINT, checkpoint_context

_PIECE_BYTES = 128 * 1024
"""Of records per piece: a fraction of a millisecond in which the loop waits."""


def write_draft(saved: SavedStore, directory: Path, key: bytes) -> tuple[Path, int]:
    """Write a checkpoint under another name, down to the disk.

    Returns:
        The file and its size.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    draft = directory / f"{CHECKPOINT}.new"
    sealer = Sealer(key, checkpoint_context(directory.name))
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(sealer.header + sealer.seal(encode(_head(saved))))
            for piece in _pieces(saved.entries):
                file.write(sealer.seal(encode(Objects(piece))))
            file.write(sealer.seal(encode(End())))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft, size


def _head(saved: SavedStore) -> Head:
    return Head(
        pool=saved.pool,
        epoch=saved.epoch,
        seq=saved.seq,
        next_key=saved.next_key,
        xapi_token=saved.xapi_token,
        classes=sorted(saved.classes),
        count=len(saved.entries),
    )


def _pieces(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    piece: list[Entry] = []
    room = _PIECE_BYTES
    for entry in entries:
        piece.append(entry)
        room -= len(entry.raw)
        if room <= 0:
            yield piece
            piece, room = [], _PIECE_BYTES
    yield piece

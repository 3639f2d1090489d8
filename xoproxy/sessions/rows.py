"""Objects on their way to a client that loads them: rows, and chunks of them in one message.

A row is made of an object once. Those of a snapshot are gone when its messages are written; those
that comparisons need are kept for the next ones (`SharedRows`), since clients that were away at the
same time lack the same.
"""

from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from xoproxy.cache.diff import Fields
from xoproxy.model import Entry, Key, XapiClass
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import FrameLedger
from xoproxy.sessions.messages import Snapshot

_KEY_BYTES = 4
"""Quotes, comma and the like around a key and a row."""
_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """One object, encoded; `names` say what its values are."""

    cls: XapiClass
    key: Key
    names: tuple[str, ...]
    values: bytes


def make_row(codec: Codec, entry: Entry, fields: Fields) -> Row:
    """Encode an object as a view shows it."""
    values = codec.row([msgspec.Raw(_encode(entry.ref)), *fields.values()])
    return Row(entry.cls, entry.key, ("$ref", *fields), values)


class SharedRows:
    """Rows of the objects of one view at one position, made when they are first needed.

    Args:
        ledger: where their weight is noted while they are kept.
    """

    def __init__(self, ledger: FrameLedger) -> None:
        self._ledger = ledger
        self._rows: dict[Key, Row] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        """One list of names for all objects that have the same fields."""
        self._weight_bytes = 0

    def __del__(self) -> None:
        self._ledger.used_bytes -= self._weight_bytes

    def get(self, key: Key) -> Row | None:
        return self._rows.get(key)

    def put(self, row: Row) -> None:
        names = self._names.setdefault(row.names, row.names)
        self._rows[row.key] = row._replace(names=names)
        self._weight_bytes += len(row.values)
        self._ledger.used_bytes += len(row.values)


class Chunk:
    """Rows of one class and one list of fields, on their way into one message."""

    __slots__ = ("_buckets", "_cls", "_keys", "_names", "_rows", "_size")

    def __init__(self, cls: XapiClass, buckets: list[int] | UnsetType = UNSET) -> None:
        self._cls = cls
        self._buckets = buckets
        self._names: tuple[str, ...] = ()
        self._keys: list[str] = []
        self._rows: list[msgspec.Raw] = []
        self._size = 0

    def takes(self, row: Row, limit: int) -> bool:
        """Tell whether a row belongs into the same message; the first one always does."""
        return not self._rows or (
            row.cls == self._cls
            and row.names == self._names
            and self._size + len(row.values) <= limit
        )

    def add(self, row: Row) -> None:
        self._cls = row.cls
        self._names = row.names
        self._keys.append(row.key)
        self._rows.append(msgspec.Raw(row.values))
        self._size += len(row.values) + len(row.key) + _KEY_BYTES

    def message(self, view: int, seq: int, *, last: bool) -> Snapshot:
        cls, names, keys, rows = self._cls, self._names, self._keys, self._rows
        return Snapshot(view, seq, last, cls, names, keys, rows, self._buckets)

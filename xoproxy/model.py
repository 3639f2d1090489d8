"""The vocabulary: the few values that pass from XAPI's events to a client's frames.

Nothing here does anything; everything is frozen. Records travel as the JSON bytes in which XAPI
sent them, so "unchanged" is a comparison of bytes, and a change costs nothing until somebody looks.
"""

from dataclasses import dataclass
from typing import NewType

import msgspec

PoolId = NewType("PoolId", str)
"""Our own short name of a configured pool; `proxy` is the pseudo pool of what the proxy owns."""

Ref = NewType("Ref", str)
"""XAPI's reference of an object, "OpaqueRef:...", unique in its pool over all classes."""

XapiClass = NewType("XapiClass", str)
"""A class in XAPI's own case: "VM", "host", "PIF_metrics"."""

Key = NewType("Key", str)
"""Our short name of an object on the wire: unique in its pool and epoch, never used again."""

PROXY_POOL = PoolId("proxy")
NULL_REF = Ref("OpaqueRef:NULL")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a pool's history: all that we need to know about what a client has seen.

    Args:
        epoch: random text; changes only when the pool's log is lost.
        seq: number of the last change included; +1 per change, below 2^53.
    """

    epoch: str
    seq: int


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One object as it stands: immutable, so that a pinned view of a pool is a list of these.

    A msgspec struct without garbage-collector header, because a pool has tens of thousands and
    collecting them would pause the loop; it holds only strings, bytes and an integer.

    Args:
        key: our name of the object.
        ref: XAPI's.
        cls: its class.
        seq: number of the change that made it so.
        raw: the record as one valid JSON object (NaN and broken UTF-8 mended at ingest).
    """

    key: Key
    ref: Ref
    cls: XapiClass
    seq: int
    raw: bytes


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One step of a pool's history: the values before and after.

    Args:
        seq: its number.
        key, ref, cls: the object.
        before: the JSON object of the changed fields' old values; the whole record for a removal;
            None for an object that was not there.
        after: likewise the new values; the whole record for an addition; None for a removal.
            A field that stands only in one of the two appeared or went.
    """

    seq: int
    key: Key
    ref: Ref
    cls: XapiClass
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one reply of a pool changed, committed at once: a self-contained, serialisable value.

    Clients see whole batches only: every position that they are told is the end of one.

    Args:
        pool: whose.
        epoch: of the pool's log.
        from_seq, to_seq: the changes are numbered from_seq + 1 to to_seq.
        xapi_token: XAPI's event position after it ("" when it did not come from `event.from`).
        changes: in order; empty when the reply changed nothing.
        at_s: when it was committed, in seconds of a monotonic clock.
        next_key: number of the key that the next new object gets.
    """

    pool: PoolId
    epoch: str
    from_seq: int
    to_seq: int
    xapi_token: str
    changes: tuple[Change, ...]
    at_s: float
    next_key: int


class Upsert(msgspec.Struct, frozen=True, gc=False):
    """What a pool said: this object exists and looks like this (XAPI's `add` and `mod` alike).

    `raw` is a JSON object; it may be a memoryview into a larger reply and is copied when kept.
    """

    cls: XapiClass
    ref: Ref
    raw: bytes | memoryview


class Removal(msgspec.Struct, frozen=True, gc=False):
    """What a pool said: this object is gone (XAPI's `del`), whether or not we knew it."""

    ref: Ref


Event = Upsert | Removal

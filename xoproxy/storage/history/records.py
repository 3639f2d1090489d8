"""What stands in a log and in a checkpoint, as MessagePack arrays that name their kind first.

    log:         Opening, then Logged, Classes and Mark as they come, End after a clean shutdown
    checkpoint:  Head, then Objects, then End

Moments are seconds since 1970: a monotonic clock means nothing after a restart.
"""

import msgspec

from xoproxy.model import Change, Entry, PoolId, XapiClass


class _Record(msgspec.Struct, frozen=True, gc=False, array_like=True):
    pass


class Opening(_Record, frozen=True, tag="opening"):
    """How a log segment begins.

    Args:
        pool, epoch: whose history.
        number: of this segment.
        seq: where it begins, which is where the one before it ends.
        classes: that the pool has.
        known_at_s: when that was last known to be true.
    """

    pool: PoolId
    epoch: str
    number: int
    seq: int
    classes: list[XapiClass]
    known_at_s: float


class Logged(_Record, frozen=True, tag="batch"):
    """One batch; see `model.Batch`."""

    from_seq: int
    to_seq: int
    xapi_token: str
    next_key: int
    at_s: float
    changes: tuple[Change, ...]


class Classes(_Record, frozen=True, tag="classes"):
    """The pool has other classes now."""

    classes: list[XapiClass]


class Mark(_Record, frozen=True, tag="mark"):
    """What was logged so far was still true then."""

    at_s: float


class Head(_Record, frozen=True, tag="head"):
    """How a checkpoint begins; see `cache.store.SavedStore`."""

    pool: PoolId
    epoch: str
    seq: int
    next_key: int
    xapi_token: str
    classes: list[XapiClass]
    count: int


class Objects(_Record, frozen=True, tag="objects"):
    """Some of the objects of a checkpoint."""

    entries: list[Entry]


class End(_Record, frozen=True, tag="end"):
    """Nothing follows."""


LogRecord = Opening | Logged | Classes | Mark | End
CheckpointRecord = Head | Objects | End

encode = msgspec.msgpack.Encoder().encode
decode_log = msgspec.msgpack.Decoder(LogRecord).decode
decode_checkpoint = msgspec.msgpack.Decoder(CheckpointRecord).decode

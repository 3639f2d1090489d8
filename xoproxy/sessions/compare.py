"""Resume by digests: which parts of what a client holds are not what it should hold.

Theory of operation (docs/protocol.md, section 6, By digests). Every object lies in a bucket by its
name, and a bucket's digest is the XOR of hashes of its objects. A client whose position is of no
use any more says the digests of its document; only buckets that differ come again.

`ViewDigests` are the hashes of all objects of a view at one position. Making them costs about as
much as a snapshot, so they are made in slices and shared by all who ask, whatever the number of
buckets. They stay good for a while: whoever is brought to their position gets a patch from there.

Guarantee: only what the view shows now is hashed and sent, so a digest that equals tells a client
nothing that it did not hold already.
"""

import sys
from array import array
from base64 import b64decode
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from xoproxy.cache.canonical import canonical
from xoproxy.cache.diff import Fields, join
from xoproxy.cache.journal import Expired, Journal
from xoproxy.cache.view import Eyes, look_at_all
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import Entry
from xoproxy.sessions.messages import Digests
from xoproxy.sessions.rows import SharedRows

MAX_BUCKETS = 16_384
_PLACE_BYTES = 4
_DIGEST_BYTES = 8
_SLICE = 16
"""Objects hashed per step: less than a millisecond for whole VM records."""
_FOLDED_PER_STEP = 4_096
"""Hashes put together, or looked at, per step."""
_CHANGES_OUTLIVED = 1_000
"""Digests older than this are made anew: the patch from there would cost more."""
_FEW_OBJECTS = 64
"""So many objects may always come again; of more, at most half of the view."""
_MANY_BUCKETS = 4_096
"""More numbers than this would not fit into one frame beside a chunk of rows."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client says that it holds: the digest of each bucket."""

    digests: "array[int]"

    @property
    def mask(self) -> int:
        return len(self.digests) - 1

    @property
    def size_bytes(self) -> int:
        return len(self.digests) * _DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Difference:
    """The buckets that differ, in order, and what they hold."""

    buckets: list[int]
    entries: list[Entry]
    is_great: bool
    """Whether a snapshot, which is shared, serves the client better."""


def read_claim(message: Digests) -> Claim:
    """Check a client's digests.

    Raises:
        RequestRefused: BAD_MESSAGE: they are not what the protocol says.
    """
    count = message.buckets
    about = {"view": message.view}
    if not 1 <= count <= MAX_BUCKETS or count.bit_count() != 1:
        text = f"buckets must be a power of two from 1 to {MAX_BUCKETS}"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text, about)
    try:
        digests = b64decode(message.digests, validate=True)
    except ValueError as error:
        text = "digests must be standard base64 with padding"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text, about) from error
    if len(digests) != count * _DIGEST_BYTES:
        text = f"digests must be {_DIGEST_BYTES} bytes for each of {count} buckets"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text, about)
    claimed = array("Q", digests)
    if sys.byteorder == "little":
        claimed.byteswap()
    return Claim(claimed)


class ViewDigests:
    """The hash of every object of a view, as it looked at one position; made in slices.

    Args:
        eyes: the view's, on the state that is to be hashed.
        position: the view's position at which it looked like that.
        preparation: what must be done before the eyes can look, in slices.
        rows: of objects that came again to somebody.
    """

    def __init__(
        self, eyes: Eyes, position: int, preparation: Iterator[None], rows: SharedRows
    ) -> None:
        self.rows = rows
        self.seq = eyes.state.seq
        self.position = position
        self._entries: list[Entry] = []
        self._places = array("I")
        self._hashes = array("Q")
        self._folded: dict[int, array[int]] = {}
        self._work: Iterator[None] | None = self._make(eyes, preparation)
        self._lost = False

    def are_fresh(self, journal: Journal) -> bool:
        """Tell whether a client can still be brought to their position, and on from there."""
        return (
            not self._lost
            and journal.reaches(self.position)
            and journal.head - self.seq <= _CHANGES_OUTLIVED
        )

    def difference(self, claim: Claim) -> Generator[None, None, Difference]:
        """Find where a client's document differs, in slices.

        Raises:
            Expired: the history went before all was hashed.
        """
        while self._work is not None:  # others may be waiting for the same work, and take steps
            self._step()
            yield
        held = yield from self._fold(claim.mask)
        pairs = zip(held, claim.digests, strict=True)
        buckets = [number for number, (ours, theirs) in enumerate(pairs) if ours != theirs]
        yield
        entries = yield from self._entries_in(set(buckets), claim.mask)
        limit = max(_FEW_OBJECTS, len(self._entries) // 2)
        is_great = len(entries) > limit or len(buckets) > _MANY_BUCKETS
        return Difference(buckets, entries, is_great)

    def _step(self) -> None:
        if self._lost:
            raise Expired(self.seq)
        assert self._work is not None  # noqa: S101 - the caller looked
        try:
            next(self._work, None)
        except Expired:
            self._lost = True
            raise

    def _make(self, eyes: Eyes, preparation: Iterator[None]) -> Iterator[None]:
        yield from preparation
        for number, seen in enumerate(look_at_all(eyes), 1):
            if seen is not None:
                self._add(*seen)
            if number % _SLICE == 0:
                yield
                if eyes.view.needs_references:  # others are judged by what was pinned alone
                    eyes.state.keep_up()
        self._work = None

    def _add(self, entry: Entry, fields: Fields) -> None:
        record = canonical(join({"$ref": msgspec.Raw(_encode(entry.ref)), **fields}))
        text = b"[%b,%b,%b]" % (_encode(entry.cls), _encode(entry.key), record)
        name = f"{entry.cls}/{entry.key}".encode()
        self._entries.append(entry)
        self._places.append(int.from_bytes(sha256(name).digest()[:_PLACE_BYTES], "big"))
        self._hashes.append(int.from_bytes(sha256(text).digest()[:_DIGEST_BYTES], "big"))

    def _fold(self, mask: int) -> Generator[None, None, "array[int]"]:
        """Put the hashes together into digests of mask + 1 buckets."""
        folded = self._folded.get(mask)
        if folded is None:
            folded = array("Q", bytes((mask + 1) * _DIGEST_BYTES))
            for start in range(0, len(self._places), _FOLDED_PER_STEP):
                part = slice(start, start + _FOLDED_PER_STEP)
                for place, hashed in zip(self._places[part], self._hashes[part], strict=True):
                    folded[place & mask] ^= hashed
                yield
            self._folded[mask] = folded
        return folded

    def _entries_in(self, buckets: set[int], mask: int) -> Generator[None, None, list[Entry]]:
        found: list[Entry] = []
        for start in range(0, len(self._places) if buckets else 0, _FOLDED_PER_STEP):
            places = self._places[start : start + _FOLDED_PER_STEP]
            found.extend(
                self._entries[number]
                for number, place in enumerate(places, start)
                if place & mask in buckets
            )
            yield
        return found

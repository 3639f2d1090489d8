"""A message encoded once and shared by everybody who gets it."""

from collections.abc import Iterator
from itertools import count
from typing import Protocol

from xoproxy.cache.journal import Expired


class FrameLedger:
    """How much all weighs that is on its way to clients: frames, and what makes them."""

    __slots__ = ("used_bytes",)

    def __init__(self) -> None:
        self.used_bytes = 0


class Framing(Protocol):
    """Puts a payload into WebSocket frames; `ws/frames.py` fits it."""

    @property
    def ledger(self) -> FrameLedger: ...

    def plain(self, payload: bytes, *, binary: bool) -> bytes: ...

    def deflated(self, payload: bytes, *, binary: bool) -> bytes | None:
        """Return a stateless permessage-deflate frame; None where a plain one is not longer."""


class Frame:
    """One frame in its two forms, each built at most once.

    Args:
        payload: what it carries.
        binary: or text.
        framing: builds the forms.
    """

    __slots__ = ("_binary", "_deflated", "_framing", "_plain", "size")

    def __init__(self, payload: bytes, *, binary: bool, framing: Framing) -> None:
        self.size = len(payload)
        self._binary = binary
        self._framing = framing
        self._plain = framing.plain(payload, binary=binary)
        self._deflated: bytes | None = None
        framing.ledger.used_bytes += len(self._plain)

    def __del__(self) -> None:
        self._framing.ledger.used_bytes -= len(self._plain)
        if self._deflated is not None and self._deflated is not self._plain:
            self._framing.ledger.used_bytes -= len(self._deflated)

    @property
    def payload(self) -> bytes:
        return self._plain[-self.size :]

    def wire(self, *, deflate: bool) -> bytes:
        """Return the bytes to write: the same object for all clients of a form."""
        if not deflate:
            return self._plain
        if self._deflated is None:
            deflated = self._framing.deflated(self.payload, binary=self._binary)
            if deflated is None:
                self._deflated = self._plain
            else:
                self._deflated = deflated
                self._framing.ledger.used_bytes += len(deflated)
        return self._deflated


_numbers = count()


class GivenUp(Exception):  # noqa: N818 - a fact about a delivery, not an error
    """A delivery will never be complete; the text says why, as a `reset` says it."""


class Delivery:
    """Frames that bring a member from one position to another: a patch in parts, or a snapshot.

    It may be shared while it grows: `work` is what is still to be done, None when `frames` is
    complete. It is done only while somebody waits for more. If the history goes before that, or
    memory is short, the delivery is `lost`: it will never be complete, and whoever was getting it
    must begin again.

    Args:
        to: the position of whoever got all frames.
        frames: all of them, if they are there.
        is_shared: one that is made for a single member keeps no frame that it has taken.
    """

    __slots__ = (
        "__weakref__",
        "_ledger",
        "_weight_bytes",
        "base",
        "frames",
        "is_shared",
        "lost",
        "number",
        "to",
        "work",
    )

    def __init__(
        self, to: int, frames: list[Frame] | None = None, *, is_shared: bool = True
    ) -> None:
        self.number = next(_numbers)
        """Grows from one to the next."""
        self.to = to
        self.frames: list[Frame] = [] if frames is None else frames
        self.is_shared = is_shared
        self.work: Iterator[None] | None = None
        self.lost: str | None = None
        self.base: int | None = None
        """The earliest position of the pool's history at which the work looks."""
        self._ledger: FrameLedger | None = None
        self._weight_bytes = 0

    def __del__(self) -> None:
        self._discharge()

    @property
    def complete(self) -> bool:
        return self.work is None

    def make(self, work: Iterator[None], ledger: FrameLedger, weight_bytes: int) -> None:
        """Begin to make the frames.

        Args:
            work: adds them to `frames`, a slice a step. It must not hold the delivery itself: then
                one that nobody wants any more is gone at once.
            ledger: where it is noted what the work holds in memory meanwhile.
            weight_bytes: that.
        """
        self.work = work
        self._ledger = ledger
        self._weight_bytes = weight_bytes
        ledger.used_bytes += weight_bytes

    def step(self) -> None:
        """Take one slice of the work."""
        assert self.work is not None  # noqa: S101 - the caller looked
        try:
            next(self.work)
        except StopIteration:
            self.work = None
            self._discharge()
        except Expired:
            self.give_up("journal_expired")
        except GivenUp as given_up:
            self.give_up(str(given_up))

    def give_up(self, reason: str) -> None:
        """Let go of everything."""
        self.lost = reason
        self.frames.clear()
        self.work = iter(())
        self._discharge()

    def _discharge(self) -> None:
        if self._ledger is not None:
            self._ledger.used_bytes -= self._weight_bytes
            self._ledger = None

"""A message encoded once and shared by everybody who gets it."""

from collections.abc import Iterator
from typing import Protocol


class Framing(Protocol):
    """Puts a payload into WebSocket frames; `ws/frames.py` fits it."""

    def plain(self, payload: bytes, *, binary: bool) -> bytes: ...

    def deflated(self, payload: bytes, *, binary: bool) -> bytes:
        """Return a stateless permessage-deflate frame, or a plain one where that is shorter."""


class Frame:
    """One frame in its two forms, each built at most once."""

    __slots__ = ("_deflated", "_framing", "_plain", "binary", "payload")

    def __init__(self, payload: bytes, *, binary: bool, framing: Framing) -> None:
        self.payload = payload
        self.binary = binary
        self._framing = framing
        self._plain: bytes | None = None
        self._deflated: bytes | None = None

    def wire(self, *, deflate: bool) -> bytes:
        """Return the bytes to write: the same object for all clients of a form."""
        if deflate:
            if self._deflated is None:
                self._deflated = self._framing.deflated(self.payload, binary=self.binary)
            return self._deflated
        if self._plain is None:
            self._plain = self._framing.plain(self.payload, binary=self.binary)
        return self._plain


class Delivery:
    """Frames that bring a member from one position to another: a patch in parts, or a snapshot.

    It may be shared while it grows: `work` is what is still to be done, None when `frames` is
    complete. It is done only while somebody waits for more. If the history goes before that, the
    delivery is `lost`: it will never be complete, and whoever was getting it must begin again.

    Args:
        to: the position of whoever got all frames.
        is_shared: one that is made for a single member keeps no frame that it has taken.
        work: takes one slice a step, and completes the delivery.
        lost: why it will never be complete, as a `reset` says it.
    """

    __slots__ = ("frames", "is_shared", "lost", "to", "work")

    def __init__(
        self, to: int, frames: list[Frame] | None = None, *, is_shared: bool = True
    ) -> None:
        self.to = to
        self.frames: list[Frame] = [] if frames is None else frames
        self.is_shared = is_shared
        self.work: Iterator[None] | None = None
        self.lost: str | None = None

    @property
    def complete(self) -> bool:
        return self.work is None

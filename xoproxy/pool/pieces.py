"""A long reply decoded piece by piece, so that no step takes long and its text is never joined.

A decoder that is asked for everything at once takes some 20 ms for the list of a thousand machines.
But where a list of objects may be cut is easy to guess: behind `}` and a comma. A guess is proved
by decoding what lies before it: the text of whole members is JSON when brackets are put around it,
and text cut anywhere else, inside a member, leaves a bracket or a string open. So wrong guesses
cost time, never correctness; and when guessing gets nowhere, the rest is decoded at once.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from xoproxy.pool.mending import BAD_JSON, decoded

E = TypeVar("E")
P = TypeVar("P")

_PIECE_BYTES = 192 << 10
"""Half a millisecond of decoding; small enough to stay in the processor's cache meanwhile."""
_GUESSES = 8
_STEP_BYTES = 1 << 10
"""How far a second guess goes back, and each next one twice as far: out of a member that has lists
of objects in it, which are rare in XAPI's records."""


@dataclass(frozen=True)
class Members(Generic[E, P]):
    """Where the many members of a reply stand, and how to decode some of them.

    Args:
        opening: the text in front of the first one, a bracket at its end.
        closing: the bracket behind the last one.
        separator: the text between two, `}` and a comma at its beginning.
        decoder: of members with brackets around them.
        put: adds the pieces to the reply, which was decoded with the rest of the members; those of
            the pieces come first.
    """

    opening: bytes
    closing: bytes
    separator: bytes
    decoder: msgspec.json.Decoder[P]
    put: Callable[[E, list[P]], None]

    def cut(self, parts: Sequence[bytes]) -> Generator[None, None, tuple[list[P], bytes]]:
        """Cut members out of a reply, in slices, and decode them; a short one is left alone.

        Args:
            parts: the text of the reply.

        Returns (as the generator's value): the pieces, and the text without them.
        """
        waiting = deque(_short(parts))
        text = _taken(b"", waiting)
        start = text.find(self.opening) + len(self.opening)
        pieces: list[P] = []
        if start < len(self.opening) or not waiting:
            return pieces, b"".join((text, *waiting))
        head = text[: start - 1]
        text = text[start - 1 :]  # the bracket is in front of it, always
        while waiting and (end := (yield from self._piece(text, pieces))):
            text = _taken(self.opening[-1:] + text[end:], waiting)
            yield
        return pieces, b"".join((head, text, *waiting))

    def _piece(self, text: bytearray, pieces: list[P]) -> Generator[None, None, int]:
        """Decode the members of a text, but for what may be the beginning of one at its end.

        Returns (as the generator's value): where the next one begins; 0 when there was none.
        """
        end = len(text)
        for guess in range(_GUESSES):
            end = text.rfind(self.separator, 0, end) + 1
            if not end:
                break
            text[end] = self.closing[0]  # instead of the comma
            try:
                pieces.append((yield from decoded(self.decoder, memoryview(text)[: end + 1])))
            except BAD_JSON:
                text[end] = self.separator[1]
                end = max(0, end - (_STEP_BYTES << guess))
            else:
                return end + 1
        return 0


def _short(parts: Sequence[bytes]) -> Iterator[memoryview]:
    """Cut long parts (an answer that came at once is one)."""
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(part), _PIECE_BYTES):
            yield view[at : at + _PIECE_BYTES]


def _taken(text: bytes | bytearray, waiting: deque[memoryview]) -> bytearray:
    """Take in parts until there is text for a piece."""
    taken: list[bytes | bytearray | memoryview] = [text]
    size = len(text)
    while size < _PIECE_BYTES and waiting:
        taken.append(waiting.popleft())
        size += len(taken[-1])
    return bytearray().join(taken)

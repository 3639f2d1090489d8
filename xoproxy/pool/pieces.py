"""A long reply decoded piece by piece, so that no step takes long and its text is never joined.

A decoder that is asked for everything at once takes some 20 ms for the list of a thousand machines.
But where a list of objects may be cut is easy to guess: behind `}` and a comma. A guess is proved
by decoding what lies before it: the text of whole members is JSON when brackets are put around it,
and text cut anywhere else, inside a member, leaves a bracket or a string open. So wrong guesses
cost time, never correctness; and when guessing gets nowhere, the rest is decoded at once.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from xoproxy.pool.mending import BAD_JSON, decoded

E = TypeVar("E")
P = TypeVar("P")

_PIECE_BYTES = 512 << 10
"""About 1 ms of decoding."""
_GUESSES = 8
"""Wrong ones before we give up: lists of objects inside of members are rare in XAPI's records."""


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
        waiting = deque(parts)
        text = _more(b"", waiting)
        start = text.find(self.opening) + len(self.opening)
        if start < len(self.opening):
            return [], text + b"".join(waiting)
        head, text = text[:start], text[start:]
        pieces: list[P] = []
        while len(text) > _PIECE_BYTES and (end := (yield from self._piece(text, pieces))):
            text = _more(text[end:], waiting)
            yield
        return pieces, b"".join((head, text, *waiting))

    def _piece(self, text: bytes, pieces: list[P]) -> Generator[None, None, int]:
        """Decode the first members of a text; returns where the next one begins, 0 for nowhere."""
        end = _PIECE_BYTES
        for _ in range(_GUESSES):
            end = text.find(self.separator, end) + 1
            if not end:
                break
            whole = b"".join((self.opening[-1:], memoryview(text)[:end], self.closing))
            try:
                pieces.append((yield from decoded(self.decoder, whole)))
            except BAD_JSON:
                continue
            return end + 1
        return 0


def _more(text: bytes, waiting: deque[bytes]) -> bytes:
    """Take in parts until there is text for a piece and for where it may end."""
    taken = [text]
    size = len(text)
    while size < 2 * _PIECE_BYTES and waiting:
        taken.append(waiting.popleft())
        size += len(taken[-1])
    return b"".join(taken)

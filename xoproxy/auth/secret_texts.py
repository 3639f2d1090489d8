"""Secrets that we make and that others bring back: `<kind>_<id>_<secret>`, stored as a digest.

The secret has 260 random bits, so a plain SHA-256 is enough (nothing to guess, hence nothing to
slow down), and a stolen database opens nothing. The id finds the row and may be shown; the fixed
shape lets secret scanners find such texts in places where they must not be.
"""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 10
_SECRET_LENGTH = 52  # 260 bits
_SHAPE = re.compile(r"([a-z]+)_([a-z2-7]{10})_([a-z2-7]{52})")


class Made(NamedTuple):
    """A secret just made; the text is told once and kept nowhere."""

    id: str
    text: str
    digest: bytes


class Shown(NamedTuple):
    """What somebody presents."""

    id: str
    digest: bytes

    def fits(self, digest: bytes) -> bool:
        return hmac.compare_digest(self.digest, digest)


def make(kind: str) -> Made:
    """Make a secret of a kind ("xop")."""
    id_, secret = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    return Made(id_, f"{kind}_{id_}_{secret}", _digest(secret))


def read(kind: str, text: str) -> Shown | None:
    """Return what a text claims; None if it cannot be one of this kind."""
    shape = _SHAPE.fullmatch(text)
    return Shown(shape[2], _digest(shape[3])) if shape and shape[1] == kind else None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

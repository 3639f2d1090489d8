"""Resume tokens: what a client may hand back to go on where it stood.

A token names epoch, position, pool, query and rights, and is signed. It names no user and grants
nothing: rights are judged anew at every subscription, and a position under others is of no use.
It is the same for all members of a view, and holds over restarts as long as the key does.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

import msgspec

from xoproxy.model import Cursor, PoolId

_HASH_BYTES = 16
_MAC_BYTES = 16
_VERSION = 2
_MAX_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class ViewHash:
    """Names what a view shows, over restarts.

    Args:
        query: of what was asked, and the classes of the document.
        view: of the same and the rights: views that share it show the same.
    """

    query: bytes
    view: bytes


def view_hash(view_key: bytes, scope: str, classes: tuple[str, ...]) -> ViewHash:
    """Name what a view shows: query, rights and the classes of its document."""
    return under_rights(_digest((view_key, classes)), scope)


def under_rights(query: bytes, scope: str) -> ViewHash:
    """Name what the same query shows under some rights."""
    return ViewHash(query, _digest((query, scope)))


def _digest(parts: tuple[object, ...]) -> bytes:
    return hashlib.sha256(_encode(parts)).digest()[:_HASH_BYTES]


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    epoch: str
    seq: int
    pool: str
    query: bytes
    view: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


class TokenSigner:
    """Signs and checks resume tokens with a key that is kept in storage."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, cursor: Cursor, pool: PoolId, view: ViewHash) -> str:
        body = _encode(_Body(_VERSION, cursor.epoch, cursor.seq, pool, view.query, view.view))
        return urlsafe_b64encode(body + self._mac(body)).decode().rstrip("=")

    def verify(self, token: str) -> tuple[Cursor, PoolId, ViewHash] | None:
        """Read a token; None when we did not make it, whatever is wrong with it."""
        if len(token) > _MAX_CHARACTERS:
            return None
        try:
            signed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            body, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(body)):
                return None
            content = _decode(body)
        except (ValueError, msgspec.DecodeError):
            return None
        if content.version != _VERSION:
            return None
        cursor = Cursor(content.epoch, content.seq)
        return cursor, PoolId(content.pool), ViewHash(content.query, content.view)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_BYTES]

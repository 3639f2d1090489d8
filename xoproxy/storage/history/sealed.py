"""Files of sealed records: versioned, encrypted, and every byte of them checked.

A file is a header (magic, version, random salt) and records. A record is its length, a CRC of
that, and AES-256-GCM ciphertext. Each file has a key of its own, derived from the salt, so that a
record's number can be its nonce; numbers also fix the order. Nothing is ever appended to a file by
another process than the one that began it: its numbers would be used again.

A process that is killed leaves whole records and at most one cut short, which is left out. Anything
else that is not as it was written is `Damaged`. The CRC is there to tell the two apart: a flipped
bit in a length must not pass for a short record.
"""

import hashlib
import secrets
import zlib
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MAGIC = b"xoproxyH"
_VERSION = 1
_SALT_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + 2 + _SALT_BYTES
_PREFIX_BYTES = 8
_TAG_BYTES = 16
OVERHEAD_BYTES = _PREFIX_BYTES + _TAG_BYTES
"""What a record takes beyond its content."""


class Damaged(Exception):  # noqa: N818 - reads as what happened
    """A file is not what we wrote, or not for us."""


class Sealer:
    """Makes the bytes of one new file.

    Args:
        key: of the storage.
        context: what the file is for; it opens as nothing else.
    """

    def __init__(self, key: bytes, context: str) -> None:
        self.header = _MAGIC + _VERSION.to_bytes(2) + secrets.token_bytes(_SALT_BYTES)
        """How the file begins."""
        self._cipher = _cipher(key, context, self.header)
        self._count = 0

    def seal(self, plain: bytes) -> bytes:
        """Return the next record."""
        length = (len(plain) + _TAG_BYTES).to_bytes(4)
        nonce = self._count.to_bytes(12)
        self._count += 1
        return length + _crc(length) + self._cipher.encrypt(nonce, plain, None)


def unsealed(content: bytes | memoryview, key: bytes, context: str) -> Iterator[bytes]:
    """Read a file's whole records; the end may be cut short.

    Raises:
        Damaged: where it is not as it was written.
    """
    content = memoryview(content)
    header = bytes(content[:_HEADER_BYTES])
    if len(header) < _HEADER_BYTES:
        return
    if header[: len(_MAGIC)] != _MAGIC:
        raise Damaged("it is not a history file")
    version = int.from_bytes(header[len(_MAGIC) : len(_MAGIC) + 2])
    if version != _VERSION:
        raise Damaged(f"it has version {version}, not {_VERSION}")
    cipher = _cipher(key, context, header)
    at = _HEADER_BYTES
    number = 0
    while len(prefix := bytes(content[at : at + _PREFIX_BYTES])) == _PREFIX_BYTES:
        if _crc(prefix[:4]) != prefix[4:]:
            raise Damaged(f"the length of record {number} is wrong")
        at += _PREFIX_BYTES
        length = int.from_bytes(prefix[:4])
        if at + length > len(content):
            return
        try:
            yield cipher.decrypt(number.to_bytes(12), content[at : at + length], None)
        except InvalidTag:
            raise Damaged(f"record {number} does not open") from None
        at += length
        number += 1


def _cipher(key: bytes, context: str, header: bytes) -> AESGCM:
    return AESGCM(hashlib.blake2b(header + context.encode(), key=key, digest_size=32).digest())


def _crc(length: bytes) -> bytes:
    return zlib.crc32(length).to_bytes(4)

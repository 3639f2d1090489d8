"""Telling by digests what a document holds (docs/protocol.md, section 6, By digests).

Objects lie in buckets by their class and key; the digest of a bucket is the XOR of its objects'
hashes. The hash of an object is of its canonical JSON (RFC 8785), with integers written in full.
"""

import base64
import hashlib
import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import msgspec

from xoproxy.client.document import Document
from xoproxy.client.errors import ProtocolFault

_MAX_BUCKETS = 16_384
_OBJECTS_PER_BUCKET = 4
_DIGEST_BYTES = 8
_MAX_PLAIN_EXPONENT = 21
_MIN_PLAIN_EXPONENT = -6
_beyond_the_bmp = re.compile(rb"[\xf0-\xf4]").search
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def bucket_count(object_count: int) -> int:
    """Return the smallest power of two with at most four objects a bucket, if that is allowed."""
    least = max(-(-object_count // _OBJECTS_PER_BUCKET), 1)
    power: int = 1 << (least - 1).bit_length()
    return min(power, _MAX_BUCKETS)


def digests(document: Document, buckets: int) -> str:
    """Return the digests of all buckets, one behind the other, in base64."""
    found = [0] * buckets
    for cls, objects in document.classes.items():
        for key, members in objects.items():
            hashed = hashlib.sha256(canonical([cls, key, members])).digest()
            found[_bucket(cls, key, buckets)] ^= int.from_bytes(hashed[:_DIGEST_BYTES])
    return base64.b64encode(b"".join(d.to_bytes(_DIGEST_BYTES) for d in found)).decode()


def empty_buckets(document: Document, differing: Collection[int], buckets: int) -> None:
    """Remove all objects that lie in some of the buckets.

    Raises:
        ProtocolFault: there is no such bucket.
    """
    if not all(0 <= bucket < buckets for bucket in differing):
        raise ProtocolFault(f"a bucket is named that is none of {buckets}")
    gone = set(differing)
    for cls, objects in document.classes.items():
        document.classes[cls] = {
            key: members
            for key, members in objects.items()
            if _bucket(cls, key, buckets) not in gone
        }


def _bucket(cls: str, key: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{cls}/{key}".encode()).digest()[:4]) % buckets


def canonical(value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Write a decoded JSON value in its canonical form."""
    text = _encode_sorted(_with_numbers(value))
    if not text.isascii() and _beyond_the_bmp(text):
        # The encoder sorts members by code points, RFC 8785 by UTF-16 code units. They differ only
        # where a character beyond the BMP meets one from U+E000 to U+FFFF.
        return _encode(_with_numbers(value, by_code_units=True))
    return text


def _with_numbers(value: Any, *, by_code_units: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Put canonical text in the place of floats, and sort members if the encoder cannot."""
    match value:
        case float():
            return msgspec.Raw(_number(value).encode())
        case dict():
            names = sorted(value, key=_code_units) if by_code_units else value
            return {n: _with_numbers(value[n], by_code_units=by_code_units) for n in names}
        case list():
            return [_with_numbers(member, by_code_units=by_code_units) for member in value]
        case _:
            return value


def _code_units(text: str) -> bytes:
    return text.encode("utf-16-be")


def _number(value: float) -> str:
    """Write a float as ECMAScript does (ECMA-262, Number::toString)."""
    shortest = repr(value)
    if value == 0:
        return "0"
    if "e" not in shortest:  # Python and ECMAScript agree there
        return shortest.removesuffix(".0")
    sign, digits, exponent = Decimal(shortest).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - JSON has no infinities
    text, point = "".join(map(str, digits)), len(digits) + exponent
    minus = "-" if sign else ""
    if len(text) <= point <= _MAX_PLAIN_EXPONENT:
        return minus + text + "0" * (point - len(text))
    if 0 < point <= _MAX_PLAIN_EXPONENT:
        return f"{minus}{text[:point]}.{text[point:]}"
    if _MIN_PLAIN_EXPONENT < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{point - 1:+d}"

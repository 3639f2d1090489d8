"""Makes XAPI's replies valid JSON where they are not.

XAPI prints NaN and infinities as bare words, and texts of guests come through as whatever bytes
the guest wrote. Mending is exact outside of what it mends: numbers, order and spelling stay XAPI's.
"""

import codecs
import re
from collections.abc import Generator
from typing import TypeVar

import msgspec

T = TypeVar("T")

BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoders raise."""

_GOOD_STRING = (
    rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?:(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb'|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*+"'
)
_good_string = re.compile(_GOOD_STRING).fullmatch
# What needs no mending; it never ends inside a string or a number's sign, so that the text can be
# walked in pieces.
_good_run = re.compile(rb'(?:[^"NI-]++|-(?=[0-9])|' + _GOOD_STRING + rb")*+").match
_any_string = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL).match
_not_a_number = re.compile(rb"NaN|-?Infinity").match
_string_part = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair
    rb'|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]|\\|[\x00-\x1f]'
)
_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_SLICE_BYTES = 128 << 10
"""About 1 ms of mending."""


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | memoryview) -> Generator[None, None, T]:
    """Decode a text; mend it first, in slices, when it is not JSON.

    Raises:
        BAD_JSON: it cannot be mended.
    """
    try:
        return decoder.decode(body)
    except BAD_JSON:
        mended = yield from mend(bytes(body))
    return decoder.decode(mended)


def mend(body: bytes) -> Generator[None, None, bytes]:
    """Make XAPI's reply valid JSON, yielding about every millisecond.

    NaN and infinities outside of strings become null; inside of strings, broken UTF-8 and lone
    surrogates become U+FFFD, control characters are escaped, and a backslash that begins no escape
    is one. What is not JSON for any other reason stays so.
    """
    if not body.isascii():
        body = yield from _valid_utf8(body)
    parts: list[bytes] = []
    at = 0
    limit = _SLICE_BYTES
    while at < len(body):
        run = _good_run(body, at, limit)
        assert run is not None  # noqa: S101 - for the type checker: it matches the empty text too
        parts.append(run.group())
        at = run.end()
        if at < min(limit, len(body)):
            part, at = _mended_at(body, at)
            parts.append(part)
        if at >= limit:
            limit = at + _SLICE_BYTES
            yield
    return b"".join(parts)


def _valid_utf8(body: bytes) -> Generator[None, None, bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts: list[bytes] = []
    for at in range(0, len(body), _SLICE_BYTES):
        final = at + _SLICE_BYTES >= len(body)
        parts.append(decoder.decode(body[at : at + _SLICE_BYTES], final).encode())
        yield
    return b"".join(parts)


def _mended_at(body: bytes, at: int) -> tuple[bytes, int]:
    """Mend what stopped a run: a bare word, a string that is bad or longer than the slice."""
    if word := _not_a_number(body, at):
        return b"null", word.end()
    if string := _any_string(body, at):
        text = string.group()
        if not _good_string(text):
            text = b'"' + _string_part.sub(_mended_part, text[1:-1]) + b'"'
        return text, string.end()
    return body[at : at + 1], at + 1


def _mended_part(match: re.Match[bytes]) -> bytes:
    part = match.group()
    if part == b"\\":
        return b"\\\\"
    if len(part) == 1:
        return b"\\u%04x" % part[0]
    return b"\\ufffd" if _LONE_SURROGATE.fullmatch(part) else part

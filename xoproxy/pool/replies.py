"""XAPI's replies: scanned without parsing the records, and made valid JSON where they are not.

XAPI prints NaN and infinities as bare words, and texts of guests come through as whatever bytes
the guest wrote. What enters the store must be JSON that every client's parser takes, so:

- a reply that the scan refuses (bare words, control characters, lone surrogates) is mended and
  scanned again; a clean one pays nothing for that;
- a record is decoded once when it is new or changed, which finds broken UTF-8 and numbers that no
  client could hold; what equals the bytes we have has been through that already.

Mending is exact outside of what it mends: numbers, order and spelling stay XAPI's.
"""

import codecs
import json
import math
import re
from collections.abc import Generator
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from xoproxy.errors import PoolUnreachable, XapiFailure

T = TypeVar("T")


class Event(msgspec.Struct, gc=False):
    """One event as XAPI sends it; `record` is empty for a removal.

    Without garbage-collector header: it holds strings and a cut of the reply, never a cycle.
    """

    operation: str
    ref: str
    cls: str = msgspec.field(name="class")
    record: msgspec.Raw = msgspec.field(name="snapshot", default=msgspec.Raw())


class EventReply(msgspec.Struct):
    """The result of `event.from`; counts are keyed by the lower-case class."""

    events: list[Event]
    token: str
    valid_ref_counts: dict[str, int] = {}


class Envelope(Protocol):
    """What every JSON-RPC reply has; `error` is empty or null when the call succeeded."""

    error: msgspec.Raw
    id: int | str | None


class EventEnvelope(msgspec.Struct):
    """JSON-RPC reply to `event.from`."""

    result: EventReply | None = None
    error: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None


class RecordsEnvelope(msgspec.Struct):
    """JSON-RPC reply to `get_all_records`."""

    result: dict[str, msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None


class NextEnvelope(msgspec.Struct):
    """JSON-RPC reply to `event.next`."""

    result: list[Event] | None = None
    error: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None


class RawEnvelope(msgspec.Struct):
    """JSON-RPC reply to any other call."""

    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None


EVENTS = msgspec.json.Decoder(EventEnvelope)
RECORDS = msgspec.json.Decoder(RecordsEnvelope)
NEXT = msgspec.json.Decoder(NextEnvelope)
RAW = msgspec.json.Decoder(RawEnvelope)
_decode = msgspec.json.Decoder().decode

_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOT_XAPI = "NOT_XAPI"


def scan(decoder: msgspec.json.Decoder[T], body: bytes) -> Generator[None, None, T]:
    """Decode a reply; mend it first, in slices, when it is not JSON.

    Returns (as the generator's value): what the decoder makes of it.

    Raises:
        PoolUnreachable: it cannot be mended into what XAPI would say.
    """
    try:
        return decoder.decode(body)
    except _BAD_JSON:
        mended = yield from mend(body)
    try:
        return decoder.decode(mended)
    except _BAD_JSON as error:
        raise PoolUnreachable("The answer is not XAPI's.", _NOT_XAPI) from error


def failure(error: msgspec.Raw) -> XapiFailure:
    """Read the `error` member of a reply.

    JSON-RPC 2.0 has {"message": code, "data": [parameters]}; version 1, and XAPI's errors from
    before dispatch even in a version 2 envelope, have [code, parameters...].
    """
    try:
        value = _decode(error)
        match value:
            case {"message": str(code), "data": list(params)}:
                return XapiFailure(code, tuple(map(str, params)))
            case {"message": str(code)}:
                return XapiFailure(code)
            case [str(code), *params]:
                return XapiFailure(code, tuple(map(str, params)))
            case _:
                pass
    except _BAD_JSON:
        pass
    raise PoolUnreachable("The answer is not XAPI's.", _NOT_XAPI)


# --- one record -----------------------------------------------------------------------------------

# MessagePack has no integers beyond 64 bits, and JSON parsers no floats beyond a double. XAPI's
# integers are 64-bit, so a pool that sends more is broken, and must not break clients.
_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Leaf = bool | _Int | float | str | None
_Inner = _Leaf | list[_Leaf] | dict[str, _Leaf]
_check_record = msgspec.json.Decoder(
    dict[str, _Leaf | list[_Inner] | dict[str, _Inner]]  # as deep as XAPI's records are
).decode


def checked_record(raw: bytes) -> bytes:
    """Return a record's JSON as it is when it is fit for every client, else mended.

    Raises:
        PoolUnreachable: it is not a JSON object.
    """
    try:
        _check_record(raw)
    except _BAD_JSON:
        return _mended_record(raw)
    return raw


def _mended_record(raw: bytes) -> bytes:
    try:
        record = json.loads(
            raw.decode(errors="replace"), parse_float=_finite_or_none, parse_int=_int64_or_none
        )
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise PoolUnreachable("The pool sent a record that is not one.", _NOT_XAPI)
    return msgspec.json.encode(record)


def _finite_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _int64_or_none(text: str) -> int | None:
    if len(text) > len("-9223372036854775808"):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# --- a whole reply --------------------------------------------------------------------------------

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


def json_value(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value
    """Decode a small result.

    Raises:
        PoolUnreachable: it is not JSON after all (broken UTF-8).
    """
    try:
        return _decode(raw)
    except _BAD_JSON as error:
        raise PoolUnreachable("The answer is not XAPI's.", _NOT_XAPI) from error


class _Identified(msgspec.Struct):
    uuid: str = ""


_identified = msgspec.json.Decoder(dict[str, _Identified]).decode


def uuids(records: msgspec.Raw) -> set[str]:
    """Return the uuids of a class's records; none when the text is no map of records."""
    try:
        return {record.uuid for record in _identified(records).values()}
    except msgspec.DecodeError:
        return set()

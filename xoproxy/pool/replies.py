"""XAPI's replies, scanned without parsing the records.

What enters the store must be JSON that every client's parser takes, so a reply that the scan
refuses (bare words, control characters, lone surrogates) is mended and scanned again (mending.py);
a clean one pays nothing for that. A record is decoded once when it is new or changed, which finds
broken UTF-8 and numbers that no client could hold; what equals the bytes we have has been through
that already.
"""

import json
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from xoproxy.errors import PoolUnreachable, XapiFailure
from xoproxy.model import Ref
from xoproxy.pool.mending import BAD_JSON, decoded
from xoproxy.pool.pieces import Members

T = TypeVar("T")


class Event(msgspec.Struct, gc=False):
    """One event as XAPI sends it; `record` is empty for a removal.

    Without garbage-collector header: it holds strings and a cut of the reply, never a cycle.
    """

    operation: str
    ref: Ref
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

    result: dict[Ref, msgspec.Raw] | None = None
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


def _put_events(envelope: EventEnvelope, pieces: list[list[Event]]) -> None:
    if envelope.result is not None:
        envelope.result.events[:0] = chain.from_iterable(pieces)


def _put_records(envelope: RecordsEnvelope, pieces: list[dict[Ref, msgspec.Raw]]) -> None:
    if envelope.result is not None:
        rest = dict(envelope.result)
        envelope.result.clear()  # as they came: pieces first
        for piece in (*pieces, rest):
            envelope.result.update(piece)


@dataclass(frozen=True)
class Decoder(Generic[T]):
    """Decodes one kind of reply.

    Args:
        whole: decodes all of it.
        members: of which there can be very many; None when the reply is always short.
    """

    whole: msgspec.json.Decoder[T]
    members: Members[T, Any] | None = None


EVENTS = Decoder(
    msgspec.json.Decoder(EventEnvelope),
    Members(b'"events":[', b"]", b"},{", msgspec.json.Decoder(list[Event]), _put_events),
)
RECORDS = Decoder(
    msgspec.json.Decoder(RecordsEnvelope),
    Members(
        b'"result":{',
        b"}",
        b'},"OpaqueRef:',
        msgspec.json.Decoder(dict[Ref, msgspec.Raw]),
        _put_records,
    ),
)
NEXT = Decoder(msgspec.json.Decoder(NextEnvelope))
RAW = Decoder(msgspec.json.Decoder(RawEnvelope))
_decode = msgspec.json.Decoder().decode

_NOT_XAPI = "NOT_XAPI"


def scan(decoder: Decoder[T], parts: Sequence[bytes]) -> Generator[None, None, T]:
    """Decode a reply in slices; what is not JSON is mended first.

    Args:
        decoder: what is expected.
        parts: the text as it came in.

    Returns (as the generator's value): what the decoder makes of it.

    Raises:
        PoolUnreachable: it cannot be mended into what XAPI would say.
    """
    members = decoder.members
    try:
        if members is None:
            return (yield from decoded(decoder.whole, b"".join(parts)))
        pieces, rest = yield from members.cut(parts)
        reply = yield from decoded(decoder.whole, rest)
    except BAD_JSON as error:
        raise PoolUnreachable("The answer is not XAPI's.", _NOT_XAPI) from error
    if pieces:
        members.put(reply, pieces)
    return reply


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
    except BAD_JSON:
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
    except BAD_JSON:
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


def json_value(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value
    """Decode a small result.

    Raises:
        PoolUnreachable: it is not JSON after all (broken UTF-8).
    """
    try:
        return _decode(raw)
    except BAD_JSON as error:
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

"""The newest alerts: XAPI keeps up to ten thousand `message` objects, we keep a bound of them.

They are not rows of XAPI's database, so nothing counts them, and they never change: they come, and
some day they go. Old ones are many and rarely looked at.
"""

import heapq
from collections.abc import Generator, Iterable, Iterator, Mapping

import msgspec

from xoproxy.model import Entry, Event, Ref, Removal, Upsert, XapiClass

MESSAGE = XapiClass("message")
_SLICE = 1000


class _Stamp(msgspec.Struct):
    timestamp: str = ""


_stamp = msgspec.json.Decoder(_Stamp).decode


def _age_key(raw: bytes | memoryview | msgspec.Raw) -> str:
    """Return a text that grows with time; XAPI's dates sort by themselves, dashes aside."""
    try:
        return _stamp(raw).timestamp.replace("-", "")
    except (msgspec.DecodeError, UnicodeDecodeError):  # not a date we know: as old as can be
        return ""


def youngest(
    records: Mapping[Ref, msgspec.Raw], keep: int
) -> Generator[None, None, dict[Ref, msgspec.Raw]]:
    """Cut a long list of messages down to the `keep` newest, yielding about every millisecond."""
    ages: dict[Ref, str] = {}
    for number, (ref, raw) in enumerate(records.items(), 1):
        ages[ref] = _age_key(raw)
        if number % _SLICE == 0:
            yield
    chosen = heapq.nlargest(keep, ages, key=lambda ref: (ages[ref], ref))
    return {ref: records[ref] for ref in chosen}


def newest(
    held: Iterable[Entry], told: Iterable[Upsert], keep: int, *, whole: bool
) -> Iterator[Event]:
    """Choose what to keep.

    Args:
        held: the messages that we have.
        told: those that the pool tells of.
        keep: how many to keep.
        whole: whether `told` is all that the pool has, so that what we hold beyond it is gone.

    Yields:
        Events after which at most the `keep` newest are held.
    """
    new = {message.ref: message for message in told}
    have = {entry.ref: entry for entry in held}
    ages = {ref: _age_key(message.raw) for ref, message in new.items()}
    if not whole:
        ages |= {ref: _age_key(entry.raw) for ref, entry in have.items() if ref not in new}
    kept = set(heapq.nlargest(keep, ages, key=lambda ref: (ages[ref], ref)))
    for ref in have:
        if ref not in kept:
            yield Removal(ref)
    for ref, message in new.items():
        if ref in kept:
            yield message

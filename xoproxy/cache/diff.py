"""The difference of two records: first of bytes, then of fields, last of map keys.

Two records are nearly always equal (XAPI repeats itself), so bytes are compared first and nothing
is parsed. If they differ, both are cut into fields whose values stay bytes; only fields whose
bytes differ are parsed, because `{"a":1,"b":2}` may come back in another order. Comparison is by
JSON type and value: `true` is not 1, and 1 is not 1.0.

Maps are compared one level deep (XAPI's maps are flat). Sets are replaced whole; for those who ask
for it, long sets of texts, which are references nearly always, change by members where that is
shorter. An index means something although XAPI's order does not: both sides hold the same array.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, count
from operator import ne
from typing import Any

import msgspec

Fields = Mapping[str, msgspec.Raw]
"""A record cut into fields, each value the JSON bytes as XAPI sent them."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_OBJECT_START = ord("{")
_ARRAY_START = ord("[")
_MEMBERS_MIN = 16
"""Shorter sets, like those of operations, stay whole: easier to read, and hardly longer."""
_OPERATION_BYTES = 40
"""What an operation has beside its path and value, nearly."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """RFC 6902 `add` or `replace`; the value is encoded already."""

    op: str
    path: str
    value: msgspec.Raw


class Remove(msgspec.Struct, frozen=True, gc=False, tag_field="op", tag="remove"):
    """RFC 6902 `remove`."""

    path: str


Operation = Put | Remove


def split(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Cut a JSON object into its members without parsing the values."""
    return _decode_fields(raw)


def join(fields: Fields) -> bytes:
    """Put cut members together again as one JSON object."""
    return _encode(fields)


def same_value(a: Any, b: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether two JSON values are equal in type and value, order of members aside."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return bool(a == b)


def same_json(a: msgspec.Raw, b: msgspec.Raw) -> bool:
    """Tell whether two encoded JSON values are equal, looking at the bytes first."""
    return a == b or same_value(_decode(a), _decode(b))


def changed_fields(before: bytes, after: bytes) -> tuple[bytes, bytes] | None:
    """Compare two records whose bytes differ.

    Returns:
        The JSON objects of the changed fields' old and new values, or None when nothing changed
        but the spelling.
    """
    old, new = split(before), split(after)
    # Records of one class come from one serialiser, so their fields nearly always stand in the same
    # order; then one pass over both finds what differs, without a look-up per field.
    if list(old) == list(new):
        differing = [
            name
            for name, differs in zip(old, map(ne, old.values(), new.values()), strict=True)
            if differs and not same_value(_decode(old[name]), _decode(new[name]))
        ]
        if not differing:
            return None
        return join({n: old[n] for n in differing}), join({n: new[n] for n in differing})
    gone = {n: v for n, v in old.items() if n not in new or not same_json(v, new[n])}
    come = {n: v for n, v in new.items() if n in gone or n not in old}
    if not gone and not come:
        return None
    return join(gone), join(come)


def escape(segment: str) -> str:
    """Escape one segment of a JSON Pointer (RFC 6901, section 3)."""
    if "~" in segment or "/" in segment:
        return segment.replace("~", "~0").replace("/", "~1")
    return segment


def operations(
    path: str, before: Fields, after: Fields, *, sets_by_member: bool = False
) -> Iterator[Operation]:
    """Turn the fields of one object before and after into RFC 6902 operations.

    Args:
        path: JSON Pointer of the object.
        before: old values of (at least) the fields that changed.
        after: new values of the same; members that stand in one only appeared or went.
        sets_by_member: whether operations may name single members of sets.
    """
    for name, old in before.items():
        new = after.get(name)
        where = f"{path}/{escape(name)}"
        if new is None:
            yield Remove(where)
        elif old != new:
            yield from _value_operations(where, old, new, sets_by_member=sets_by_member)
    for name, new in after.items():
        if name not in before:
            yield Put("add", f"{path}/{escape(name)}", new)


def _value_operations(
    path: str, old: msgspec.Raw, new: msgspec.Raw, *, sets_by_member: bool
) -> Iterator[Operation]:
    starts = memoryview(old)[0], memoryview(new)[0]
    if starts == (_OBJECT_START, _OBJECT_START):
        yield from _map_operations(path, split(old), split(new))
        return
    was, now = _decode(old), _decode(new)
    if same_value(was, now):
        return
    whole = Put("replace", path, new)
    are_sets = starts == (_ARRAY_START, _ARRAY_START)
    by_members = _set_operations(path, was, now) if sets_by_member and are_sets else None
    if by_members is None or sum(map(_size, by_members)) >= _size(whole):
        yield whole
    else:
        yield from by_members


def _map_operations(path: str, was: Fields, now: Fields) -> Iterator[Operation]:
    for key, value in was.items():
        if key not in now:
            yield Remove(f"{path}/{escape(key)}")
        elif not same_json(value, now[key]):
            yield Put("replace", f"{path}/{escape(key)}", now[key])
    for key, value in now.items():
        if key not in was:
            yield Put("add", f"{path}/{escape(key)}", value)


def _set_operations(path: str, old: Sequence[Any], new: Sequence[Any]) -> list[Operation] | None:
    """Lead from one array to another by single members.

    Returns:
        Removals from the back, so that no index moves before its turn, then additions from the
        front. None when the set is short or that would not be exact: members that are no texts,
        one member twice where they differ, or the common ones in another order.
    """
    if len(old) < _MEMBERS_MIN or not {*map(type, old), *map(type, new)} <= {str}:
        return None
    # What differs is short, for XAPI puts in and takes out single members: look at no more.
    start = _equal_count(old, new)
    end = _equal_count(old[start:][::-1], new[start:][::-1])
    left, right = old[start : len(old) - end], new[start : len(new) - end]
    was, now = dict.fromkeys(left), dict.fromkeys(right)
    if len(was) != len(left) or len(now) != len(right):
        return None
    if [m for m in left if m in now] != [m for m in right if m in was]:
        return None
    gone = [i for i, member in enumerate(left, start) if member not in now]
    come = [(i, member) for i, member in enumerate(right, start) if member not in was]
    return [
        *(Remove(f"{path}/{i}") for i in reversed(gone)),
        *(Put("add", f"{path}/{i}", msgspec.Raw(_encode(member))) for i, member in come),
    ]


def _equal_count(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many members at the beginning are equal."""
    return next(compress(count(), map(ne, a, b)), min(len(a), len(b)))


def _size(operation: Operation) -> int:
    value = len(operation.value) if isinstance(operation, Put) else 0
    return _OPERATION_BYTES + len(operation.path) + value

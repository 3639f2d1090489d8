"""Prototype: large sets changed member by member instead of replaced whole.

XAPI's sets are JSON arrays, so RFC 6902 has the operations already: `add` and `remove` with an
index. Indices mean something here although XAPI's order does not: a patch's `from` is exactly where
the client's document stands, so both sides have the same array in front of them, and the result is
the same array too, order included.
"""

from itertools import compress, count
from operator import ne
from typing import Any

import msgspec

from benchmarks.trace import Message
from xoproxy.cli.replica import Document, Operation, Replica, ViewReplica

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_MEMBERS_MIN = 16
"""Shorter sets, like those of operations, stay whole: easier to read, and hardly longer."""


def set_operations(path: str, old: list[Any], new: list[Any]) -> list[Operation] | None:
    """Lead from one array to another by single members.

    Returns:
        Operations for a plain RFC 6902 client: removals from the back (so that no index moves
        before its turn), then additions from the front. None where that is not exact: members that
        are no texts, one member twice, or the common ones in another order.
    """
    if not {*map(type, old), *map(type, new)} <= {str}:
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
        *({"op": "remove", "path": f"{path}/{i}"} for i in reversed(gone)),
        *({"op": "add", "path": f"{path}/{i}", "value": member} for i, member in come),
    ]


def _equal_count(a: list[Any], b: list[Any]) -> int:
    """Return how many members at the beginning are equal."""
    return next(compress(count(), map(ne, a, b)), min(len(a), len(b)))


class MemberWise:
    """Rewrites patches so that sets change by members where that is shorter.

    It keeps the document that the patches lead through, and a second one that is led by what it
    wrote; `check` compares the two.
    """

    def __init__(self) -> None:
        self._given, self._written = Replica(), Replica()

    def start(self, message: Message) -> None:
        """Take a message of the snapshot."""
        for replica in (self._given, self._written):
            replica.receive(_decode(_encode(message)))

    def rewrite(self, patch: Message) -> Message:
        document = self._view(self._given).document
        operations = [o for given in patch["ops"] for o in self._operations(document, given)]
        written = {**patch, "ops": operations}
        # Copies: a document keeps the values that it is given, and changes them later.
        self._given.receive(_decode(_encode(patch)))
        self._written.receive(_decode(_encode(written)))
        return written

    def check(self) -> None:
        """Compare all of both documents."""
        given, written = self._view(self._given), self._view(self._written)
        if _encode(given.document) != _encode(written.document):
            raise AssertionError("operations on members led to another document")

    @staticmethod
    def _view(replica: Replica) -> ViewReplica:
        (view,) = replica.views(1).values()
        return view

    def _operations(self, document: Document, given: Operation) -> list[Operation]:
        value = given.get("value")
        if given["op"] != "replace" or not isinstance(value, list):
            return [given]
        _, cls, key, *rest = given["path"].split("/")
        if len(rest) != 1:
            return [given]
        # No field of XAPI has a name that must be escaped.
        old = document[cls][key][rest[0]]
        if len(old) < _MEMBERS_MIN:
            return [given]
        found = set_operations(given["path"], old, value)
        if found is None or len(_encode(found)) >= len(_encode(given)):
            return [given]
        return found

"""What a view shows: class -> key -> object, kept exact patch by patch.

Objects that were handed out never change: a patch puts a new object in the place of each that it
touches, sharing what did not change. And a patch is applied whole or not at all: it is staged
beside the document first, so that one that does not fit leaves nothing behind.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from xoproxy.client.errors import ProtocolFault
from xoproxy.client.messages import Operation

Members = dict[str, Any]
"""An object: XAPI's fields, and ours, which begin with `$`."""
_encode = msgspec.json.Encoder(order="sorted").encode
WINDOW_MEMBERS = ("order", "total", "facets")


class Delta(NamedTuple):
    """One object that came (`before` is None), went (`after` is None), or looks different."""

    cls: str
    key: str
    before: Members | None
    after: Members | None


class Document:
    """The objects of one view.

    Args:
        classes: the members, each there though it may be empty.
        is_window: whether there are `order`, `total` and `facets` beside them.
    """

    __slots__ = ("_places", "classes", "is_window", "window")

    def __init__(self, classes: Iterable[str], *, is_window: bool = False) -> None:
        self.classes: dict[str, dict[str, Members]] = {cls: {} for cls in classes}
        self.is_window = is_window
        self.window: dict[str, Any] = {}
        self._places: dict[str, tuple[str, str]] | None = None
        """Reference -> class and key; made when first asked for, kept from then on."""

    def __len__(self) -> int:
        return sum(map(len, self.classes.values()))

    def copy(self) -> "Document":
        """Return another document with the same objects."""
        copy = Document((), is_window=self.is_window)
        copy.classes = {cls: dict(objects) for cls, objects in self.classes.items()}
        copy.window = dict(self.window)
        return copy

    def as_json(self) -> dict[str, Any]:
        """Return it as the protocol draws it; not to be changed."""
        return {**self.classes, **self.window}

    def find(self, ref: str) -> tuple[str, str] | None:
        """Return class and key of the object with a reference."""
        if self._places is None:
            self._places = {
                members["$ref"]: (cls, key)
                for cls, objects in self.classes.items()
                for key, members in objects.items()
            }
        return self._places.get(ref)

    # --- changing it -----------------------------------------------------------------------------

    def put_rows(
        self,
        cls: str,
        fields: Sequence[str],
        keys: Sequence[str],
        rows: Sequence[Sequence[Any]],
        before: "Document | None" = None,
    ) -> None:
        """Take rows of a snapshot.

        Args:
            cls: of all of them.
            fields: names of their values.
            keys: one for each.
            rows: values.
            before: what was held; objects that are still the same are taken from there, so that
                two documents share them, and are compared quickly when the last row is there.

        Raises:
            ProtocolFault: they do not fit.
        """
        if len(keys) != len(rows):
            raise ProtocolFault("a snapshot has not as many rows as keys")
        if not keys:
            return  # the class of a message without rows means nothing
        objects = self.classes.get(cls)
        if objects is None:
            raise ProtocolFault(f"class {cls} came without being asked for")
        known = {} if before is None else before.classes.get(cls, {})
        for key, row in zip(keys, rows, strict=True):
            if len(row) != len(fields):
                raise ProtocolFault("a row of a snapshot has not as many values as fields")
            members = dict(zip(fields, row, strict=True))
            if not _is_object(members):
                raise ProtocolFault("a snapshot has objects without `$ref`")
            was = known.get(key)
            objects[key] = was if was is not None and _same(was, members) else members
        self._places = None

    def patch(self, operations: Iterable[Operation]) -> list[Delta]:
        """Apply all operations, or none.

        Returns:
            What changed: objects that went first, so that whoever follows references can tell an
            object that went and came again under another key.

        Raises:
            ProtocolFault: one does not fit; nothing was changed.
        """
        staged = _Staged(self)
        for operation in operations:
            try:
                staged.apply(operation)
            except _DoesNotFitError as error:
                text = f"{operation.op} {operation.path} does not apply: {error}"
                raise ProtocolFault(text) from None
        deltas = staged.deltas()
        if staged.window is not None:
            self.window = staged.window
        for delta in deltas:
            self._put(delta)
        return deltas

    def _put(self, delta: Delta) -> None:
        cls, key, before, after = delta
        if after is None:
            del self.classes[cls][key]
        else:
            self.classes[cls][key] = after
        if self._places is None:
            return
        if before is not None and self._places.get(before["$ref"]) == (cls, key):
            del self._places[before["$ref"]]
        if after is not None:
            self._places[after["$ref"]] = cls, key


def difference(before: Document, after: Document) -> list[Delta]:
    """Return what leads from one document to another, objects being told apart by reference."""
    went: list[Delta] = []
    came: list[Delta] = []
    if before is after:
        return []
    for cls in before.classes | after.classes:
        old, new = before.classes.get(cls, {}), after.classes.get(cls, {})
        # Most are shared by both (`put_rows`), under the same key: only others are looked at.
        gone = {_identity(m): (key, m) for key, m in old.items() if new.get(key) is not m}
        for key, members in new.items():
            if old.get(key) is members:
                continue
            _, was = gone.pop(_identity(members), (key, None)) if gone else (key, None)
            if was is None or not _same(was, members):
                came.append(Delta(cls, key, was, members))
        went += [Delta(cls, key, members, None) for key, members in gone.values()]
    return went + came


def _same(one: Members, other: Members) -> bool:
    """Compare by value and type: for Python, 1 is True."""
    return one is other or (one == other and _encode(one) == _encode(other))


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("$ref"), str)


def _identity(members: Members) -> tuple[Any, Any]:
    return members.get("$pool"), members["$ref"]


class _DoesNotFitError(Exception):
    """An operation does not apply; the text says why."""


class _Staged:
    """A document with operations on top, before they are known to fit."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._objects: dict[tuple[str, str], Members | None] = {}
        self._own: dict[tuple[str, str], set[str]] = {}
        """Objects that are copies of ours already, and which of their maps are."""
        self.window: dict[str, Any] | None = None

    def apply(self, operation: Operation) -> None:
        match _segments(operation.path):
            case [name] if self._document.is_window and name in WINDOW_MEMBERS:
                if self.window is None:
                    self.window = dict(self._document.window)
                _change(self.window, name, operation)
            case [cls, key]:
                self._change_object(cls, key, operation)
            case [cls, key, field]:
                if field == "$ref":
                    raise _DoesNotFitError("an object's reference never changes")
                _change(self._object(cls, key), field, operation)
            case [cls, key, field, name]:
                self._change_in_field(cls, key, field, name, operation)
            case _:
                raise _DoesNotFitError("there is no such place in a document")

    def deltas(self) -> list[Delta]:
        went: list[Delta] = []
        came: list[Delta] = []
        for (cls, key), after in self._objects.items():
            before = self._document.classes[cls].get(key)
            if after is not None:
                came.append(Delta(cls, key, before, after))
            elif before is not None:
                went.append(Delta(cls, key, before, None))
        return went + came

    def _change_object(self, cls: str, key: str, operation: Operation) -> None:
        present = self._present(cls, key)
        holder = {} if present is None else {key: present}
        _change(holder, key, operation)
        if key in holder and not _is_object(holder[key]):
            raise _DoesNotFitError("an object is a map with `$ref`")
        self._objects[cls, key] = holder.get(key)
        self._own.pop((cls, key), None)

    def _present(self, cls: str, key: str) -> Members | None:
        if (cls, key) in self._objects:
            return self._objects[cls, key]
        objects = self._document.classes.get(cls)
        if objects is None:
            raise _DoesNotFitError(f"class {cls} was not asked for")
        return objects.get(key)

    def _object(self, cls: str, key: str) -> Members:
        """Return an object that may be changed."""
        members = self._present(cls, key)
        if members is None:
            raise _DoesNotFitError("there is no such object")
        if (cls, key) not in self._own:
            self._own[cls, key] = set()
            members = self._objects[cls, key] = dict(members)
        return members

    def _change_in_field(
        self, cls: str, key: str, field: str, name: str, operation: Operation
    ) -> None:
        """Change one member of a map or of a set."""
        members = self._object(cls, key)
        found = members.get(field)
        if not isinstance(found, dict | list):
            raise _DoesNotFitError("the field is neither a map nor a set")
        if field not in self._own[cls, key]:
            self._own[cls, key].add(field)
            found = members[field] = found.copy()
        if isinstance(found, dict):
            _change(found, name, operation)
        else:
            _change_set(found, name, operation)


def _change(holder: dict[str, Any], name: str, operation: Operation) -> None:
    """Add, replace or remove a member, after RFC 6902."""
    match operation.op:
        case "add" | "replace" if operation.value is UNSET:
            raise _DoesNotFitError("it has no value")
        case "add":
            holder[name] = operation.value
        case "replace" | "remove" if name not in holder:
            raise _DoesNotFitError("there is nothing")
        case "replace":
            holder[name] = operation.value
        case "remove":
            del holder[name]
        case _:
            raise _DoesNotFitError("there is no such operation")


def _change_set(members: list[Any], index: str, operation: Operation) -> None:
    """Put a member into a set, replace or remove one, after RFC 6902."""
    # RFC 6901, 4: digits without a leading zero.
    at = int(index) if index.isascii() and index.isdigit() and str(int(index)) == index else -1
    match operation.op:
        case "add" | "replace" if operation.value is UNSET:
            raise _DoesNotFitError("it has no value")
        case "add" if 0 <= at <= len(members):
            members.insert(at, operation.value)
        case "replace" if 0 <= at < len(members):
            members[at] = operation.value
        case "remove" if 0 <= at < len(members):
            del members[at]
        case _:
            raise _DoesNotFitError("there is no such place in the set")


def _segments(path: str) -> list[str]:
    """Split a JSON Pointer (RFC 6901)."""
    if not path.startswith("/"):
        raise _DoesNotFitError("a path begins with a slash")
    segments = path[1:].split("/")
    if "~" not in path:
        return segments
    return [segment.replace("~1", "/").replace("~0", "~") for segment in segments]

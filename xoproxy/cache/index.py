"""Named indexes over a pool's entries, kept true by the store at every commit.

`by_class` is always there. `References` (who points at whom) costs memory and time, and only views
with restricted rights or with filters that follow references need it; so it is built on first use,
in slices, and kept from then on.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from xoproxy.cache.diff import split
from xoproxy.model import Entry, Key, Ref, XapiClass

_REFERENCE = re.compile(rb"OpaqueRef:[0-9A-Za-z-]+")
_ABOUT = b'"obj_uuid"'
_UUID = b'"uuid"'
_NULL = b"OpaqueRef:NULL"
_FEW = 8


def references_in(raw: bytes) -> set[Ref]:
    """Find every reference that stands anywhere in a record, NULL aside.

    Also those inside texts (a task's result): more than the fields that are references, never less.
    A message names its object by uuid: that counts as a reference, too.
    """
    found = {Ref(text.decode()) for text in set(_REFERENCE.findall(raw)) if text != _NULL}
    if _ABOUT in raw and (uuid := _text(raw, "obj_uuid")):
        found.add(Ref(uuid))
    return found


def uuid_of(entry: Entry) -> str | None:
    """Return an object's uuid, if it has one."""
    return _text(entry.raw, "uuid") if _UUID in entry.raw else None


def _text(raw: bytes, field: str) -> str | None:
    value = split(raw).get(field)
    text = None if value is None else msgspec.json.decode(value)
    return text if isinstance(text, str) else None


class ByClass:
    """Entries by class and key."""

    def __init__(self) -> None:
        self._classes: dict[XapiClass, dict[Key, Entry]] = {}

    def put(self, entry: Entry) -> None:
        self._classes.setdefault(entry.cls, {})[entry.key] = entry

    def remove(self, entry: Entry) -> None:
        del self._classes[entry.cls][entry.key]

    def entries(self, cls: XapiClass) -> Iterable[Entry]:
        return self._classes.get(cls, {}).values()

    def get(self, cls: XapiClass, key: Key) -> Entry | None:
        return self._classes.get(cls, {}).get(key)

    def count(self, cls: XapiClass) -> int:
        return len(self._classes.get(cls, ()))

    def classes(self) -> Iterator[XapiClass]:
        return iter(self._classes)


class References:
    """Which objects mention which: reference -> the references of those whose records hold it.

    And which object has which uuid, by which messages name it.

    Most objects are mentioned by one or two others, so referrers are a tuple until they are many: a
    set of its own for each would weigh more than all the rest.

    Args:
        known: returns the reference of a held object as the entry has it, or its argument: then
            the text is not kept twice.
    """

    def __init__(self, known: Callable[[Ref], Ref] = lambda ref: ref) -> None:
        self._known = known
        self._referrers: dict[Ref, tuple[Ref, ...] | set[Ref]] = {}
        self._named: dict[str, Ref] = {}

    def add(self, entry: Entry) -> None:
        ref, referrers = entry.ref, self._referrers
        for target in references_in(entry.raw):
            found = referrers.get(target)
            if found is None:
                referrers[self._known(target)] = (ref,)
            elif isinstance(found, set):
                found.add(ref)
            elif ref not in found:
                more = (*found, ref)
                referrers[target] = more if len(more) <= _FEW else set(more)

    def remove(self, entry: Entry) -> None:
        for target in references_in(entry.raw):
            found = self._referrers.get(target)
            if isinstance(found, set):
                found.discard(entry.ref)
            elif found is not None:
                self._referrers[target] = found = tuple(r for r in found if r != entry.ref)
            if not found:
                self._referrers.pop(target, None)

    def referrers(self, target: Ref) -> Collection[Ref]:
        """Return the objects whose records mention `target`."""
        return self._referrers.get(target, ())

    def name(self, entry: Entry) -> None:
        """Note an object's uuid, which never changes."""
        if (uuid := uuid_of(entry)) is not None:
            self._named[uuid] = entry.ref

    def unname(self, entry: Entry) -> None:
        """Forget the uuid of an object that went."""
        uuid = uuid_of(entry)
        if uuid is not None and self._named.get(uuid) == entry.ref:
            del self._named[uuid]

    def named(self, uuid: str) -> Ref | None:
        return self._named.get(uuid)

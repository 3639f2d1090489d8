"""Named indexes over a pool's entries, kept true by the store at every commit.

`by_class` is always there. `References` (who points at whom) costs memory and time, and only views
with restricted rights or with filters that follow references need it; so it is built on first use,
in slices, and kept from then on.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator

from xoproxy.model import Entry, Key, Ref, XapiClass

_REFERENCE = re.compile(rb"OpaqueRef:[0-9A-Za-z-]+")
_NULL = b"OpaqueRef:NULL"
_FEW = 8


def references_in(raw: bytes) -> set[Ref]:
    """Find every reference that stands anywhere in a record, NULL aside.

    Also those inside texts (a task's result): more than the fields that are references, never less.
    """
    return {Ref(found.decode()) for found in set(_REFERENCE.findall(raw)) if found != _NULL}


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

    Most objects are mentioned by one or two others, so referrers are a tuple until they are many: a
    set of its own for each would weigh more than all the rest.

    Args:
        known: returns the reference of a held object as the entry has it, or its argument: then
            the text is not kept twice.
    """

    def __init__(self, known: Callable[[Ref], Ref] = lambda ref: ref) -> None:
        self._known = known
        self._referrers: dict[Ref, tuple[Ref, ...] | set[Ref]] = {}

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

"""Named indexes over a pool's entries, kept true by the store at every commit.

`by_class` is always there. `References` (who points at whom) costs memory and time, and only views
with restricted rights or with filters that follow references need it; so it is built on first use,
in slices, and kept from then on.
"""

import re
from collections.abc import Collection, Iterable, Iterator

from xoproxy.model import Entry, Key, Ref, XapiClass

_REFERENCE = re.compile(rb"OpaqueRef:[0-9A-Za-z-]+")
_NULL = b"OpaqueRef:NULL"


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

    Most objects are mentioned by one other, so a lone referrer is kept as it is: a set of its own
    for each would weigh more than all the rest.
    """

    def __init__(self) -> None:
        self._referrers: dict[Ref, Ref | set[Ref]] = {}

    def add(self, entry: Entry) -> None:
        for target in references_in(entry.raw):
            known = self._referrers.setdefault(target, entry.ref)
            if isinstance(known, set):
                known.add(entry.ref)
            elif known != entry.ref:
                self._referrers[target] = {known, entry.ref}

    def remove(self, entry: Entry) -> None:
        for target in references_in(entry.raw):
            known = self._referrers.get(target)
            if isinstance(known, set):
                known.discard(entry.ref)
                if len(known) == 1:
                    self._referrers[target] = known.pop()
            elif known == entry.ref:
                del self._referrers[target]

    def referrers(self, target: Ref) -> Collection[Ref]:
        """Return the objects whose records mention `target`."""
        known = self._referrers.get(target)
        if known is None:
            return ()
        return known if isinstance(known, set) else (known,)

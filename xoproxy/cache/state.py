"""A pool as it stood at a position: the store plus an undo overlay of the objects touched since.

Filters, rights and references are evaluated on a `State` by the same code, whether it is the
present or a past from which a client is picked up. A state stays what it is while the store goes
on: what is committed later is undone in the overlay before anything is read.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from xoproxy.cache.diff import join, split
from xoproxy.cache.index import references_in, uuid_of
from xoproxy.cache.store import Store
from xoproxy.model import Change, Entry, Key, PoolId, Ref, XapiClass


class Merged:
    """All that happened to one object between two positions, as one step.

    `before` and `after` hold the changed fields' first old and last new values; a name in `names`
    that is missing in one of them stood only on the other side.
    """

    __slots__ = ("after", "before", "cls", "existed", "exists", "key", "names", "ref", "whole")

    def __init__(self, change: Change) -> None:
        self.key = change.key
        self.ref = change.ref
        self.cls = change.cls
        self.existed = change.before is not None
        self.exists = True
        self.before: dict[str, msgspec.Raw] = {}
        self.after: dict[str, msgspec.Raw] = {}
        self.names: set[str] = set()
        self.whole: bytes | None = None
        """The record as it was when the object went."""

    def add(self, change: Change) -> None:
        if change.after is None:
            self.exists = False
            self.whole = change.before
        elif change.before is not None:
            old, new = split(change.before), split(change.after)
            for name, value in old.items():
                if name not in self.names:
                    self.before[name] = value
                if name not in new:
                    self.after.pop(name, None)
            self.after.update(new)
            self.names.update(old, new)


def merge(changes: Iterable[Change], into: dict[Key, Merged]) -> None:
    """Merge changes, in order, into one step per object; what came and went again is left out."""
    for change in changes:
        merged = into.get(change.key)
        if merged is None:
            merged = into[change.key] = Merged(change)
        merged.add(change)
        if not merged.existed and not merged.exists:
            del into[change.key]


class State:
    """A pool at a position.

    Args:
        store: the pool's objects now.
        seq: the position; the journal must reach back to it now (later it need not).

    Raises:
        Expired: the journal does not reach back to `seq`.
    """

    def __init__(self, store: Store, seq: int) -> None:
        self.seq = seq
        self._store = store
        self._unread = deque(store.journal.since(seq))
        self._absorbed = store.seq
        self._by_ref: dict[Ref, Merged] = {}
        self._rebuilt: dict[Ref, Entry | None] = {}
        self._indexed_count = 0
        self._mentions: dict[Ref, list[Ref]] = {}
        """Target -> those objects of the overlay that mentioned it then."""
        self._named: dict[str, Ref] = {}

    @property
    def pool(self) -> PoolId:
        return self._store.pool

    def get(self, ref: Ref) -> Entry | None:
        """Return the object as it was at this position."""
        self._absorb()
        merged = self._by_ref.get(ref)
        if merged is None:
            return self._store.get(ref)
        if ref not in self._rebuilt:
            self._rebuilt[ref] = self._rebuild(merged)
        return self._rebuilt[ref]

    def entries(self, cls: XapiClass) -> Iterator[Entry]:
        """Iterate over the class's objects at this position (without pause: nothing may commit)."""
        self._absorb()
        for entry in self._store.entries(cls):
            if entry.ref not in self._by_ref:
                yield entry
        for ref, merged in self._by_ref.items():
            if merged.cls == cls and merged.existed:
                rebuilt = self.get(ref)
                if rebuilt is not None:
                    yield rebuilt

    def referrers(self, target: Ref) -> Iterator[Ref]:
        """Name the objects whose records mentioned `target` at this position."""
        self._absorb()
        self._index()
        for ref in self._store.referrers(target):
            if ref not in self._by_ref:
                yield ref
        yield from self._mentions.get(target, ())

    def named(self, uuid: str) -> Entry | None:
        """Find the object that had this uuid at this position."""
        self._absorb()
        self._index()
        ref = self._named.get(uuid)
        if ref is not None:
            return self.get(ref)
        entry = self._store.named(uuid)
        return None if entry is None or entry.ref in self._by_ref else entry

    def keep_up(self) -> None:
        """Take note of what was committed since; call it at least once per slice of long work."""
        store = self._store
        if store.seq != self._absorbed:
            self._unread.extend(store.journal.since(self._absorbed))
            self._absorbed = store.seq

    def prepare(self, slice_size: int = 64, *, referrers: bool = False) -> Iterator[None]:
        """Take in a long history in slices, before the first look needs all of it at once.

        Args:
            slice_size: changes a step.
            referrers: whether `referrers` and `named` will be asked, too.
        """
        while self._unread:
            self._absorb(slice_size)
            yield
        while referrers and self._indexed_count < len(self._by_ref):
            self._index(max(1, slice_size // 4))
            yield
            self._absorb()

    def _absorb(self, limit: int | None = None) -> None:
        self.keep_up()
        unread = self._unread
        for _ in range(len(unread) if limit is None else min(limit, len(unread))):
            change = unread.popleft()
            merged = self._by_ref.get(change.ref)
            if merged is None:
                merged = self._by_ref[change.ref] = Merged(change)
            elif merged.key != change.key or not merged.existed or not merged.exists:
                continue  # what follows an addition or a removal tells nothing about the past
            merged.add(change)

    def _index(self, limit: int | None = None) -> None:
        """Note what the objects of the overlay mentioned; they never leave it."""
        if self._indexed_count == len(self._by_ref):
            return
        stop = None if limit is None else self._indexed_count + limit
        for ref in list(islice(self._by_ref, self._indexed_count, stop)):
            self._indexed_count += 1
            entry = self.get(ref)
            if entry is not None:
                for target in references_in(entry.raw):
                    self._mentions.setdefault(target, []).append(ref)
                if (uuid := uuid_of(entry)) is not None:
                    self._named[uuid] = ref

    def _rebuild(self, merged: Merged) -> Entry | None:
        if not merged.existed:
            return None
        if merged.exists:
            now = self._store.get(merged.ref)
            whole = now.raw if now is not None else None
        else:
            whole = merged.whole
        if whole is None:
            raise RuntimeError(f"history and store disagree about {merged.ref}")
        fields = split(whole)
        for name in merged.names:
            if name in merged.before:
                fields[name] = merged.before[name]
            else:
                fields.pop(name, None)
        return Entry(merged.key, merged.ref, merged.cls, self.seq, join(fields))

"""A store as it stood, brought forward by the batches that came after.

A batch holds the changed fields only. So that a long history is cheap to replay, what happened to
an object is gathered first, and its record is put together once. Nothing is taken on trust: a
batch that does not fit what is held means that the history is not what was written.
"""

from collections.abc import Iterable
from dataclasses import replace as replace_fields

import msgspec
from msgspec.structs import replace

from xoproxy.cache.diff import join, split
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import SavedStore, Store
from xoproxy.model import Batch, Change, Entry, Ref, XapiClass


class BrokenHistory(Exception):  # noqa: N818 - reads as what happened
    """State and batches do not belong together."""


def replay(saved: SavedStore, batches: Iterable[Batch], budget: JournalBudget) -> Store:
    """Make the store that `saved` had become after the last batch.

    Args:
        saved: how it stood at the end of some batch.
        batches: from some batch before that, or the next one, without a gap. Those up to
            `saved` are history only; the others are applied, too.
        budget: bound of the journal.

    Raises:
        BrokenHistory: they do not fit.
    """
    objects = _Objects(saved)
    history: list[Batch] = []
    here = saved.seq
    for batch in batches:
        if (batch.pool, batch.epoch) != (saved.pool, saved.epoch):
            raise BrokenHistory("another pool or epoch")
        if history and batch.from_seq != history[-1].to_seq:
            raise BrokenHistory(f"no batch from {history[-1].to_seq}")
        if len(batch.changes) != batch.to_seq - batch.from_seq:
            raise BrokenHistory(f"the batch from {batch.from_seq} is not whole")
        if batch.to_seq <= saved.seq:
            changes = tuple(map(objects.shared, batch.changes))
        elif batch.from_seq == here:
            changes = tuple(map(objects.apply, batch.changes))
            here = batch.to_seq
        else:
            raise BrokenHistory(f"no batch from {here}")
        history.append(replace_fields(batch, changes=changes))
    if history and history[-1].to_seq != here:
        raise BrokenHistory(f"the history ends before {here}")
    last = history[-1] if history else None
    reached = SavedStore(
        pool=saved.pool,
        epoch=saved.epoch,
        seq=here,
        next_key=last.next_key if last else saved.next_key,
        xapi_token=last.xapi_token if last else saved.xapi_token,
        classes=saved.classes,
        entries=objects.entries(),
    )
    return Store.restored(reached, history, budget)


class _Objects:
    """What is held, and what has happened to it since and was not yet put together."""

    def __init__(self, saved: SavedStore) -> None:
        self._held: dict[Ref, Entry] = {}
        self._news: dict[Ref, _News] = {}
        self._classes: dict[XapiClass, XapiClass] = {}
        """One text for each class, however many objects name it."""
        for entry in saved.entries:
            self._held[entry.ref] = replace(entry, cls=self._known(entry.cls))

    def apply(self, change: Change) -> Change:
        """Take a change in; returned is the same one with texts that we have already."""
        held = self._held.get(change.ref)
        if change.before is None:
            return self._add(held, change)
        if held is None or held.key != change.key:
            raise BrokenHistory(f"change {change.seq} is about an object that is not there")
        if change.after is None:
            del self._held[change.ref]
            self._news.pop(change.ref, None)
        else:
            news = self._news.get(held.ref)
            if news is None:
                news = self._news[held.ref] = _News()
            news.add(change.seq, split(change.before), split(change.after))
        return Change(change.seq, held.key, held.ref, held.cls, change.before, change.after)

    def shared(self, change: Change) -> Change:
        """Return the same change with the texts of the object that we hold, if we do."""
        held = self._held.get(change.ref)
        ref = held.ref if held is not None else change.ref
        key = held.key if held is not None and held.key == change.key else change.key
        cls = self._known(change.cls)
        return Change(change.seq, key, ref, cls, change.before, change.after)

    def entries(self) -> list[Entry]:
        for ref, news in self._news.items():
            held = self._held[ref]
            raw = join(news.put_into(split(held.raw)))
            self._held[ref] = Entry(held.key, held.ref, held.cls, news.seq, raw)
        return list(self._held.values())

    def _add(self, held: Entry | None, change: Change) -> Change:
        if held is not None or change.after is None:
            raise BrokenHistory(f"change {change.seq} adds an object that is there")
        cls = self._known(change.cls)
        self._held[change.ref] = Entry(change.key, change.ref, cls, change.seq, change.after)
        return Change(change.seq, change.key, change.ref, cls, None, change.after)

    def _known(self, cls: XapiClass) -> XapiClass:
        return self._classes.setdefault(cls, cls)


class _News:
    """Fields of one object that changed, and those that went."""

    __slots__ = ("_gone", "_put", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self._put: dict[str, msgspec.Raw] = {}
        self._gone: set[str] = set()

    def add(self, seq: int, old: dict[str, msgspec.Raw], new: dict[str, msgspec.Raw]) -> None:
        self.seq = seq
        gone = old.keys() - new.keys()
        for name in gone:
            self._put.pop(name, None)
        self._gone |= gone
        self._gone -= new.keys()
        self._put.update(new)

    def put_into(self, fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        for name in self._gone:
            fields.pop(name, None)
        fields.update(self._put)
        return fields

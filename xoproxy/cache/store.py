"""One pool's objects: prepared in slices, committed in one step, readable as of any position.

Theory of operation. The pool's watch is the only writer. It hands what XAPI said to `prepare`,
which compares and diffs in slices (the loop may run between them, for nothing else writes), and
then calls `commit`: one synchronous step that touches the entries, the indexes and the journal, so
that no reader ever sees half a batch. What equals what we hold is dropped here: it makes no change.

A relist is a preparation too: `prepare_relist` treats the list as the whole truth about some
classes and makes removals of everything else that we hold of them. So a reconnect changes
exactly what changed meanwhile, in the same epoch.

Guarantees: seq grows by one per change; an entry is never mutated; a key names one object for ever
(an object that goes and comes back has a new key); a batch is seen whole or not at all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec
from msgspec.structs import replace

from xoproxy.cache.diff import changed_fields
from xoproxy.cache.index import ByClass, References
from xoproxy.cache.journal import Journal, JournalBudget
from xoproxy.model import Batch, Change, Entry, Event, Key, PoolId, Ref, Removal, Upsert, XapiClass

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def key_text(number: int) -> Key:
    """Write a number in base 36: six characters last for two thousand million objects."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return Key(text)


Check = Callable[[bytes], bytes]
"""Returns a JSON object as it is when it is fit to be kept, else a mended one."""


def unchecked(raw: bytes) -> bytes:
    """Trust the source."""
    return raw


class Preparation:
    """A batch in the making: the pending outcome per object, against a store that stands still."""

    def __init__(self, store: "Store", events: Iterable[Event], checked: Check) -> None:
        self._store = store
        self._events = iter(events)
        self._checked = checked
        self._base_seq = store.seq
        self._next_key = store.next_key
        self.outcomes: dict[Ref, tuple[Entry | None, Entry | None, Change]] = {}
        """Reference -> entry before, entry after, the change; in the order of the changes."""
        self.event_count = 0
        self.unchanged_count = 0

    def step(self, count: int = 64) -> bool:
        """Prepare up to `count` more events; tell whether any are left."""
        before = self.event_count
        for event in islice(self._events, count):
            self.event_count += 1
            match event:
                case Upsert():
                    self._upsert(event)
                case Removal(ref):
                    self._remove(ref)
        return self.event_count - before == count

    @property
    def next_key(self) -> int:
        return self._next_key

    @property
    def base_seq(self) -> int:
        return self._base_seq

    def _upsert(self, event: Upsert) -> None:
        before = self._store.get(event.ref)
        if event.ref in self.outcomes:
            self._settle(event.ref)
        raw = bytes(event.raw)  # a copy, so that the reply it was cut from can go
        if before is None:
            raw = self._checked(raw)
            key = key_text(self._next_key)
            self._next_key += 1
            self._record(None, key, event, raw, (None, raw))
            return
        if before.raw == raw:
            self.unchanged_count += 1
            return
        raw, differing = self._compare(before.raw, raw)
        if differing is None:
            self.unchanged_count += 1
        else:
            self._record(before, before.key, event, raw, differing)

    def _compare(self, before: bytes, raw: bytes) -> tuple[bytes, tuple[bytes, bytes] | None]:
        """Return the record to keep and how it differs.

        What did not change was checked when it came, so only the changed values are.
        """
        try:
            differing = changed_fields(before, raw)
            if differing is None or self._checked(differing[1]) is differing[1]:
                return raw, differing
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # it cannot even be compared
        raw = self._checked(raw)
        return raw, changed_fields(before, raw)

    def _record(
        self,
        before: Entry | None,
        key: Key,
        event: Upsert,
        raw: bytes,
        values: tuple[bytes | None, bytes],
    ) -> None:
        seq = self._base_seq + len(self.outcomes) + 1
        entry = Entry(key, event.ref, event.cls, seq, raw)
        self.outcomes[event.ref] = before, entry, Change(seq, key, event.ref, event.cls, *values)

    def _remove(self, ref: Ref) -> None:
        before = self._store.get(ref)
        if ref in self.outcomes:
            self._settle(ref)
        if before is None:
            self.unchanged_count += 1
            return
        seq = self._base_seq + len(self.outcomes) + 1
        change = Change(seq, before.key, ref, before.cls, before.raw, None)
        self.outcomes[ref] = before, None, change

    def _settle(self, ref: Ref) -> None:
        """Take back what this batch said of an object earlier; a later event says otherwise.

        Rare: XAPI names an object once per reply. The gap in the numbers is closed.
        """
        del self.outcomes[ref]
        for seq, (other, (before, after, change)) in enumerate(
            list(self.outcomes.items()), self._base_seq + 1
        ):
            if change.seq != seq:
                moved = after and replace(after, seq=seq)
                self.outcomes[other] = before, moved, replace(change, seq=seq)


@dataclass(frozen=True, slots=True)
class SavedStore:
    """A loaded store as it stood at the end of a batch: with its history, all it takes to go on.

    A plain value; taking one costs a list of references, for entries are immutable.
    """

    pool: PoolId
    epoch: str
    seq: int
    next_key: int
    xapi_token: str
    classes: frozenset[XapiClass]
    entries: Sequence[Entry]


class Store:
    """The entries of one pool and their history.

    Args:
        pool: whose.
        epoch: random text that names this history.
        budget: bound of the journal.
    """

    def __init__(self, pool: PoolId, epoch: str, budget: JournalBudget | None = None) -> None:
        self.pool = pool
        self.epoch = epoch
        self.loaded = False
        """Whether the pool was listed once: before, an empty store means nothing."""
        self.classes: frozenset[XapiClass] = frozenset()
        """The classes with events that the pool has; known once it was listed."""
        self.known_at_s: float | None = None
        """Of a restored store: when it was last known to be what the pool has, in seconds since
        1970."""
        self.journal = Journal(budget or JournalBudget())
        self.by_class = ByClass()
        self.next_key = 0
        self.xapi_token = ""
        self._entries: dict[Ref, Entry] = {}
        self._references: References | None = None
        self._references_complete = False

    @classmethod
    def restored(
        cls, saved: SavedStore, history: Sequence[Batch], budget: JournalBudget | None = None
    ) -> "Store":
        """Make a store that goes on where another one stood.

        Args:
            saved: what it held.
            history: the batches that led there, without a gap; as many as are known.
            budget: bound of the journal.
        """
        if history and history[-1].to_seq != saved.seq:
            raise ValueError("the history does not end where the store stood")
        store = cls(saved.pool, saved.epoch, budget)
        store.loaded = True
        store.classes = saved.classes
        store.next_key = saved.next_key
        store.xapi_token = saved.xapi_token
        for entry in saved.entries:
            store._entries[entry.ref] = entry
            store.by_class.put(entry)
        store.journal.clear(history[0].from_seq if history else saved.seq)
        for batch in history:
            store.journal.append(batch)
        return store

    def saved(self) -> SavedStore:
        """Return all that `restored` needs but the history, at one moment."""
        return SavedStore(
            pool=self.pool,
            epoch=self.epoch,
            seq=self.seq,
            next_key=self.next_key,
            xapi_token=self.xapi_token,
            classes=self.classes,
            entries=list(self._entries.values()),
        )

    @property
    def seq(self) -> int:
        return self.journal.head

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, ref: Ref) -> Entry | None:
        return self._entries.get(ref)

    def entries(self, cls: XapiClass) -> Iterable[Entry]:
        return self.by_class.entries(cls)

    def prepare(self, events: Iterable[Event], checked: Check = unchecked) -> Preparation:
        """Begin a batch from events.

        Args:
            events: what the pool says, in order.
            checked: makes new records and changed values fit to be kept.
        """
        return Preparation(self, events, checked)

    def prepare_relist(
        self,
        classes: Iterable[XapiClass],
        records: Iterable[Upsert],
        checked: Check = unchecked,
    ) -> Preparation:
        """Begin a batch from a list: whatever else we hold of `classes` is gone.

        Args:
            classes: those that were listed completely.
            records: all their objects (records of other classes are plain upserts).
            checked: makes new records and changed values fit to be kept.
        """

        def events() -> Iterator[Event]:
            listed: set[Ref] = set()
            for record in records:
                listed.add(record.ref)
                yield record
            for cls in classes:
                for entry in self.by_class.entries(cls):
                    if entry.ref not in listed:
                        yield Removal(entry.ref)

        return Preparation(self, events(), checked)

    def commit(self, prepared: Preparation, at_s: float, xapi_token: str | None = None) -> Batch:
        """Make a prepared batch true: entries, indexes and journal, in one synchronous step.

        Args:
            prepared: of this store, the latest one; every step was taken.
            at_s: now, in seconds of a monotonic clock.
            xapi_token: XAPI's event position after this batch; None keeps the last one.

        Returns:
            The batch, perhaps with no changes. The first one, which loads the pool, is not kept in
            the journal: there is nothing before it to which a client could be related.
        """
        if prepared.base_seq != self.seq:
            raise RuntimeError("two preparations at once: the watch must be the only writer")
        for ref, (before, after, _) in prepared.outcomes.items():
            self._put(ref, before, after)
        if xapi_token is not None:
            self.xapi_token = xapi_token
        changes = tuple(change for _, _, change in prepared.outcomes.values())
        if changes:  # otherwise new keys were only for what came and went within the batch
            self.next_key = prepared.next_key
        batch = Batch(
            pool=self.pool,
            epoch=self.epoch,
            from_seq=self.seq,
            to_seq=self.seq + len(changes),
            xapi_token=self.xapi_token,
            changes=changes,
            at_s=at_s,
            next_key=self.next_key,
        )
        if not self.loaded:
            self.journal.clear(batch.to_seq)
            self.loaded = True
        elif changes:
            self.journal.append(batch)
        return batch

    def _put(self, ref: Ref, before: Entry | None, after: Entry | None) -> None:
        if self._references is not None:
            self._index(self._references, before, after)
        if after is not None:
            self._entries[ref] = after
            self.by_class.put(after)
        elif before is not None:
            del self._entries[ref]
            self.by_class.remove(before)

    @staticmethod
    def _index(references: References, before: Entry | None, after: Entry | None) -> None:
        if before is not None:
            references.remove(before)
            if after is None:
                references.unname(before)
        if after is not None:
            references.add(after)
            if before is None:
                references.name(after)

    @property
    def has_references(self) -> bool:
        """Whether `referrers` and `named` may be asked."""
        return self._references_complete

    def index_references(self, slice_size: int = 500) -> Iterator[None]:
        """Build the reference index in slices, if it is not there; commits keep it true meanwhile.

        Adding an entry twice does nothing, and an entry changed before its turn is added as it is
        then; so the slices need no view of the past.
        """
        if self._references_complete:
            return
        if self._references is None:
            self._references = References(self._known)
        references = self._references
        for number, ref in enumerate(list(self._entries), 1):
            entry = self._entries.get(ref)
            if entry is not None:
                references.add(entry)
                references.name(entry)
            if number % slice_size == 0:
                yield
        self._references_complete = True

    def _known(self, ref: Ref) -> Ref:
        entry = self._entries.get(ref)
        return ref if entry is None else entry.ref

    def referrers(self, target: Ref) -> Iterable[Ref]:
        """Name the objects whose records mention `target`; `index_references` must have run."""
        if self._references is None:
            raise RuntimeError("the reference index is not built")
        return self._references.referrers(target)

    def named(self, uuid: str) -> Entry | None:
        """Find the object that has a uuid; `index_references` must have run."""
        if self._references is None:
            raise RuntimeError("the reference index is not built")
        ref = self._references.named(uuid)
        return None if ref is None else self._entries.get(ref)

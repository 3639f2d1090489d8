"""All objects that a query finds, over several pools, in order: what windows are cut from.

Theory of operation. A `Listing` holds, of each object that matches, its place and the values that
it is counted for; no record. Each pool is a `Part` of it with rights of its own, and stands where
its history was `scanned` up to: at the present as long as nothing touches it. `read` takes up what
is new, through the same eyes as any view, and puts an object elsewhere only when a field changed
that decides its place: O(log n) for a change, whatever the number of windows and of clients.

What cannot be read, because the pool was listed for the first time or its history does not reach
back, is built: all objects of the pool are looked at, and what is held is corrected. Meanwhile the
listing is not `settled`, and nothing may be cut from it.

`news` tells what may look different since those who show windows last took it up.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import maxsize

from xoproxy.cache.diff import Fields
from xoproxy.cache.facets import Facets, FacetValues, Shown, facet_values
from xoproxy.cache.filter import Filter
from xoproxy.cache.journal import Expired
from xoproxy.cache.ordered_list import OrderedList
from xoproxy.cache.ordering import Ordering, SortKey
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.view import (
    Enter,
    Eyes,
    Leave,
    Update,
    View,
    ViewChange,
    Visibility,
    changes_between,
    eyes_at,
    look_at_all,
)
from xoproxy.cache.window_query import Arrangement, Span
from xoproxy.model import Batch, Entry, Key, PoolId, Ref, XapiClass

_SLICE = 32
"""Objects per step of long work: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a listing holds; equal scopes share one.

    Args:
        cls: of all its objects.
        filter: which objects; None for all.
        arrangement: their order, and what is counted.
        pools: their stores and the rights on each, by pool.
    """

    cls: XapiClass
    filter: Filter | None
    arrangement: Arrangement
    pools: tuple[tuple[Store, Visibility], ...]

    @classmethod
    def of(
        cls,
        xapi_class: XapiClass,
        filter_: Filter | None,
        arrangement: Arrangement,
        pools: Iterable[tuple[Store, Visibility]],
    ) -> "Scope":
        """Put the pools in order."""
        ordered = sorted(pools, key=lambda pool: pool[0].pool)
        return cls(xapi_class, filter_, arrangement, tuple(ordered))

    def with_pool(self, store: Store, visibility: Visibility) -> "Scope":
        """Return the same with a pool more, or with other rights on it."""
        others = [pool for pool in self.pools if pool[0].pool != store.pool]
        return Scope.of(self.cls, self.filter, self.arrangement, [*others, (store, visibility)])

    def without_pool(self, store: Store) -> "Scope":
        """Return the same without one of its pools."""
        pools = tuple(pool for pool in self.pools if pool[0] is not store)
        return Scope(self.cls, self.filter, self.arrangement, pools)


@dataclass(slots=True)
class News:
    """What may look different.

    Args:
        first: before this place, the same objects stand in the same order.
        objects: the names of those that may look different.
        parts: of these, all objects may look different.
    """

    first: int = maxsize
    objects: set[str] = field(default_factory=set)
    parts: set["Part"] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.objects or self.parts or self.first < maxsize)


@dataclass(slots=True, eq=False)
class Part:
    """One pool's share of a listing.

    Args:
        store: the pool.
        view: shows whole records of all objects that match.
        prefix: with their keys behind it, names its objects where several pools meet.
        read_to: how far the pool's history was read; None if it must be built.
        held: place and counted values of each object.
        is_dirty: whether something was committed since that may count.
    """

    store: Store
    view: View
    prefix: str
    read_to: int | None = None
    held: dict[Key, tuple[SortKey, FacetValues]] = field(default_factory=dict)
    is_dirty: bool = False

    @property
    def scanned(self) -> int | None:
        """Where it stands; None if it must be built. One that nothing touched is up to date."""
        return self.read_to if self.read_to is None or self.is_dirty else self.store.seq

    def touch(self, from_seq: int) -> None:
        """Note that what was committed after `from_seq` may count."""
        if not self.is_dirty and self.read_to is not None:
            self.read_to = from_seq
        self.is_dirty = True


class Listing:
    """The objects of a scope, in order.

    Args:
        scope: what it holds.
        prefixes: of each pool, what the names of its objects begin with.
    """

    def __init__(self, scope: Scope, prefixes: Iterable[str]) -> None:
        self.scope = scope
        self.news = News()
        self.parts: dict[PoolId, Part] = {}
        for (store, visibility), prefix in zip(scope.pools, prefixes, strict=True):
            view = View((scope.cls,), scope.filter, (), visibility)
            self.parts[store.pool] = Part(store, view, prefix)
        self._ordering = Ordering(scope.arrangement.order)
        self._deciding = scope.arrangement.fields
        self._ordered: OrderedList[SortKey] = OrderedList()
        self._facets = Facets(scope.arrangement.facets)
        self._building: Iterator[None] | None = None

    @property
    def total(self) -> int:
        return len(self._ordered)

    @property
    def facets(self) -> Shown | None:
        """The values counted; the same object until one changes. None if none were asked for."""
        return self._facets.shown if self.scope.arrangement.facets else None

    @property
    def reached(self) -> Mapping[Store, int]:
        """How far each pool's history was read at least; later if nothing was committed since."""
        return {p.store: p.scanned for p in self.parts.values() if p.scanned is not None}

    @property
    def settled(self) -> bool:
        """Whether it holds what it should, as each pool was where it was scanned."""
        return all(part.read_to is not None for part in self.parts.values())

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to read."""
        return any(p.is_dirty and p.read_to is not None for p in self.parts.values())

    def touch(self, batch: Batch, classes: Collection[XapiClass]) -> bool:
        """Note that objects of these classes changed; tell whether they may count here."""
        part = self.parts.get(batch.pool)
        if part is None or part.store.epoch != batch.epoch:
            return False
        if not (part.view.needs_references or self.scope.cls in classes):
            return False
        part.touch(batch.from_seq)
        return True

    def loaded(self, store: Store) -> bool:
        """Note that a pool was listed for the first time; tell whether it is one of these."""
        part = self.parts.get(store.pool)
        if part is None or part.store is not store:
            return False
        self.rebuild(part)
        return True

    def slice(self, span: Span) -> list[tuple[Part, Ref, Key]]:
        """Return the objects at some places."""
        found = self._ordered.slice(span.offset, span.count)
        return [(self.parts[place[-3]], place[-2], place[-1]) for place in found]

    # --- reading what is new -------------------------------------------------------------------

    def read(self) -> Iterator[None]:
        """Take up, in slices, what is new in the pools' histories; afterwards see `settled`."""
        for part in self.parts.values():
            if part.is_dirty and part.read_to is not None:
                try:
                    yield from self._read(part, part.read_to)
                except Expired:
                    self.rebuild(part)

    def check(self) -> None:
        """Have those parts built anew that can no longer be looked at where they stand."""
        for part in self.parts.values():
            if part.read_to is not None and not part.store.journal.reaches(part.scanned or 0):
                self.rebuild(part)

    def rebuild(self, part: Part) -> None:
        """Have a part built anew: nothing is known of what happened since it was read."""
        part.read_to = None

    def _read(self, part: Part, read_to: int) -> Iterator[None]:
        store, target = part.store, part.store.seq
        before, after = eyes_at(part.view, store, read_to), eyes_at(part.view, store, target)
        changes = list(store.journal.since(read_to, target))
        yield from _prepare(part, before.state, after.state)
        for number, change in enumerate(changes_between(before, after, changes), 1):
            if change is not None:
                self._take(part, change, after)
            if number % _SLICE == 0:
                yield
                before.state.keep_up()
                after.state.keep_up()
        if part.read_to is not None:  # otherwise it was listed anew meanwhile
            part.read_to = target
            part.is_dirty = store.seq != target

    def _take(self, part: Part, change: ViewChange, after: Eyes) -> None:
        match change:
            case Enter(entry, fields):
                self._put(part, entry, fields)
            case Leave(_, key):
                self._drop(part, key)
                self.news.objects.add(part.prefix + key)
            case Update(entry, old, new):
                self.news.objects.add(part.prefix + entry.key)
                if any(old.get(name) != new.get(name) for name in self._deciding):
                    whole = after.look(entry)
                    assert whole is not None  # noqa: S101 - what is updated is in the view
                    self._put(part, entry, whole)

    # --- building ------------------------------------------------------------------------------

    def build(self) -> None:
        """Take one step of building what cannot be read; something is left while not settled."""
        if self._building is None:
            part = next(p for p in self.parts.values() if p.read_to is None)
            self._building = self._build(part)
        try:
            next(self._building)
        except StopIteration:
            self._building = None
        except Expired:  # history is shorter than a slice is long: begin again
            self._building = None

    def _build(self, part: Part) -> Iterator[None]:
        store = part.store
        eyes = eyes_at(part.view, store, store.seq)
        part.is_dirty = False
        yield from _prepare(part, eyes.state)
        self.news.parts.add(part)
        left = set(part.held)
        for number, seen in enumerate(look_at_all(eyes), 1):
            if seen is not None:
                entry, fields = seen
                left.discard(entry.key)
                self._put(part, entry, fields)
            if number % _SLICE == 0:
                yield
                if part.view.needs_references:  # others are judged by what was pinned alone
                    eyes.state.keep_up()
        for number, key in enumerate(left, 1):
            self._drop(part, key)
            if number % _SLICE == 0:
                yield
        part.read_to = eyes.state.seq
        part.is_dirty = store.seq != part.read_to

    def _put(self, part: Part, entry: Entry, fields: Fields) -> None:
        place = (*self._ordering.key(fields), part.store.pool, entry.ref, entry.key)
        values = facet_values(fields, self.scope.arrangement.facets)
        before, counted = part.held.get(entry.key, (None, ()))
        if before != place:
            if before is not None:
                self._news_from(self._ordered.remove(before))
            self._news_from(self._ordered.add(place))
        self._facets.replace(counted, values)
        part.held[entry.key] = place, values

    def _drop(self, part: Part, key: Key) -> None:
        place, counted = part.held.pop(key)
        self._news_from(self._ordered.remove(place))
        self._facets.replace(counted, ())

    def _news_from(self, place: int) -> None:
        self.news.first = min(self.news.first, place)


def _prepare(part: Part, *states: State) -> Iterator[None]:
    """Have what looking at these states takes, in slices."""
    if part.view.needs_references:
        for _ in part.store.index_references():
            yield
            for state in states:
                state.keep_up()
    if not part.view.shows_all:  # otherwise a change says all that is needed of the past
        for _ in states[0].prepare():
            yield
            for state in states:
                state.keep_up()

"""Which groups a pool's changes concern: found by what holds for the object, not by asking each.

Theory of operation. A group tells which changes may show in it (`View.concerns`): those of whole
classes, or of objects for which one of some equality terms holds. A `Routing` keeps them in tables
by class, field and value. For a stretch of history it reads, of each changed object, before and
after, only the fields that some group has asked for, and finds the groups by their values: that
costs the same for one group and for ten thousand.

Rights on some objects reach what goes with them (cache/derivation.py), so their terms are looked up
for the object and for all its anchors. What comes or goes alters how those look that refer to it;
their terms are looked up then.

`seq` tells how far the history was routed. Up to there, a group that was not touched looks as it
did. That is judged on the two ends of the stretch; who began between them reads all that follows.
When the history is gone already, whoever might be concerned is touched.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from xoproxy.cache.derivation import with_anchors
from xoproxy.cache.diff import split
from xoproxy.cache.journal import Expired
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.terms import ANY, NOTHING, Conditions, values_of
from xoproxy.cache.view import Concerns
from xoproxy.model import Batch, Change, Entry, Ref, XapiClass
from xoproxy.sessions.group import Group

_SLICE = 32
"""Changed objects per step."""
_NEWS_KEPT = 256
"""A group that more changes concern reads the journal."""
_SORTED_PER_STEP = 2_048
"""Changes put together by their objects per step."""

_K = TypeVar("_K", bound=str)
_Groups = dict[Group, None]
_NO_GROUPS: _Groups = {}
_NO_FIELDS: Mapping[str, dict[str, _Groups]] = {}


class _Table:
    """Groups by what must hold for an object."""

    def __init__(self) -> None:
        self.classes: dict[XapiClass, _Groups] = {}
        self.terms: dict[XapiClass, dict[str, dict[str, _Groups]]] = {}
        """Class -> field -> value -> groups."""

    def __bool__(self) -> bool:
        return bool(self.classes or self.terms)

    def add(self, group: Group, conditions: Conditions) -> None:
        for cls in conditions.classes:
            self.classes.setdefault(cls, {})[group] = None
        for cls, field, value in conditions.terms:
            values = self.terms.setdefault(cls, {}).setdefault(field, {})
            values.setdefault(value, {})[group] = None

    def remove(self, group: Group, conditions: Conditions) -> None:
        for cls in conditions.classes:
            _discard(self.classes, cls, group)
        for cls, field, value in conditions.terms:
            fields = self.terms[cls]
            _discard(fields[field], value, group)
            if not fields[field]:
                del fields[field]
            if not fields:
                del self.terms[cls]

    @property
    def is_selective(self) -> bool:
        """Whether there are other groups than those that every change concerns."""
        return bool(self.terms) or any(cls != ANY for cls in self.classes)

    def of_class(self, cls: XapiClass) -> Iterator[Group]:
        yield from self.classes.get(cls, _NO_GROUPS)
        yield from self.classes.get(ANY, _NO_GROUPS)

    def reads(self, cls: XapiClass) -> bool:
        """Tell whether some group asks for a field of the class."""
        return cls in self.terms or ANY in self.terms

    def find(self, entry: Entry | None, found: _Groups) -> None:
        """Add the groups for which an object fits."""
        if entry is None:
            return
        found.update(self.classes.get(entry.cls, _NO_GROUPS))
        if not self.reads(entry.cls):
            return
        fields = split(entry.raw)
        for cls in (entry.cls, ANY):
            for field, values in self.terms.get(cls, _NO_FIELDS).items():
                raw = fields.get(field)
                if raw is not None:
                    for value in values_of(raw):
                        found.update(values.get(value, _NO_GROUPS))


def _discard(index: dict[_K, _Groups], at: _K, group: Group) -> None:
    groups = index[at]
    del groups[group]
    if not groups:
        del index[at]


_News = dict[Group, list[Change] | None]
"""The groups that a stretch of history concerns: by these changes, or by any of it (None)."""


class Routing:
    """The groups of one pool.

    Args:
        store: the pool.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seq = store.seq
        """How far the history was routed."""
        self._groups: dict[Group, Concerns] = {}
        self._own = _Table()
        self._derived = _Table()
        self._mentions = _Table()
        self._fields: dict[XapiClass, dict[str, _Groups]] = {}
        self._unrouted: set[XapiClass] = set()
        """Classes of the changes that were not routed yet."""
        self._late: _Groups = {}
        """Groups that began somewhere in a stretch that was not routed yet."""
        self._states: dict[int, State] = {}

    # --- groups --------------------------------------------------------------------------------

    def add(self, group: Group) -> None:
        concerns = self._groups[group] = group.view.concerns
        self._own.add(group, concerns.own)
        self._derived.add(group, concerns.derived)
        self._mentions.add(group, concerns.mentions)
        for cls, field in concerns.fields:
            self._fields.setdefault(cls, {}).setdefault(field, {})[group] = None
        self.began(group)

    def began(self, group: Group) -> None:
        """Note that a group begins, or begins again, at the present."""
        if self.has_work:
            self._late[group] = None

    def remove(self, group: Group) -> None:
        concerns = self._groups.pop(group)
        self._late.pop(group, None)
        self._own.remove(group, concerns.own)
        self._derived.remove(group, concerns.derived)
        self._mentions.remove(group, concerns.mentions)
        for cls, field in concerns.fields:
            _discard(self._fields[cls], field, group)
            if not self._fields[cls]:
                del self._fields[cls]

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups))

    # --- changes -------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        return self.seq != self.store.seq

    def committed(self, batch: Batch) -> bool:
        """Note a batch; tell whether it may concern anybody, so that it must be routed."""
        classes = {change.cls for change in batch.changes}
        if self.seq == batch.from_seq and not any(map(self._asks_for, classes)):
            self.seq = batch.to_seq
            return False
        self._unrouted |= classes
        return True

    def loaded(self) -> None:
        """Forget what was committed: all groups begin again."""
        self._unrouted.clear()
        self._late.clear()
        self.seq = self.store.seq

    def route(self, touched: dict[Group, None]) -> Iterator[None]:
        """Touch, in slices, the groups that the new history concerns; they are added to `touched`.

        A stretch is routed as a whole: until its last step it was not routed at all.
        """
        from_seq, to_seq = self.seq, self.store.seq
        classes, self._unrouted = self._unrouted, set()
        news: _News = {}
        if self._groups:
            try:
                yield from self._find(from_seq, to_seq, classes, news)
            except Expired:
                news = dict.fromkeys(self._possible(classes))
        if self.seq != from_seq:
            return  # loaded meanwhile
        news.update(dict.fromkeys(group for group in self._late if group.read_to < to_seq))
        self._late = {group: None for group in self._late if group.read_to > to_seq}
        for group, changes in news.items():
            if group in self._groups:
                group.touch(from_seq, to_seq, changes)
                if group.is_dirty:
                    touched[group] = None
        self.seq = to_seq

    def give_up(self, touched: dict[Group, None]) -> None:
        """Have every group read what is new: it could not be found out whom it concerns."""
        from_seq, self.seq = self.seq, self.store.seq
        self._unrouted.clear()
        self._late.clear()
        for group in self._groups:
            group.touch(from_seq, self.seq, None)
            if group.is_dirty:
                touched[group] = None

    def state(self, seq: int) -> State:
        """Look at the pool as it stood; those who read the same stretch share the look.

        Raises:
            Expired: the journal does not reach back to `seq`.
        """
        return self._states.get(seq) or State(self.store, seq)

    def rest(self) -> None:
        """Let go of what was only kept for the groups that had to read the latest stretch."""
        self._states.clear()

    def _asks_for(self, cls: XapiClass) -> bool:
        return bool(
            self._derived
            or self._mentions
            or cls in self._fields
            or self._own.reads(cls)
            or any(self._own.of_class(cls))
        )

    def _possible(self, classes: set[XapiClass]) -> Iterator[Group]:
        """Name the groups that changes of some classes might concern, whatever they were."""
        for group, concerns in self._groups.items():
            own = concerns.own.classes | {term.cls for term in concerns.own.terms}
            own |= {cls for cls, _ in concerns.fields}
            if (
                concerns.derived != NOTHING
                or concerns.mentions != NOTHING
                or ANY in own
                or own & classes
            ):
                yield group

    def _find(
        self, from_seq: int, to_seq: int, classes: set[XapiClass], news: _News
    ) -> Iterator[None]:
        for cls in classes:
            news.update(dict.fromkeys(self._own.of_class(cls)))
        news.update(dict.fromkeys(self._derived.classes.get(ANY, _NO_GROUPS)))
        if not (self._own.terms or self._fields or self._derived.is_selective or self._mentions):
            return
        before, after = State(self.store, from_seq), State(self.store, to_seq)
        self._states = {from_seq: before, to_seq: after}
        by_ref: dict[Ref, list[Change]] = {}
        for number, change in enumerate(list(self.store.journal.since(from_seq, to_seq)), 1):
            by_ref.setdefault(change.ref, []).append(change)
            if number % _SORTED_PER_STEP == 0:
                yield
                before.keep_up()
                after.keep_up()
        # Groups that come meanwhile are late, or begin later: what they ask for need not be read.
        referrers = bool(self._derived or self._mentions)
        yield from self._prepare(before, after, referrers=referrers)
        for number, (ref, changes) in enumerate(by_ref.items(), 1):
            for group in self._concerned(ref, changes, (before, after), referrers=referrers):
                _add(news, group, changes)
            if number % _SLICE == 0:
                yield
                before.keep_up()
                after.keep_up()

    def _prepare(self, *states: State, referrers: bool) -> Iterator[None]:
        if referrers:
            for _ in self.store.index_references():
                yield
                for state in states:
                    state.keep_up()
        for state in states:
            for _ in state.prepare(referrers=referrers):
                yield
                for each in states:
                    each.keep_up()

    def _concerned(
        self,
        ref: Ref,
        changes: Sequence[Change],
        states: tuple[State, State],
        *,
        referrers: bool,
    ) -> _Groups:
        """Find the groups that changes of one object concern."""
        found: _Groups = {}
        cls = changes[0].cls
        came_or_went = any(c.before is None or c.after is None for c in changes)
        if cls in self._fields:
            names = _names(changes)
            for field, groups in self._fields[cls].items():
                if came_or_went or field in names:
                    found.update(groups)
        for state in states:
            if self._own.reads(cls):
                self._own.find(state.get(ref), found)
            if referrers:
                self._find_by_others(state, ref, found, came_or_went=came_or_went)
        return found

    def _find_by_others(
        self, state: State, ref: Ref, found: _Groups, *, came_or_went: bool
    ) -> None:
        """Find groups by the objects that this one goes with, and by those that refer to it."""
        if self._derived.is_selective:
            for entry in with_anchors(state, ref):
                self._derived.find(entry, found)
        if came_or_went and self._mentions:
            for referrer in list(state.referrers(ref)):
                self._mentions.find(state.get(referrer), found)


def _names(changes: Iterable[Change]) -> set[str]:
    return {
        name
        for change in changes
        for values in (change.before, change.after)
        if values is not None
        for name in split(values)
    }


def _add(news: _News, group: Group, changes: list[Change]) -> None:
    """Add an object's changes to a group's news, unless it reads everything anyway."""
    known = news.setdefault(group, [])
    if known is not None:
        known += changes
        if len(known) > _NEWS_KEPT:
            news[group] = None

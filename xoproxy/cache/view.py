"""What one query sees of one pool under one set of rights, and how changes look from there.

Theory of operation. A `View` is a query's classes, filter and field mask, and a `Visibility`. On a
`State` (the present, or a past one) it has `Eyes`, which show an object as this view sees it, or
not at all. Everything is judged on what the eyes show: filters read the projection, so a hidden
field cannot be guessed by filtering on it, and a reference to an object outside the rights is not
there.

A step from one position to another is the difference of what the eyes show before and after, only
for the objects that may look different: those touched; those whose visibility depends on a touched
one; those that refer to an object that came into sight or left it. For an administrator without a
filter, a touched object's changed fields are the whole answer and no record is parsed.

Guarantee: applying the `ViewChange`s to the projection at `before` gives the projection at `after`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

import msgspec

from xoproxy.cache.diff import Fields, split
from xoproxy.cache.fields import Mask
from xoproxy.cache.filter import Filter
from xoproxy.cache.state import Merged, State, merge
from xoproxy.cache.store import Store
from xoproxy.cache.terms import ANYTHING, NOTHING, Conditions, conditions_of, followed
from xoproxy.model import NULL_REF, Change, Entry, Key, Ref, XapiClass

_REFERENCE = b"OpaqueRef:"
_REFERENCE_TEXT = "OpaqueRef:"
_REFERENCE_IN_TEXT = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")
_MAP_START = b"{"
_SLICE = 4
"""Changes that are merged in the time that one object takes to be looked at."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Visibility(Protocol):
    """Who may see what: frozen and hashable, so that equal rights share a view.

    `scope` names these rights in resume tokens: equal for equal rights, over restarts too.
    `everything` promises that nothing is hidden; then no other method is asked. `all_objects`
    promises that `sees` is always true: then only fields and keys may be hidden.

    `conditions` say what must hold for an object that is seen, or for one that it goes with
    (`derivation.with_anchors`), for otherwise it is not told of its changes. None if nothing can be
    said: then these rights are asked about every change of the pool. An object may only be seen
    through others if these are seen as well.
    """

    @property
    def scope(self) -> str: ...

    @property
    def everything(self) -> bool: ...

    @property
    def all_objects(self) -> bool: ...

    @property
    def conditions(self) -> Conditions | None: ...

    def among(self, classes: tuple[XapiClass, ...]) -> "Visibility":
        """Return rights under which views of these classes look the same, equal for more users."""
        ...

    def sees(self, state: State, entry: Entry) -> bool:
        """Tell whether the object may be seen in this state (it may look at others there)."""

    def dependents(self, state: State, entry: Entry) -> Iterable[Ref]:
        """Name the objects that may come into sight or leave it when this one changes."""

    def shows(self, cls: XapiClass, field: str) -> bool:
        """Tell whether the field may be seen in objects of the class that may be seen."""

    def shows_key(self, cls: XapiClass, field: str, key: str) -> bool:
        """Tell whether one key of a map field may be seen."""


@dataclass(frozen=True, slots=True)
class Everything:
    """An administrator's rights: records are verbatim, dangling references included."""

    scope: str = "everything"
    everything: bool = True
    all_objects: bool = True
    conditions: Conditions | None = None

    def among(self, classes: tuple[XapiClass, ...]) -> "Visibility":  # noqa: ARG002
        return self

    def sees(self, state: State, entry: Entry) -> bool:  # noqa: ARG002
        return True

    def dependents(self, state: State, entry: Entry) -> Iterable[Ref]:  # noqa: ARG002
        return ()

    def shows(self, cls: XapiClass, field: str) -> bool:  # noqa: ARG002
        return True

    def shows_key(self, cls: XapiClass, field: str, key: str) -> bool:  # noqa: ARG002
        return True


@dataclass(frozen=True, slots=True)
class Enter:
    """An object came into the view; `fields` is all of it that the view shows."""

    entry: Entry
    fields: Fields


@dataclass(frozen=True, slots=True)
class Update:
    """An object in the view changed; members of one side only appeared or went."""

    entry: Entry
    before: Fields
    after: Fields


@dataclass(frozen=True, slots=True)
class Leave:
    """An object went, or left the view."""

    cls: XapiClass
    key: Key


ViewChange = Enter | Update | Leave


@dataclass(frozen=True, slots=True)
class Concerns:
    """Which changes may alter what a view shows; others need not be looked at.

    Args:
        own: changes of objects for which this holds before or after.
        derived: those of objects that it holds for, or for one that they go with.
        mentions: comings and goings of what such objects refer to.
        fields: changes of this field in any object of the class, and its coming and going.
    """

    own: Conditions = NOTHING
    derived: Conditions = NOTHING
    mentions: Conditions = NOTHING
    fields: frozenset[tuple[XapiClass, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """A query on one pool under some rights; equal views share everything.

    Args:
        classes: sorted; the client's document has exactly these.
        filter: or None for all objects.
        masks: (class, the fields asked for); classes that are not named show all fields.
        visibility: the rights.
        sets_by_member: how it is told; what it shows is the same.
    """

    classes: tuple[XapiClass, ...]
    filter: Filter | None
    masks: tuple[tuple[XapiClass, Mask], ...]
    visibility: Visibility
    sets_by_member: bool = False

    @property
    def shows_all(self) -> bool:
        """Whether every object of the classes is in the view."""
        return self.filter is None and self.visibility.everything

    @property
    def needs_references(self) -> bool:
        """Whether a change of one object may alter how another one looks."""
        follows = self.filter is not None and self.filter.follows
        return follows or not self.visibility.everything

    @property
    def concerns(self) -> Concerns:
        """Tell which changes may show here.

        Where only some objects may be seen, every change of those counts: it may be that others
        come into sight with one, or go, or that a reference to it is cut. So the rights decide
        alone, and the filter narrows nothing.
        """
        rights = self.visibility
        follows = self.filter is not None and self.filter.follows
        if rights.everything:
            found = conditions_of(self.filter, self.classes)
            fields = followed(self.filter, self.classes) if self.filter is not None else ()
            return Concerns(own=found, fields=frozenset(fields))
        if not rights.all_objects:
            return Concerns(derived=ANYTHING if rights.conditions is None else rights.conditions)
        if follows:
            return Concerns(own=ANYTHING)
        found = conditions_of(self.filter, self.classes)
        return Concerns(own=found, mentions=found)


class Eyes:
    """A view's look at one state; remembers what it found, so use it for one piece of work."""

    def __init__(self, view: View, state: State) -> None:
        self.view = view
        self.state = state
        self._masks = dict(view.masks)
        self._everything = view.visibility.everything
        self._seen: dict[Ref, bool] = {}
        self._last: tuple[Entry, Fields | None] | None = None
        """What was looked at last: whoever asks whether it is there often wants it next."""

    def sees(self, ref: Ref) -> bool:
        """Tell whether the object exists and may be seen, whatever the query asks for."""
        seen = self._seen.get(ref)
        if seen is None:
            entry = self.state.get(ref)
            seen = entry is not None and (
                self._everything or self.view.visibility.sees(self.state, entry)
            )
            self._seen[ref] = seen
        return seen

    def permitted(self, cls: XapiClass, fields: Fields) -> Fields:
        """Take out of (some of) a record's fields what the rights hide."""
        if self._everything:
            return fields
        shows = self.view.visibility.shows
        return {n: self._cut(cls, n, v) for n, v in fields.items() if shows(cls, n)}

    def masked(self, cls: XapiClass, fields: Fields) -> Fields:
        """Take out what the query does not ask for."""
        mask = self._masks.get(cls)
        return fields if mask is None else mask.cut(fields)

    def look(self, entry: Entry) -> Fields | None:
        """Return the object as the view shows it; None when it is not in the view."""
        if self._last is None or self._last[0] is not entry:
            self._last = entry, self._look(entry)
        return self._last[1]

    def _look(self, entry: Entry) -> Fields | None:
        if not (self._everything or self.sees(entry.ref)):
            return None
        fields = self.permitted(entry.cls, split(entry.raw))
        if not self._matches(entry.cls, fields):
            return None
        return self.masked(entry.cls, fields)

    def contains(self, entry: Entry) -> bool:
        """Tell whether the object is in the view, as cheaply as the query allows."""
        if self.view.filter is None:
            return self._everything or self.sees(entry.ref)
        return self.look(entry) is not None

    def _matches(self, cls: XapiClass, fields: Fields) -> bool:
        expression = self.view.filter
        return expression is None or expression.matches(cls, fields, self._follow)

    def _follow(self, ref: Ref) -> tuple[XapiClass, Mapping[str, msgspec.Raw]] | None:
        entry = self.state.get(ref)
        if entry is None or not self.sees(ref):
            return None
        return entry.cls, self.permitted(entry.cls, split(entry.raw))

    def _cut(self, cls: XapiClass, field: str, value: msgspec.Raw) -> msgspec.Raw:
        """Hide what a field's value may not tell: secret map keys, objects outside the rights.

        A single reference becomes NULL; members of sets and keys of maps are left out (a key also
        when it only holds one: `host_OpaqueRef:...` in a VDI's `sm_config`). Values are judged by
        what they look like, not by the model: a field that we never heard of is cut too.
        """
        data = bytes(value)
        if _REFERENCE not in data and _MAP_START not in data:
            return value
        shows_key = self.view.visibility.shows_key

        def cut(value: object) -> object:
            match value:
                case str():
                    return self._cut_text(value)
                case list():
                    return [cut(v) for v in value if not self._is_hidden(v)]
                case dict():
                    return {
                        k: cut(v)
                        for k, v in value.items()
                        if shows_key(cls, field, k) and self._cut_text(k) == k
                    }
                case _:
                    return value

        decoded = _decode(value)
        kept = cut(decoded)
        return value if kept == decoded else msgspec.Raw(_encode(kept))

    def _is_hidden(self, value: object) -> bool:
        return (
            isinstance(value, str)
            and value.startswith(_REFERENCE_TEXT)
            and value != NULL_REF
            and not self.sees(Ref(value))
        )

    def _cut_text(self, text: str) -> str:
        if _REFERENCE_TEXT not in text:
            return text
        return _REFERENCE_IN_TEXT.sub(
            lambda found: found[0] if self.sees(Ref(found[0])) else NULL_REF, text
        )


def look_at_all(eyes: Eyes) -> Iterator[tuple[Entry, Fields] | None]:
    """Show every object of the view, by class; None where one is not in it.

    The objects are pinned at once; the looking may be cut into slices, between which
    `eyes.state.keep_up()` must be called.
    """
    for pinned in [list(eyes.state.entries(cls)) for cls in eyes.view.classes]:
        for entry in pinned:
            fields = eyes.look(entry)
            yield None if fields is None else (entry, fields)


def changes_between(
    before: Eyes, after: Eyes, changes: Iterable[Change]
) -> Iterator[ViewChange | None]:
    """Tell how the view looks different at `after`.

    Args:
        before: the view's eyes on the earlier state.
        after: the same view's eyes on the later one.
        changes: the pool's changes from the one position to the other.

    Yields:
        A change, or None where a piece of work found nothing: take a few, then let others run.
    """
    touched: dict[Key, Merged] = {}
    unread = list(changes)
    for start in range(0, len(unread), _SLICE):
        merge(unread[start : start + _SLICE], touched)
        yield None
    affected: set[Ref] = set()
    if after.view.needs_references:
        yield from _find_affected(before, after, touched, affected)
    classes = set(after.view.classes)
    for merged in touched.values():
        if merged.ref not in affected:
            yield _change(before, after, merged) if merged.cls in classes else None
    for ref in affected:
        yield from _compare(before, after, ref, classes)


def differences(before: Eyes, after: Eyes) -> Iterator[ViewChange | None]:
    """Tell how one view looks different from another one of the same classes, perhaps later.

    The objects are pinned at once; the looking may be cut into slices, between which
    `state.keep_up()` must be called of both eyes.

    Yields:
        A change, or None where there is none.
    """
    classes = dict.fromkeys(after.view.classes)
    pinned = dict.fromkeys(
        entry.ref
        for cls in classes
        for eyes in (before, after)
        for entry in eyes.state.entries(cls)
    )
    for ref in pinned:
        yield from _compare(before, after, ref, classes.keys())


def _change(before: Eyes, after: Eyes, merged: Merged) -> ViewChange | None:
    """Judge a touched object by its own change: who may see it and what it points at stayed."""
    if not merged.existed:
        return _enter(after, merged.ref)
    entry = after.state.get(merged.ref) if merged.exists else None
    if entry is None:
        was = before.view.shows_all or _was_in(before, merged.ref)
        return Leave(merged.cls, merged.key) if was else None
    expression = after.view.filter
    is_in = after.contains(entry)
    if expression is None or merged.names.isdisjoint(expression.fields(merged.cls)):
        was = is_in
    else:
        was = _was_in(before, merged.ref)
    if was and is_in:
        old = before.masked(merged.cls, before.permitted(merged.cls, merged.before))
        new = after.masked(merged.cls, after.permitted(merged.cls, merged.after))
        return Update(entry, old, new) if old or new else None
    if is_in:
        return _enter(after, merged.ref)
    return Leave(merged.cls, merged.key) if was else None


def _enter(after: Eyes, ref: Ref) -> Enter | None:
    entry = after.state.get(ref)
    fields = None if entry is None else after.look(entry)
    return None if entry is None or fields is None else Enter(entry, fields)


def _was_in(before: Eyes, ref: Ref) -> bool:
    entry = before.state.get(ref)
    return entry is not None and before.contains(entry)


def _compare(
    before: Eyes, after: Eyes, ref: Ref, classes: AbstractSet[XapiClass]
) -> Iterator[ViewChange | None]:
    """Judge an object by all that the eyes show of it before and after."""
    old, new = before.state.get(ref), after.state.get(ref)
    old_fields = before.look(old) if old is not None and old.cls in classes else None
    new_fields = after.look(new) if new is not None and new.cls in classes else None
    if old is not None and old_fields is not None:
        if new is not None and new_fields is not None and new.key == old.key:
            yield Update(new, old_fields, new_fields)
            return
        yield Leave(old.cls, old.key)
    if new is not None and new_fields is not None:
        yield Enter(new, new_fields)
    yield None


def _find_affected(
    before: Eyes, after: Eyes, touched: Mapping[Key, Merged], affected: set[Ref]
) -> Iterator[None]:
    """Collect the objects that must be compared as a whole.

    Those are: all whose visibility changed (found by following `dependents`), all that mention one
    of them, and, when the filter follows references, all that mention an object which may look
    different: a touched one, or one that mentions what came into sight or left it.
    """
    visibility = after.view.visibility
    expression = after.view.filter
    follows = expression is not None and expression.follows
    touched_refs = {merged.ref for merged in touched.values()}
    queue = list(touched_refs)
    queued = set(queue)
    while queue:
        ref = queue.pop()
        moved = before.sees(ref) != after.sees(ref)
        if moved:
            affected.add(ref)
        if moved or (follows and ref in touched_refs):
            referrers = set(after.state.referrers(ref))
            affected |= referrers
            if moved and follows:
                for referrer in referrers:
                    affected.update(after.state.referrers(referrer))
        for eyes in (before, after):
            entry = eyes.state.get(ref) if moved or ref in touched_refs else None
            for dependent in () if entry is None else visibility.dependents(eyes.state, entry):
                if dependent not in queued:
                    queued.add(dependent)
                    queue.append(dependent)
        yield None


def eyes_at(view: View, store: Store, seq: int) -> Eyes:
    """Look at a pool as it stood at `seq`."""
    return Eyes(view, State(store, seq))

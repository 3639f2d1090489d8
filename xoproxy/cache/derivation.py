"""What goes with what: an object that may be seen because another one may.

With a VM go its disks and devices, its metrics, consoles and snapshots; with any object the
messages about it and the tasks that its `current_operations` name. The objects with which one goes
are its *anchors*. A table says where to find them; rights (auth/grants.py) and the index that
brings changes to views (sessions/routing.py) both follow it, and must: whoever is shown an object
by its anchors is told of its changes by them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from xoproxy.cache.diff import split
from xoproxy.cache.state import State
from xoproxy.model import NULL_REF, Entry, Ref, XapiClass

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Points:
    """The anchors are what this field of the object points at."""

    field: str


@dataclass(frozen=True, slots=True)
class IsPointedAt:
    """The anchors are objects of this class whose field points at the object; None for any."""

    cls: XapiClass | None
    field: str


@dataclass(frozen=True, slots=True)
class Names:
    """The anchor is the object whose uuid stands in this field."""

    field: str


Link = Points | IsPointedAt | Names

_VM = XapiClass("VM")
_TABLE: tuple[tuple[str, Link], ...] = (
    ("VM", Points("snapshot_of")),
    ("VBD", Points("VM")),
    ("VIF", Points("VM")),
    ("VGPU", Points("VM")),
    ("VTPM", Points("VM")),
    ("VUSB", Points("VM")),
    ("console", Points("VM")),
    ("VDI", Points("VBDs")),
    ("VM_metrics", IsPointedAt(_VM, "metrics")),
    ("VM_guest_metrics", IsPointedAt(_VM, "guest_metrics")),
    ("VBD_metrics", IsPointedAt(XapiClass("VBD"), "metrics")),
    ("VIF_metrics", IsPointedAt(XapiClass("VIF"), "metrics")),
    ("host_metrics", IsPointedAt(XapiClass("host"), "metrics")),
    ("message", Names("obj_uuid")),
    ("task", IsPointedAt(None, "current_operations")),
)
LINKS: Mapping[XapiClass, Link] = {XapiClass(cls): link for cls, link in _TABLE}
"""Class -> where its anchors are found."""


def anchors(state: State, entry: Entry) -> Iterator[Entry]:
    """Find the objects with which this one goes."""
    found: Iterable[Entry | None] = ()
    match LINKS.get(entry.cls):
        case Points(field):
            found = map(state.get, _refs_in(entry, field))
        case IsPointedAt(cls, field):
            yield from _pointing_at(state, entry.ref, cls, field)
            return
        case Names(field):
            found = map(state.named, _texts_in(entry, field))
        case None:
            pass
    yield from (anchor for anchor in found if anchor is not None)


def dependents(state: State, entry: Entry) -> Iterator[Ref]:
    """Name the objects that may go with this one: all of those, and perhaps some more."""
    fields = split(entry.raw)
    for field in _POINTING.get(entry.cls, ()) + _POINTING.get(None, ()):
        if field in fields:
            yield from map(Ref, _texts(fields[field]))
    yield from list(state.referrers(entry.ref))
    if "uuid" in fields:
        for uuid in _texts(fields["uuid"]):
            yield from list(state.referrers(Ref(uuid)))


def with_dependents(state: State, entry: Entry) -> Iterator[Ref]:
    """Name the objects that may go with this one, or with others that go with it, at any remove."""
    queue, seen = [entry], {entry.ref}
    while queue:
        here = queue.pop()
        for ref in dependents(state, here):
            yield ref
            found = state.get(ref) if ref not in seen else None
            if found is not None and any(
                anchor.ref == here.ref for anchor in anchors(state, found)
            ):
                seen.add(ref)
                queue.append(found)


def with_anchors(state: State, ref: Ref) -> Iterator[Entry]:
    """Walk from an object to all that it goes with, the nearest first: itself."""
    queue, seen = [ref], {ref}
    for here in queue:  # it grows
        entry = state.get(here)
        if entry is not None:
            yield entry
            for anchor in anchors(state, entry):
                if anchor.ref not in seen:
                    seen.add(anchor.ref)
                    queue.append(anchor.ref)


_POINTING: dict[XapiClass | None, tuple[str, ...]] = {}
"""Class -> its fields that make it an anchor of what they point at; None for those of any class."""
for _, _link in _TABLE:
    if isinstance(_link, IsPointedAt):
        _POINTING[_link.cls] = (*_POINTING.get(_link.cls, ()), _link.field)


def _pointing_at(state: State, target: Ref, cls: XapiClass | None, field: str) -> Iterator[Entry]:
    for ref in list(state.referrers(target)):
        entry = state.get(ref)
        if entry is not None and cls in (None, entry.cls) and target in _refs_in(entry, field):
            yield entry


def _refs_in(entry: Entry, field: str) -> list[Ref]:
    return [Ref(text) for text in _texts_in(entry, field) if text != NULL_REF]


def _texts_in(entry: Entry, field: str) -> list[str]:
    raw = split(entry.raw).get(field)
    return [] if raw is None else _texts(raw)


def _texts(raw: msgspec.Raw) -> list[str]:
    """Return a text, the members of a set, or the keys of a map."""
    value = _decode(raw)
    if isinstance(value, str):
        return [value]
    return [v for v in value if isinstance(v, str)] if isinstance(value, list | dict) else []

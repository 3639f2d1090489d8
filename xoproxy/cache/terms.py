"""What must hold for an object that somebody may be shown: by that, changes meet those concerned.

Theory of operation. Thousands of views stand on a pool, and most changes concern few of them. From
a filter, or from rights, follow *necessary* conditions: an object can only be shown if it is of one
of some classes, or if one of some fields has one of some values. They need not suffice: what fits
is looked at, what does not fit need not be. Conditions are plain values, so that an index over
those of all views (sessions/routing.py) answers for one object at once.

Only equality of texts, enums, references, booleans and members of sets makes terms. A projection
never invents such a value but NULL, so what holds for what the user sees holds for the record.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from xoproxy.cache.filter import Filter
from xoproxy.cache.filter_syntax import All, AnyOf, Node, Not, Op, Term, terms_of
from xoproxy.cache.schema import SCHEMA, FieldType, Schema
from xoproxy.model import NULL_REF, XapiClass

ANY = XapiClass("*")
"""Stands for every class."""

_WHOLE = frozenset({"enum", "ref"})
_decode = msgspec.json.Decoder().decode


class Equals(NamedTuple):
    """A field of objects of a class (or of `ANY`) is this text, or a set that has it."""

    cls: XapiClass
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """An object fits if it is of one of `classes`, or if one of `terms` holds for it."""

    classes: frozenset[XapiClass] = frozenset()
    terms: frozenset[Equals] = frozenset()


NOTHING = Conditions()
ANYTHING = Conditions(frozenset({ANY}))


def values_of(raw: msgspec.Raw) -> Iterable[str]:
    """Return the texts that `Equals` may name for a field with this value."""
    match _decode(raw):
        case str() as text:
            return (text,)
        case bool() as truth:
            return ("true" if truth else "false",)
        case list() as members:
            return [member for member in members if isinstance(member, str)]
        case _:
            return ()


def conditions_of(
    expression: Filter | None, classes: Collection[XapiClass], schema: Schema = SCHEMA
) -> Conditions:
    """Say what must hold for the objects of some classes that a filter finds."""
    if expression is None:
        return Conditions(frozenset(classes))
    whole: set[XapiClass] = set()
    terms: set[Equals] = set()
    for cls in classes:
        found = _necessary(expression.tree, _terms_in(cls, schema))
        if found is None:
            whole.add(cls)
        else:
            terms |= found
    return Conditions(frozenset(whole), frozenset(terms))


def followed(
    expression: Filter, classes: Collection[XapiClass], schema: Schema = SCHEMA
) -> Iterator[tuple[XapiClass, str]]:
    """Name the fields of other objects that a filter reads through references."""
    for term in terms_of(expression.tree):
        for cls in classes:
            type_ = schema.fields(cls).get(term.path[0]) if len(term.path) > 1 else None
            if type_ is not None and type_.kind == "ref" and type_.target is not None:
                yield type_.target, term.path[1]


_Found = frozenset[Equals] | None
"""One of these holds for whatever passes (none: nothing passes); None if nothing can be said."""


def _necessary(node: Node, of_term: Callable[[Term], _Found]) -> _Found:
    match node:
        case Term():
            return of_term(node)
        case Not():
            return None
        case All():
            known = [f for n in node.nodes if (f := _necessary(n, of_term)) is not None]
            return min(known, key=_breadth, default=None)
        case AnyOf():
            union: set[Equals] = set()
            for operand in node.nodes:
                found = _necessary(operand, of_term)
                if found is None:
                    return None
                union |= found
            return frozenset(union)


def _breadth(terms: frozenset[Equals]) -> tuple[int, int]:
    """Tell by how many objects terms may hold, roughly: an enum or boolean holds for many."""
    fields = [SCHEMA.fields(term.cls).get(term.field) for term in terms]
    return sum(type_ is not None and type_.kind in ("enum", "bool") for type_ in fields), len(terms)


def _terms_in(cls: XapiClass, schema: Schema) -> Callable[[Term], _Found]:
    """Return what tells of a term which condition it makes in a class."""
    fields = schema.fields(cls)

    def of_term(term: Term) -> _Found:
        if not term.path:
            return None
        type_ = fields.get(term.path[0])
        if type_ is None:
            return frozenset()  # a term on a field that a class lacks is false
        text = term.criterion.text
        if len(term.path) > 1 or NULL_REF in text or not _is_equality(term, type_):
            return None
        return frozenset({Equals(cls, term.path[0], text)})

    return of_term


def _is_equality(term: Term, type_: FieldType) -> bool:
    """Tell whether a value passes just when `values_of` has the term's text."""
    op, field = term.criterion.op, term.path[0]
    if op is Op.IS and type_.kind == "string":
        return True
    if op not in (Op.HAS, Op.IS):
        return False
    if type_.kind == "string":
        return field == "uuid" or field.endswith("_uuid")
    if type_.kind == "set":
        return type_.of in ("string", *_WHOLE)
    return type_.kind == "bool" or type_.kind in _WHOLE

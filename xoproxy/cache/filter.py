"""A client's filter, understood against the schema and compiled to one function per class.

A filter sees a record as the user may see it. It is given the record's members as JSON bytes and
parses only those that a term reads, since it runs for every object of a class when a view is built
and for every change afterwards.

The language: docs/queries.md; its grammar: `filter_syntax.py`; the tests of values:
`filter_values.py`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property

import msgspec

from xoproxy.cache.filter_places import Lost, Place, find_place, no_field
from xoproxy.cache.filter_slips import mistaken
from xoproxy.cache.filter_syntax import (
    All,
    AnyOf,
    Criterion,
    FilterError,
    Node,
    Not,
    Op,
    Term,
    parse,
    terms_of,
)
from xoproxy.cache.filter_values import Check, Refusal, is_nothing, regex_of, value_check
from xoproxy.cache.query_error import quoted
from xoproxy.cache.regex import MAX_SIZE
from xoproxy.cache.schema import SCHEMA, FieldType, Schema
from xoproxy.model import Ref, XapiClass

__all__ = ["Filter", "FilterError", "Follow", "Members", "parse_filter"]

SEARCHED = ("name_label", "name_description", "name", "uuid")
"""Where a bare word is looked for."""

Members = Mapping[str, msgspec.Raw]
"""A record cut into its members (cache/diff.py `split`)."""

Follow = Callable[[Ref], tuple[XapiClass, Members] | None]
"""Finds what a reference points at, as the user may see it; None if there is nothing."""

_Match = Callable[[Members, Follow], bool]

_decode = msgspec.json.Decoder().decode


class Filter:
    """A filter: equal to every filter that means the same word for word, whatever the spelling.

    Args:
        tree: as parsed.
        classes: those that it was written for.
        schema: against which it was understood.
    """

    __slots__ = ("_fields", "_matches", "_schema", "_tree", "follows", "text")

    def __init__(self, tree: Node, classes: Collection[XapiClass], schema: Schema) -> None:
        self.text = str(tree)
        """The canonical text."""
        self._tree = tree
        self._schema = schema
        self._matches: dict[XapiClass, _Match] = {}
        self._fields: dict[XapiClass, frozenset[str]] = {}
        self.follows = any(self._follows(cls) for cls in classes)
        """Whether some term follows a reference."""

    @property
    def tree(self) -> Node:
        """What it means, with nothing left to resolve."""
        return self._tree

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"

    def fields(self, cls: XapiClass) -> frozenset[str]:
        """Name the fields of the class itself that the filter may read."""
        fields = self._fields.get(cls)
        if fields is None:
            names = {place.field for place in self._places(cls)}
            if any(not term.path for term in terms_of(self._tree)):
                names.update(_searched(self._schema, cls))
            fields = self._fields[cls] = frozenset(names)
        return fields

    def matches(self, cls: XapiClass, fields: Members, follow: Follow) -> bool:
        """Tell whether an object passes.

        Args:
            cls: its class.
            fields: its record, as the user may see it.
            follow: finds what a reference points at.
        """
        match = self._matches.get(cls)
        if match is None:
            match = self._matches[cls] = _Compiler(self._schema, cls).match(self._tree)
        return match(fields, follow)

    def _follows(self, cls: XapiClass) -> bool:
        fields = self._schema.fields(cls)
        return any(
            place.target is not None
            for term in terms_of(self._tree)
            if len(term.path) > 1 and (kind := fields.get(term.path[0])) and kind.kind == "ref"
            if (place := _usable_place(self._schema, cls, term))
        )

    def _places(self, cls: XapiClass) -> Iterator[Place]:
        for term in terms_of(self._tree):
            if term.path:
                place = _usable_place(self._schema, cls, term)
                if place is not None:
                    yield place


def parse_filter(text: str, classes: Collection[XapiClass], schema: Schema = SCHEMA) -> Filter:
    """Understand a filter.

    Args:
        text: as the client wrote it.
        classes: those asked for: each term must make sense for one of them.
        schema: what there is.

    Raises:
        FilterError: it is not in the language, too big, or names what none of the classes has.
    """
    return Filter(parse(text, _Resolver(classes, schema).resolve), classes, schema)


class _Resolver:
    """Checks each term of a filter against the classes asked for."""

    def __init__(self, classes: Collection[XapiClass], schema: Schema) -> None:
        self._classes = sorted(classes)
        self._schema = schema
        self._regex_size = 0

    def resolve(self, term: Term) -> Term:
        if term.criterion.op is Op.REGEX:
            self._check_regex(term)
        if term.path:
            self._check_place(term)
            return term
        if not term.word:
            return term
        return self._boolean(term) or self._searched_for(term)

    def _check_regex(self, term: Term) -> None:
        # An error in the pattern lies behind its first slash; \/ is read as one character, so that
        # the position may be a little too far left.
        try:
            regex = regex_of(term.criterion)
        except Refusal as refusal:
            raise FilterError(
                refusal.message, term.value_position + 1 + refusal.position, refusal.hint
            ) from refusal
        self._regex_size += regex.size
        if self._regex_size > MAX_SIZE:
            raise FilterError(
                f"the regular expressions are longer than {MAX_SIZE} characters together",
                term.value_position,
            )

    def _check_place(self, term: Term) -> None:
        """Refuse the term if it makes no sense for any of the classes; say the best reason."""
        lost: Lost | None = None
        refused: Refusal | None = None
        for cls in self._classes if term.path[0] in self._fields else ():
            if term.path[0] not in self._schema.fields(cls):
                continue
            place = find_place(self._schema, cls, term.path)
            if isinstance(place, Lost):
                lost = lost or place
                continue
            try:
                place.check(term.criterion)
            except Refusal as refusal:
                refused = refused or refusal
            else:
                return
        if refused is not None:
            text = f"{'.'.join(term.path)}: {refused.message}"
            raise FilterError(text, term.value_position, refused.hint)
        if lost is not None:
            raise lost.error(self._schema, term.position)
        raise no_field(self._schema, self._classes, term.path[0], term.position)

    @cached_property
    def _fields(self) -> frozenset[str]:
        return frozenset().union(*map(self._schema.fields, self._classes))

    def _searched_for(self, term: Term) -> Term:
        """Take a bare word for a search, unless it was probably meant as something else."""
        word = term.criterion.text
        meant = mistaken(word, self._fields)
        if meant is not None:
            hint = f'{meant}, or search for it in quotes: "{word}"'
            raise FilterError(f"{quoted(word)} is just a word here", term.position, hint)
        return term

    def _boolean(self, term: Term) -> Term | None:
        """Read a bare word as "this field is true" if some class has such a field."""
        path = tuple(term.criterion.text.split("."))
        for cls in self._classes if path[0] in self._fields else ():
            place: Place | Lost | None = find_place(self._schema, cls, path)
            while isinstance(place, Place) and place.target is not None:
                place = place.target
            if isinstance(place, Place) and place.type.kind == "bool":
                return Term(path, Criterion(Op.HAS, "true"), position=term.position)
        return None


class _Compiler:
    """Turns a tree into one function, for one class."""

    def __init__(self, schema: Schema, cls: XapiClass) -> None:
        self._schema = schema
        self._cls = cls

    def match(self, node: Node) -> _Match:
        match node:
            case Term():
                return self._term(node)
            case Not():
                return _not(self.match(node.node))
            case All():
                return _all([self.match(n) for n in node.nodes])
            case AnyOf():
                return _any([self.match(n) for n in node.nodes])

    def _term(self, term: Term) -> _Match:
        if not term.path:
            check = value_check("", FieldType("string"))(term.criterion)
            return _any([_field_match(name, check) for name in _searched(self._schema, self._cls)])
        place = _usable_place(self._schema, self._cls, term)
        return _never if place is None else _place_match(place, term.criterion)


def _searched(schema: Schema, cls: XapiClass) -> tuple[str, ...]:
    """Name the fields in which a class is searched; of a class that we do not know, any."""
    fields = schema.fields(cls)
    return tuple(name for name in SEARCHED if name in fields) if fields else SEARCHED


def _usable_place(schema: Schema, cls: XapiClass, term: Term) -> Place | None:
    """Return where the term leads in this class, or None if it makes no sense for it."""
    place = find_place(schema, cls, term.path)
    if isinstance(place, Lost):
        return None
    try:
        place.check(term.criterion)
    except Refusal:
        return None
    return place


def _never(_fields: Members, _follow: Follow) -> bool:
    return False


def _not(match: _Match) -> _Match:
    return lambda fields, follow: not match(fields, follow)


def _all(matches: list[_Match]) -> _Match:
    def match_all(fields: Members, follow: Follow) -> bool:
        for match in matches:  # noqa: SIM110 - a generator costs more than the tests
            if not match(fields, follow):
                return False
        return True

    return match_all


def _any(matches: list[_Match]) -> _Match:
    def match_any(fields: Members, follow: Follow) -> bool:
        for match in matches:  # noqa: SIM110
            if match(fields, follow):
                return True
        return False

    return match_any


def _place_match(place: Place, criterion: Criterion) -> _Match:
    if place.target is not None:
        return _target_match(place, _place_match(place.target, criterion))
    check = place.check(criterion)
    nothing = criterion.op is Op.NULL
    if place.key is not None:
        return _key_match(place.field, place.key, check, nothing=nothing)
    return _null_match(place.field) if nothing else _field_match(place.field, check)


def _field_match(name: str, check: Check) -> _Match:
    def match_field(fields: Members, _follow: Follow) -> bool:
        raw = fields.get(name)
        return raw is not None and check(_decode(raw))

    return match_field


def _null_match(name: str) -> _Match:
    def match_null(fields: Members, _follow: Follow) -> bool:
        raw = fields.get(name)
        return raw is None or is_nothing(_decode(raw))

    return match_null


def _key_match(name: str, key: str, check: Check, *, nothing: bool) -> _Match:
    def match_key(fields: Members, _follow: Follow) -> bool:
        raw = fields.get(name)
        value = _decode(raw) if raw is not None else None
        if not isinstance(value, dict) or key not in value:
            return nothing
        return check(value[key])

    return match_key


def _target_match(place: Place, match: _Match) -> _Match:
    """Follow a reference; it is of the class that the schema says, on which routing relies."""
    name, cls = place.field, place.type.target

    def match_target(fields: Members, follow: Follow) -> bool:
        raw = fields.get(name)
        ref = _decode(raw) if raw is not None else None
        if not isinstance(ref, str):
            return False
        target = follow(Ref(ref))
        return target is not None and target[0] == cls and match(target[1], follow)

    return match_target

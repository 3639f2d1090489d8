"""A client's filter, understood against the schema and compiled to one function per class.

A filter sees a record as the user may see it. It is given the record's members as JSON bytes and
parses only those that a term reads, since it runs for every object of a class when a view is built
and for every change afterwards.

The language: docs/queries.md; its grammar: `filter_syntax.py`; the tests of values:
`filter_values.py`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import msgspec

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
)
from xoproxy.cache.filter_values import Check, Refusal, is_nothing, key_check, regex_of, value_check
from xoproxy.cache.query_error import quoted
from xoproxy.cache.regex import MAX_SIZE
from xoproxy.cache.schema import SCHEMA, FieldType, Schema
from xoproxy.cache.suggest import did_you_mean
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path leads in one class.

    Args:
        field: the class's own field.
        type: the field's.
        key: of a map.
        target: the place in the object that the field refers to.
    """

    field: str
    type: FieldType
    key: str | None = None
    target: "_Place | None" = None

    @property
    def check(self) -> Callable[[Criterion], Check]:
        """How values that stand here are tested; raises Refusal when they cannot be."""
        if self.target is not None:
            return self.target.check
        return key_check(self.type) if self.key is not None else value_check(self.field, self.type)


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
        self.follows = any(
            place.target is not None for cls in classes for place in self._places(cls)
        )
        """Whether some term follows a reference."""

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
            if any(not term.path for term in _terms(self._tree)):
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

    def _places(self, cls: XapiClass) -> Iterator[_Place]:
        for term in _terms(self._tree):
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
        unknown: FilterError | None = None
        unusable: FilterError | None = None
        for cls in self._classes:
            if term.path[0] not in self._schema.fields(cls):
                continue
            try:
                _place(self._schema, cls, term).check(term.criterion)
            except Refusal as refusal:
                unusable = unusable or FilterError(
                    f"{'.'.join(term.path)}: {refusal.message}", term.value_position, refusal.hint
                )
            except FilterError as error:
                unknown = unknown or error
            else:
                return
        raise unusable or unknown or _no_field(self._schema, self._classes, term.path[0], term)

    def _searched_for(self, term: Term) -> Term:
        """Take a bare word for a search, unless it was probably meant as something else."""
        fields = {field for cls in self._classes for field in self._schema.fields(cls)}
        word = term.criterion.text
        meant = mistaken(word, fields)
        if meant is not None:
            hint = f'{meant}, or search for it in quotes: "{word}"'
            raise FilterError(f"{quoted(word)} is just a word here", term.position, hint)
        return term

    def _boolean(self, term: Term) -> Term | None:
        """Read a bare word as "this field is true" if some class has such a field."""
        path = tuple(term.criterion.text.split("."))
        asked = Term(path, Criterion(Op.HAS, "true"), position=term.position)
        for cls in self._classes:
            try:
                place = _place(self._schema, cls, asked)
            except FilterError:
                continue
            while place.target is not None:
                place = place.target
            if place.type.kind == "bool":
                return asked
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


def _terms(node: Node) -> Iterator[Term]:
    match node:
        case Term():
            yield node
        case Not():
            yield from _terms(node.node)
        case All() | AnyOf():
            for operand in node.nodes:
                yield from _terms(operand)


def _searched(schema: Schema, cls: XapiClass) -> tuple[str, ...]:
    """Name the fields in which a class is searched; of a class that we do not know, any."""
    fields = schema.fields(cls)
    return tuple(name for name in SEARCHED if name in fields) if fields else SEARCHED


def _place(schema: Schema, cls: XapiClass, term: Term, depth: int = 0) -> _Place:
    """Follow a term's path from a class.

    Raises:
        FilterError: it leads nowhere.
    """
    name, *rest = term.path[depth:]
    type_ = schema.fields(cls).get(name)
    if type_ is None:
        raise _no_field(schema, [cls], name, term)
    if not rest:
        return _Place(name, type_)
    hint: str | None = None
    if type_.kind == "map":
        if len(rest) > 1:
            hint = f'put the key in quotes: {name}."{".".join(rest)}"'
            raise FilterError(f"{name} is a map of plain values", term.position, hint)
        return _Place(name, type_, key=rest[0])
    if type_.kind != "ref" or type_.target is None:
        hint = "ask the other class, and follow its reference back" if type_.of == "ref" else None
        what = "a set" if type_.kind == "set" else f"no map or reference but {type_.kind}"
        raise FilterError(f"{name} is {what}: nothing can follow it", term.position, hint)
    if depth:
        raise FilterError("only one reference can be followed", term.position)
    return _Place(name, type_, target=_place(schema, type_.target, term, 1))


def _usable_place(schema: Schema, cls: XapiClass, term: Term) -> _Place | None:
    """Return where the term leads in this class, or None if it makes no sense for it."""
    try:
        place = _place(schema, cls, term)
        place.check(term.criterion)
    except (FilterError, Refusal):
        return None
    return place


def _no_field(schema: Schema, classes: Collection[XapiClass], name: str, term: Term) -> FilterError:
    hints = [
        did_you_mean(name, {field for cls in classes for field in schema.fields(cls)}),
        next((f"{cls} has it" for cls in sorted(schema.classes_with(name))), None),
    ]
    hint = "; ".join(filter(None, hints)) or None
    who = f"{next(iter(classes))} has no" if len(classes) == 1 else "none of the classes has a"
    return FilterError(f"{who} field {quoted(name)}", term.position, hint)


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


def _place_match(place: _Place, criterion: Criterion) -> _Match:
    if place.target is not None:
        return _target_match(place.field, _place_match(place.target, criterion))
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


def _target_match(name: str, match: _Match) -> _Match:
    def match_target(fields: Members, follow: Follow) -> bool:
        raw = fields.get(name)
        ref = _decode(raw) if raw is not None else None
        if not isinstance(ref, str):
            return False
        target = follow(Ref(ref))
        return target is not None and match(target[1], follow)

    return match_target

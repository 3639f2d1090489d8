"""How one value of a record is checked: by its field's type and the filter's criterion.

A criterion that makes no sense for a type is refused while the filter is read (`Refusal`), so that
the user learns of it; a value that is not what its type promises just does not pass.
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from operator import ge, gt, le, lt
from typing import Any

from xoproxy.cache.filter_syntax import Criterion, Op
from xoproxy.cache.query_error import quoted
from xoproxy.cache.regex import Regex, RegexError
from xoproxy.cache.schema import FieldType
from xoproxy.cache.suggest import did_you_mean
from xoproxy.model import NULL_REF

Check = Callable[[Any], bool]
"""Tells whether a parsed JSON value passes."""

_ORDER: dict[Op, Callable[[Any, Any], bool]] = {
    Op.LESS: lt,
    Op.AT_MOST: le,
    Op.MORE: gt,
    Op.AT_LEAST: ge,
}
_REFERENCE = "OpaqueRef:"
_VALUES_SHOWN = 10
_NUMBER = re.compile(r"[+-]?(\d{1,40})(\.\d{0,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DATE = re.compile(
    r"\d{4}(-?(0[1-9]|1[0-2])(-?(0[1-9]|[12]\d|3[01])"
    r"(T(([01]\d|2[0-4])(:[0-5]\d(:[0-6]\d(\.\d*)?)?)?)?Z?)?)?)?",
    re.ASCII,
)
_PART_OF_DATE = re.compile(r"[\dTZ:.-]+", re.ASCII)


class Refusal(Exception):  # noqa: N818 - what the caller makes of it is the error
    """The criterion makes no sense for the type.

    Args:
        message: why.
        hint: what to write instead; or what finds it, for that takes time, and a term that makes no
            sense for one class is seldom told so.
        position: where, in characters of the value.
    """

    def __init__(
        self, message: str, hint: str | Callable[[], str] | None = None, position: int = 0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self._hint = hint

    @property
    def hint(self) -> str | None:
        return self._hint() if callable(self._hint) else self._hint


def value_check(field: str, kind: FieldType) -> Callable[[Criterion], Check]:
    """Return what makes a check of a field's values.

    Args:
        field: its name: those that hold a uuid are told by it, for XAPI has no type for them.
        kind: its type.
    """
    whole = field == "uuid" or field.endswith("_uuid")
    return partial(_check, FieldType("ref") if whole and kind.kind == "string" else kind)


def key_check(kind: FieldType) -> Callable[[Criterion], Check]:
    """Return what makes a check of the values of a map.

    Texts in a map hold whatever their writer likes, numbers too, so they can be compared as such.
    """
    return partial(_map_value_check, _inner(kind))


def is_nothing(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a value is what `null` asks for: none, no object, no members."""
    return value is None or value in (NULL_REF, [], {})


@lru_cache(maxsize=256)
def _regex(pattern: str, *, ignore_case: bool) -> Regex:
    return Regex(pattern, ignore_case=ignore_case)


def regex_of(criterion: Criterion) -> Regex:
    """Return a criterion's regular expression; equal ones share what they learn of the texts.

    Raises:
        Refusal: the pattern is wrong.
    """
    try:
        return _regex(criterion.text, ignore_case=criterion.ignore_case)
    except RegexError as error:
        raise Refusal(f"regular expression: {error.message}", None, error.position) from error


def _inner(kind: FieldType) -> FieldType:
    """Return the type of a set's members or a map's values."""
    if kind.of == "set":
        return FieldType("set", "string")
    return FieldType(kind.of or "string", target=kind.target, values=kind.values)


def _check(kind: FieldType, criterion: Criterion) -> Check:  # noqa: PLR0911 - one for each type
    if criterion.op is Op.NULL:
        return is_nothing
    match kind.kind:
        case "string":
            return _text_check(criterion)
        case "enum" | "ref":
            return _whole_check(kind, criterion)
        case "bool":
            return _bool_check(criterion)
        case "int" | "float":
            return _number_check(criterion)
        case "datetime":
            return _date_check(criterion)
        case "set":
            return _set_check(kind, criterion)
        case "map":
            return _map_check(criterion)


def _text_check(criterion: Criterion) -> Check:
    if criterion.op is Op.IS:
        return partial(_is, criterion.text)
    if criterion.op is Op.REGEX:
        return _search_check(criterion)
    if criterion.op is not Op.HAS:
        raise Refusal("this is text, and only numbers and dates are compared", ":value or :=value")
    part = criterion.text.casefold()
    return lambda value: isinstance(value, str) and part in value.casefold()


def _whole_check(kind: FieldType, criterion: Criterion) -> Check:
    if criterion.op is Op.REGEX:
        return _search_check(criterion)
    if criterion.op not in (Op.HAS, Op.IS):
        raise Refusal("only numbers and dates are compared", ":value")
    if kind.target is not None and not criterion.text.startswith(_REFERENCE):
        hint = f".name_label:{criterion.text} asks for a field of the {kind.target}"
        raise Refusal("this is a reference", hint)
    if kind.values and criterion.text not in kind.values:
        _check_unknown(kind.values, criterion)
    return partial(_is, criterion.text)


def _check_unknown(known: frozenset[str], criterion: Criterion) -> None:
    """Refuse an unknown enum value, unless it is asked for by `=`: newer pools may have more."""
    text = criterion.text
    wrong_case = any(text.lower() == value.lower() for value in known)
    if criterion.op is Op.IS and not wrong_case:
        return

    def hint() -> str:
        meant = did_you_mean(text, known) or f"one of {', '.join(sorted(known)[:_VALUES_SHOWN])}"
        return meant if wrong_case else f'{meant}; if a newer pool has it: :="{text}"'

    raise Refusal(f"there is no {quoted(text)}", hint)


def _is(text: str, value: Any) -> bool:  # noqa: ANN401
    return bool(value == text)


def _search_check(criterion: Criterion) -> Check:
    search = regex_of(criterion).search
    return lambda value: isinstance(value, str) and search(value)


def _bool_check(criterion: Criterion) -> Check:
    if criterion.op not in (Op.HAS, Op.IS) or criterion.text not in ("true", "false"):
        raise Refusal("this is true or false", ":true or :false")
    asked = criterion.text == "true"
    return lambda value: value is asked


def _number(text: str) -> int | float | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return float(text) if found[2] or found[3] else int(text)


def _quantity(text: str) -> int | float | None:
    """Read a number as people write it: 4GiB."""
    unit = _UNITS.get(text[-3:])
    if unit is None:
        return _number(text)
    number = _number(text[:-3])
    return None if number is None else number * unit


def _number_check(criterion: Criterion) -> Check:
    number = _quantity(criterion.text) if criterion.op is not Op.REGEX else None
    if number is None:
        raise Refusal("this is a number", ":4, :>4 or :>4GiB")
    if criterion.op in (Op.HAS, Op.IS):
        # True is 1 to Python, but not to a user.
        return lambda value: value == number and value is not True and value is not False
    compare = _ORDER[criterion.op]
    return lambda value: type(value) in (int, float) and compare(value, number)


def _date_check(criterion: Criterion) -> Check:
    """Dates are XAPI's text, 20240131T12:00:00Z, in which time goes on as text does.

    Dashes are left out on both sides; a date that is written in part is compared with that part.
    """
    if criterion.op is Op.REGEX:
        return _search_check(criterion)
    asked = criterion.text.replace("-", "")
    if criterion.op is Op.HAS and _PART_OF_DATE.fullmatch(criterion.text):
        return lambda value: isinstance(value, str) and asked in value.replace("-", "")
    if not _DATE.fullmatch(criterion.text):
        raise Refusal("this is a date", ":>20240131 or :>2024-01-31T12:00:00Z")
    if criterion.op is Op.IS:
        return lambda value: isinstance(value, str) and value.replace("-", "") == asked
    compare, length = _ORDER[criterion.op], len(asked)
    return lambda value: isinstance(value, str) and compare(value.replace("-", "")[:length], asked)


def _set_check(kind: FieldType, criterion: Criterion) -> Check:
    inner = _inner(kind)
    if inner.kind == "string" and criterion.op is not Op.REGEX:
        inner = FieldType("ref")  # members are compared whole
    check = _check(inner, criterion)
    if inner.kind in ("enum", "ref") and criterion.op is not Op.REGEX:
        text = criterion.text
        return lambda value: isinstance(value, list) and text in value
    return lambda value: isinstance(value, list) and any(map(check, value))


def _map_check(criterion: Criterion) -> Check:
    """A map without a key passes by any key or value of it, whole."""
    if criterion.op in _ORDER:
        raise Refusal("this is a map", ".key:>4 compares the value of a key")
    if criterion.op is Op.REGEX:
        check = _search_check(criterion)
        return lambda value: (
            isinstance(value, dict) and (any(map(check, value)) or any(map(check, value.values())))
        )
    text = criterion.text
    return lambda value: isinstance(value, dict) and (text in value or text in value.values())


def _map_value_check(kind: FieldType, criterion: Criterion) -> Check:
    if kind.kind != "string" or criterion.op not in _ORDER:
        return _check(kind, criterion)
    check = _number_check(criterion)

    def check_number(value: Any) -> bool:  # noqa: ANN401
        number = _number(value) if isinstance(value, str) else None
        return number is not None and check(number)

    return check_number

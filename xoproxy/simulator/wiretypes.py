"""XAPI's types: how a value that came over the wire is checked, and what a missing one is.

Values are held in the form in which JSON-RPC shows them: ints and floats as numbers, dates as
text, sets as lists, maps as dicts with text keys. They are never changed in place.

`accept` is as strict and as lax as XAPI's own decoder: numbers may come as text, booleans and
strings may not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

# A value in JSON form; the data model, not Python, says what it is.
Json: TypeAlias = Any

NULL: Final = "OpaqueRef:NULL"
EPOCH: Final = "19700101T00:00:00Z"

_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_INT = re.compile(r"[-+]?\d+")
_INT64 = 1 << 63


class TaggedDate(str):
    """A date that came as one, which only XML-RPC can say; it is no text."""

    __slots__ = ()


class WrongTypeError(Exception):
    """A value that XAPI's decoder refuses; the text is the one that XAPI would print."""


def shown(value: Json) -> str:
    """Print a wire value as XAPI's error texts do: S(text), I(1), F(1.5), B(true), D(date), N."""
    match value:
        case None:
            text = "N"
        case TaggedDate():
            text = f"D({value})"
        case bool():
            text = f"B({str(value).lower()})"
        case int():
            text = f"I({value})"
        case float():
            text = f"F({value:.12g})"
        case list():
            text = "[" + ";".join(map(shown, value)) + "]"
        case dict():
            text = "{" + ";".join(f"{k}:{shown(v)}" for k, v in value.items()) + "}"
        case _:
            text = f"S({value})"
    return text


def shown_float(value: float) -> str:
    """Print a float as OCaml does: `2.` and `0.5`."""
    text = f"{value:.12g}"
    return text if set(text) & set(".eni") else f"{text}."


def _expected(kind: str, value: Json) -> WrongTypeError:
    return WrongTypeError(f"Failure(\"Expected {kind}, got '{shown(value)}'\")")


def _text(value: Json, kind: str = "string") -> str:
    """Return a text, or say that another kind was expected."""
    if not isinstance(value, str) or isinstance(value, TaggedDate):
        raise _expected(kind, value)
    return value


class WireType(Protocol):
    """One type of the data model."""

    @property
    def zero(self) -> Json:
        """The value of a field that has no default and was not given."""

    def accept(self, value: Json) -> Json:
        """Return a decoded parameter in our form; raises WrongTypeError."""


@dataclass(frozen=True, slots=True)
class StringType:
    zero: str = ""

    def accept(self, value: Json) -> str:
        return _text(value)


@dataclass(frozen=True, slots=True)
class IntType:
    zero: int = 0

    def accept(self, value: Json) -> int:
        if isinstance(value, str):
            number = int(value) if _INT.fullmatch(_text(value, "int64")) else _INT64
            if not -_INT64 <= number < _INT64:
                raise WrongTypeError('Failure("Int64.of_string")')
            return number
        if isinstance(value, bool) or not isinstance(value, int):
            raise _expected("int64", value)
        if not -_INT64 <= value < _INT64:
            raise WrongTypeError('Failure("Int64.of_string")')
        return value


@dataclass(frozen=True, slots=True)
class FloatType:
    zero: float = 0.0

    def accept(self, value: Json) -> float:
        if isinstance(value, bool | TaggedDate) or not isinstance(value, int | float | str):
            raise _expected("float", value)
        try:
            return float(value)
        except ValueError:
            raise WrongTypeError('Failure("float_of_string")') from None


@dataclass(frozen=True, slots=True)
class BoolType:
    zero: bool = False

    def accept(self, value: Json) -> bool:
        if not isinstance(value, bool):
            raise _expected("bool", value)
        return value


@dataclass(frozen=True, slots=True)
class DateType:
    zero: str = EPOCH

    def accept(self, value: Json) -> str:
        if value == "epoch":  # the data model's word in defaults
            return EPOCH
        found = _DATE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise _expected("datetime", value)
        year, month, day, time, _, zone = found.groups()
        return f"{year}{month}{day}T{time}{zone or ''}"


@dataclass(frozen=True, slots=True)
class EnumType:
    name: str
    values: tuple[str, ...]

    @property
    def zero(self) -> str:
        return self.values[0]

    def accept(self, value: Json) -> str:
        text = _text(value)
        if text not in self.values:
            raise WrongTypeError('Failure("Unknown tag/contents")')
        return text


@dataclass(frozen=True, slots=True)
class RefType:
    """A reference; XAPI takes any text and looks only when it follows it."""

    target: str
    zero: str = NULL

    def accept(self, value: Json) -> str:
        return _text(value)


@dataclass(frozen=True, slots=True)
class SetType:
    """A set, which keeps the order and the duplicates that it was given."""

    item: WireType

    @property
    def zero(self) -> list[Json]:
        return []

    def accept(self, value: Json) -> list[Json]:
        if not isinstance(value, list):
            raise WrongTypeError(f"Failure(\"Expecting Rpc.Enum, but found '{shown(value)}'\")")
        return [self.item.accept(item) for item in value]


@dataclass(frozen=True, slots=True)
class MapType:
    key: WireType
    value: WireType

    @property
    def zero(self) -> dict[str, Json]:
        return {}

    def accept(self, value: Json) -> dict[str, Json]:
        if not isinstance(value, dict):
            raise WrongTypeError(f"Failure(\"Expecting Rpc.Dict, but found '{shown(value)}'\")")
        return {str(self.key.accept(k)): self.value.accept(v) for k, v in value.items()}


@dataclass(frozen=True, slots=True)
class RecordType:
    """A whole object. Its members are checked by who knows the class (X.create)."""

    cls: str

    @property
    def zero(self) -> dict[str, Json]:
        return {}

    def accept(self, value: Json) -> dict[str, Json]:
        if not isinstance(value, dict):
            raise WrongTypeError(f"Failure(\"Expecting Rpc.Dict, but found '{shown(value)}'\")")
        return value


@dataclass(frozen=True, slots=True)
class OptionType:
    """A member that a record may lack."""

    item: WireType
    zero: None = None

    def accept(self, value: Json) -> Json:
        return self.item.accept(value)


@dataclass(frozen=True, slots=True)
class VoidType:
    """Nothing; an empty string on the wire."""

    zero: str = ""

    def accept(self, value: Json) -> str:
        if value != "":
            raise _expected("unit", value)
        return ""


_SCALARS: dict[str, WireType] = {
    "string": StringType(),
    "int": IntType(),
    "float": FloatType(),
    "bool": BoolType(),
    "datetime": DateType(),
    "void": VoidType(),
    "event batch": RecordType("event"),
}


def parse(text: str, enums: Mapping[str, tuple[str, ...]]) -> WireType:
    """Parse the data model's notation: `VM ref set`, `(string -> enum vm_operations) map`..."""
    if text in _SCALARS:
        return _SCALARS[text]
    if text.endswith(" map"):
        key, value = _split_arrow(text.removesuffix(" map")[1:-1])
        return MapType(parse(key, enums), parse(value, enums))
    if text.startswith("enum ") and " " not in text[5:]:
        return EnumType(text[5:], enums[text[5:]])
    head, _, kind = text.rpartition(" ")
    makers: dict[str, Callable[[], WireType]] = {
        "set": lambda: SetType(parse(head, enums)),
        "ref": lambda: RefType(head),
        "record": lambda: RecordType(head),
        "option": lambda: OptionType(parse(head, enums)),
    }
    return makers[kind]()


def _split_arrow(text: str) -> tuple[str, str]:
    """Split `key -> value` at the first arrow outside parentheses."""
    depth = 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0 and text.startswith(" -> ", i):
            return text[:i], text[i + 4 :]
    raise ValueError(f"no arrow in the map type {text!r}")

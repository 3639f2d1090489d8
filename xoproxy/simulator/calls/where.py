r"""The filter language of X.get_all_records_where.

    field "name__label"="web" and not (field "is_a_template"="true" or false)

Values are compared as the database writes them: booleans and numbers as text, sets and maps as
lists in parentheses. A field goes by the database's name, whose double underscores are single
ones in the API.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json

Record = Mapping[str, Json]
Predicate = Callable[[Record], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<word>field|true|false|and|or|not)\b|(?P<sign>[()=])"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')""",
    re.DOTALL,
)


def parse(text: str) -> Predicate:
    """Compile a filter; raises INVALID_VALUE where it does not parse."""
    try:
        parser = _Parser(_tokens(text))
        predicate = parser.any_of()
        parser.expect_end()
    except ValueError as error:
        raise XapiError("INVALID_VALUE", text, f'Failure("{error}")') from None
    return predicate


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError("lexing: empty token")
        kind = str(found.lastgroup)
        value = found[kind]
        if kind in {"double", "single"}:
            kind, value = "text", re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        tokens.append((kind, value))
        at = found.end()
    return tokens


class _Parser:
    """Recursive descent; `or` binds loosest, `not` tightest."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._at = 0

    def any_of(self) -> Predicate:
        parts = [self._all_of()]
        while self._take("word", "or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else lambda record: any(p(record) for p in parts)

    def expect_end(self) -> None:
        if self._tokens[self._at][0] != "end":
            raise ValueError("parse error")

    def _all_of(self) -> Predicate:
        parts = [self._term()]
        while self._take("word", "and"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda record: all(p(record) for p in parts)

    def _term(self) -> Predicate:
        if self._take("word", "not"):
            term = self._term()
            return lambda record: not term(record)
        if self._take("sign", "("):
            inner = self.any_of()
            self._expect("sign", ")")
            return inner
        if self._take("word", "true"):
            return lambda _: True
        if self._take("word", "false"):
            return lambda _: False
        left = self._operand()
        self._expect("sign", "=")
        right = self._operand()
        return lambda record: left(record) == right(record)

    def _operand(self) -> Callable[[Record], str]:
        is_field = self._take("word", "field")
        kind, value = self._tokens[self._at]
        if kind != "text":
            raise ValueError("parse error")
        self._at += 1
        return (lambda record: _field(record, value)) if is_field else (lambda _: value)

    def _take(self, kind: str, value: str) -> bool:
        if self._tokens[self._at] == (kind, value):
            self._at += 1
            return True
        return False

    def _expect(self, kind: str, value: str) -> None:
        if not self._take(kind, value):
            raise ValueError("parse error")


def _field(record: Record, name: str) -> str:
    api_name = name.replace("__", "_")
    if api_name not in record:
        raise XapiError("INTERNAL_ERROR", "missing field", name, "")
    return stored(record[api_name])


def stored(value: Json) -> str:
    """Write a value as the database stores it."""
    match value:
        case bool():
            text = str(value).lower()
        case list():
            text = "(" + " ".join(f"'{item}'" for item in value) + ")"
        case dict():
            text = "(" + " ".join(f"('{k}' '{v}')" for k, v in value.items()) + ")"
        case float():
            text = f"{value:.16g}"
        case _:
            text = str(value)
    return text

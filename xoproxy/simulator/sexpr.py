"""S-expressions as XAPI's database keeps sets and maps in: `('a' 'b')`, `(('key' 'value'))`.

Strings stand in single quotes (newer releases) or double quotes (older ones); inside them a
backslash takes the next character literally, so that a quote, a backslash and a whole nested
s-expression can be values. A bare word is a string too. The reader gives nested lists of `str`.
"""

import re
from typing import TypeAlias

Sexpr: TypeAlias = "str | list[Sexpr]"
"""A string or a list of s-expressions."""

_TOKEN = re.compile(
    r"""\s*(?: '((?:[^'\\]|\\.)*)' | "((?:[^"\\]|\\.)*)" | ([()]) | ([^\s()'"]+) )""",
    re.DOTALL | re.VERBOSE,
)
_TO_ESCAPE = re.compile(r"[\\'\"]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# XAPI protects white space from XML's attribute normalisation with these pairs. "%_" is written by
# releases before 7.4 only, for every two spaces in a row.
_PROTECTED = {"%_": "  ", "%.": " ", "%t": "\t", "%n": "\n", "%r": "\r", "%%": "%"}
_PROTECTED_PAIR = re.compile("%[_.tnr%]")


class SexprError(ValueError):
    """The text is no s-expression."""


class UnclosedError(SexprError):
    """Lists are open at the end of the text; `value` is what had been read by then."""

    def __init__(self, value: Sexpr) -> None:
        """Keep what was read."""
        super().__init__("the list is not closed")
        self.value = value


def unprotect(text: str) -> str:
    """Undo the protection of white space in an attribute of a XAPI database file."""
    if "%" not in text:
        return text
    return _PROTECTED_PAIR.sub(lambda match: _PROTECTED[match[0]], text)


def parse(text: str) -> Sexpr:
    """Read one s-expression.

    Raises:
        UnclosedError: the text ends inside a list (files edited by hand have such values).
        SexprError: anything else that is no s-expression.
    """
    top: list[Sexpr] = []
    open_lists: list[list[Sexpr]] = [top]
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise SexprError(f"no string or list begins at character {position}")
        single, double, bracket, word = match.groups()
        if bracket == "(":
            inner: list[Sexpr] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif bracket == ")":
            if len(open_lists) == 1:
                raise SexprError(f"a ')' without '(' at character {match.end() - 1}")
            open_lists.pop()
        elif word is not None:
            open_lists[-1].append(word)
        else:
            open_lists[-1].append(_ESCAPED.sub(r"\1", single if single is not None else double))
        position = match.end()
    if len(top) != 1:
        raise SexprError("not exactly one value")
    if len(open_lists) > 1:
        raise UnclosedError(top[0])
    return top[0]


def write_struct(value: object) -> str:
    """Write a value as XAPI keeps a record inside a field (`VM.snapshot_metadata`)."""
    match value:
        case dict():
            members = (f"('{key}' {write_struct(member)})" for key, member in value.items())
            return " ".join(["('struct'", *members]) + ")"
        case list():
            return " ".join(["('array'", *map(write_struct, value)]) + ")"
        case bool():
            return f"('boolean' '{int(value)}')"
        case _:
            return "'" + _TO_ESCAPE.sub(r"\\\g<0>", str(value)) + "'"


def read_struct(text: str) -> object:
    """Read what `write_struct` wrote; numbers and dates stay text.

    Raises:
        SexprError: the text is something else.
    """
    return _plain(parse(text))


def _plain(node: Sexpr) -> object:
    match node:
        case str():
            return node
        case ["struct", *members]:
            return dict(_member(member) for member in members)
        case ["array", *members]:
            return [_plain(member) for member in members]
        case ["boolean", str(digit)]:
            return digit == "1"
        case _:
            raise SexprError("neither a struct nor an array nor a boolean")


def _member(node: Sexpr) -> tuple[str, object]:
    match node:
        case [str(key), value]:
            return key, _plain(value)
        case _:
            raise SexprError("a struct's member is not a pair")

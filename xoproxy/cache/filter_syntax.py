"""The filter language's grammar: text to tree, and tree to the one text that stands for it.

    filter  = branch { "|" branch }                     or binds weaker than side by side
    branch  = item { item }                             side by side is and
    item    = "!" item | "(" filter ")" | term
    term    = path ":" value | quoted | /regex/ | word  without a path: text search
    path    = name { "." name }                         a name is bare or quoted
    value   = "!" value | "(" filter of values ")" | criterion
    criterion = ["=" | ">" | ">=" | "<" | "<="] (word | quoted) | /regex/ | null

`field:(a | !b)` is short for `(field:a | !field:b)`, and is read as that. Nothing here knows what
fields there are: `filter.py` does.

The tree is normal: no `All` in an `All`, no double negation, operands sorted and each only once.
So filters that differ in spelling alone have one text, and their clients share one view.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from xoproxy.cache.filter_slips import mistaken_value
from xoproxy.cache.query_error import QueryError, quoted

MAX_LENGTH = 4096
MAX_NESTING = 50
MAX_TERMS = 200


class FilterError(QueryError):
    """The filter cannot be understood.

    Args:
        message: one sentence.
        position: where, in characters of the filter's text.
        hint: what to write instead, if we have an idea.
    """

    position: int

    def __init__(self, message: str, position: int, hint: str | None = None) -> None:
        super().__init__(message, position, hint, at="/filter")


class Op(Enum):
    """How a value is tested; the member's value is how it is written."""

    HAS = ""
    IS = "="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    REGEX = "/"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is asked of a value.

    Args:
        op: how.
        text: with what; a pattern for REGEX, nothing for NULL.
        ignore_case: of a pattern.
    """

    op: Op
    text: str = ""
    ignore_case: bool = False

    def __str__(self) -> str:
        if self.op is Op.NULL:
            return "null"
        if self.op is Op.REGEX:
            return f"/{_escape_slashes(self.text)}/{'i' if self.ignore_case else ''}"
        return f"{self.op.value}{_quoted(self.text)}"


@dataclass(frozen=True, slots=True)
class Term:
    """One criterion for one value; an empty path means the texts that a search looks at.

    Args:
        path: field; field and map key; reference and the target's field (and key).
        criterion: what is asked of it.
        word: whether it was a bare word, which may name a boolean field.
        position: of the term in the text.
        value_position: of the value.
    """

    path: tuple[str, ...]
    criterion: Criterion
    word: bool = field(default=False, compare=False)
    position: int = field(default=0, compare=False)
    value_position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        path = path_text(self.path)
        return f"{path}:{self.criterion}" if path else str(self.criterion)


@dataclass(frozen=True, slots=True)
class Not:
    node: "Node"

    def __str__(self) -> str:
        return f"!{_operand(self.node)}"


@dataclass(frozen=True, slots=True)
class All:
    nodes: "tuple[Node, ...]"

    def __str__(self) -> str:
        return " ".join(map(_operand, self.nodes))


@dataclass(frozen=True, slots=True)
class AnyOf:
    nodes: "tuple[Node, ...]"

    def __str__(self) -> str:
        return " | ".join(map(_operand, self.nodes))


Node = Term | Not | All | AnyOf


def terms_of(node: Node) -> Iterator[Term]:
    """Name all terms of a filter, in its order."""
    match node:
        case Term():
            yield node
        case Not():
            yield from terms_of(node.node)
        case All() | AnyOf():
            for operand in node.nodes:
                yield from terms_of(operand)


def all_of(nodes: Iterable[Node]) -> Node:
    """Join by and, in normal form."""
    flat = _flat(nodes, All)
    return flat[0] if len(flat) == 1 else All(flat)


def any_of(nodes: Iterable[Node]) -> Node:
    """Join by or, in normal form."""
    flat = _flat(nodes, AnyOf)
    return flat[0] if len(flat) == 1 else AnyOf(flat)


def negation(node: Node) -> Node:
    return node.node if isinstance(node, Not) else Not(node)


def _flat(nodes: Iterable[Node], kind: type[All] | type[AnyOf]) -> tuple[Node, ...]:
    operands: dict[str, Node] = {}
    for node in nodes:
        for operand in node.nodes if isinstance(node, kind) else (node,):
            operands.setdefault(str(operand), operand)
    return tuple(operands[text] for text in sorted(operands))


def _operand(node: Node) -> str:
    return f"({node})" if isinstance(node, All | AnyOf) else str(node)


_BARE_NAME = re.compile(r"\w[\w$-]*")


def _name(name: str) -> str:
    return name if _BARE_NAME.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _escape_slashes(pattern: str) -> str:
    """Escape a pattern's bare slashes, which would end it."""
    return re.sub(r"\\.|/", lambda m: "\\/" if m[0] == "/" else m[0], pattern, flags=re.DOTALL)


_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(r'[^\s()|"]+')
_REGEX = re.compile(r"/((?:[^/\\]|\\.)+)/(\w*)", re.DOTALL)
_SEGMENT = r'(?:"(?:[^"\\]|\\.)*"|[^\s()|"!:./<>=][^\s()|":.]*)'
_PATH = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT})*(?=:)", re.DOTALL)
_NAME = re.compile(_SEGMENT, re.DOTALL)
_COMPARISON = re.compile(r"[<>]=?|=")
_MISSING = {
    "": "the filter ends too early",
    "|": "'|' stands once, between two terms",
    ")": "a term is missing before this ')'",
}
_WORD_ENDS = frozenset("|) \t\r\n")


_PATH_ALONE = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT})*", re.DOTALL)


def path_text(names: Iterable[str]) -> str:
    """Write a path in the one way that stands for it."""
    return ".".join(map(_name, names))


def parse_path(text: str) -> tuple[str, ...]:
    """Read a path that stands alone: `name_label`, `other_config."xo:id"`.

    Raises:
        QueryError: it is none; the position is one in `text`.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a path has at most {MAX_LENGTH} characters", MAX_LENGTH)
    found = _PATH_ALONE.match(text)
    end = found.end() if found else 0
    if found is not None and end == len(text):
        return tuple(_unquoted(name) for name in _NAME.findall(text))
    if text[end : end + 2] == '."':
        raise QueryError("this quotation mark is not closed", end + 1)
    name, dot, rest = text.partition(".")
    if not name or (dot and not rest):
        raise QueryError("a name is missing here", len(text))
    hint = f"put the key in quotes: {path_text((name, rest))}" if rest else None
    raise QueryError(f"unexpected {text[end]!r}", end, hint)


Resolve = Callable[[Term], Term]
"""Checks a term against what is asked of; may read a bare word as a boolean field."""


def parse(text: str, resolve: Resolve) -> Node:
    """Read a filter.

    Raises:
        FilterError: it is too long, or not in the language, or refused by `resolve`.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter is longer than {MAX_LENGTH} characters", MAX_LENGTH)
    return _Parser(text, resolve).parse()


class _Parser:
    def __init__(self, text: str, resolve: Resolve) -> None:
        self._text = text
        self._resolve = resolve
        self._at = 0
        self._depth = 0
        self._term_count = 0

    def parse(self) -> Node:
        self._skip_space()
        if not self._rest():
            raise FilterError("the filter is empty", self._at)
        node = self._branches(self._term)
        if self._rest():
            raise FilterError("this ')' has no '('", self._at)
        return node

    def _rest(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, text: str) -> bool:
        """Step over `text` and the space behind it, if it stands here."""
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        self._skip_space()
        return True

    def _branches(self, leaf: Callable[[], Node]) -> Node:
        branches = [self._items(leaf)]
        while self._take("|"):
            branches.append(self._items(leaf))
        return any_of(branches)

    def _items(self, leaf: Callable[[], Node]) -> Node:
        items = [self._item(leaf)]
        while self._rest() not in ("", "|", ")"):
            items.append(self._item(leaf))
        return all_of(items)

    def _item(self, leaf: Callable[[], Node]) -> Node:
        start = self._at
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise FilterError(f"the filter is nested more than {MAX_NESTING} deep", start)
        if self._take("!"):
            node = negation(self._item(leaf))
        elif self._take("("):
            node = self._branches(leaf)
            if not self._take(")"):
                raise FilterError("this '(' is not closed", start)
        else:
            node = leaf()
            self._skip_space()
        self._depth -= 1
        return node

    def _term(self) -> Node:
        start = self._at
        path = _PATH.match(self._text, start)
        if path is None:
            return self._search()
        names = tuple(_unquoted(name) for name in _NAME.findall(path[0]))
        self._at = path.end() + 1
        if self._rest().isspace() or not self._rest():
            raise FilterError("a value is missing after ':'", self._at, "no space after ':'")
        return self._item(partial(self._value, names, start))

    def _value(self, path: tuple[str, ...], start: int) -> Node:
        value_at = self._at
        criterion = self._criterion()
        return self._leaf(Term(path, criterion, position=start, value_position=value_at))

    def _search(self) -> Node:
        """Read a term without a path."""
        start = self._at
        if _COMPARISON.match(self._text, start):
            raise FilterError("a comparison needs a field", start, "write field:>4, without spaces")
        if self._rest() in ("/", '"'):
            criterion = self._criterion()
            return self._leaf(Term((), criterion, position=start, value_position=start))
        word = self._word()
        if ":" in word:
            raise FilterError("there is no field before this ':'", start + word.index(":"))
        self._end_of_word()
        criterion = Criterion(Op.HAS, word)
        return self._leaf(Term((), criterion, word=True, position=start, value_position=start))

    def _leaf(self, term: Term) -> Term:
        self._term_count += 1
        if self._term_count > MAX_TERMS:
            raise FilterError(f"the filter has more than {MAX_TERMS} terms", term.position)
        return self._resolve(term)

    def _criterion(self) -> Criterion:
        if self._rest() == "/":
            return self._regex()
        comparison = _COMPARISON.match(self._text, self._at)
        op = Op(comparison[0]) if comparison else Op.HAS
        self._at += len(op.value)
        quoted = _QUOTED.match(self._text, self._at)
        if quoted is not None:
            self._at = quoted.end()
            text = _unquoted(quoted[0])
        elif self._rest() == '"':
            raise FilterError("this quotation mark is not closed", self._at)
        else:
            text = self._bare_value()
            if text == "null" and op in (Op.HAS, Op.IS):
                op, text = Op.NULL, ""
        self._end_of_word()
        return Criterion(op, text)

    def _regex(self) -> Criterion:
        found = _REGEX.match(self._text, self._at)
        if found is None:
            hint = 'end it by /, or put a text that begins with / in quotes: "/dev/sda"'
            raise FilterError("this regular expression is not closed", self._at, hint)
        if found[2] not in ("", "i"):
            hint = 'only i is; a text that begins with / is put in quotes: "/dev/sda"'
            raise FilterError(f"{found[2]!r} is no flag", found.start(2), hint)
        self._at = found.end()
        self._end_of_word()
        # A slash needs no escape inside, so that both ways to write it are one pattern.
        pattern = re.sub(r"\\(.)", _bare_slash, found[1], flags=re.DOTALL)
        return Criterion(Op.REGEX, pattern, ignore_case=bool(found[2]))

    def _bare_value(self) -> str:
        start = self._at
        text = self._word()
        meant = mistaken_value(text)
        if meant is not None:
            hint = f"{meant}, or put it in quotes: {_quoted(text)}"
            raise FilterError(f"{quoted(text)} stands for itself here", start, hint)
        return text

    def _word(self) -> str:
        found = _WORD.match(self._text, self._at)
        if found is None:
            hint = _MISSING.get(self._rest(), "no space here")
            raise FilterError("something is missing here", self._at, hint)
        self._at = found.end()
        return found[0]

    def _end_of_word(self) -> None:
        if self._rest() and self._rest() not in _WORD_ENDS and not self._rest().isspace():
            hint = "put a space here, or the whole text in quotes"
            raise FilterError(f"unexpected {self._rest()!r}", self._at, hint)


def _bare_slash(found: re.Match[str]) -> str:
    return "/" if found[1] == "/" else found[0]


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)

"""Regular expressions of clients, matched in time proportional to the text.

Python's `re` backtracks: a short hostile pattern keeps it busy for hours, and no check of the
pattern tells reliably which ones. So a pattern from a client never reaches `re`; it becomes an
automaton, which reads each character once. Backreferences, look-around and word boundaries do not
fit into one and are refused; what is left is what people type into a search box. An anchor beside
itself (`^^`) matches nothing.

Theory of operation (Glushkov, McNaughton and Yamada). Every character, class or dot of the pattern
is a *position*. Parsing computes which positions can come first, which can come last, and which can
follow each; a set of positions is an integer with a bit for each. While matching, the state is the
set of positions that may have read the latest character. States are kept once computed, so that
common texts cost one dictionary look-up a character.

Bounds: a pattern's size, which is the number of its positions and of the members of its classes,
is at most `MAX_SIZE` (a repetition counts as if written out); and only the first `MAX_TEXT`
characters of a text are looked at. So the worst text costs some 60 ms, a usual one 2 us.
"""

from collections.abc import Callable
from dataclasses import dataclass

MAX_SIZE = 250
MAX_TEXT = 1024
_MAX_MEMORY = 1000
"""Bound of what a pattern remembers; then it forgets all and starts anew."""

_MAX_ATOMS = 10_000
"""Bound of the work of parsing: `(((){99}){99}){99}` has no position but much to read."""

_MAX_NESTING = 50
_NOT_LITERAL = frozenset("*+?{}]")
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}

Matches = Callable[[str], bool]
"""Tells whether one character fits a position."""


class RegexError(Exception):
    """The pattern is wrong, or asks for more than we offer.

    Args:
        message: why.
        position: where, in characters of the pattern.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


@dataclass(slots=True)
class _Part:
    """A piece of the pattern: sets of positions, as bits."""

    first: int = 0
    last: int = 0
    empty: bool = True  # whether it matches the empty text


def _lower(char: str) -> str:
    lower = char.lower()
    return lower if len(lower) == 1 else char


def _is_word(char: str) -> bool:
    return char == "_" or char.isalnum()


_CLASSES: dict[str, Matches] = {"d": str.isdecimal, "s": str.isspace, "w": _is_word}

# `^` and `$` are positions that read these two marks, which are put around every text.
# They cannot stand in a text: JSON text has no lone surrogates (ingest mends them).
_START, _END = "\udc00", "\udc01"


def _is_start(char: str) -> bool:
    return char == _START


def _is_end(char: str) -> bool:
    return char == _END


def _is_any(char: str) -> bool:
    return char not in (_START, _END, "\n")


_MARKS: dict[str, Matches] = {".": _is_any, "^": _is_start, "$": _is_end}


class Regex:
    r"""One pattern, searched for anywhere in a text.

    Args:
        pattern: literals, `.`, classes `[a-z]` `[^...]`, `\d \w \s` and their opposites, groups,
            `|`, `* + ? {m,n}`, `^` and `$`.
        ignore_case: case-less.

    Raises:
        RegexError: the pattern is wrong, too long, or uses what is not offered.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        parser = _Parser(pattern, ignore_case=ignore_case)
        whole = parser.parse()
        self.size = parser.size
        self._matches = parser.matches
        self._follow = parser.follow
        self._first = whole.first
        self._last = whole.last
        self._always = whole.empty
        self._ignore_case = ignore_case
        self._transitions: dict[tuple[int, str], int] = {}
        self._fitting: dict[str, int] = {}  # character -> the positions that it fits

    def search(self, text: str) -> bool:
        """Tell whether the pattern matches somewhere in the text."""
        if self._always:
            return True
        if self._ignore_case:
            text = text.lower()
        state = 0
        transitions = self._transitions
        for char in f"{_START}{text[:MAX_TEXT]}{_END}":
            step = (state, char)
            state = transitions.get(step, -1)
            if state < 0:
                state = self._step(step)
            if state & self._last:
                return True
        return False

    def _step(self, step: tuple[int, str]) -> int:
        state, char = step
        candidates = self._first  # a match may begin at every character
        remaining = state
        while remaining:
            bit = remaining & -remaining
            candidates |= self._follow[bit.bit_length() - 1]
            remaining ^= bit
        fitting = self._fitting.get(char)
        if fitting is None:
            fitting = sum(1 << i for i, matches in enumerate(self._matches) if matches(char))
            if len(self._fitting) >= _MAX_MEMORY:
                self._fitting.clear()
            self._fitting[char] = fitting
        if len(self._transitions) >= _MAX_MEMORY:
            self._transitions.clear()
        reached = self._transitions[step] = candidates & fitting
        return reached


class _Parser:
    """Recursive descent over the pattern, building the sets of positions on the way."""

    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        # Character by character, for some change their number in lower case.
        self._pattern = "".join(map(_lower, pattern)) if ignore_case else pattern
        self._escapes = pattern  # \D is not \d, whatever the case of the rest
        self._at = 0
        self._depth = 0
        self._atom_count = 0
        self.size = 0
        self.matches: list[Matches] = []
        self.follow: list[int] = []

    def parse(self) -> _Part:
        whole = self._alternatives()
        if self._at < len(self._pattern):
            raise RegexError("this ')' has no '('", self._at)
        return whole

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._pattern.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _alternatives(self) -> _Part:
        part = self._sequence()
        while self._take("|"):
            other = self._sequence()
            part = _Part(
                part.first | other.first, part.last | other.last, part.empty or other.empty
            )
        return part

    def _sequence(self) -> _Part:
        part = _Part()
        while self._peek() not in ("", "|", ")"):
            part = self._then(part, self._repeated())
        return part

    def _then(self, a: _Part, b: _Part) -> _Part:
        self._link(a.last, b.first)
        return _Part(
            a.first | (b.first if a.empty else 0),
            b.last | (a.last if b.empty else 0),
            a.empty and b.empty,
        )

    def _link(self, last: int, first: int) -> None:
        while last:
            bit = last & -last
            self.follow[bit.bit_length() - 1] |= first
            last ^= bit

    def _repeated(self) -> _Part:
        start = self._at
        part = self._atom()
        low, high = self._quantifier()
        if self._peek() in ("*", "+", "?", "{"):
            raise RegexError("nothing to repeat here", self._at)
        if (low, high) == (1, 1):
            return part
        after = self._at
        copies = [part]
        # A part is written out as often as it must be repeated; parsing it again does that.
        for _ in range(max(low, high if high is not None else low, 1) - 1):
            self._at = start
            copies.append(self._atom())
        self._at = after
        return self._repeat(copies, low, high)

    def _repeat(self, copies: list[_Part], low: int, high: int | None) -> _Part:
        if high == 0:
            return _Part()
        if high is None:
            self._link(copies[-1].last, copies[-1].first)
        whole = _Part()
        for number, copy in enumerate(copies, 1):
            whole = self._then(whole, _Part(copy.first, copy.last, copy.empty or number > low))
        return whole

    def _quantifier(self) -> tuple[int, int | None]:
        start = self._at
        bounds: tuple[int, int | None] = (1, 1)
        if self._take("*"):
            bounds = (0, None)
        elif self._take("+"):
            bounds = (1, None)
        elif self._take("?"):
            bounds = (0, 1)
        elif self._take("{"):
            bounds = self._counts(start)
        else:
            return bounds
        self._take("?")  # "as few as possible" finds the same texts
        return bounds

    def _counts(self, start: int) -> tuple[int, int | None]:
        close = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at : max(close, self._at)].partition(",")
        numbers = [n for n in (low, high) if n]
        if close < 0 or not low or not all(n.isascii() and n.isdecimal() for n in numbers):
            raise RegexError("a repetition is written {2}, {2,} or {2,5}; a brace is \\{", start)
        if any(len(n) > 3 or int(n) > MAX_SIZE for n in numbers):  # noqa: PLR2004
            raise RegexError(f"at most {MAX_SIZE} repetitions", start)
        self._at = close + 1
        if not comma:
            return int(low), int(low)
        if high and int(high) < int(low):
            raise RegexError("the numbers are in the wrong order", start)
        return int(low), int(high) if high else None

    def _atom(self) -> _Part:
        start = self._at
        char = self._pattern[start]
        self._at += 1
        self._atom_count += 1
        if self._atom_count > _MAX_ATOMS:
            raise RegexError("the pattern repeats too much", start)
        if char == "(":
            return self._group(start)
        if char == "[":
            return self._position(*self._bracket(start))
        if char == "\\":
            return self._position(self._escape(start))
        if char in _MARKS:
            return self._position(_MARKS[char])
        if char in _NOT_LITERAL:
            raise RegexError(
                f"{char!r} has nothing to work on; as a character it is \\{char}", start
            )
        return self._position(char.__eq__)

    def _group(self, start: int) -> _Part:
        if self._take("?") and not self._take(":"):
            raise RegexError("only plain groups are offered: (...) and (?:...)", start)
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise RegexError(f"groups are nested more than {_MAX_NESTING} deep", start)
        part = self._alternatives()
        if not self._take(")"):
            raise RegexError("this '(' is not closed", start)
        self._depth -= 1
        return part

    def _position(self, matches: Matches, size: int = 1) -> _Part:
        self.size += size
        if self.size > MAX_SIZE:
            raise RegexError(f"the pattern is longer than {MAX_SIZE} characters", self._at)
        bit = 1 << len(self.matches)
        self.matches.append(matches)
        self.follow.append(0)
        return _Part(bit, bit, empty=False)

    def _escape(self, start: int) -> Matches:
        char = self._escapes[self._at : self._at + 1]
        self._at += 1
        if not char:
            raise RegexError("the pattern ends with a backslash", start)
        if char.lower() in _CLASSES:
            inside = _CLASSES[char.lower()]
            return inside if char.islower() else _none_of([inside])
        if char in _CONTROL:
            return _CONTROL[char].__eq__
        if _is_word(char):
            raise RegexError(f"\\{char} is not offered", start)
        return char.__eq__

    def _bracket(self, start: int) -> tuple[Matches, int]:
        """Read a class; return it and the number of its members."""
        negated = self._take("^")
        members: list[Matches] = []
        while not (members and self._take("]")):  # the first one is a character, as in []a]
            if not self._peek():
                raise RegexError("this '[' is not closed", start)
            members.append(self._bracket_member())
        return _none_of(members) if negated else _any_of(members), len(members)

    def _bracket_member(self) -> Matches:
        start = self._at
        low, matches = self._bracket_char()
        if self._peek() != "-" or self._pattern.startswith("-]", self._at):
            return matches
        self._at += 1
        if not self._peek():
            return matches  # the bracket is not closed, which the caller says
        high, _ = self._bracket_char()
        if low is None or high is None or low > high:
            raise RegexError("this range has no order", start)
        return _range(low, high)

    def _bracket_char(self) -> tuple[str | None, Matches]:
        start = self._at
        char = self._pattern[start]
        self._at += 1
        if char != "\\":
            return char, char.__eq__
        escaped = self._pattern[self._at : self._at + 1]
        matches = self._escape(start)
        if escaped in _CLASSES:
            return None, matches
        return _CONTROL.get(escaped, escaped), matches


def _range(low: str, high: str) -> Matches:
    return lambda char: low <= char <= high


def _any_of(members: list[Matches]) -> Matches:
    if len(members) == 1:
        return members[0]

    def matches(char: str) -> bool:
        for member in members:  # noqa: SIM110 - a generator costs more than the members
            if member(char):
                return True
        return False

    return matches


def _none_of(members: list[Matches]) -> Matches:
    is_member = _any_of(members)
    return lambda char: not is_member(char) and char not in (_START, _END)

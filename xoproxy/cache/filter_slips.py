"""Slips in filters: words that would find nothing, because they were meant as something else.

Other languages write `a and b`, `x=1` and `web*`. Here these are texts to be looked for, and
whoever writes them would wonder at an empty list. They are refused with the way to say it; in
quotes they are what they are.
"""

import re
from collections.abc import Collection

_OPERATORS = {
    "and": "side by side is and: a:1 b:2",
    "&&": "side by side is and: a:1 b:2",
    "&": "side by side is and: a:1 b:2",
    "or": "write a:1 | b:2",
    "not": "write !a:1",
}
_COMPARED = re.compile(r'(?P<path>[\w.$-]+?)(?P<not>!?)(?P<op>==?|[<>]=?)(?P<value>[^"]*)')


def mistaken(word: str, fields: Collection[str]) -> str | None:
    """Say what a bare word was probably meant as; None when it is one.

    Args:
        word: as written, without quotes.
        fields: of all classes that are asked for.
    """
    operator = _OPERATORS.get(word.lower())
    if operator is not None:
        return operator
    compared = _COMPARED.fullmatch(word)
    if compared is not None and _begins(compared["path"], fields):
        op = "" if compared["op"] in ("=", "==") else compared["op"]
        return f"write {compared['path']}:{compared['not']}{op}{compared['value'] or 'value'}"
    if word.startswith("-") and _begins(word[1:], fields):
        return f"write !{word[1:]}"
    field, dot, key = word.partition(".")
    if dot and key and field in fields:
        return f"write !{word}:null"
    return mistaken_value(word)


def mistaken_value(text: str) -> str | None:
    """Say what a value, or a word, without quotes was probably meant as."""
    if text.startswith("'"):
        return 'only " is a quotation mark'
    if "*" not in text:
        return None
    if not text.strip("*"):
        return "write !field:null for whatever is there"
    pattern = ".*".join(map(_escaped, text.split("*")))
    pattern = f"^{pattern}$".removeprefix("^.*").removesuffix(".*$")
    return f"there are no wildcards: write /{pattern}/i"


def _escaped(text: str) -> str:
    return re.sub(r"[^\w\s:=,;@%-]", r"\\\g<0>", text)


def _begins(path: str, fields: Collection[str]) -> bool:
    return path.partition(".")[0] in fields

"""How the administration commands print: tables for people, JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xoproxy.cli.exits import Exit

_STATE_STYLE = {"live": "green", "connecting": "cyan", "stale": "yellow", "error": "red"}
_UNLIMITED = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """What a command has to say.

    Args:
        value: for programs.
        show: prints it for people.
        code: that the command ends with.
    """

    value: object
    show: Callable[[], None]
    code: Exit = Exit.OK


def said(value: object, text: str) -> Result:
    """Return a result that people read as one line."""
    return Result(value, partial(print, plain(text)))


def row(value: Mapping[str, Any], names: Mapping[str, str]) -> Result:
    """Return one object; see `print_members`."""
    return Result(value, partial(print_members, value, names))


def rows(values: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> Result:
    """Return a table; see `print_rows`."""
    return Result(values, partial(print_rows, values, columns, empty))


def print_json(value: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
    """Print a table.

    Args:
        rows: what the API returned.
        columns: member -> heading.
        empty: said instead of a table without rows.
    """
    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Text, for a name like "[red]" is no markup
        cells = [Text(cell(row.get(name)), _style(name, row.get(name))) for name in columns]
        table.add_row(*cells)
    console = Console()
    if not console.is_terminal:
        console.width = _UNLIMITED  # piped into grep, a row is a line
    console.print(table)


def print_members(row: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Print one object, a member per line."""
    width = max(map(len, names.values())) + 2
    for name, heading in names.items():
        print(f"{heading + ':':<{width}}{cell(row.get(name))}")


def cell(value: object) -> str:
    """Write a value for people."""
    match value:
        case None | []:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case {"code": code, "message": message}:
            text = f"{message} ({code})"
        case {"class": cls, "name": name, "uuid": uuid}:
            text = f"{cls} {name or uuid or '-'}"
        case {"name": text} | {"text": text}:
            pass
        case list():
            text = ", ".join(map(cell, value))
        case str() if _is_moment(value):
            text = datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case _:
            text = str(value)
    return plain(text)


def plain(text: str) -> str:
    """Replace what could command the terminal: texts come from elsewhere."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_moment(text: str) -> bool:
    if not text[:4].isdigit() or "T" not in text:
        return False
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _style(name: str, value: object) -> str:
    return _STATE_STYLE.get(str(value), "") if name == "state" else ""

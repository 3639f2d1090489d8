"""How commands end: their exit codes, and one line on standard error when they fail."""

import sys
from enum import IntEnum
from typing import NoReturn

import typer


class Exit(IntEnum):
    """Exit codes of the commands."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORISED = 4


def fail(message: str, code: Exit = Exit.FAILURE) -> NoReturn:
    """End the command with one line on standard error."""
    print(f"xoproxy: {message}", file=sys.stderr)
    raise typer.Exit(code)

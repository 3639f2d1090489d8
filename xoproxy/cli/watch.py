"""`xoproxy watch`: what a running proxy shows, as a live table or as one message a line."""

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xoproxy.cli import watching
from xoproxy.cli.access import access
from xoproxy.cli.exits import Exit, fail
from xoproxy.client.errors import Error


class Encoding(StrEnum):
    """How messages travel."""

    JSON = "json"
    MSGPACK = "msgpack"


def watch(
    url: Annotated[
        str | None, typer.Argument(help="Of the proxy.  [default: XOPROXY_URL or this machine]")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--as", metavar="USER", help="Sign in as this user.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--as-password-file", metavar="FILE", help="The user's password, on its first line."
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="CLASS", help="XAPI class: VM, host, SR, ...  Repeatable."),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPR", help="For example: power_state:Running"),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="FIELD", help="Only these fields.  Repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one protocol message a line.")
    ] = False,
    encoding: Annotated[
        Encoding, typer.Option(help="How messages travel.", case_sensitive=False)
    ] = Encoding.JSON,
) -> None:
    """Show what happens in the pools: a live table, or with --json one message a line.

    Signs in with XOPROXY_TOKEN, or as --as USER with --as-password-file, XOPROXY_PASSWORD or a
    prompt. Reconnects by itself and goes on where it was. The table leaves out templates, VM
    snapshots and control domains unless there is a --filter.

    Ends with 0 on Ctrl-C, 1 on a failure, 2 on wrong usage, 3 when the proxy cannot be reached, 4
    when it does not accept the credentials.
    """
    if not as_json and not sys.stdout.isatty():
        fail("the table needs a terminal: use --json", Exit.USAGE)
    try:
        watching.run(
            access(url, user, password_file),
            classes or ["VM"],
            filter_,
            fields or [],
            "msgpack" if encoding is Encoding.MSGPACK else "json",
            table=not as_json,
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(Exit.OK) from None
    except BrokenPipeError:  # `| head` has what it wanted; Python shall not flush into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.OK) from None
    except Error as error:
        fail(str(error), watching.exit_code(error))

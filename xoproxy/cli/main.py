"""The command `xoproxy`: puts the commands together and ends them all in one way.

Only the module of the command that was asked for is imported: the proxy, the simulator and the
table on the terminal weigh half a second each, and `xoproxy --help` shall answer at once.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from xoproxy import __version__
from xoproxy.cli.exits import Exit
from xoproxy.errors import ConfigError

COMMANDS = {
    "demo": "Run a proxy on simulated pools: no hypervisor, no set-up, nothing kept.",
    "serve": "Run the proxy in the foreground until SIGINT or SIGTERM.",
    "watch": "Show what happens in the pools: a live table, or with --json one message a line.",
    "pool": "Pools: add, check, list, show, enable, disable, accept, remove.",
    "user": "Users: add, list, show, passwd, role, enable, disable, unlock, remove.",
    "group": "Groups: add, list, show, add-member, remove-member, add-group, remove-group, remove.",
    "role": "Roles: list, show, permissions, put, remove.",
    "grant": "Grants: add, list, why, remove.",
    "session": "Browser sessions: list, revoke.",
    "token": "API tokens for programs: add, list, revoke.",
    "audit": "The audit log: export, verify.",
    "storage": "The database, while no proxy is asked: backup, restore, rotate-key.",
    "simulate": "Run a simulated XAPI pool.",
}
"""Name -> first line of its help. The module `xoproxy.cli.<name>` has a function of that name, or a
Typer named `app` with commands of its own. A test keeps the lines equal to the modules'."""

_EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 the proxy cannot be reached, "
    "4 not signed in or not allowed. Errors are one line on standard error."
)
_COMPLETION = "_XOPROXY_COMPLETE"  # set by the shell when it asks for completions


def application(*wanted: str) -> typer.Typer:
    """Build the command line.

    Args:
        wanted: commands to be there whole; the others only with their name and first line.
    """
    app = typer.Typer(
        name="xoproxy",
        help="A caching, event-driven proxy between many clients and many XAPI pools.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # they show local variables, passwords among them
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        if name not in wanted:
            app.command(name, help=summary)(_not_loaded)
            continue
        module = import_module(f"xoproxy.cli.{name}")
        if function := getattr(module, name, None):
            app.command(name)(function)
        else:
            app.add_typer(module.app, name=name)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every expected error becomes one line."""
    named = [argument for argument in arguments if not argument.startswith("-")][:1]
    app = application(*(COMMANDS if _COMPLETION in os.environ else named))
    try:
        outcome = app(list(arguments), prog_name="xoproxy", standalone_mode=False)
    except ConfigError as error:
        message, code = str(error), Exit.USAGE
    except typer.TyperException as error:
        message, code = _one_line(error), Exit(error.exit_code)
    except typer.Abort:  # Ctrl-D at a prompt
        message, code = "aborted", Exit.FAILURE
    else:
        return outcome if isinstance(outcome, int) else Exit.OK
    if message:
        print(f"xoproxy: {message}", file=sys.stderr)
    return code


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"xoproxy {__version__}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Carry the options of the program itself."""


def _not_loaded() -> None:
    raise AssertionError("the command that is run is always loaded")


def _one_line(error: typer.TyperException) -> str:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{message} See: {context.command_path} --help" if message and context else message

"""`xoproxy user`: who may sign in."""

import os
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from xoproxy.cli.exits import Exit, fail
from xoproxy.cli.output import Result, row, rows, said
from xoproxy.cli.remote import Remote, on_proxy
from xoproxy.settings import read_secret

app = typer.Typer(
    no_args_is_help=True,
    help="Users: add, list, show, passwd, role, enable, disable, unlock, remove.",
)

_COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "role": "ROLE",
    "enabled": "ENABLED",
    "locked": "LOCKED",
    "groups": "GROUPS",
    "created_at": "ADDED",
}
_MEMBERS = {
    "id": "Id",
    "name": "Name",
    "role": "Role",
    "enabled": "Enabled",
    "must_change": "Must change password",
    "locked": "Locked out",
    "groups": "Groups",
    "created_at": "Added",
}
User = Annotated[str, typer.Argument(metavar="USER", help="Name or id.", show_default=False)]
MustChange = Annotated[
    bool,
    typer.Option("--must-change", help="He has to choose another password before anything else."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="File with the user's password; else a prompt, or the first line of standard input.",
        show_default=False,
    ),
]


@on_proxy(app)
def add(
    proxy: Remote,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="How he signs in.", show_default=False)
    ],
    password_file: PasswordFile = None,
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="That he has on everything: viewer, operator, user, administrator, or your own.",
        ),
    ] = "none",
    must_change: MustChange = False,
) -> Result:
    """Add a user. Without a role he sees nothing until something is granted to him."""
    password = _new_password(name, password_file)
    body = {"name": name, "password": password, "role": role, "must_change": must_change}
    user = proxy.post("users", body=body)
    text = f"Added {user['name']} ({user['id']})."
    if role == "none":
        text += f" Let him see something: xoproxy grant add --user {quote(user['name'])} ..."
    return said(user, text)


@on_proxy(app, "list")
def list_users(proxy: Remote) -> Result:
    """List all users."""
    return rows(proxy.get("users"), _COLUMNS, "No users.")


@on_proxy(app)
def show(
    proxy: Remote,
    user: Annotated[
        str | None,
        typer.Argument(metavar="[USER]", help="Name or id; without, yourself.", show_default=False),
    ] = None,
) -> Result:
    """Show one user."""
    return row(proxy.get("me") if user is None else proxy.get("users", user), _MEMBERS)


@on_proxy(app)
def passwd(
    proxy: Remote,
    user: Annotated[
        str | None,
        typer.Argument(
            metavar="[USER]",
            help="Name or id; without, yourself: then the old password is needed.",
            show_default=False,
        ),
    ] = None,
    password_file: PasswordFile = None,
    must_change: MustChange = False,
) -> Result:
    """Change a password; connections that were opened with the old one are closed."""
    if user is not None:
        name = proxy.get("users", user)["name"]
        body = {"password": _new_password(name, password_file), "must_change": must_change}
        changed = proxy.patch("users", user, body=body)
        return said(changed, f"Changed the password of {changed['name']} ({changed['id']}).")
    if must_change:
        fail("--must-change is for another user: name him", Exit.USAGE)
    me = proxy.get("me")
    old = proxy.password or _old_password(me["name"])
    proxy.put("me", "password", body={"old": old, "new": _new_password(me["name"], password_file)})
    return said(me, "Changed your password.")


@on_proxy(app, "role")
def change_role(
    proxy: Remote,
    user: User,
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help='"none" takes it away.', show_default=False)
    ],
) -> Result:
    """Give a user another role on everything; his grants stay."""
    changed = proxy.patch("users", user, body={"role": role})
    return said(changed, f"{changed['name']} ({changed['id']}) has role {changed['role']} now.")


@on_proxy(app)
def enable(proxy: Remote, user: User) -> Result:
    """Let a user sign in again."""
    changed = proxy.patch("users", user, body={"enabled": True})
    return said(changed, f"Enabled {changed['name']} ({changed['id']}).")


@on_proxy(app)
def disable(proxy: Remote, user: User) -> Result:
    """Let a user sign in no more, and close his connections; what he was granted is kept."""
    changed = proxy.patch("users", user, body={"enabled": False})
    return said(changed, f"Disabled {changed['name']} ({changed['id']}).")


@on_proxy(app)
def unlock(proxy: Remote, user: User) -> Result:
    """Forget sign-ins of a user that failed, so that he need not wait any more."""
    found = proxy.post("users", user, "unlock")
    return said(found, f"Unlocked {found['name']} ({found['id']}).")


@on_proxy(app)
def remove(proxy: Remote, user: User) -> Result:
    """Forget a user, his tokens and his grants, and close his connections."""
    found = proxy.get("users", user)
    proxy.delete("users", found["id"])
    removed = {"id": found["id"], "name": found["name"]}
    return said(removed, f"Removed {found['name']} ({found['id']}).")


def _new_password(name: str, password_file: Path | None) -> str:
    if password_file is not None:
        return read_secret(password_file, "--password-file")
    if sys.stdin.isatty():
        prompt = f"New password of {name}"
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    if password := sys.stdin.readline().rstrip("\r\n"):
        return password
    return fail("give the password by --password-file FILE, or on standard input", Exit.USAGE)


def _old_password(name: str) -> str:
    if password := os.environ.get("XOPROXY_PASSWORD"):
        return password
    if not sys.stdin.isatty():
        fail("set XOPROXY_PASSWORD to your old password, or sign in by it (--as)", Exit.USAGE)
    return str(typer.prompt(f"Old password of {name}", hide_input=True, err=True))

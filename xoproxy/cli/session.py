"""`xoproxy session`: where people are signed in."""

from typing import Annotated

import typer

from xoproxy.cli.output import Result, rows, said
from xoproxy.cli.remote import Remote, on_proxy

_COLUMNS = {
    "id": "ID",
    "user": "USER",
    "address": "FROM",
    "user_agent": "BROWSER",
    "created_at": "SIGNED IN",
    "last_used_at": "LAST USED",
    "ends_at": "ENDS",
}

app = typer.Typer(no_args_is_help=True, help="Browser sessions: list, revoke.")


@on_proxy(app, "list")
def list_sessions(
    proxy: Remote,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="Only this user's.", show_default=False),
    ] = None,
) -> Result:
    """List where you are signed in by a browser; as an administrator, everybody."""
    query = {"user": user} if user is not None else {}
    return rows(proxy.get("sessions", **query), _COLUMNS, "Nobody is signed in by a browser.")


@on_proxy(app)
def revoke(
    proxy: Remote,
    session: Annotated[
        str,
        typer.Argument(metavar="SESSION", help="Its id (session list).", show_default=False),
    ],
) -> Result:
    """Sign a browser out; what it has open is closed at once."""
    proxy.delete("sessions", session)
    return said({"id": session}, f"Signed out {session}.")

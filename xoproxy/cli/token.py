"""`xoproxy token`: API tokens for programs."""

from typing import Annotated, Any

import typer

from xoproxy.cli.exits import fail
from xoproxy.cli.output import Result, rows, said
from xoproxy.cli.remote import Remote, on_proxy

_DAY_S = 86_400
_COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "user": "USER",
    "role": "BOUND BY",
    "created_at": "CREATED",
    "last_used_at": "LAST USED",
    "expires_at": "EXPIRES",
}

app = typer.Typer(no_args_is_help=True, help="API tokens for programs: add, list, revoke.")


@on_proxy(app)
def add(
    proxy: Remote,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)
    ],
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            metavar="USER",
            help="Make it for this user, as an administrator; else for you.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="Give it no more than this role has; else all of the user's rights.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            min=1,
            max=3650,
            help="Days until it expires; without, it does not.",
            show_default=False,
        ),
    ] = None,
) -> Result:
    """Make a token with your rights. It is shown this once; keep it like a password."""
    body: dict[str, object] = {"name": name}
    if user is not None:
        body["user"] = user
    if role is not None:
        body["role"] = role
    if days is not None:
        body["expires_in_s"] = days * _DAY_S
    token = proxy.post("tokens", body=body)
    return said({"id": token["id"], "token": token["token"]}, token["token"])


@on_proxy(app, "list")
def list_tokens(proxy: Remote) -> Result:
    """List your tokens that are not revoked; as an administrator, everybody's."""
    empty = "No tokens yet. Make one: xoproxy token add NAME"
    return rows(proxy.get("tokens"), _COLUMNS, empty)


@on_proxy(app)
def revoke(
    proxy: Remote,
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its id, or its name.", show_default=False)
    ],
) -> Result:
    """Revoke a token for ever; connections that it opened are closed at once."""
    found = _find(proxy.get("tokens"), token)
    proxy.delete("tokens", found["id"])
    return said({"id": found["id"]}, f"Revoked {found['name']} ({found['id']}).")


def _find(tokens: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Return the token with this id, else the only one with this name."""
    matches = [token for token in tokens if token["id"] == wanted] or [
        token for token in tokens if token["name"] == wanted
    ]
    if len(matches) > 1:
        fail(f"{len(matches)} tokens are named {wanted!r}; give an id (xoproxy token list)")
    if not matches:
        fail(f"there is no token {wanted!r}; see xoproxy token list")
    return matches[0]

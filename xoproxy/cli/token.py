"""`xoproxy token`: API tokens for programs."""

from typing import Annotated, Any

import typer

from xoproxy.cli.exits import fail
from xoproxy.cli.output import print_json, print_rows
from xoproxy.cli.remote import AsPasswordFile, AsUser, Json, Url, remote

_DAY_S = 86_400
_COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "user": "USER",
    "created_at": "CREATED",
    "last_used_at": "LAST USED",
    "expires_at": "EXPIRES",
}

app = typer.Typer(no_args_is_help=True, help="API tokens for programs: add, list, revoke.")


@app.command()
def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)
    ],
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
    url: Url = None,
    as_user: AsUser = None,
    as_password_file: AsPasswordFile = None,
    as_json: Json = False,
) -> None:
    """Make a token with your rights. It is shown this once; keep it like a password."""
    body: dict[str, object] = {"name": name}
    if days is not None:
        body["expires_in_s"] = days * _DAY_S
    token = remote(url, as_user, as_password_file).post("tokens", body=body)
    if as_json:
        print_json({"id": token["id"], "token": token["token"]})
    else:
        print(token["token"])


@app.command("list")
def list_tokens(
    url: Url = None,
    as_user: AsUser = None,
    as_password_file: AsPasswordFile = None,
    as_json: Json = False,
) -> None:
    """List the tokens that are not revoked."""
    tokens = remote(url, as_user, as_password_file).get("tokens")
    if as_json:
        print_json(tokens)
    else:
        print_rows(tokens, _COLUMNS, "No tokens yet. Make one: xoproxy token add NAME")


@app.command()
def revoke(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its id, or its name.", show_default=False)
    ],
    url: Url = None,
    as_user: AsUser = None,
    as_password_file: AsPasswordFile = None,
    as_json: Json = False,
) -> None:
    """Revoke a token for ever; connections that it opened are closed at once."""
    proxy = remote(url, as_user, as_password_file)
    found = _find(proxy.get("tokens"), token)
    proxy.delete("tokens", found["id"])
    if as_json:
        print_json({"id": found["id"]})
    else:
        print(f"Revoked {found['name']} ({found['id']}).")


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

"""`xoproxy grant`: who may see and do what, and why."""

from functools import partial
from typing import Annotated, Any

import typer

from xoproxy.cli.exits import Exit, fail
from xoproxy.cli.output import Result, plain, print_rows, rows, said
from xoproxy.cli.remote import Remote, on_proxy

app = typer.Typer(no_args_is_help=True, help="Grants: add, list, why, remove.")

_COLUMNS = {
    "id": "ID",
    "user": "USER",
    "group": "GROUP",
    "deny": "DENY",
    "role": "ROLE",
    "scope": "ON",
    "created_at": "GRANTED",
}
_REASONS = {
    "grant": "GRANT",
    "to": "TO",
    "deny": "DENY",
    "role": "ROLE",
    "scope": "ON",
    "through": "THROUGH",
}
User = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", help="A user's name or id.", show_default=False),
]
Group = Annotated[
    str | None,
    typer.Option("--group", metavar="GROUP", help="A group's name or id.", show_default=False),
]
_OBJECT = "POOL/UUID"


@on_proxy(app)
def add(
    proxy: Remote,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="See xoproxy role list.")],
    user: User = None,
    group: Group = None,
    everything: Annotated[bool, typer.Option("--all", help="On everything in all pools.")] = False,
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="POOL", help="On a pool.", show_default=False),
    ] = None,
    object_: Annotated[
        str | None,
        typer.Option(
            "--object",
            metavar=_OBJECT,
            help="On an object, and what goes with it.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="TAG", help="On what bears a tag.", show_default=False),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="EXPR",
            help="On what a filter finds: name_label:/^dev-/",
            show_default=False,
        ),
    ] = None,
    deny: Annotated[
        bool, typer.Option("--deny", help="Take it away instead; a denial always wins.")
    ] = False,
) -> Result:
    """Give a user or a group a role on something; it acts on open connections at once."""
    scopes: list[dict[str, str]] = []
    if everything:
        scopes.append({"kind": "everything"})
    if pool is not None:
        scopes.append({"kind": "pool", "pool": pool})
    if object_ is not None:
        scopes.append({"kind": "object", **_place(object_)})
    if tag is not None:
        scopes.append({"kind": "tag", "value": tag})
    if filter_ is not None:
        scopes.append({"kind": "filter", "value": filter_})
    if len(scopes) != 1:
        fail("give one of --all, --pool, --object, --tag, --filter", Exit.USAGE)
    body = {"role": role, "scope": scopes[0], "deny": deny, **_one(user, group)}
    grant = proxy.post("grants", body=body)
    to = f"user {grant['user']['name']}" if grant["user"] else f"group {grant['group']['name']}"
    done = "Denied" if deny else "Granted"
    return said(grant, f"{done} {role} on {grant['scope']['text']} to {to} ({grant['id']}).")


@on_proxy(app, "list")
def list_grants(
    proxy: Remote,
    user: User = None,
    group: Group = None,
) -> Result:
    """List grants: all, those of a user (by himself or by his groups), or those of a group."""
    wanted = _one(user, group) if user or group else {}
    empty = "No grants. Give one: xoproxy grant add --user USER --role viewer --pool POOL"
    return rows(proxy.get("grants", **wanted), _COLUMNS, empty)


@on_proxy(app)
def why(
    proxy: Remote,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Name or id.")],
    object_: Annotated[str, typer.Option("--object", metavar=_OBJECT, help="To what.")],
    permission: Annotated[
        str,
        typer.Option("--permission", metavar="PERMISSION", help="See xoproxy role permissions."),
    ] = "view",
) -> Result:
    """Explain why a user may, or may not, do something to an object."""
    place = _place(object_)
    found = proxy.get(
        *("grants", "why"),
        user=user,
        pool=place["pool"],
        object=place["value"],
        permission=permission,
    )
    return Result(found, partial(_print_explanation, found))


@on_proxy(app)
def remove(
    proxy: Remote,
    grant: Annotated[
        str,
        typer.Argument(metavar="ID", help="See xoproxy grant list.", show_default=False),
    ],
) -> Result:
    """Take a grant back; it acts on open connections at once."""
    proxy.delete("grants", grant)
    return said({"id": grant}, f"Removed grant {grant}.")


def _one(user: str | None, group: str | None) -> dict[str, str]:
    if (user is None) == (group is None):
        fail("give either --user or --group", Exit.USAGE)
    return {"user": user} if user is not None else {"group": str(group)}


def _place(text: str) -> dict[str, str]:
    pool, _, uuid = text.rpartition("/")
    if not (pool and uuid):
        fail(
            f"{text!r} is no {_OBJECT}: write the pool's name or id, a slash, the uuid", Exit.USAGE
        )
    return {"pool": pool, "value": uuid}


def _print_explanation(found: dict[str, Any]) -> None:
    print(plain(found["text"]))
    if found["because"]:
        print()
        print_rows(found["because"], _REASONS, "")

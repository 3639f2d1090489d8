"""`xoproxy group`: users who are granted something together."""

from typing import Annotated, Any

import typer

from xoproxy.cli.output import Result, row, rows, said
from xoproxy.cli.remote import Remote, on_proxy

app = typer.Typer(
    no_args_is_help=True,
    help="Groups: add, list, show, add-member, remove-member, add-group, remove-group, remove.",
)

_COLUMNS = {"id": "ID", "name": "NAME", "members": "MEMBERS", "groups": "GROUPS"}
_MEMBERS = {
    "id": "Id",
    "name": "Name",
    "members": "Members",
    "groups": "Groups",
    "created_at": "Added",
}
Group = Annotated[str, typer.Argument(metavar="GROUP", help="Name or id.", show_default=False)]
Member = Annotated[
    str, typer.Argument(metavar="USER", help="Name or id of a user.", show_default=False)
]
Inner = Annotated[
    str, typer.Argument(metavar="INNER", help="Name or id of a group.", show_default=False)
]


@on_proxy(app)
def add(
    proxy: Remote,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="How to call it.", show_default=False)
    ],
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--member", metavar="USER", help="A user in it.  Repeatable.", show_default=False
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="GROUP",
            help="A group whose members are members here, too.  Repeatable.",
            show_default=False,
        ),
    ] = None,
) -> Result:
    """Make a group; what is granted to it is granted to all who are in it."""
    body = {"name": name, "members": members or [], "groups": groups or []}
    group = proxy.post("groups", body=body)
    return said(group, f"Added {group['name']} ({group['id']}).")


@on_proxy(app, "list")
def list_groups(proxy: Remote) -> Result:
    """List all groups."""
    return rows(proxy.get("groups"), _COLUMNS, "No groups yet. Add one: xoproxy group add NAME")


@on_proxy(app)
def show(proxy: Remote, group: Group) -> Result:
    """Show one group."""
    return row(proxy.get("groups", group), _MEMBERS)


@on_proxy(app, "add-member")
def add_member(proxy: Remote, group: Group, user: Member) -> Result:
    """Put a user into a group."""
    return _changed(proxy.put("groups", group, "members", user))


@on_proxy(app, "remove-member")
def remove_member(proxy: Remote, group: Group, user: Member) -> Result:
    """Take a user out of a group."""
    return _changed(proxy.delete("groups", group, "members", user))


@on_proxy(app, "add-group")
def add_group(proxy: Remote, group: Group, inner: Inner) -> Result:
    """Put a group into a group: the members of INNER are members of GROUP, too."""
    return _changed(proxy.put("groups", group, "groups", inner))


@on_proxy(app, "remove-group")
def remove_group(proxy: Remote, group: Group, inner: Inner) -> Result:
    """Take a group out of a group."""
    return _changed(proxy.delete("groups", group, "groups", inner))


@on_proxy(app)
def remove(proxy: Remote, group: Group) -> Result:
    """Forget a group and its grants; its members stay."""
    found = proxy.get("groups", group)
    proxy.delete("groups", found["id"])
    removed = {"id": found["id"], "name": found["name"]}
    return said(removed, f"Removed {found['name']} ({found['id']}).")


def _changed(group: dict[str, Any]) -> Result:
    held = [one["name"] for one in group["members"]]
    held += [f"group {one['name']}" for one in group["groups"]]
    who = ", ".join(held) or "nobody"
    return said(group, f"{group['name']} ({group['id']}) holds {who} now.")

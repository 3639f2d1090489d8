"""`xoproxy role`: names for permissions."""

from functools import partial
from typing import Annotated

import typer

from xoproxy.cli.output import Result, print_rows, row, rows, said
from xoproxy.cli.remote import Remote, on_proxy

app = typer.Typer(no_args_is_help=True, help="Roles: list, show, permissions, put, remove.")

_COLUMNS = {"name": "NAME", "built_in": "BUILT IN", "permissions": "PERMISSIONS"}
_MEMBERS = {"name": "Name", "built_in": "Built in", "permissions": "Permissions"}
Role = Annotated[str, typer.Argument(metavar="ROLE", show_default=False)]


@on_proxy(app, "list")
def list_roles(proxy: Remote) -> Result:
    """List all roles."""
    return rows(proxy.get("roles"), _COLUMNS, "No roles.")


@on_proxy(app)
def show(proxy: Remote, role: Role) -> Result:
    """Show one role."""
    return row(proxy.get("roles", role), _MEMBERS)


@on_proxy(app)
def permissions(proxy: Remote) -> Result:
    """List what roles are made of. A name covers all below it: vm.power has vm.power.start."""
    found = proxy.get("permissions")
    columns = {"name": "PERMISSION", "purpose": "TO"}
    return Result(found, partial(print_rows, found, columns, ""))


@on_proxy(app)
def put(
    proxy: Remote,
    role: Role,
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="PERMISSION...", help="See xoproxy role permissions.", show_default=False
        ),
    ],
) -> Result:
    """Make a role, or change what it is made of; whoever has it has that at once."""
    found = proxy.put("roles", role, body={"permissions": given})
    return said(found, f"Role {found['name']} has {', '.join(found['permissions'])} now.")


@on_proxy(app)
def remove(proxy: Remote, role: Role) -> Result:
    """Forget a role that nobody has."""
    proxy.delete("roles", role)
    return said({"name": role}, f"Removed role {role}.")

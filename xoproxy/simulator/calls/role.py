"""Classes `role` and `subject`: who may do what."""

from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError


@operation("role.get_permissions")
def get_permissions(call: Call, role: str) -> list[str]:
    """List the permissions below a role; those have no roles below them."""
    return sorted(r for r in _below(call, role) if not call.db.get("role", r, "subroles"))


@operation("role.get_permissions_name_label")
def get_permissions_name_label(call: Call, role: str) -> list[str]:
    return [call.db.get("role", r, "name_label") for r in get_permissions(call, role)]


@operation("role.get_by_permission")
def get_by_permission(call: Call, permission: str) -> list[str]:
    call.db.row("role", permission)
    return [r for r in call.db.refs("role") if r != permission and permission in _below(call, r)]


@operation("role.get_by_permission_name_label")
def get_by_permission_name_label(call: Call, label: str) -> list[str]:
    named = [r for r in call.db.refs("role") if call.db.get("role", r, "name_label") == label]
    return get_by_permission(call, named[0]) if named else []


@operation("subject.add_to_roles")
def add_to_roles(call: Call, subject: str, role: str) -> None:
    roles = call.db.get("subject", subject, "roles")
    if not call.db.exists("role", role):
        raise XapiError("ROLE_NOT_FOUND")
    if role in roles:
        raise XapiError("ROLE_ALREADY_EXISTS")
    call.db.write("subject", subject, "roles", [role, *roles])


@operation("subject.remove_from_roles")
def remove_from_roles(call: Call, subject: str, role: str) -> None:
    roles = call.db.get("subject", subject, "roles")
    if role not in roles:
        raise XapiError("ROLE_NOT_FOUND")
    call.db.write("subject", subject, "roles", [r for r in roles if r != role])


@operation("subject.get_permissions_name_label")
def get_subject_permissions(call: Call, subject: str) -> list[str]:
    roles = call.db.get("subject", subject, "roles")
    return sorted({p for role in roles for p in get_permissions_name_label(call, role)})


def _below(call: Call, role: str) -> set[str]:
    """Collect a role and all that it includes."""
    found: set[str] = set()
    waiting = [role]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += call.db.get("role", current, "subroles")
    return found

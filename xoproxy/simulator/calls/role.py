"""Classes `role` and `subject`: who may do what."""

from collections.abc import Callable

from xoproxy.simulator import rbac
from xoproxy.simulator.calls import where
from xoproxy.simulator.calls.registry import Call, RecordResult, RecordsResult, operation
from xoproxy.simulator.database import Row, RowMissingError
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json


def _row(call: Call, ref: str) -> Row:
    try:
        return rbac.roles(call.db.model)[ref]
    except KeyError:
        raise RowMissingError("role", ref) from None


def _rows(call: Call) -> list[Row]:
    return list(rbac.roles(call.db.model).values())


def _getter(field: str) -> Callable[[Call, str], Json]:
    return lambda call, role: _row(call, role).fields[field]


for _field in ("is_internal", "name_description", "name_label", "subroles", "uuid"):
    operation(f"role.get_{_field}")(_getter(_field))


@operation("role.get_all")
def get_all(call: Call) -> list[str]:
    return [row.ref for row in _rows(call)]


@operation("role.get_record")
def get_record(call: Call, role: str) -> RecordResult:
    return RecordResult(call.db.model.classes["role"], _row(call, role))


@operation("role.get_all_records")
def get_all_records(call: Call) -> RecordsResult:
    return RecordsResult(call.db.model.classes["role"], _rows(call))


@operation("role.get_all_records_where")
def get_all_records_where(call: Call, expression: str) -> RecordsResult:
    wanted = where.parse(expression)
    found = [row for row in _rows(call) if wanted({"_ref": row.ref, **row.fields})]
    return RecordsResult(call.db.model.classes["role"], found)


@operation("role.get_by_uuid")
def get_by_uuid(call: Call, uuid: str) -> str:
    for row in _rows(call):
        if row.fields["uuid"] == uuid:
            return row.ref
    raise XapiError("UUID_INVALID", "role", uuid)


@operation("role.get_by_name_label")
def get_by_name_label(call: Call, label: str) -> list[str]:
    return [row.ref for row in _rows(call) if row.fields["name_label"] == label]


@operation("role.get_permissions")
def get_permissions(call: Call, role: str) -> list[str]:
    """List the permissions of a role, which itself is one when it has nothing below it."""
    row = _row(call, role)
    below: list[str] = row.fields["subroles"]
    return below or [row.ref]


@operation("role.get_permissions_name_label")
def get_permissions_name_label(call: Call, role: str) -> list[str]:
    return [_row(call, ref).fields["name_label"] for ref in get_permissions(call, role)]


@operation("role.get_by_permission")
def get_by_permission(call: Call, permission: str) -> list[str]:
    _row(call, permission)
    return [row.ref for row in _rows(call) if permission in row.fields["subroles"]]


@operation("role.get_by_permission_name_label")
def get_by_permission_name_label(call: Call, label: str) -> list[str]:
    named = get_by_name_label(call, label)
    return get_by_permission(call, named[0]) if named else []


@operation("subject.add_to_roles")
def add_to_roles(call: Call, subject: str, role: str) -> None:
    roles = call.db.get("subject", subject, "roles")
    if role not in rbac.roles(call.db.model):
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

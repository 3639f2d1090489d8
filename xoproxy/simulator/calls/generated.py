"""The calls that XAPI generates from its data model: getters, setters, records, create, destroy."""

from collections.abc import Mapping
from typing import cast

from xoproxy.simulator.calls import where
from xoproxy.simulator.calls.registry import Call, Handler, RecordResult, RecordsResult
from xoproxy.simulator.datamodel import ClassModel, Message
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import Json, MapType, SetType


def handler_for(model: ClassModel, message: Message) -> Handler | None:
    """Return what runs a generated call, or a hand-written setter that only writes; else None."""
    named = _NAMED.get(message.name)
    if named is not None and message.implicit:
        return named(model)
    for prefix, make in _PREFIXED.items():
        field = message.name.removeprefix(prefix)
        if field != message.name and field in model.fields:
            return make(model, message, field)
    return None


def write(call: Call, cls: str, ref: str, field: str, value: Json) -> None:
    """Write a field as the API does, which refuses empty keys in maps."""
    refuse_empty_key(value)
    call.db.write(cls, ref, field, value)


def refuse_empty_key(value: Json) -> None:
    if isinstance(value, dict) and "" in value:
        raise XapiError("INTERNAL_ERROR", "Db_exn.Empty_key_in_map")


def accept_record(model: ClassModel, record: Mapping[str, Json]) -> dict[str, Json]:
    """Decode the struct of X.create: the fields that may be set, absent ones by default."""
    accepted = {}
    for name, field in model.fields.items():
        if field.qualifier == "DRO":
            continue
        hidden = name in model.hidden_fields
        if name in record and not hidden:
            accepted[name] = field.type.accept(record[name])
        elif field.required and not hidden:
            text = f'Server_helpers.Dispatcher_FieldNotFound("{name}")'
            raise XapiError("INTERNAL_ERROR", text)
        else:
            accepted[name] = field.default
    return accepted


def get_all_records_where(model: ClassModel) -> Handler:
    def run(call: Call, expression: str) -> RecordsResult:
        wanted = where.parse(expression)
        rows = call.db.tables[model.name].rows.values()
        found = [row for row in rows if wanted({"_ref": row.ref, **model.record(row.fields)})]
        return RecordsResult(model, found)

    return run


def _get_record(model: ClassModel) -> Handler:
    return lambda call, ref: RecordResult(model, call.db.row(model.name, ref))


def _get_all(model: ClassModel) -> Handler:
    return lambda call: call.db.refs(model.name)


def _get_all_records(model: ClassModel) -> Handler:
    return lambda call: RecordsResult(model, list(call.db.tables[model.name].rows.values()))


def _get_by_uuid(model: ClassModel) -> Handler:
    def run(call: Call, uuid: str) -> str:
        ref = call.db.by_uuid(model.name, uuid)
        if ref is None:
            raise XapiError("UUID_INVALID", model.name, uuid)
        return ref

    return run


def _get_by_name_label(model: ClassModel) -> Handler:
    def run(call: Call, label: str) -> list[str]:
        rows = call.db.tables[model.name].rows.values()
        return [row.ref for row in rows if row.fields["name_label"] == label]

    return run


def _create(model: ClassModel) -> Handler:
    def run(call: Call, record: dict[str, Json]) -> str:
        for value in record.values():
            refuse_empty_key(value)
        return call.db.create(model.name, record)

    return run


def _destroy(model: ClassModel) -> Handler:
    return lambda call, ref: call.db.destroy(model.name, ref)


def _get(model: ClassModel, message: Message, field: str) -> Handler | None:
    if not message.implicit:
        return None
    return lambda call, ref: model.shown(field, call.db.get(model.name, ref, field))


def _set(model: ClassModel, message: Message, field: str) -> Handler | None:
    kinds = [p.type for p in message.params]
    if kinds[1:] != [model.fields[field].type]:
        return None  # not a plain setter
    return lambda call, ref, value: write(call, model.name, ref, field, value)


def _add_to(model: ClassModel, message: Message, field: str) -> Handler | None:
    kind = model.fields[field].type
    if not isinstance(kind, MapType) or len(message.params) != 3:  # noqa: PLR2004
        return None

    def run(call: Call, ref: str, key: str, value: Json) -> None:
        current = call.db.get(model.name, ref, field)
        if key in current:
            raise XapiError("MAP_DUPLICATE_KEY", model.name, field, ref, key)
        write(call, model.name, ref, field, {**current, key: value})

    return run


def _remove_from(model: ClassModel, message: Message, field: str) -> Handler | None:
    kind = model.fields[field].type
    if not isinstance(kind, MapType) or len(message.params) != 2:  # noqa: PLR2004
        return None

    def run(call: Call, ref: str, key: str) -> None:
        current = call.db.get(model.name, ref, field)
        call.db.write(model.name, ref, field, {k: v for k, v in current.items() if k != key})

    return run


def _is_member_call(model: ClassModel, message: Message, field: str) -> bool:
    """Whether a call adds or removes one member of a plain set field."""
    kind = model.fields[field].type
    if not isinstance(kind, SetType) or field in model.derived:
        return False
    return [p.type for p in message.params][1:] == [kind.item]


def _add(model: ClassModel, message: Message, field: str) -> Handler | None:
    if not _is_member_call(model, message, field):
        return None

    def run(call: Call, ref: str, member: Json) -> None:
        current = cast("list[Json]", call.db.get(model.name, ref, field))
        if member not in current:
            call.db.write(model.name, ref, field, [member, *current])

    return run


def _remove(model: ClassModel, message: Message, field: str) -> Handler | None:
    if not _is_member_call(model, message, field):
        return None

    def run(call: Call, ref: str, member: Json) -> None:
        current = cast("list[Json]", call.db.get(model.name, ref, field))
        call.db.write(model.name, ref, field, [m for m in current if m != member])

    return run


_NAMED = {
    "get_record": _get_record,
    "get_all": _get_all,
    "get_all_records": _get_all_records,
    "get_by_uuid": _get_by_uuid,
    "get_by_name_label": _get_by_name_label,
    "create": _create,
    "destroy": _destroy,
}

# The longer prefixes first: "add_to_x" is no member of a set called "to_x".
_PREFIXED = {
    "get_": _get,
    "set_": _set,
    "add_to_": _add_to,
    "remove_from_": _remove_from,
    "add_": _add,
    "remove_": _remove,
}

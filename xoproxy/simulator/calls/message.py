"""Class `message`: alerts, which are files rather than rows."""

from collections.abc import Callable

from xoproxy.simulator.calls import where
from xoproxy.simulator.calls.registry import Call, RecordResult, RecordsResult, operation
from xoproxy.simulator.database import Row
from xoproxy.simulator.failures import XapiError

# The values of enum cls that differ from the names of the classes.
_CLASSES = {"Host": "host", "Pool": "pool"}


@operation("message.create")
def create(call: Call, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> str:
    if call.db.by_uuid(_CLASSES.get(cls, cls), obj_uuid) is None:
        raise XapiError("UUID_INVALID", cls, obj_uuid)
    return call.db.message_create(name, priority, cls, obj_uuid, body)


@operation("message.destroy")
def destroy(call: Call, ref: str) -> None:
    call.db.destroy("message", ref)


@operation("message.destroy_many")
def destroy_many(call: Call, refs: list[str]) -> None:
    for ref in refs:
        call.db.destroy("message", ref)


@operation("message.get_all")
def get_all(call: Call) -> list[str]:
    return call.db.refs("message")


@operation("message.get_record")
def get_record(call: Call, ref: str) -> RecordResult:
    return RecordResult(call.db.model.classes["message"], call.db.row("message", ref))


@operation("message.get_by_uuid")
def get_by_uuid(call: Call, uuid: str) -> str:
    ref = call.db.by_uuid("message", uuid)
    if ref is None:
        raise XapiError("UUID_INVALID", "message", uuid)
    return ref


@operation("message.get_all_records")
def get_all_records(call: Call) -> RecordsResult:
    return _select(call, lambda _: True)


@operation("message.get_all_records_where")
def get_all_records_where(call: Call, expression: str) -> RecordsResult:
    wanted = where.parse(expression)
    return _select(call, lambda row: wanted(row.fields))


@operation("message.get_since")
def get_since(call: Call, since: str) -> RecordsResult:
    return _select(call, lambda row: row.fields["timestamp"] > since)


@operation("message.get")
def get(call: Call, cls: str, obj_uuid: str, since: str) -> RecordsResult:
    def matches(row: Row) -> bool:
        record = row.fields
        about: tuple[str, str] = record["cls"], record["obj_uuid"]
        timestamp: str = record["timestamp"]
        return about == (cls, obj_uuid) and timestamp > since

    return _select(call, matches)


def _select(call: Call, matches: Callable[[Row], bool]) -> RecordsResult:
    rows = [row for row in call.db.tables["message"].rows.values() if matches(row)]
    return RecordsResult(call.db.model.classes["message"], rows)

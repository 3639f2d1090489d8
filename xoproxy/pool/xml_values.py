"""XML-RPC's values made what JSON-RPC says of the same, and parameters the other way.

XML-RPC tells the type of every value but one: XAPI writes its 64-bit integers as untyped text, for
XML-RPC's own have 32 bits. Where they are is known from `xml_types.json`, which
tools/make_xml_types.py writes; an integer that a newer or older XAPI has elsewhere stays text.

The order of members is the sender's, so a record gets the bytes that JSON-RPC would give it, but
for what XML-RPC loses: control characters, and the 17th digit of a float.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias
from xmlrpc.client import DateTime

Value: TypeAlias = Any
Convert: TypeAlias = Callable[[Value], Value]

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_MAP = re.compile(r"\((?P<key>[^()]+) -> (?P<value>.+)\) map")
_GETTERS = {
    "get_record": "{cls} record",
    "get_all_records": "({cls} ref -> {cls} record) map",
    "get_all_records_where": "({cls} ref -> {cls} record) map",
}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@cache
def _types() -> dict[str, dict[str, dict[str, Any]]]:
    text = files("xoproxy.pool").joinpath("xml_types.json").read_bytes()
    types: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
    return types


@cache
def _proper_case() -> Mapping[str, str]:
    return {cls.lower(): cls for cls in _types()["fields"]}


# --- results --------------------------------------------------------------------------------------


def result_json(method: str, result: Value) -> str:
    """Write a method's result, as `xmlrpc.client` read it, as JSON-RPC would."""
    return _encode(_converter_of(method)(result))


def _converter_of(method: str) -> Convert:
    cls, _, name = method.rpartition(".")
    if method == "event.from":
        return _event_batch
    if method == "event.next":
        return _events
    kind = _types()["results"].get(cls, {}).get(name)
    if kind is None and name in _GETTERS:
        kind = _GETTERS[name].format(cls=cls)
    if kind is None:
        kind = _types()["fields"].get(cls, {}).get(name.removeprefix("get_"), "string")
    return _converter(kind)


def _event_batch(batch: Value) -> Value:
    if not isinstance(batch, dict):
        return _told(batch)
    return {k: _events(v) if k == "events" else _told(v) for k, v in batch.items()}


def _events(events: Value) -> Value:
    return [_event(e) for e in events] if isinstance(events, list) else _told(events)


def _event(event: Value) -> Value:
    """Convert an event, whose record is typed by its class: "vm_metrics" is VM_metrics."""
    if not isinstance(event, dict):
        return _told(event)
    cls = str(event.get("class"))
    record = _record(_proper_case().get(cls.lower(), cls))
    return {k: record(v) if k == "snapshot" else _told(v) for k, v in event.items()}


@cache
def _converter(kind: str) -> Convert:
    """Understand XAPI's notation of types: "int set", "(string -> int) map", "VM record"."""
    if kind == "int":
        return _integer
    if found := _MAP.fullmatch(kind):
        return _each_value(_converter(found["value"]))
    head, _, last = kind.rpartition(" ")
    match last:
        case "set":
            return _each(_converter(head))
        case "option":
            return _converter(head)
        case "record":
            return _record(head)
        case _:
            return _told


@cache
def _record(cls: str) -> Convert:
    fields = {f: _converter(kind) for f, kind in _types()["fields"].get(cls, {}).items()}

    def convert(record: Value) -> Value:
        if not isinstance(record, dict):
            return _told(record)
        return {name: fields.get(name, _told)(value) for name, value in record.items()}

    return convert


def _each(item: Convert) -> Convert:
    return lambda value: [item(v) for v in value] if isinstance(value, list) else _told(value)


def _each_value(item: Convert) -> Convert:
    def convert(value: Value) -> Value:
        if not isinstance(value, dict):
            return _told(value)
        return {k: item(v) for k, v in value.items()}

    return convert


def _integer(value: Value) -> Value:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return _told(value)


def _told(value: Value) -> Value:
    """Convert a value whose type XML-RPC told; a float that JSON has no word for becomes null."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_told(v) for v in value]
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, DateTime):
        return value.value
    return value


# --- parameters -----------------------------------------------------------------------------------


def parameters(method: str, params: list[Value]) -> tuple[Value, ...]:
    """Prepare JSON-RPC's parameters (the session comes first) for `xmlrpc.client`."""
    cls, _, name = method.removeprefix("Async.").rpartition(".")
    date = _types()["dates"].get(cls, {}).get(name)
    values = [_sendable(value) for value in params]
    at = None if date is None else date + 1
    if at is not None and at < len(values) and isinstance(values[at], str):
        values[at] = DateTime(values[at])
    return tuple(values)


def _sendable(value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)  # XML-RPC's integers have 32 bits
    if isinstance(value, list):
        return [_sendable(v) for v in value]
    if isinstance(value, dict):
        return {k: _sendable(v) for k, v in value.items()}
    return value

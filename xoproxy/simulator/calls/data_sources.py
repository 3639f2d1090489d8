"""Data sources of hosts, VMs and SRs: what can be measured, what is archived, what it is now."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.calls.operations import operation_on
from xoproxy.simulator.calls.registry import OPERATIONS, Call
from xoproxy.simulator.database import Row
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rpc import Codec
from xoproxy.simulator.statistics import Measured, Source, UnknownSourceError, latest, source_of
from xoproxy.simulator.wiretypes import Json

_WITH_DOMAIN: Final = ("Running", "Paused")


@dataclass(frozen=True, slots=True)
class DataSources:
    """Records of the class `data_source`, which has no rows."""

    model: ClassModel
    records: list[dict[str, Json]]

    def encode(self, codec: Codec) -> bytes:
        rows = [Row("", record, 0, 0) for record in self.records]
        return codec.array(codec.record(self.model, row) for row in rows)


def get(call: Call, cls: str, ref: str) -> DataSources:
    model = call.db.model.classes["data_source"]
    with _measured(call, cls, ref) as measured:
        return DataSources(model, [_record(call, measured, s) for s in measured.sources])


def _record(call: Call, measured: Measured, source: Source) -> dict[str, Json]:
    return {
        "name_label": source.name,
        "name_description": source.kind.description,
        "enabled": call.world.statistics.is_archived(measured, source),
        "standard": source.kind.standard,
        "units": source.kind.units,
        "min": 0.0,
        "max": source.kind.maximum,
        "value": 0.0,  # as XAPI, which never fills it in: `query` tells
    }


def record(call: Call, cls: str, ref: str, name: str) -> None:
    with _measured(call, cls, ref) as measured:
        call.world.statistics.record(measured, name)


def forget(call: Call, cls: str, ref: str, name: str) -> None:
    with _measured(call, cls, ref) as measured:
        call.world.statistics.forget(measured, name)


def query(call: Call, cls: str, ref: str, name: str) -> float:
    """Return the newest value of what is archived. A VM is not asked under an operation."""
    state = call.db.row(cls, ref).fields.get("power_state", "Running")
    if state not in _WITH_DOMAIN:
        raise XapiError("VM_BAD_POWER_STATE", ref, "running;paused", state.lower())
    statistics = call.world.statistics
    with _unknown_reported():
        measured = statistics.archived(statistics.measure(call.db, cls, ref))
        return latest(measured, source_of(measured, name), call.db.time())


@contextlib.contextmanager
def _measured(call: Call, cls: str, ref: str) -> Iterator[Measured]:
    """Measure an object, a VM under the operation that XAPI shows on it meanwhile."""
    call.db.row(cls, ref)
    with contextlib.ExitStack() as stack:
        if cls == "VM":
            stack.enter_context(operation_on(call, cls, ref, "data_source_op"))
        with _unknown_reported():
            yield call.world.statistics.measure(call.db, cls, ref)


@contextlib.contextmanager
def _unknown_reported() -> Iterator[None]:
    try:
        yield
    except UnknownSourceError as error:
        raise XapiError("INTERNAL_ERROR", f'Rrd.Invalid_data_source("{error}")') from None


def _register(cls: str) -> None:
    """Register the four calls of a class; they are the same for all three."""
    OPERATIONS[f"{cls}.get_data_sources"] = lambda call, ref: get(call, cls, ref)
    OPERATIONS[f"{cls}.record_data_source"] = lambda call, ref, name: record(call, cls, ref, name)
    OPERATIONS[f"{cls}.query_data_source"] = lambda call, ref, name: query(call, cls, ref, name)
    OPERATIONS[f"{cls}.forget_data_source_archives"] = lambda call, ref, name: forget(
        call, cls, ref, name
    )


for _cls in ("host", "VM", "SR"):
    _register(_cls)

"""Class `event`: the new way (from, inject) and the old one (register, next, unregister)."""

from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.events import Batch
from xoproxy.simulator.legacy_events import EventList


@operation("event.from")
async def since(call: Call, classes: list[str], token: str, timeout_s: float) -> Batch:
    return await call.world.events.since(call.session, classes, token, timeout_s)


@operation("event.inject")
def inject(call: Call, cls: str, ref: str) -> str:
    return call.world.events.inject(cls, ref)


@operation("event.register")
def register(call: Call, classes: list[str]) -> None:
    call.world.legacy.register(call.session, classes)


@operation("event.unregister")
def unregister(call: Call, classes: list[str]) -> None:
    call.world.legacy.unregister(call.session, classes)


@operation("event.next")
async def next_events(call: Call) -> EventList:
    return await call.world.legacy.next(call.session)


@operation("event.get_current_id")
def get_current_id(call: Call) -> int:
    return call.world.legacy.current_id

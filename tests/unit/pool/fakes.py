"""A client of a pool that says what a test tells it to, and a clock that a test turns."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from xoproxy.model import Ref, XapiClass
from xoproxy.pool.replies import Event, EventReply


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class ExhaustedError(Exception):
    """The script is at its end."""


class ScriptedClient:
    """A pool that follows a script: an `EventReply`, an exception, or a list of them per method.

    Calls are noted as (method, parameters); what the script does not name answers emptily.
    """

    def __init__(self, script: dict[str, list[Any]]) -> None:
        self.script = script
        self.classes: Sequence[XapiClass] = ()
        self.seen: list[tuple] = []

    @property
    def silence_s(self) -> float:
        return 15.0

    def _next(self, name: str, default: object) -> object:
        steps = self.script.get(name)
        if steps is None:
            return default
        if not steps:
            raise ExhaustedError
        step = steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step() if callable(step) else step

    async def reach(self, members: Sequence[str]) -> None:
        self.seen.append(("reach", *members))
        self._next("reach", None)

    async def login(self, uuid: str = "") -> bool:
        self.seen.append(("login", uuid))
        return self._next("login", False) is True

    async def logout(self) -> None:
        self.seen.append(("logout",))

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        self.seen.append((method, *params))
        await asyncio.sleep(0)
        result = self._next(method, [])
        return msgspec.Raw(msgspec.json.encode(result))

    async def events(
        self, classes: Sequence[XapiClass], token: str, timeout_s: float
    ) -> EventReply:
        self.seen.append(("events", token, timeout_s))
        self.classes = classes
        reply = self._next("events", None)
        assert isinstance(reply, EventReply)
        return reply

    async def records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        self.seen.append(("records", cls))
        records = self._next(f"{cls}.records", {})
        assert isinstance(records, dict)
        return {ref: raw(record) for ref, record in records.items()}

    def count(self, name: str) -> int:
        return sum(seen[0] == name for seen in self.seen)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def told(token: str, *events: Event, **counts: int) -> EventReply:
    return EventReply(list(events), token, counts)


def mod(cls: str, ref: str, **fields: object) -> Event:
    return Event(operation="mod", ref=Ref(ref), cls=cls, record=raw(fields))


def gone(cls: str, ref: str) -> Event:
    return Event(operation="del", ref=Ref(ref), cls=cls)

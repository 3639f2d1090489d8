"""What a client holds of a pool, and whether that is what the pool's database does.

A client says how it holds a value of each type; the tolerances are those that its protocol or its
language leaves: ints as texts, JavaScript's numbers, 16 digits of a float.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol
from xmlrpc.client import DateTime

from xoproxy.simulator.database import Database
from xoproxy.simulator.wiretypes import Json, MapType, SetType, WireType

State = dict[str, dict[str, dict[str, Any]]]


class ForeignClient(Protocol):
    async def call(self, method: str, *args: Json) -> Json:
        """Call synchronously; raises CallError."""

    async def call_async(self, method: str, *args: Json) -> Json:
        """Call with Async., follow the task to its end, destroy it; raises CallError."""

    async def state(self) -> State:
        """Return what the client's cache holds now."""

    def holds(self, kind: WireType, value: Json) -> Json:
        """Return how the client holds a value of the database."""


def converted(kind: WireType, value: Json, scalar: Callable[[WireType, Json], Json]) -> Json:
    match kind:
        case SetType():
            return [converted(kind.item, item, scalar) for item in value]
        case MapType():
            return {k: converted(kind.value, v, scalar) for k, v in value.items()}
        case _:
            return scalar(kind, value)


def in_16_digits(value: Json) -> Json:
    """Round a float as XAPI does in XML; leave what is none."""
    return float(f"{value:.16g}") if isinstance(value, float) else value


def held(database: Database, client: ForeignClient) -> State:
    """Return the classes with events as a client should hold them.

    Without those that the API has removed (their rows give events, but cannot be listed), and as
    the pool's release has them.
    """
    state: State = {}
    for table in database.tables.values():
        model = table.model
        listing = model.messages.get("get_all_records")
        if model.gen_events and listing and not listing.removed:
            state[model.name] = {
                row.ref: {
                    name: client.holds(model.fields[name].type, value)
                    for name, value in model.record(row.fields).items()
                }
                for row in table.rows.values()
            }
    return state


def same(a: Json, b: Json) -> bool:
    """Compare by value, as JavaScript's numbers allow (1 is 1.0), but True is not 1."""
    if isinstance(a, DateTime):
        a = a.value
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def differences(found: State, expected: State) -> list[str]:
    """Name what differs, a line each."""
    lines = []
    for cls, theirs in expected.items():
        mine = found.get(cls, {})
        lines += [f"{cls} {ref} is missing" for ref in theirs.keys() - mine.keys()]
        lines += [f"{cls} {ref} is gone in the pool" for ref in mine.keys() - theirs.keys()]
        for ref in mine.keys() & theirs.keys():
            names = mine[ref].keys() | theirs[ref].keys()
            lines += [
                f"{cls} {ref} {name}: {mine[ref].get(name)!r}, not {theirs[ref].get(name)!r}"
                for name in sorted(names)
                if not same(mine[ref].get(name), theirs[ref].get(name))
            ]
    return lines


async def assert_agrees(client: ForeignClient, database: Database, within_s: float = 20) -> None:
    """Wait until the client holds exactly what the database does."""
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while found := differences(await client.state(), held(database, client)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert not found, "\n".join(found[:20])

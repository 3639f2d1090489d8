"""Random calls through JSON-RPC 1.0, 2.0 and XML-RPC: each ends the same in all three.

Each call runs three times on the same database, which is put back in between, and goes on from how
the last one left it. What XAPI makes up (references, uuids, dates of now) may differ and is
compared by the order in which it comes. XOPROXY_SEED chooses other calls; failures name the seed.
"""

import asyncio
import copy
import itertools
import json
import logging
import math
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import pytest

from tests.integration.random_calls import RandomCall, RandomCalls
from tests.integration.wires import (
    EncodingError,
    JsonWire,
    Outcome,
    Reader,
    Wire,
    XmlWire,
    as_in_xml,
)
from xoproxy.simulator.database import Database, Snapshot
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.wiretypes import (
    Json,
    MapType,
    RecordType,
    RefType,
    SetType,
    StringType,
    VoidType,
    WireType,
)

SEED = int(os.environ.get("XOPROXY_SEED", "1"))
FRESH_EVERY = 100  # calls, after which the estate is as at first

_MADE_UP = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}"
)
_DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\dZ")
_SERVING = {"simulator-connection", "simulator-collect"}


@dataclass
class Bench:
    pool: SimulatedPool
    session: str
    wires: list[Wire]

    def keep(self) -> tuple[Snapshot, dict[str, Json]]:
        return self.pool.database.snapshot(), copy.deepcopy(self.pool.world.hardware.__dict__)

    def put_back(self, kept: tuple[Snapshot, dict[str, Json]]) -> None:
        self.pool.database.restore(kept[0])
        self.pool.world.hardware.__dict__.update(copy.deepcopy(kept[1]))

    async def run(self, wire: Wire, call: RandomCall) -> Outcome:
        """Call, and wait for all that it has set going."""
        async with asyncio.timeout(30):
            outcome = await wire.call(call.method, call.params, call.kind)
            while jobs := [t for t in asyncio.all_tasks() if _is_job(t)]:
                await asyncio.wait(jobs)
        if call.method.startswith("Async.") and outcome.error is None and outcome.page is None:
            task = self.pool.database.record("task", outcome.value)
            ended = {name: task[name] for name in ("status", "result", "error_info", "progress")}
            return replace(outcome, value=[outcome.value, ended])
        return outcome

    async def all_ends(self, call: RandomCall) -> list[Outcome]:
        kept = self.keep()
        known = frozenset(_MADE_UP.findall(repr([t.rows.keys() for t in kept[0].tables.values()])))
        ends: list[Outcome] = []
        for wire in self.wires:
            if ends:
                self.put_back(kept)
            ends.append(comparable(await self.run(wire, call), known))
        return ends


def _is_job(task: asyncio.Task[object]) -> bool:
    name = task.get_name()
    return name.startswith("simulator-") and name not in _SERVING


def comparable(outcome: Outcome, known: frozenset[str]) -> Outcome:
    """Number what was made up, and call the present so."""
    numbers: dict[str, str] = {}
    recently = time.strftime("%Y%m%dT", time.gmtime())

    def replaced(text: str) -> str:
        text = _MADE_UP.sub(
            lambda m: m[0] if m[0] in known else numbers.setdefault(m[0], f"#{len(numbers)}"), text
        )
        return _DATE.sub(lambda m: "<now>" if m[0].startswith(recently) else m[0], text)

    def walk(value: Json) -> Json:
        match value:
            case str():
                return replaced(value)
            case list() | tuple():
                return type(value)(walk(item) for item in value)
            case dict():
                return {replaced(key): walk(item) for key, item in value.items()}
            case _:
                return value

    return replace(outcome, value=walk(outcome.value), error=walk(outcome.error))


def _add_oddities(database: Database) -> None:
    """Put values into the database that are hard to encode."""
    texts = {"control": "a\x01b\x1fc\x7f", "": "empty key", "<&>\"'": "]]>", "empty": ""}
    for ref in database.refs("VM"):
        database.correct("VM", ref, "other_config", {**texts, "mac_seed": "x"})
    floats = [math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324, -0.0]
    for ref, number in zip(database.refs("PIF_metrics"), itertools.cycle(floats), strict=False):
        database.correct("PIF_metrics", ref, "io_read_kbs", number)
    for ref in database.refs("VDI"):
        database.correct("VDI", ref, "physical_utilisation", 2**63 - 1)


@asynccontextmanager
async def bench(release: str | None = None) -> AsyncIterator[Bench]:
    async with (
        SimulatedPool(generate(2, 6, 3), speed=1000, release=release) as pool,
        aiohttp.ClientSession() as http,
    ):
        _add_oddities(pool.database)
        reader = Reader(pool.database.model)
        session = await pool.sessions.login("root", "x", "differential")
        newest = pool.database.model.json_rpc
        json_wires = [
            JsonWire(http, pool.url, reader, version, text_ids=newest > 1)
            for version in range(1, newest + 1)
        ]
        yield Bench(pool, session, [*json_wires, XmlWire(http, pool.url, reader)])


def same(a: Json, b: Json) -> bool:
    """Compare values; NaN is itself here."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def agree(ends: list[Outcome]) -> bool:
    """Compare how a call ended over JSON-RPC, and last over XML-RPC."""
    *in_json, in_xml = ends
    return all(
        (end.error, end.page) == (in_xml.error, in_xml.page)
        and same(end.value, in_json[0].value)
        and same(as_in_xml(end.value), in_xml.value)
        for end in in_json
    )


@pytest.mark.parametrize(
    ("release", "count"),
    # 7.1 has JSON-RPC 1.0 only and 6.1 none: then the encoding is all that is checked.
    [(None, 2000), ("8.2", 300), ("7.1", 300), ("6.1", 300)],
)
async def test_random_calls_end_the_same_in_all_protocols(
    release: str | None, count: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.ERROR, "xoproxy.simulator.dispatch")  # mistakes in calls
    succeeded = 0
    async with bench(release) as made:
        fresh = made.keep()
        calls = RandomCalls(made.pool.database, made.session, SEED)
        for number, call in enumerate(itertools.islice(calls, count)):
            if number % FRESH_EVERY == 0:
                made.put_back(fresh)
            about = f"call {number} of XOPROXY_SEED={SEED}: {call.method} {call.params!r:.600}"
            try:
                ends = await made.all_ends(call)
            except (EncodingError, TimeoutError) as error:
                raise AssertionError(about) from error
            shown = "\n".join(
                f"{w.name}: {e!r:.600}" for w, e in zip(made.wires, ends, strict=True)
            )
            assert agree(ends), f"{about}\n{shown}"
            assert not caplog.records, f"{about}\n{caplog.text[:2000]}"
            succeeded += ends[0].error is None and ends[0].page is None
    assert count / 5 < succeeded < count * 3 / 4


@pytest.mark.parametrize("odd", ["PIF_metrics", "VM", "VDI", "message", "host", "pool"])
async def test_odd_values_are_encoded_in_all_three(odd: str):
    async with bench() as made:
        kind = MapType(RefType(odd), RecordType(odd))
        call = RandomCall(f"{odd}.get_all_records", [made.session], kind)
        ends = await made.all_ends(call)

        assert agree(ends)
        assert ends[0].value.keys() == set(made.pool.database.refs(odd))


async def test_text_that_xml_cannot_hold_is_refused_alike():
    async with bench() as made:
        params: list[Json] = [made.session, made.pool.database.refs("VM")[0], "a\x01b"]
        call = RandomCall("VM.set_name_label", params, VoidType())
        first, second, third = await made.all_ends(call)

        error = ("INVALID_VALUE", "Invalid UTF-8 string in parameter", "S(a\x01b)")
        assert first == second == Outcome(error=error, early=True)
        assert third == Outcome(page=500)  # that is no XML


@pytest.mark.parametrize(
    ("method", "params", "kind"),
    [
        ("system.listMethods", [], SetType(StringType())),
        ("system.isAlive:x", ["Zürich <&>"], StringType()),
    ],
)
async def test_calls_that_are_no_messages(method: str, params: list[Json], kind: WireType):
    async with bench() as made:
        ends = await made.all_ends(RandomCall(method, params, kind))

        assert agree(ends)
        assert ends[0].value

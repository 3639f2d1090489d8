"""Random calls from the data model, right and wrong: the same seed gives the same calls."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.integration.wires import Date, Text
from xoproxy.simulator.calls.registry import OPERATIONS
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import ClassModel, Message
from xoproxy.simulator.wiretypes import (
    NULL,
    BoolType,
    DateType,
    EnumType,
    FloatType,
    IntType,
    Json,
    MapType,
    OptionType,
    RecordType,
    RefType,
    SetType,
    StringType,
    WireType,
)

# Calls that end sessions, restart xapi, wait for ever, or tell what one database cannot repeat
# (counters and clocks outside of it).
LEFT_OUT = frozenset(
    {
        "event.get_current_id",
        "event.next",
        "event.register",
        "event.unregister",
        "host.destroy",
        "host.emergency_ha_disable",
        "host.get_server_localtime",
        "host.get_servertime",
        "host.local_management_reconfigure",
        "host.management_disable",
        "host.management_reconfigure",
        "host.power_on",
        "host.reboot",
        "host.restart_agent",
        "host.shutdown",
        "host.shutdown_agent",
        "pool.designate_new_master",
        "pool.eject",
        "pool.emergency_reset_master",
        "pool.emergency_transition_to_master",
        "pool.join",
        "pool.join_force",
        "pool.management_reconfigure",
        "pool.recover_slaves",
        "pool.set_master",
        "session.change_password",
        "session.local_logout",
        "session.login_with_password",
        "session.logout",
        "session.slave_local_login_with_password",
    }
)
TEXTS = (
    "",
    "plain",
    "true",
    "42",
    "<a href='x'>&amp; \"quoted\"</a>",
    "Zürich ☃ \U0001f40d",
    " white\tspace\n ",
    "x" * 3000,
    "OpaqueRef:NULL",
    "OpaqueRef:12345678-1234-1234-1234-123456789012",
    "]]>",
)
INTS = (0, 1, -1, 7, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63))
TOO_BIG = (2**63, -(2**63) - 1, 10**30)
FLOATS = (0.0, -0.5, 1.0, 1e300, 5e-324, 0.1 + 0.2, float("inf"), float("-inf"), float("nan"))
DATES = ("20260101T00:00:00Z", "2026-02-03T04:05:06Z", "19700101T00:00:00Z", "20300101T10:11:12")
NO_DATES = ("yesterday", "2026", "20260101")


@dataclass(frozen=True)
class RandomCall:
    """A call; `params` include the session unless the message has none."""

    method: str
    params: list[Json]
    kind: WireType


class RandomCalls:
    """Makes calls whose references mostly exist in a database."""

    def __init__(self, database: Database, session: str, seed: int) -> None:
        self._db = database
        self._session = session
        self._rng = random.Random(seed)
        messages = [
            (model, message)
            for model in database.model.classes.values()
            for message in model.messages.values()
            if message.wire_name not in LEFT_OUT and not message.wire_name.startswith("event.")
        ]
        self._all = messages
        self._written = [pair for pair in messages if pair[1].wire_name in OPERATIONS]

    def __iter__(self) -> Iterator[RandomCall]:
        while True:
            yield self._call()

    def _call(self) -> RandomCall:
        chance = self._rng.random()
        if chance < 0.03:
            return self._unknown()
        if chance < 0.08:
            return self._of_events()
        # Most messages are generated getters and setters; those by hand need as much attention.
        model, message = self._rng.choice(self._written if chance < 0.5 else self._all)
        params = self._params(model, message)
        name, kind = message.wire_name, message.result
        if message.has_session:
            params = [self._a_session(), *params]
        if self._rng.random() < (0.3 if message.has_async else 0.03):
            name, kind = f"Async.{name}", RefType("task")
        elif self._rng.random() < 0.05:
            name = name.replace(".", "_", 1)
        return RandomCall(name, self._mutated(params), kind)

    def _unknown(self) -> RandomCall:
        method = self._rng.choice(
            ["VM.nope", "nope", "", "vm.start", "Async.x.y", "session.get_all", "VM.start.x", "é"]
        )
        return RandomCall(method, [self._session, "a", 1], StringType())

    def _of_events(self) -> RandomCall:
        """Look at events now, from the beginning, a real token, or none at all."""
        generation = self._db.generation - self._rng.randrange(60)
        token = self._rng.choice(["", f"{generation:020d},{0:020d}", "5", "garbage", "80,0"])
        classes = self._rng.choice([["*"], ["vm"], ["VM", "task", "nothing"], [], 5, ["host/x"]])
        if token == "":
            classes = ["network", "message", "pool"]
        params = [self._a_session(), classes, token, self._rng.choice([0.0, 0, Text("0")])]
        return RandomCall("event.from", params, RecordType("event"))

    def _a_session(self) -> Json:
        if self._rng.random() < 0.97:
            return self._session
        return self._rng.choice([NULL, "", "OpaqueRef:gone", 5, None, ["x"]])

    def _params(self, model: ClassModel, message: Message) -> list[Json]:
        optional = sum(p.optional for p in message.params)
        given = len(message.params) - self._rng.randint(0, optional)
        return [
            self._record(model)
            if message.name == "create" and message.implicit
            else self._value(p.type, model)
            for p in message.params[:given]
        ]

    def _mutated(self, params: list[Json]) -> list[Json]:
        chance = self._rng.random()
        if chance < 0.05:
            return params[: self._rng.randint(0, max(0, len(params) - 1))]
        if chance < 0.08:
            return [*params, *self._rng.sample(["surplus", 1, None], self._rng.randint(1, 3))]
        if chance < 0.15 and params:
            place = self._rng.randrange(len(params))
            wrong = self._rng.choice([None, 5, 2.5, True, "text", [], {}, ["x"], {"k": 1}, TOO_BIG])
            wrong = self._rng.choice(wrong) if wrong is TOO_BIG else wrong
            return [*params[:place], wrong, *params[place + 1 :]]
        return params

    def _record(self, model: ClassModel) -> Json:
        """Make a record to create from: what it must have, and something of the rest."""
        record = {
            name: self._value(field.type, model)
            for name, field in model.fields.items()
            if field.qualifier != "DRO" and (field.required or self._rng.random() < 0.3)
        }
        if record and self._rng.random() < 0.1:
            del record[self._rng.choice(list(record))]
        return record

    def _value(self, kind: WireType, model: ClassModel) -> Json:  # noqa: C901, PLR0911 - by type
        rng = self._rng
        match kind:
            case StringType():
                return rng.choice(self._uuids(model) if rng.random() < 0.1 else TEXTS)
            case IntType():
                number = rng.choice(INTS)
                return Text(str(number)) if rng.random() < 0.2 else number
            case FloatType():
                return rng.choice([*FLOATS, 3, Text("2.5")])
            case BoolType():
                return rng.random() < 0.5
            case DateType():
                return Date(rng.choice(DATES)) if rng.random() < 0.9 else rng.choice(NO_DATES)
            case EnumType():
                return rng.choice(kind.values) if rng.random() < 0.9 else "no such value"
            case RefType():
                return self._ref(kind.target)
            case SetType():
                return [self._value(kind.item, model) for _ in range(rng.choice([0, 1, 1, 3]))]
            case MapType():
                count = rng.choice([0, 1, 1, 3])
                return {self._key(kind.key): self._value(kind.value, model) for _ in range(count)}
            case OptionType():
                return self._value(kind.item, model)
            case _:
                return self._record(model)

    def _key(self, kind: WireType) -> str:
        match kind:
            case IntType():
                return str(self._rng.choice(INTS))
            case RefType():
                return self._ref(kind.target)
            case EnumType():
                return self._rng.choice(kind.values)
            case _:
                return self._rng.choice(["k", "a b", "ünï", "<&>", "mac_seed", "auto_poweron"])

    def _ref(self, target: str) -> str:
        chance = self._rng.random()
        if chance > 0.15 and target in self._db.tables:
            refs = self._db.refs(target)
            if refs:
                return self._rng.choice(refs)
        if chance < 0.03:
            return self._ref(self._rng.choice(["VM", "host", "VDI"]))
        return self._rng.choice([NULL, "OpaqueRef:none", ""])

    def _uuids(self, model: ClassModel) -> list[str]:
        table = self._db.tables.get(model.name)
        known = list(table.by_uuid) if table is not None else []
        return known[:50] or ["no uuid"]

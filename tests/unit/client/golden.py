"""Plays the golden conversations (tests/golden/README.md) on the protocol's core."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.properties.replica import canonical
from xoproxy.client.errors import ProtocolFault, Refused
from xoproxy.client.events import Comparing, Event, Failed, Lost, Settled
from xoproxy.client.protocol import Protocol
from xoproxy.client.reconnecting import advice

GOLDEN = Path(__file__).parents[2] / "golden"
CONVERSATIONS = sorted((GOLDEN / "conversations").glob("*.json"))


class Player:
    """A protocol's core, and what happens to it.

    Args:
        wire: encodes and decodes a frame, as it would travel.
    """

    def __init__(self, wire: Callable[[Any], Any]) -> None:
        self._wire = wire
        self._protocol = Protocol()
        self._answers: list[dict[str, Any]] = []
        self._fault: ProtocolFault | None = None

    def play(self, steps: list[dict[str, Any]]) -> None:
        for number, step in enumerate(steps):
            ((name, value),) = step.items()
            if self._fault is not None and name not in {"fault", "disconnect", "holds"}:
                raise AssertionError(f"step {number}: a fault nobody expected") from self._fault
            getattr(self, f"_do_{name}")(value)
        if self._fault is not None:
            assert any("fault" in step for step in steps), self._fault

    def _do_connect(self, credentials: dict[str, str]) -> None:
        self._protocol.connected(credentials or None)

    def _do_disconnect(self, value: dict[str, Any]) -> None:
        self._note(self._protocol.disconnected())
        self._fault = None
        if "advice" in value:
            assert advice(value["code"]) == value["advice"]

    def _do_subscribe(self, value: dict[str, Any]) -> None:
        compare = value.get("compare", False)
        self._protocol.subscribe(value["query"], value["id"], compare=compare)

    def _do_unsubscribe(self, id_: int) -> None:
        self._protocol.unsubscribe(self._protocol.subscriptions[id_])

    def _do_window(self, value: dict[str, Any]) -> None:
        subscription = self._protocol.subscriptions[value["id"]]
        self._protocol.move_window(subscription, *value["window"])

    def _do_call(self, value: dict[str, Any]) -> None:
        expected = []
        for named in value.get("expect", ()):
            slot = self._protocol.subscriptions[named["subscription"]].slots[named["pool"]]
            place = slot.shown.find(named["ref"])
            assert place is not None
            replica = slot.replica
            expected.append({"view": replica.number, "key": place[1], "seq": replica.position})
        call = value["pool"], value["method"], value["params"]
        self._protocol.call(*call, expected, value["id"])

    def _do_ping(self, id_: int) -> None:
        self._protocol.ping(id_)

    def _do_receive(self, frame: Any) -> None:
        decoded = self._wire(frame)
        for message in decoded if isinstance(decoded, list) else [decoded]:
            try:
                self._note(self._protocol.receive(message))
            except ProtocolFault as fault:
                self._fault = fault
                return

    def _note(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Comparing(replica):
                    self._protocol.outgoing.append(replica.digests())
                case Settled(id_, result):
                    self._answers.append({"id": id_, "result": result})
                case Failed(id_, error):
                    self._answers.append(_told(id_, error))
                case Lost(id_):
                    self._answers.append({"id": id_, "lost": True})

    def _do_sent(self, expected: list[dict[str, Any]]) -> None:
        sent = [self._wire(message) for message in self._protocol.outgoing]
        self._protocol.outgoing.clear()
        assert [canonical(m) for m in expected] == [canonical(m) for m in sent]

    def _do_answers(self, expected: list[dict[str, Any]]) -> None:
        answers, self._answers = self._answers, []
        assert [canonical(a) for a in expected] == [canonical(a) for a in answers]

    def _do_fault(self, why: str) -> None:
        assert self._fault is not None, why
        assert self._protocol.faults == 1

    def _do_holds(self, value: dict[str, Any]) -> None:
        slots = self._protocol.subscriptions[value["subscription"]].slots
        expected = {view["pool"]: view for view in value["views"]}
        assert slots.keys() == expected.keys()
        for pool, view in expected.items():
            replica = slots[pool].replica
            assert replica.pool == pool
            assert replica.complete == view["complete"]
            if not replica.complete:
                continue
            assert slots[pool].shown is replica.document
            assert replica.position == view["position"]
            assert canonical(view["document"]) == canonical(replica.document.as_json())
            if "resume" in view:
                assert replica.token == view["resume"]


def _told(id_: Any, error: Refused) -> dict[str, Any]:
    told: dict[str, Any] = {"code": error.code, "message": error.message, "retry": error.retry}
    if id_ is not None:
        told["id"] = id_
    if error.data is not None:
        told["data"] = error.data
    return told


def steps_of(path: Path) -> list[dict[str, Any]]:
    """Read a conversation."""
    steps: list[dict[str, Any]] = json.loads(path.read_text())["steps"]
    return steps


each_conversation = pytest.mark.parametrize("path", CONVERSATIONS, ids=lambda path: path.stem)

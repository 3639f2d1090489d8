"""Faults as they are asked for: what is understood, and what is said about the rest."""

import json

import pytest

from xoproxy.simulator.faults import kinds
from xoproxy.simulator.faults.kinds import AskedError, Delay, Drop, Fail, Member, OlderDatabase


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"kind": "drop"}, Drop()),
        ({"kind": "drop", "seconds": 2}, Drop(2.0)),
        ({"kind": "delay", "ms": 20, "seconds": 1.5}, Delay(20.0, 1.5)),
        ({"kind": "member"}, Member()),
        ({"kind": "older_database", "changes": 7}, OlderDatabase(7, 1.0)),
        (
            {"kind": "fail", "code": "X", "params": ["a"], "method": "VM.start", "count": 3},
            Fail("X", ["a"], "VM.start", 3),
        ),
    ],
)
def test_a_fault_is_decoded(asked: object, fault: object) -> None:
    assert fault == kinds.fault(json.dumps(asked).encode())


def test_all_kinds_of_the_contract_are_known() -> None:
    contract = "drop black_hole delay restart member expire_sessions older_database fail none"
    assert set(contract.split()) <= set(kinds.KINDS)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "earthquake"}, "'earthquake' - at `$.kind`; the kinds are black_hole,"),
        ({}, "missing required field `kind`"),
        ([], "Expected `object`, got `array`"),
        ({"kind": "drop", "ms": 3}, "unknown field `ms`"),
        ({"kind": "delay"}, "missing required field `ms`"),
        ({"kind": "delay", "ms": "x"}, "Expected `float`, got `str` - at `$.ms`"),
        ({"kind": "restart", "seconds": -1}, "`float` >= 0.0 - at `$.seconds`"),
        ({"kind": "older_database"}, "missing required field `changes`"),
        ({"kind": "fail"}, "missing required field `code`"),
        ({"kind": "fail", "code": ""}, "length >= 1"),
        ({"kind": "fail", "code": "X", "params": [1]}, "Expected `str`, got `int`"),
        ({"kind": "fail", "code": "X", "count": 0}, "`int` >= 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(asked: object, message: str) -> None:
    with pytest.raises(AskedError) as caught:
        kinds.fault(json.dumps(asked).encode())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"drop", b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(AskedError):
        kinds.fault(body)

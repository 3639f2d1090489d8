"""Faults as they are asked for: what is understood, and what is said about the rest."""

import json
from pathlib import Path

import pytest

from xoproxy.simulator.faults import kinds
from xoproxy.simulator.faults.kinds import (
    AskedError,
    Delay,
    Drop,
    Fail,
    InvalidJson,
    Jitter,
    Member,
    OlderDatabase,
    Pages,
    Reset,
    Slow,
    TooManyPendingTasks,
    Truncated,
)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"kind": "drop"}, Drop()),
        ({"kind": "drop", "seconds": 2}, Drop(2.0)),
        ({"kind": "delay", "ms": 20, "seconds": 1.5}, Delay(20.0, 1.5)),
        ({"kind": "member"}, Member()),
        ({"kind": "reset"}, Reset(after_bytes=100)),
        ({"kind": "reset", "after_bytes": 0, "seconds": 3}, Reset(after_bytes=0, seconds=3.0)),
        ({"kind": "jitter", "ms": 50, "seed": 9}, Jitter(ms=50.0, seed=9)),
        ({"kind": "slow", "bytes_per_s": 9, "method": "X"}, Slow(bytes_per_s=9.0, method="X")),
        ({"kind": "truncated"}, Truncated(how=None, probability=1.0, seed=1)),
        ({"kind": "truncated", "how": "cut"}, Truncated(how="cut")),
        (
            {"kind": "invalid_json", "how": "empty", "probability": 0.5},
            InvalidJson(how="empty", probability=0.5),
        ),
        ({"kind": "pages", "status": 503}, Pages(status=503)),
        ({"kind": "too_many_pending_tasks", "seconds": 1}, TooManyPendingTasks(seconds=1.0)),
        ({"kind": "older_database", "changes": 7}, OlderDatabase(7, 1.0)),
        (
            {"kind": "fail", "code": "X", "params": ["a"], "method": "VM.start", "count": 3},
            Fail("X", ["a"], "VM.start", 3),
        ),
    ],
)
def test_a_fault_is_decoded(asked: object, fault: object) -> None:
    assert fault == kinds.fault(json.dumps(asked).encode())


@pytest.mark.parametrize("kind", kinds.Fault.__args__)
def test_each_kind_says_what_it_is(kind: type) -> None:
    assert kind.__doc__


def test_each_kind_stands_in_the_documentation() -> None:
    text = Path(__file__).parents[4].joinpath("docs", "simulator.md").read_text()
    assert [kind for kind in kinds.KINDS if f"| `{kind}` |" not in text] == []


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
        ({"kind": "reset", "after_bytes": -1}, "`int` >= 0"),
        ({"kind": "jitter"}, "missing required field `ms`"),
        ({"kind": "slow", "bytes_per_s": 0}, "`float` >= 1.0"),
        ({"kind": "truncated", "how": "badly"}, "Invalid enum value 'badly' - at `$.how`"),
        ({"kind": "invalid_json", "probability": 0}, "`float` > 0.0 - at `$.probability`"),
        ({"kind": "invalid_json", "probability": 1.1}, "`float` <= 1.0 - at `$.probability`"),
        ({"kind": "pages", "status": 404}, "Invalid enum value 404 - at `$.status`"),
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

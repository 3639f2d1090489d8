"""The control surface, asked without a network. Its effects: tests/integration."""

import json
from typing import Any

import pytest

from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool


@pytest.fixture
def pool() -> SimulatedPool:
    return SimulatedPool(generate(1, 2))


async def ask(pool: SimulatedPool, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    status, answer = await pool.control.answer(method, path, data)
    return status, json.loads(answer)


async def test_statistics_are_complete(pool: SimulatedPool) -> None:
    pool.dispatcher.calls["VM.start"] += 2
    status, stats = await ask(pool, "GET", "/_sim/stats")
    assert status == 200
    assert set(stats) == {"sessions", "event_waits", "calls", "faults", "generation", "objects"}
    assert stats["sessions"] == stats["event_waits"] == 0
    assert stats["calls"] == {"VM.start": 2}
    assert stats["faults"] == {}
    assert stats["generation"] == pool.database.generation
    assert set(stats["objects"]) == set(pool.database.tables)
    assert stats["objects"]["pool"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/_sim/fault", {"kind": "flood"}, 400, "the kinds are"),
        ("POST", "/_sim/churn", {}, 400, "missing required field `rate`"),
        ("POST", "/_sim/churn", None, 400, "missing required field `rate`"),
        ("POST", "/_sim/churn", {"rate": -1}, 400, "`float` >= 0.0"),
        ("POST", "/_sim/churn", {"rate": "1"}, 400, "Expected `float`, got `str`"),
        ("POST", "/_sim/churn", {"rate": 1, "speed": 2}, 400, "unknown field `speed`"),
        ("GET", "/_sim/fault", None, 405, "takes POST"),
        ("POST", "/_sim/faults", {}, 400, "Expected `array`"),
        ("DELETE", "/_sim/faults", None, 405, "takes POST and GET"),
        ("DELETE", "/_sim/churn", None, 405, "takes POST"),
        ("POST", "/_sim/stats", None, 405, "takes GET"),
        ("GET", "/_sim/", None, 404, "there are"),
        ("GET", "/_sim/statistics", None, 404, "there are"),
    ],
)
async def test_what_cannot_be_done_is_said(
    pool: SimulatedPool, method: str, path: str, body: Any, status: int, message: str
) -> None:
    got, answer = await ask(pool, method, path, body)
    assert got == status
    assert set(answer) == {"error"}
    assert message in answer["error"]


async def test_a_stopped_churn_needs_no_network(pool: SimulatedPool) -> None:
    generation = pool.database.generation
    assert await ask(pool, "POST", "/_sim/churn", {"rate": 0}) == (200, {"ok": True})
    assert pool.database.generation == generation

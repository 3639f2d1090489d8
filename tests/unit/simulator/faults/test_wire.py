"""Faults of answers without a network: whom they hit, when, and for how long."""

import asyncio
from typing import cast

import pytest

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.faults.kinds import (
    BlackHole,
    Delay,
    InvalidJson,
    Jitter,
    Pages,
    Reset,
    Sifting,
    Slow,
    TooManyPendingTasks,
    Truncated,
)
from xoproxy.simulator.faults.wire import WireFaults
from xoproxy.simulator.http import ClosedError, Connection, PageError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
BODY = b"x" * 1000

pytestmark = pytest.mark.looptime


class Line:
    """What a connection would bring to a client, and when."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.aborted = False

    async def write(self, *parts: bytes) -> None:
        self.pieces.append((round(now(), 3), b"".join(parts)))

    def abort(self) -> None:
        self.aborted = True

    @property
    def received(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def counted() -> list[str]:
    return []


@pytest.fixture
def faults(counted: list[str]) -> WireFaults:
    return WireFaults(list, counted.append)


async def answer(faults: WireFaults, what: str = "X") -> Line:
    line = Line()
    await faults.send(cast("Connection", line), what, HEAD, BODY)
    return line


async def hits(faults: WireFaults, count: int, what: str = "X") -> list[bool]:
    """Tell which of some calls are answered by a page."""
    found = []
    for _ in range(count):
        try:
            await faults.before_call(cast("Connection", Line()), what)
            found.append(False)
        except PageError:
            found.append(True)
    return found


async def test_without_faults_an_answer_goes_as_it_is(faults: WireFaults) -> None:
    assert (await answer(faults)).pieces == [(0.0, HEAD + BODY)]
    assert not faults.struck


async def test_a_seed_chooses_the_same_calls_again(faults: WireFaults) -> None:
    runs = []
    for seed in (5, 5, 6):
        faults.begin(Pages(probability=0.3, seed=seed))
        runs.append(await hits(faults, 50))
    assert runs[0] == runs[1] != runs[2]
    assert 5 < sum(runs[0]) < 25
    assert faults.struck["pages"] == sum(map(sum, runs))


async def test_calls_of_other_methods_do_not_shift_the_choice(faults: WireFaults) -> None:
    faults.begin(Pages(probability=0.3, method="X"))
    alone = await hits(faults, 20)
    faults.begin(Pages(probability=0.3, method="X"))
    mixed = []
    for _ in range(20):
        assert await hits(faults, 2, "Y") == [False, False]
        mixed += await hits(faults, 1)
    assert mixed == alone


async def test_what_is_refused_counts_as_a_call(faults: WireFaults, counted: list[str]) -> None:
    faults.begin(Pages(method="X"))
    faults.begin(TooManyPendingTasks(method="Y"))
    await hits(faults, 1)
    with pytest.raises(XapiError, match="TOO_MANY_PENDING_TASKS"):
        await hits(faults, 1, "Y")
    assert counted == ["X", "Y"]


@pytest.mark.parametrize("fault", [Pages(seconds=2), Pages(seconds=2, probability=1.0, seed=3)])
async def test_a_fault_ends_by_itself(faults: WireFaults, fault: Sifting) -> None:
    faults.begin(fault)
    await asyncio.sleep(1.9)
    assert await hits(faults, 1) == [True]
    await asyncio.sleep(0.2)
    assert await hits(faults, 1) == [False]


async def test_one_of_the_same_kind_replaces_the_one_before(faults: WireFaults) -> None:
    faults.begin(Pages(seconds=2, method="X"))
    faults.begin(Pages(method="Y"))
    assert await hits(faults, 1, "X") == [False]
    await asyncio.sleep(3)
    assert await hits(faults, 1, "Y") == [True]
    faults.end()
    assert await hits(faults, 1, "Y") == [False]


async def test_jitter_comes_on_top_of_delay(faults: WireFaults) -> None:
    faults.begin(Delay(1000))
    faults.begin(Jitter(ms=500))
    times = []
    for _ in range(20):
        began = now()
        await answer(faults)
        times.append(now() - began)
    assert 1.0 <= min(times) < 1.1
    assert 1.4 < max(times) <= 1.5


async def test_a_slow_body_keeps_its_pace(faults: WireFaults) -> None:
    faults.begin(Slow(bytes_per_s=500))
    line = await answer(faults)
    assert line.pieces[0] == (0.0, HEAD)
    assert line.received == HEAD + BODY
    assert now() == pytest.approx(2.0)
    assert max(len(piece) for _, piece in line.pieces[1:]) <= 25


async def test_a_slow_body_hurries_when_the_fault_ends(faults: WireFaults) -> None:
    faults.begin(Slow(bytes_per_s=500, seconds=1))
    line = await answer(faults)
    assert line.received == HEAD + BODY
    assert now() == pytest.approx(1.0, abs=0.1)


async def test_a_reset_ends_the_connection_in_the_middle(faults: WireFaults) -> None:
    faults.begin(Reset(after_bytes=10))
    line = Line()
    with pytest.raises(ConnectionResetError):
        await faults.send(cast("Connection", line), "X", HEAD, BODY)
    assert line.received == HEAD + BODY[:10]
    assert line.aborted


async def test_a_truncated_answer_ends_the_connection_orderly(faults: WireFaults) -> None:
    faults.begin(Truncated(how="closed"))
    line = Line()
    with pytest.raises(ClosedError):
        await faults.send(cast("Connection", line), "X", HEAD, BODY)
    assert len(line.received) < len(HEAD + BODY)
    assert not line.aborted


async def test_spoiled_answers_wait_in_a_black_hole_too(faults: WireFaults) -> None:
    faults.begin(BlackHole(3))
    faults.begin(InvalidJson(how="empty"))
    line = await answer(faults)
    assert line.pieces == [(3.0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]
    assert faults.struck == {"black_hole": 1, "invalid_json": 1}

"""How bytes flow is told to the hub before anybody else hears of it."""

import asyncio
from collections import Counter

from xoproxy.ws.transport import Endings, FlowProtocol


class Recorder(asyncio.Protocol):
    """Both the protocol behind and the flow: writes down who was told what, in order."""

    def __init__(self, told, name):
        self._told, self._name = told, name

    def __getattribute__(self, attribute):
        if attribute.startswith("_"):
            return super().__getattribute__(attribute)
        return lambda *_args: self._told.append((self._name, attribute))


def recorded():
    told: list[tuple[str, str]] = []
    return FlowProtocol(Recorder(told, "inner"), Recorder(told, "flow"), Endings()), told


async def test_a_lost_connection_is_told_to_the_flow_at_once_and_ended_soon():
    protocol, told = recorded()
    protocol.connection_lost(None)
    assert told == [("flow", "lost")]
    await asyncio.sleep(0)
    assert told == [("flow", "lost"), ("inner", "connection_lost")]


class Ending(asyncio.Protocol):
    """Notes in which turn of the loop it was ended; some fail at it."""

    def __init__(self, ended, turn, *, fails=False):
        self._ended, self._turn, self._fails = ended, turn, fails

    def connection_lost(self, exc):
        self._ended.append((self._turn[0], exc))
        if self._fails:
            raise RuntimeError("a fault")


async def test_many_connections_that_are_lost_at_once_are_ended_in_turns():
    ended: list[tuple[int, Exception | None]] = []
    turn = [0]
    endings = Endings()
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: faults.append(str(context["exception"]))
    )
    reset = ConnectionResetError()
    for number in range(100):
        endings.append(Ending(ended, turn, fails=number == 3), reset)
    while len(ended) < 100:
        await asyncio.sleep(0)
        turn[0] += 1
    counts = Counter(at for at, _ in ended)
    assert max(counts.values()) <= 8
    assert {exc for _, exc in ended} == {reset}
    assert faults == ["a fault"]
    endings.append(Ending(ended, turn), None)
    await asyncio.sleep(0)
    assert ended[-1][1] is None


def test_pause_and_resume_reach_both():
    protocol, told = recorded()
    protocol.pause_writing()
    protocol.resume_writing()
    assert told == [
        ("inner", "pause_writing"),
        ("flow", "pause"),
        ("inner", "resume_writing"),
        ("flow", "resume"),
    ]


def test_data_passes_through():
    protocol, told = recorded()
    protocol.data_received(b"x")
    protocol.eof_received()
    assert told == [("inner", "data_received"), ("inner", "eof_received")]

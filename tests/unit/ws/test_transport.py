"""How bytes flow is told to the hub before anybody else hears of it."""

import asyncio

from xoproxy.ws.transport import FlowProtocol


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
    return FlowProtocol(Recorder(told, "inner"), Recorder(told, "flow")), told


def test_a_lost_connection_is_told_to_the_flow_first():
    protocol, told = recorded()
    protocol.connection_lost(None)
    assert told == [("flow", "lost"), ("inner", "connection_lost")]


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

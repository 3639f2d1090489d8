"""The protocol's core plays the golden conversations."""

import msgpack
import msgspec
import pytest

from tests.unit.client.golden import CONVERSATIONS, Player, each_conversation, steps_of


def by_json(frame):
    return msgspec.json.decode(msgspec.json.encode(frame))


def by_msgpack(frame):
    return msgspec.msgpack.decode(msgpack.packb(frame))


@each_conversation
@pytest.mark.parametrize("wire", [by_json, by_msgpack])
def test_golden_conversations(path, wire):
    Player(wire).play(steps_of(path))


def test_there_are_conversations():
    assert len(CONVERSATIONS) > 50

"""The RFB protocol without a connection; the tests read like a trace."""

import struct

import pytest

from xoproxy.simulator.consoles.pixels import PixelFormat
from xoproxy.simulator.consoles.rfb import (
    CutText,
    Key,
    Pointer,
    RfbError,
    RfbServer,
    SetEncodings,
    SetFormat,
    UpdateRequest,
)

GREETING = b"RFB 003.008\n"
SERVER_INIT = (
    struct.pack(">HH", 20, 10) + PixelFormat().pack() + struct.pack(">I", 3) + "né".encode()
)


class Trace:
    """A server and what it said."""

    def __init__(self) -> None:
        self.server = RfbServer(20, 10, "né")

    def said(self) -> bytes:
        said = bytes(self.server.output)
        self.server.output.clear()
        return said

    def hears(self, data: bytes) -> list:
        return list(self.server.receive(data))


@pytest.fixture
def trace() -> Trace:
    made = Trace()
    assert made.said() == GREETING
    return made


@pytest.fixture
def opened(trace) -> Trace:
    trace.hears(GREETING + b"\x01\x01")
    trace.said()
    return trace


def test_the_handshake_of_3_8(trace):
    assert trace.hears(b"RFB 003.008\n") == []
    assert trace.said() == b"\x01\x01"
    assert trace.hears(b"\x01") == []
    assert trace.said() == bytes(4)
    assert not trace.server.is_open
    assert trace.hears(b"\x00") == []
    assert trace.said() == SERVER_INIT
    assert trace.server.is_open


def test_the_handshake_of_3_7_says_nothing_of_the_result(trace):
    trace.hears(b"RFB 003.007\n")
    assert trace.said() == b"\x01\x01"
    trace.hears(b"\x01")
    assert trace.said() == b""
    trace.hears(b"\x01")
    assert trace.said() == SERVER_INIT


@pytest.mark.parametrize("version", [b"003.003", b"003.005", b"003.000"])
def test_in_3_3_the_server_decides(trace, version):
    trace.hears(b"RFB " + version + b"\n")
    assert trace.said() == struct.pack(">I", 1)
    trace.hears(b"\x01")
    assert trace.said() == SERVER_INIT


def test_a_later_version_is_taken_for_3_8(trace):
    trace.hears(b"RFB 003.889\n\x01")

    assert trace.said() == b"\x01\x01" + bytes(4)


@pytest.mark.parametrize("said", [b"GET / HTTP/1", b"RFB 004.001\n", b"RFB 003.008\r"])
def test_what_is_no_version_is_refused(trace, said):
    with pytest.raises(RfbError):
        trace.hears(said)


def test_a_security_that_was_not_offered_is_refused(trace):
    with pytest.raises(RfbError):
        trace.hears(GREETING + b"\x02")


MESSAGES = [
    (b"\x00\0\0\0" + PixelFormat(16, 16).pack(), SetFormat(PixelFormat(16, 16))),
    (struct.pack(">BxH3i", 2, 3, 0, -223, 6), SetEncodings((0, -223, 6))),
    (struct.pack(">BxH", 2, 0), SetEncodings(())),
    (struct.pack(">BBHHHH", 3, 1, 1, 2, 3, 4), UpdateRequest(True, 1, 2, 3, 4)),
    (struct.pack(">BBHHHH", 3, 0, 0, 0, 20, 10), UpdateRequest(False, 0, 0, 20, 10)),
    (struct.pack(">BBxxI", 4, 1, 0x41), Key(True, 0x41)),
    (struct.pack(">BBHH", 5, 4, 7, 8), Pointer(7, 8, 4)),
    (b"\x06\0\0\0\0\0\0\x02ab", CutText(2)),
    (struct.pack(">BBHII", 255, 0, 1, 0x41, 30), Key(True, 0x41)),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_a_message_is_read_whole_and_in_pieces(opened, data, message):
    assert opened.hears(data) == [message]
    heard = [heard for byte in data for heard in opened.hears(bytes([byte]))]
    assert heard == [message]


def test_many_messages_come_at_once(opened):
    assert opened.hears(b"".join(data for data, _ in MESSAGES)) == [m for _, m in MESSAGES]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01" + bytes(20),
        b"\x00\0\0\0" + bytes(16),
        b"\x06\0\0\0\x00\x10\x00\x01",  # a byte more than is taken
        b"\x06\0\0\0\x80\0\0\0",
        struct.pack(">BBHII", 255, 1, 1, 0, 0),
    ],
)
def test_what_makes_no_sense_is_refused(opened, data):
    with pytest.raises(RfbError):
        opened.hears(data)


def test_cut_text_is_not_kept(opened):
    opened.hears(b"\x06\0\0\0\x00\x10\x00\x00")
    for _ in range(16):
        opened.hears(bytes(64 * 1024))
        assert len(opened.server._buffer) == 0
    assert opened.hears(MESSAGES[6][0]) == [MESSAGES[6][1]]

"""Prebuilt frames, read by the `websockets` library as a browser would."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from xoproxy.sessions.frame import Frame as SharedFrame
from xoproxy.ws.frames import SharedFraming, close_frame, header, ping_frame, pong_frame

sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]


def parse(data: bytes, *extensions) -> Frame:
    """Read exactly one frame."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False, extensions=list(extensions))
    try:
        next(parsing)
    except StopIteration as done:
        assert reader.buffer == b""
        return done.value
    raise AssertionError("the frame is not complete")


def inflater() -> PerMessageDeflate:
    """Return a client's end of what we negotiate."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


def wire(framing: SharedFraming, payload: bytes, *, binary: bool) -> bytes:
    return SharedFrame(payload, binary=binary, framing=framing).wire(deflate=True)


@pytest.mark.parametrize("size", sizes)
@pytest.mark.parametrize("binary", [True, False])
def test_a_plain_frame_of_any_size(size, binary):
    frame = parse(SharedFraming().plain(b"x" * size, binary=binary))

    assert frame.opcode is (Opcode.BINARY if binary else Opcode.TEXT)
    assert frame.data == b"x" * size
    assert frame.fin
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_the_header_has_the_shortest_length(size, expected):
    assert header(0x81, size).hex() == expected


@pytest.mark.parametrize("size", sizes)
@pytest.mark.parametrize("binary", [True, False])
def test_a_deflated_frame_of_any_size(size, binary):
    payload = b"name_label " * (size // 10)
    data = wire(SharedFraming(threshold_bytes=0), payload, binary=binary)
    frame = parse(data, inflater())
    assert frame.data == payload
    assert frame.opcode is (Opcode.BINARY if binary else Opcode.TEXT)


def test_what_compresses_is_marked_and_smaller():
    payload = b'{"op":"replace","path":"/VM/1/power_state","value":"Running"}' * 20
    data = wire(SharedFraming(), payload, binary=False)
    assert data[0] == 0xC1
    assert len(data) < len(payload) / 5


@pytest.mark.parametrize("payload", [b"", b"short", random.Random(1).randbytes(600)])
def test_what_is_short_or_does_not_compress_goes_plain(payload):
    framing = SharedFraming(threshold_bytes=512)
    assert framing.deflated(payload, binary=True) is None
    assert wire(framing, payload, binary=True) == framing.plain(payload, binary=True)


def test_the_threshold_is_the_first_size_that_is_tried():
    framing = SharedFraming(threshold_bytes=100)
    assert wire(framing, b"x" * 99, binary=False)[0] == 0x81
    assert wire(framing, b"x" * 100, binary=False)[0] == 0xC1


@given(st.lists(st.binary(max_size=300).map(lambda data: data * 3), max_size=5))
def test_frames_can_be_read_in_any_order_and_left_out(payloads):
    """Nothing refers to an earlier message, so one frame serves clients that saw different ones."""
    framing = SharedFraming(threshold_bytes=0)
    frames = [wire(framing, payload, binary=True) for payload in payloads]
    one_client = inflater()
    for data, payload in reversed(list(zip(frames, payloads, strict=True))):
        assert parse(data, one_client).data == payload


def test_a_client_that_keeps_its_window_reads_them_too():
    framing = SharedFraming(threshold_bytes=0)
    window = zlib.decompressobj(-15)
    for payload in (b"abc" * 100, b"abc" * 100, b"xyz" * 50):
        data = wire(framing, payload, binary=True)
        start = {126: 4, 127: 10}.get(data[1], 2)
        assert window.decompress(data[start:] + b"\x00\x00\xff\xff") == payload


class TestControlFrames:
    def test_close(self):
        frame = parse(close_frame(4301, "restarting"))
        assert (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x10\xcdrestarting")

    def test_a_reason_that_is_too_long_is_cut_between_characters(self):
        frame = parse(close_frame(4502, "é" * 100))
        assert len(frame.data) <= 125
        assert bytes(frame.data[2:]).decode() == "é" * 61

    def test_ping_and_pong(self):
        assert parse(ping_frame(b"x")).opcode is Opcode.PING
        assert parse(ping_frame()).data == b""
        pong = parse(pong_frame(b"same"))
        assert (pong.opcode, pong.data) == (Opcode.PONG, b"same")

"""What a viewer is sent."""

import struct
import zlib

import pytest

from xoproxy.simulator.consoles.screen import COLUMNS, Screen
from xoproxy.simulator.consoles.viewer import ScreenViewer

OPENING = b"RFB 003.008\n\x01\x01"


class Looking:
    """A screen with one viewer, past the handshake."""

    def __init__(self) -> None:
        self.screen = Screen("vm")
        self.woken = 0
        self.viewer = ScreenViewer(self.screen, "vm", self.wake)
        self.viewer.receive(OPENING)
        self.viewer.take()

    def wake(self) -> None:
        self.woken += 1

    def ask(self, *, incremental: bool, area: tuple[int, int, int, int] = (0, 0, 720, 400)) -> None:
        self.viewer.receive(struct.pack(">BBHHHH", 3, incremental, *area))

    def rectangles(self) -> list[tuple[int, int, int, int]]:
        """Read one update in raw encoding."""
        data = self.viewer.take()
        if not data:
            return []
        kind, count = struct.unpack_from(">BxH", data)
        assert kind == 0
        found, at = [], 4
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack_from(">HHHHi", data, at)
            assert encoding == 0
            found.append((x, y, width, height))
            at += 12 + width * height * 4
        assert at == len(data)
        return found


@pytest.fixture
def looking() -> Looking:
    return Looking()


def test_nothing_is_sent_unasked(looking):
    looking.screen.type("x")

    assert looking.woken == 1
    assert looking.viewer.take() == b""


def test_the_whole_screen_comes_once(looking):
    looking.ask(incremental=False)
    assert looking.rectangles() == [(0, 0, 720, 400)]
    looking.ask(incremental=True)
    assert looking.rectangles() == []
    looking.ask(incremental=False)
    assert looking.rectangles() == [(0, 0, 720, 400)]


def test_runs_of_changed_cells_come_as_rectangles(looking):
    looking.ask(incremental=False)
    looking.viewer.take()
    looking.screen.type("ab")
    looking.screen.type("\nc")
    looking.ask(incremental=True)

    # "ab" below the title; the next prompt's ">", and "c" after its blank, which did not change
    assert looking.rectangles() == [(18, 32, 18, 16), (0, 48, 9, 16), (18, 48, 9, 16)]


def test_what_changed_outside_the_asked_area_is_kept_for_later(looking):
    looking.ask(incremental=False)
    looking.viewer.take()
    looking.screen.type("a")
    looking.ask(incremental=True, area=(0, 0, 720, 16))
    assert looking.rectangles() == []
    looking.ask(incremental=True)
    assert looking.rectangles() == [(18, 32, 9, 16)]


@pytest.mark.parametrize("area", [(0, 0, 0, 0), (720, 0, 10, 10), (0, 400, 65535, 65535)])
def test_nothing_can_be_asked_of_beyond_the_screen(looking, area):
    looking.ask(incremental=False, area=area)

    assert looking.viewer.take() == b""


def test_an_area_beyond_the_screen_is_cut(looking):
    looking.ask(incremental=False, area=(700, 390, 65535, 65535))

    assert looking.rectangles() == [(693, 384, 27, 16)]


def test_many_requests_are_one(looking):
    for _ in range(1000):
        looking.ask(incremental=False)

    assert looking.rectangles() == [(0, 0, 720, 400)]
    assert looking.rectangles() == []


def test_compressed_updates_are_one_stream(looking):
    looking.viewer.receive(struct.pack(">BxH2i", 2, 2, 6, 0))
    stream = zlib.decompressobj()
    for _ in range(2):
        looking.ask(incremental=False)
        data = looking.viewer.take()
        _, encoding, length = struct.unpack_from(">8siI", data, 4)
        assert (encoding, length) == (6, len(data) - 20)
        assert len(stream.decompress(data[20:])) == 720 * 400 * 4
        assert len(data) < 30_000


def test_bells_ring_once_for_all_that_rang(looking):
    looking.screen.ring()
    looking.screen.ring()

    assert looking.viewer.take() == b"\x02"
    assert looking.viewer.take() == b""


@pytest.mark.parametrize(
    ("symbol", "seen"),
    [
        (ord("A"), "A"),
        (0xE9, "e"),  # e with an accent
        (0xFFB5, "5"),  # on the keypad
        (0xFFAF, "/"),
        (0xFF09, "    "),
        (0xFFE1, ""),  # shift
    ],
)
def test_keys_are_typed_when_they_go_down(looking, symbol, seen):
    for down in (1, 0):
        assert looking.viewer.receive(struct.pack(">BBxxI", 4, down, symbol))
    typed = "".join(looking.screen.characters[2 * COLUMNS : 3 * COLUMNS])

    assert typed == f"> {seen}".ljust(COLUMNS)
    assert looking.screen.bells == 0


def test_only_keys_and_the_pointer_are_activity(looking):
    assert looking.viewer.receive(struct.pack(">BBHH", 5, 0, 1, 1))
    assert not looking.viewer.receive(struct.pack(">BBHHHH", 3, 0, 0, 0, 1, 1))
    assert not looking.viewer.receive(b"\x06\0\0\0\0\0\0\x01x")


def test_a_viewer_that_left_is_not_told(looking):
    looking.viewer.close()
    looking.screen.type("x")

    assert (looking.woken, looking.screen.changed) == (0, [])

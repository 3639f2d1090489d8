"""From cells to pixels."""

import struct

import pytest

from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH, CELLS
from xoproxy.simulator.consoles.pixels import FormatError, PixelFormat, Region, draw
from xoproxy.simulator.consoles.screen import COLUMNS, ROWS, Screen


def test_a_format_survives_its_wire_form():
    wanted = PixelFormat(16, 16, True, (31, 63, 31), (11, 5, 0))

    assert PixelFormat.unpack(wanted.pack()) == wanted
    assert PixelFormat().pack() == bytes.fromhex("20180001 00ff00ff00ff 100800 000000")


@pytest.mark.parametrize("bits", [0, 1, 4, 24, 64])
def test_other_sizes_of_pixels_are_refused(bits):
    with pytest.raises(FormatError):
        PixelFormat.unpack(struct.pack(">BBBBHHHBBB3x", bits, 8, 0, 1, 7, 7, 3, 5, 2, 0))


def test_a_colour_map_is_refused():
    with pytest.raises(FormatError):
        PixelFormat.unpack(struct.pack(">BBBBHHHBBB3x", 8, 8, 0, 0, 7, 7, 3, 5, 2, 0))


@pytest.mark.parametrize(
    ("wanted", "pixel"),
    [
        (PixelFormat(), bytes([0, 128, 255, 0])),
        (PixelFormat(big_endian=True), bytes([0, 255, 128, 0])),
        (
            PixelFormat(16, 16, True, (31, 63, 31), (11, 5, 0)),
            struct.pack(">H", 31 << 11 | 31 << 5),
        ),
        (PixelFormat(8, 8, False, (7, 7, 3), (5, 2, 0)), bytes([7 << 5 | 3 << 2])),
        (PixelFormat(8, 8, False, (65535, 0, 0), (255, 0, 0)), bytes([0])),  # absurd, but harmless
    ],
)
def test_a_colour_is_written_as_the_format_says(wanted, pixel):
    assert wanted.pixel((255, 128, 0)) == pixel


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_region_has_as_many_bytes_as_its_pixels(bits):
    region = Region(3, 4, 10, 2)
    _, _, width, height = region.pixels

    drawn = draw(Screen("x"), region, PixelFormat(bits))

    assert len(drawn) == width * height * bits // 8


def test_a_part_is_cut_from_the_whole():
    screen = Screen("name")
    screen.type("Hello")
    screen.point(45, 40)
    wanted = PixelFormat(8, 8, False, (7, 7, 3), (5, 2, 0))
    whole = draw(screen, Region(0, 0, COLUMNS, ROWS), wanted)
    region = Region(2, 1, 5, 3)
    left, top, width, height = region.pixels
    stride = COLUMNS * CELL_WIDTH

    cut = b"".join(
        whole[y * stride + left : y * stride + left + width] for y in range(top, top + height)
    )

    assert draw(screen, region, wanted) == cut


def test_ink_and_ground_follow_the_font():
    screen = Screen("x")
    screen.type("A")
    drawn = draw(screen, Region(2, 2, 1, 1), PixelFormat(8, 8, False, (7, 7, 3), (5, 2, 0)))

    rows = [drawn[n * CELL_WIDTH : (n + 1) * CELL_WIDTH] for n in range(CELL_HEIGHT)]

    assert tuple("".join("#" if dot else "." for dot in row) for row in rows) == CELLS["A"]

"""From a screen to pixels, in the format that a viewer wants."""

import functools
import struct
from dataclasses import dataclass
from typing import Final, Self

from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH, CELLS
from xoproxy.simulator.consoles.screen import COLUMNS, PLAIN, POINTER_REACH, TITLE, WIDTH, Screen

_LAYOUT: Final = struct.Struct(">BBBBHHHBBB3x")
Colour = tuple[int, int, int]

COLOURS: Final[dict[int, tuple[Colour, Colour]]] = {
    PLAIN: ((0, 0, 0), (170, 170, 170)),
    TITLE: ((0, 0, 170), (255, 255, 255)),
}
POINTER: Final[Colour] = (255, 255, 0)


class FormatError(ValueError):
    """A pixel format that cannot be written."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a pixel is written (RFC 6143, 7.4); only true colour, of 8, 16 or 32 bits."""

    bits: int = 32
    depth: int = 24
    big_endian: bool = False
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        bits, depth, big_endian, true_colour, *rest = _LAYOUT.unpack(data)
        if bits not in (8, 16, 32) or not true_colour:
            raise FormatError(f"{bits} bits, {'true colour' if true_colour else 'colour map'}")
        red, green, blue, *shifts = rest
        return cls(bits, depth, bool(big_endian), (red, green, blue), tuple(shifts))

    def pack(self) -> bytes:
        return _LAYOUT.pack(self.bits, self.depth, self.big_endian, 1, *self.maxima, *self.shifts)

    def pixel(self, colour: Colour) -> bytes:
        value = 0
        for part, maximum, shift in zip(colour, self.maxima, self.shifts, strict=True):
            value |= part * maximum // 255 << shift
        value &= (1 << self.bits) - 1
        return value.to_bytes(self.bits // 8, "big" if self.big_endian else "little")


@dataclass(frozen=True, slots=True)
class Region:
    """Whole cells of a screen."""

    column: int
    row: int
    columns: int
    rows: int

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """Where it lies: x, y, width, height."""
        return (
            self.column * CELL_WIDTH,
            self.row * CELL_HEIGHT,
            self.columns * CELL_WIDTH,
            self.rows * CELL_HEIGHT,
        )


@functools.lru_cache(maxsize=4096)
def _cell(wanted: PixelFormat, character: str, style: int) -> tuple[bytes, ...]:
    """Return the rows of one cell."""
    ground, ink = (wanted.pixel(colour) for colour in COLOURS[style])
    return tuple(
        b"".join(ink if dot == "#" else ground for dot in line) for line in CELLS[character]
    )


def draw(screen: Screen, region: Region, wanted: PixelFormat) -> bytes:
    """Return a region's pixels, row by row."""
    lines = []
    for row in range(region.row, region.row + region.rows):
        first = row * COLUMNS + region.column
        numbers = range(first, first + region.columns)
        cells = [_cell(wanted, screen.characters[n], screen.styles[n]) for n in numbers]
        lines += [b"".join(parts) for parts in zip(*cells, strict=True)]
    if screen.pointer is not None:
        _draw_pointer(lines, region, screen.pointer, wanted)
    return b"".join(lines)


def _draw_pointer(
    lines: list[bytes], region: Region, place: tuple[int, int], wanted: PixelFormat
) -> None:
    """Draw a cross where the pointer is, as far as it lies in the region."""
    left, top, width, height = region.pixels
    x, y = place
    pixel = wanted.pixel(POINTER)
    size = len(pixel)
    for line in range(max(y - POINTER_REACH, top), min(y + POINTER_REACH + 1, top + height)):
        reach = POINTER_REACH if line == y else 0
        begin = max(x - reach, left)
        end = min(x + reach + 1, left + width, WIDTH)
        if begin < end:
            old = lines[line - top]
            head, tail = old[: (begin - left) * size], old[(end - left) * size :]
            lines[line - top] = head + pixel * (end - begin) + tail

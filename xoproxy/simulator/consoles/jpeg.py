"""A picture of a screen as a baseline JPEG (ITU-T T.81), without subsampling.

Made for text screens: blocks that are alike are transformed once, and the Huffman codes are made
so that what such pictures are full of (nothing follows, nothing changed) takes one bit.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from xoproxy.simulator.consoles.pixels import COLOURS, POINTER, Colour, PixelFormat, Region, draw
from xoproxy.simulator.consoles.screen import COLUMNS, HEIGHT, ROWS, WIDTH, Screen

QUANTUM: Final = 4  # every coefficient is rounded to multiples of it
_SIDE: Final = 8
_BYTE_A_PIXEL: Final = PixelFormat(8, 8, maxima=(7, 7, 3), shifts=(5, 2, 0))
_PALETTE: Final[dict[int, Colour]] = {
    _BYTE_A_PIXEL.pixel(colour)[0]: colour
    for colour in (*(c for pair in COLOURS.values() for c in pair), POINTER)
}
_COSINES: Final = [
    [
        math.cos((2 * x + 1) * u * math.pi / 16) / 2 * (math.sqrt(0.5) if u == 0 else 1)
        for x in range(_SIDE)
    ]
    for u in range(_SIDE)
]
# By diagonals, every second one upwards.
_ZIGZAG: Final = sorted(
    ((v, u) for v in range(_SIDE) for u in range(_SIDE)),
    key=lambda place: (sum(place), place[sum(place) % 2 == 0]),
)
# The symbols of the two codes: the first has one bit, the others a fixed number of bits.
_DC_SYMBOLS: Final = list(range(12))
_AC_SYMBOLS: Final = [0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
_DC_BITS: Final = 5
_AC_BITS: Final = 9

_Block = tuple[int, ...]  # quantised coefficients in zigzag order


def _codes(symbols: Sequence[int], bits: int) -> dict[int, str]:
    others = {s: f"1{number:0{bits - 1}b}" for number, s in enumerate(symbols[1:])}
    return {symbols[0]: "0", **others}


_DC: Final = _codes(_DC_SYMBOLS, _DC_BITS)
_AC: Final = _codes(_AC_SYMBOLS, _AC_BITS)


def picture(screen: Screen) -> bytes:
    """Return a screen's picture."""
    pixels = draw(screen, Region(0, 0, COLUMNS, ROWS), _BYTE_A_PIXEL)
    text = "".join(_entropy(pixels))
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    return _head() + data + b"\xff\xd9"


def _entropy(pixels: bytes) -> Iterator[str]:
    """Code block after block: luminance, blue and red difference."""
    known: dict[bytes, list[tuple[int, str]]] = {}
    last = [0, 0, 0]
    for top in range(0, HEIGHT, _SIDE):
        for left in range(0, WIDTH, _SIDE):
            starts = [(top + line) * WIDTH + left for line in range(_SIDE)]
            block = b"".join(pixels[start : start + _SIDE] for start in starts)
            if block not in known:
                planes = _transformed(block)
                known[block] = [(plane[0], "".join(_run_lengths(plane))) for plane in planes]
            for component, (mean, details) in enumerate(known[block]):
                yield _magnitude(_DC, 0, mean - last[component])
                yield details
                last[component] = mean


def _run_lengths(coefficients: _Block) -> Iterator[str]:
    zeros = 0
    for value in coefficients[1:]:
        if value == 0:
            zeros += 1
            continue
        yield from [_AC[0xF0]] * (zeros // 16)
        yield _magnitude(_AC, zeros % 16, value)
        zeros = 0
    if zeros:
        yield _AC[0x00]


def _magnitude(code: dict[int, str], run: int, value: int) -> str:
    """Code how many zeros came before, how many bits the value has, and those bits."""
    size = abs(value).bit_length()
    bits = value if value > 0 else value + (1 << size) - 1
    return code[run << 4 | size] + (f"{bits:0{size}b}" if size else "")


def _transformed(block: bytes) -> tuple[_Block, ...]:
    colours = [_PALETTE[pixel] for pixel in block]
    planes = zip(*(_luminance_and_differences(colour) for colour in colours), strict=True)
    return tuple(_coefficients(plane) for plane in planes)


def _luminance_and_differences(colour: Colour) -> tuple[float, float, float]:
    """Convert as JFIF does, shifted to lie around zero."""
    red, green, blue = colour
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return luminance - 128, (blue - luminance) / 1.772, (red - luminance) / 1.402


def _coefficients(plane: Sequence[float]) -> _Block:
    if len(set(plane)) == 1:
        return round(plane[0] * _SIDE / QUANTUM), *([0] * 63)
    lines = [plane[start : start + _SIDE] for start in range(0, 64, _SIDE)]
    rows = [[_dot(cosines, line) for cosines in _COSINES] for line in lines]
    columns = list(zip(*rows, strict=True))
    return tuple(round(_dot(_COSINES[v], columns[u]) / QUANTUM) for v, u in _ZIGZAG)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _head() -> bytes:
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    selected = b"".join(bytes((number, 0)) for number in (1, 2, 3))
    return (
        b"\xff\xd8"
        + _segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, 0, 1, 1, 0, 0))
        + _segment(0xDB, bytes((0, *[QUANTUM] * 64)))
        + _segment(0xC0, struct.pack(">BHHB", 8, HEIGHT, WIDTH, 3) + components)
        + _segment(0xC4, _table(0x00, _DC_SYMBOLS, _DC_BITS))
        + _segment(0xC4, _table(0x10, _AC_SYMBOLS, _AC_BITS))
        + _segment(0xDA, bytes((3,)) + selected + bytes((0, 63, 0)))
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _table(number: int, symbols: Sequence[int], bits: int) -> bytes:
    """Describe a code: how many symbols there are of each length, and which."""
    counts = [0] * 16
    counts[0] = 1
    counts[bits - 1] = len(symbols) - 1
    return bytes((number, *counts, *symbols))

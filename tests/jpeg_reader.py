"""Reads baseline JPEG without subsampling: enough to look at pictures in tests."""

import math
import struct
from collections.abc import Iterator

Colour = tuple[int, ...]

_C = [
    [math.cos((2 * x + 1) * u * math.pi / 16) * (0.5 if u else math.sqrt(0.125)) for u in range(8)]
    for x in range(8)
]


def read(data: bytes) -> list[list[Colour]]:
    """Return the rows of a picture."""
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    tables: dict[int, list[int]] = {}
    codes: dict[int, dict[str, int]] = {}
    height = width = 0
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        body = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            tables[body[0]] = list(body[1:65])
        elif marker == 0xFFC0:
            bits, height, width, count = struct.unpack_from(">BHHB", body)
            assert (bits, count, body[6:]) == (8, 3, b"\x01\x11\x00\x02\x11\x00\x03\x11\x00")
        elif marker == 0xFFC4:
            codes[body[0]] = _codes(body[1:17], body[17:])
        elif marker == 0xFFDA:
            break
    scan = data[at:-2].replace(b"\xff\x00", b"\xff")
    bits_ = iter("".join(f"{byte:08b}" for byte in scan))
    return _paint(bits_, width, height, tables[0], codes[0x00], codes[0x10])


def _codes(counts: bytes, symbols: bytes) -> dict[str, int]:
    """Make the canonical code of a table."""
    found, code, left = {}, 0, iter(symbols)
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            found[f"{code:0{length}b}"] = next(left)
            code += 1
        code <<= 1
    return found


def _paint(
    bits: Iterator[str],
    width: int,
    height: int,
    quanta: list[int],
    dc: dict[str, int],
    ac: dict[str, int],
) -> list[list[Colour]]:
    picture: list[list[Colour]] = [[(0, 0, 0)] * width for _ in range(height)]
    last = [0, 0, 0]
    known: dict[tuple[int, ...], list[list[float]]] = {}
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            planes = []
            for component in range(3):
                last[component] += _number(bits, _symbol(bits, dc))
                block = (last[component], *_rest(bits, ac))
                if block not in known:
                    known[block] = _plane(
                        [value * q for value, q in zip(block, quanta, strict=True)]
                    )
                planes.append(known[block])
            for y in range(8):
                for x in range(8):
                    picture[top + y][left + x] = _colour(*(plane[y][x] for plane in planes))
    return picture


def _symbol(bits: Iterator[str], code: dict[str, int]) -> int:
    word = next(bits)
    while word not in code:
        word += next(bits)
    return code[word]


def _number(bits: Iterator[str], size: int) -> int:
    if size == 0:
        return 0
    word = "".join(next(bits) for _ in range(size))
    return int(word, 2) - (0 if word[0] == "1" else (1 << size) - 1)


def _rest(bits: Iterator[str], code: dict[str, int]) -> list[int]:
    found: list[int] = []
    while len(found) < 63:
        run, size = divmod(_symbol(bits, code), 16)
        if (run, size) == (0, 0):
            return found + [0] * (63 - len(found))
        found += [0] * run
        found.append(_number(bits, size))
    return found


def _plane(zigzag: list[int]) -> list[list[float]]:
    """Undo the zigzag and the transform."""
    square = [[0] * 8 for _ in range(8)]
    row = column = 0
    for value in zigzag:
        square[row][column] = value
        if (row + column) % 2 == 0:  # upwards
            row, column = (row + 1, column) if column == 7 else (max(row - 1, 0), column + 1)
        else:
            row, column = (row, column + 1) if row == 7 else (row + 1, max(column - 1, 0))
    half = [[sum(_C[y][v] * square[v][u] for v in range(8)) for u in range(8)] for y in range(8)]
    return [[sum(_C[x][u] * half[y][u] for u in range(8)) for x in range(8)] for y in range(8)]


def _colour(luminance: float, blue: float, red: float) -> Colour:
    y = luminance + 128
    exact = (y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue)
    return tuple(min(255, max(0, round(part))) for part in exact)

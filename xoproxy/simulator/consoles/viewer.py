"""One viewer of a screen: what it asked for, what it has seen, what it is to be sent."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, assert_never

from xoproxy.simulator.consoles import rfb
from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH
from xoproxy.simulator.consoles.pixels import PixelFormat, Region, draw
from xoproxy.simulator.consoles.screen import COLUMNS, HEIGHT, ROWS, WIDTH, Screen

_RETURN: Final = (0xFF0D, 0xFF8D)
_ERASE: Final = (0xFF08, 0xFFFF)
_TAB: Final = (0xFF09, 0xFF89)
_KEYPAD: Final = range(0xFFAA, 0xFFBA)  # * + , - . / 0 to 9
_MODIFIERS: Final = (*range(0xFFE1, 0xFFEF), 0xFE03, 0xFF7E, 0xFF7F, 0xFF14)


class ScreenViewer:
    """A viewer by RFB.

    Bounded: of what it asks for only the last is kept (a viewer that does not read asks for more
    in vain), and an update is drawn when it can be sent. Updates cover whole cells.
    """

    def __init__(self, screen: Screen, name: str, wake: Callable[[], None]) -> None:
        self._screen = screen
        self._wake = wake
        screen.changed.append(wake)
        self._rfb = rfb.RfbServer(WIDTH, HEIGHT, name)
        self._format = PixelFormat()
        self._encoding = rfb.RAW
        self._deflate = zlib.compressobj()
        self._seen = [-1] * (COLUMNS * ROWS)
        self._wanted: Region | None = None
        self._bells = screen.bells

    def receive(self, data: bytes) -> bool:
        """Take what came; says whether somebody was at work. Raises RfbError."""
        active = False
        for message in self._rfb.receive(data):
            match message:
                case rfb.Key():
                    active = True
                    if message.down:
                        self._press(message.symbol)
                case rfb.Pointer():
                    active = True
                    self._screen.point(message.x, message.y)
                case rfb.UpdateRequest():
                    self._want(message)
                case rfb.SetFormat():
                    self._format = message.format
                case rfb.SetEncodings():
                    known = [e for e in message.encodings if e in (rfb.RAW, rfb.ZLIB)]
                    self._encoding = known[0] if known else rfb.RAW
                case rfb.CutText():
                    pass
                case _:
                    assert_never(message)
        return active

    def take(self) -> bytes:
        """Return what is to be sent now; nothing if there is nothing."""
        parts = [bytes(self._rfb.output)]
        self._rfb.output.clear()
        if self._rfb.is_open:
            if self._bells != self._screen.bells:
                self._bells = self._screen.bells
                parts.append(rfb.BELL)
            if self._wanted is not None and (regions := list(self._changes(self._wanted))):
                self._wanted = None
                parts.append(rfb.update_head(len(regions)))
                parts += [self._rectangle(region) for region in regions]
        return b"".join(parts)

    def close(self) -> None:
        self._screen.changed.remove(self._wake)

    def _press(self, symbol: int) -> None:
        """Do what a key does; symbols are those of X."""
        screen = self._screen
        if 0x20 <= symbol <= 0xFF:  # Latin-1  # noqa: PLR2004
            screen.type(chr(symbol))
        elif symbol in _RETURN:
            screen.type("\n")
        elif symbol in _ERASE:
            screen.erase()
        elif symbol in _TAB:
            screen.type("    ")
        elif symbol in _KEYPAD:
            screen.type("*+,-./0123456789"[symbol - _KEYPAD.start])
        elif symbol not in _MODIFIERS:
            screen.ring()

    def _want(self, request: rfb.UpdateRequest) -> None:
        """Remember what is asked for, together with what was asked for before."""
        right, bottom = request.x + request.width - 1, request.y + request.height - 1
        left, top = request.x // CELL_WIDTH, request.y // CELL_HEIGHT
        right, bottom = min(right // CELL_WIDTH, COLUMNS - 1), min(bottom // CELL_HEIGHT, ROWS - 1)
        if right < left or bottom < top:
            return  # nothing, or all of it beyond the screen
        asked = Region(left, top, right - left + 1, bottom - top + 1)
        if not request.incremental:
            for cell in _cells(asked):
                self._seen[cell] = -1
        self._wanted = asked if self._wanted is None else _around(self._wanted, asked)

    def _changes(self, wanted: Region) -> Iterator[Region]:
        """List what changed in a region, and count it as seen."""
        versions, seen = self._screen.versions, self._seen
        if all(seen[cell] == -1 for cell in _cells(wanted)):
            changed = [wanted]
        else:
            changed = [
                Region(first, row, last - first + 1, 1)
                for row in range(wanted.row, wanted.row + wanted.rows)
                for first, last in self._runs(row, wanted)
            ]
        for region in changed:
            for cell in _cells(region):
                seen[cell] = versions[cell]
            yield region

    def _runs(self, row: int, wanted: Region) -> Iterator[tuple[int, int]]:
        """List the changed runs of columns in a row: first and last."""
        first = None
        for column in range(wanted.column, wanted.column + wanted.columns):
            cell = row * COLUMNS + column
            if self._seen[cell] == self._screen.versions[cell]:
                if first is not None:
                    yield first, column - 1
                first = None
            elif first is None:
                first = column
        if first is not None:
            yield first, wanted.column + wanted.columns - 1

    def _rectangle(self, region: Region) -> bytes:
        data = draw(self._screen, region, self._format)
        if self._encoding == rfb.ZLIB:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            data = struct.pack(">I", len(data)) + data
        return rfb.rectangle_head(region.pixels, self._encoding) + data


def _cells(region: Region) -> Iterator[int]:
    for row in range(region.row, region.row + region.rows):
        first = row * COLUMNS + region.column
        yield from range(first, first + region.columns)


def _around(one: Region, other: Region) -> Region:
    """Return the smallest region that has both."""
    column, row = min(one.column, other.column), min(one.row, other.row)
    right = max(one.column + one.columns, other.column + other.columns)
    bottom = max(one.row + one.rows, other.row + other.rows)
    return Region(column, row, right - column, bottom - row)

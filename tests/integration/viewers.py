"""Viewers of consoles, independent of the simulator: by RFB, and by a serial line."""

import asyncio
import contextlib
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Self

from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH, CELLS

TIMEOUT_S = 5.0
KEYS = {"\n": 0xFF0D, "\b": 0xFF08, "\t": 0xFF09}
_BY_ROWS = {rows: character for character, rows in CELLS.items()}


class RefusedError(Exception):
    """The server did not open a console: status and the rest of its answer."""

    def __init__(self, status: int, head: str, body: str) -> None:
        super().__init__(status, head)
        self.status = status
        self.head = head
        self.body = body


class Line:
    """A console's bytes, after an accepted CONNECT."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readexactly(size)

    async def until(self, text: str) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readuntil(text.encode())).decode()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def is_closed(self) -> bool:
        """Read what is left; says whether the server ended the connection."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self.reader.read()
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


@contextlib.asynccontextmanager
async def connected(
    address: tuple[str, int],
    target: str,
    *headers: str,
    version: str = "1.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Line]:
    """Open a console by CONNECT; raises RefusedError."""
    reader, writer = await asyncio.open_connection(*address, ssl=tls)
    try:
        lines = [f"CONNECT {target} HTTP/{version}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        line = Line(reader, writer)
        line.head = await line.until("\r\n\r\n")
        status = int(line.head.split(" ")[1])
        if status != 200:
            async with asyncio.timeout(TIMEOUT_S):
                raise RefusedError(status, line.head, (await reader.read()).decode())
        yield line
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class Format:
    """A pixel format: bits, byte order, and (maximum, shift) of red, green and blue."""

    def __init__(self, bits: int, *, big_endian: bool, parts: tuple[tuple[int, int], ...]) -> None:
        self.bits = bits
        self.big_endian = big_endian
        self.parts = parts

    @property
    def size(self) -> int:
        return self.bits // 8

    def message(self) -> bytes:
        maxima = [maximum for maximum, _ in self.parts]
        shifts = [shift for _, shift in self.parts]
        depth = sum(maximum.bit_length() for maximum in maxima)
        body = (self.bits, depth, self.big_endian, 1, *maxima, *shifts)
        return struct.pack(">B3xBBBBHHHBBB3x", 0, *body)

    def colour(self, data: bytes) -> tuple[int, ...]:
        number = int.from_bytes(data, "big" if self.big_endian else "little")
        return tuple((number >> shift & maximum) * 255 // maximum for maximum, shift in self.parts)


RGB32 = Format(32, big_endian=False, parts=((255, 16), (255, 8), (255, 0)))


class RfbViewer:
    """A small RFB client, with a framebuffer of colours."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.format = RGB32
        self.width = self.height = 0
        self.name = ""
        self.pixels: list[list[tuple[int, ...]]] = []
        self.bells = 0
        self._inflate = zlib.decompressobj()

    async def open(self, version: str = "003.008") -> Self:
        assert await self.line.exactly(12) == b"RFB 003.008\n"
        await self.line.send(f"RFB {version}\n".encode())
        if version == "003.003":
            assert await self.line.exactly(4) == struct.pack(">I", 1)
        else:
            assert await self.line.exactly(2) == b"\x01\x01"  # one type: none
            await self.line.send(b"\x01")
            if version == "003.008":
                assert await self.line.exactly(4) == bytes(4)
        await self.line.send(b"\x01")
        self.width, self.height = struct.unpack(">HH", await self.line.exactly(4))
        bits, _, big_endian, true_colour, *rest = struct.unpack(
            ">BBBBHHHBBB3x", await self.line.exactly(16)
        )
        assert true_colour
        parts = tuple(zip(rest[:3], rest[3:], strict=True))
        self.format = Format(bits, big_endian=bool(big_endian), parts=parts)
        (length,) = struct.unpack(">I", await self.line.exactly(4))
        self.name = (await self.line.exactly(length)).decode()
        self.pixels = [[(0, 0, 0)] * self.width for _ in range(self.height)]
        return self

    async def set_format(self, wanted: Format) -> None:
        self.format = wanted
        await self.line.send(wanted.message())

    async def set_encodings(self, *encodings: int) -> None:
        await self.line.send(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    async def request(
        self, *, incremental: bool = True, area: tuple[int, int, int, int] | None = None
    ) -> None:
        x, y, width, height = area or (0, 0, self.width, self.height)
        await self.line.send(struct.pack(">BBHHHH", 3, incremental, x, y, width, height))

    async def press(self, symbol: int) -> None:
        for down in (1, 0):
            await self.line.send(struct.pack(">BBxxI", 4, down, symbol))

    async def type(self, text: str) -> None:
        for character in text:
            await self.press(KEYS.get(character, ord(character)))

    async def point(self, x: int, y: int, buttons: int = 0) -> None:
        await self.line.send(struct.pack(">BBHH", 5, buttons, x, y))

    async def update(self) -> list[tuple[int, int, int, int]]:
        """Read up to the next update and paint it; returns its rectangles."""
        while (kind := (await self.line.exactly(1))[0]) == 2:
            self.bells += 1
        assert kind == 0
        _, count = struct.unpack(">BH", await self.line.exactly(3))
        return [await self._rectangle() for _ in range(count)]

    async def _rectangle(self) -> tuple[int, int, int, int]:
        x, y, width, height, encoding = struct.unpack(">HHHHi", await self.line.exactly(12))
        size = self.format.size
        if encoding == 6:
            (length,) = struct.unpack(">I", await self.line.exactly(4))
            data = self._inflate.decompress(await self.line.exactly(length))
        else:
            assert encoding == 0
            data = await self.line.exactly(width * height * size)
        assert len(data) == width * height * size
        known: dict[bytes, tuple[int, ...]] = {}
        for row in range(height):
            for column in range(width):
                begin = (row * width + column) * size
                raw = data[begin : begin + size]
                if raw not in known:
                    known[raw] = self.format.colour(raw)
                self.pixels[y + row][x + column] = known[raw]
        return x, y, width, height

    async def whole(self) -> None:
        """Ask for everything and wait for it."""
        await self.request(incremental=False)
        await self.update()

    async def until(self, seen: Callable[[], bool]) -> None:
        """Follow changes until something is to be seen."""
        async with asyncio.timeout(TIMEOUT_S):
            while not seen():
                await self.request()
                await self.update()

    # -- what is to be seen --------------------------------------------------------------------

    def text(self) -> list[str]:
        """Read the screen by its font; cells that hold no character are `\\0`."""
        rows = range(0, self.height, CELL_HEIGHT)
        return [
            "".join(self._character(x, y) for x in range(0, self.width, CELL_WIDTH)).rstrip()
            for y in rows
        ]

    def pointers(self) -> list[tuple[int, int]]:
        """Find the middles of yellow crosses."""

        def is_yellow(x: int, y: int) -> bool:
            inside = 0 <= x < self.width and 0 <= y < self.height
            return inside and self.pixels[y][x][:2] == (255, 255) and self.pixels[y][x][2] == 0

        return [
            (x, y)
            for y in range(self.height)
            for x in range(self.width)
            if is_yellow(x, y) and is_yellow(x + 1, y) and is_yellow(x, y + 1)
            and is_yellow(x - 1, y) and is_yellow(x, y - 1)
        ]  # fmt: skip

    def _character(self, x: int, y: int) -> str:
        ground = self.pixels[y][x]
        rows = tuple(
            "".join(
                "." if self.pixels[y + row][x + column] == ground else "#"
                for column in range(CELL_WIDTH)
            )
            for row in range(CELL_HEIGHT)
        )
        return _BY_ROWS.get(rows, "\0")

"""One viewer's side of the RFB protocol (RFC 6143), without a connection.

    greeting ─> version ─> security None ─> ClientInit ─> ServerInit ─> messages

What a client sends goes in by `receive`, in pieces of any size; it yields what the client asked
for and collects in `output` what is to be said during the handshake. A client that makes no sense
is an RfbError: the protocol has no way to go on after what is not understood. Of a message that
is of no interest (cut text) no more than its head is kept.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from xoproxy.simulator.consoles.pixels import FormatError, PixelFormat

GREETING: Final = b"RFB 003.008\n"
CUT_TEXT_LIMIT: Final = 1 << 20
RAW: Final = 0
ZLIB: Final = 6
BELL: Final = b"\x02"

_VERSION: Final = re.compile(rb"RFB 003\.(\d{3})\n")
_NONE: Final = 1  # the security type


class RfbError(ValueError):
    """What a client sent makes no sense."""


@dataclass(frozen=True, slots=True)
class SetFormat:
    format: PixelFormat


@dataclass(frozen=True, slots=True)
class SetEncodings:
    encodings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """For a part of the screen; an incremental one wants only what changed."""

    incremental: bool
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Key:
    down: bool
    symbol: int


@dataclass(frozen=True, slots=True)
class Pointer:
    x: int
    y: int
    buttons: int


@dataclass(frozen=True, slots=True)
class CutText:
    """Somebody copied text; what, is not kept."""

    length: int


ClientMessage: TypeAlias = SetFormat | SetEncodings | UpdateRequest | Key | Pointer | CutText

# Takes a part off the buffer; None when there is not yet enough of it.
_Step: TypeAlias = Callable[[], Iterator[ClientMessage] | None]


class RfbServer:
    """The protocol's state for one viewer.

    Args:
        width, height: of the screen in pixels.
        name: of the desktop.
    """

    def __init__(self, width: int, height: int, name: str) -> None:
        self._size = width, height
        self._name = name
        self._buffer = bytearray()
        self._skip = 0
        self._minor = 8
        self._step: _Step = self._version
        self.output = bytearray(GREETING)
        self.is_open = False

    def receive(self, data: bytes) -> Iterator[ClientMessage]:
        """Take what a client sent; yields what it asks for. Raises RfbError."""
        self._buffer += data
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            if self._skip or (messages := self._step()) is None:
                return
            yield from messages

    # -- handshake ---------------------------------------------------------------------------

    def _version(self) -> Iterator[ClientMessage] | None:
        if (data := self._take(len(GREETING))) is None:
            return None
        found = _VERSION.fullmatch(data)
        if found is None:
            raise RfbError("no version of RFB")
        # 7.1.1: other versions than 3.3, 3.7 and 3.8 are to be taken for 3.3
        minor = int(found[1])
        self._minor = 8 if minor >= 8 else 7 if minor == 7 else 3  # noqa: PLR2004
        if self._minor == 3:  # noqa: PLR2004
            self.output += struct.pack(">I", _NONE)
            self._step = self._client_init
        else:
            self.output += bytes((1, _NONE))
            self._step = self._security
        return iter(())

    def _security(self) -> Iterator[ClientMessage] | None:
        if (data := self._take(1)) is None:
            return None
        if data[0] != _NONE:
            raise RfbError(f"security type {data[0]} was not offered")
        if self._minor == 8:  # noqa: PLR2004  (3.7 says nothing after None)
            self.output += struct.pack(">I", 0)
        self._step = self._client_init
        return iter(())

    def _client_init(self) -> Iterator[ClientMessage] | None:
        if self._take(1) is None:  # whether others may stay: they always may
            return None
        name = self._name.encode()
        self.output += struct.pack(">HH", *self._size) + PixelFormat().pack()
        self.output += struct.pack(">I", len(name)) + name
        self._step = self._message
        self.is_open = True
        return iter(())

    # -- messages ----------------------------------------------------------------------------

    def _message(self) -> Iterator[ClientMessage] | None:
        if not self._buffer:
            return None
        try:
            layout, read = _MESSAGES[self._buffer[0]]
        except KeyError:
            raise RfbError(f"message type {self._buffer[0]}") from None
        size = layout.size
        if len(self._buffer) < size:
            return None
        fields = layout.unpack_from(self._buffer)
        if layout is _ENCODINGS:
            size += 4 * fields[0]
            if len(self._buffer) < size:
                return None
            fields = struct.unpack_from(f">{fields[0]}i", self._buffer, layout.size)
        message = read(fields)
        del self._buffer[:size]
        if isinstance(message, CutText):
            self._skip = message.length
        return iter((message,))

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


_Reader: TypeAlias = Callable[[tuple[Any, ...]], ClientMessage]


def _set_format(fields: tuple[bytes]) -> SetFormat:
    try:
        return SetFormat(PixelFormat.unpack(fields[0]))
    except FormatError as error:
        raise RfbError(str(error)) from None


def _cut_text(fields: tuple[int]) -> CutText:
    length = abs(fields[0])  # a negative one marks an extension of the same form
    if length > CUT_TEXT_LIMIT:
        raise RfbError(f"{length} bytes of cut text")
    return CutText(length)


def _extended(fields: tuple[int, int, int, int]) -> Key:
    """Read QEMU's own kind of key event, its only message that has one."""
    kind, down, symbol, _ = fields
    if kind != 0:
        raise RfbError(f"message 255, {kind}")
    return Key(bool(down), symbol)


_ENCODINGS: Final = struct.Struct(">xxH")
_MESSAGES: Final[dict[int, tuple[struct.Struct, _Reader]]] = {
    0: (struct.Struct(">xxxx16s"), _set_format),
    2: (_ENCODINGS, SetEncodings),
    3: (struct.Struct(">x?HHHH"), lambda fields: UpdateRequest(*fields)),
    4: (struct.Struct(">x?xxI"), lambda fields: Key(*fields)),
    5: (struct.Struct(">xBHH"), lambda fields: Pointer(fields[1], fields[2], fields[0])),
    6: (struct.Struct(">xxxxi"), _cut_text),
    255: (struct.Struct(">xBHII"), _extended),
}


def update_head(count: int) -> bytes:
    """Begin an update of so many rectangles."""
    return struct.pack(">xxH", count)


def rectangle_head(place: tuple[int, int, int, int], encoding: int) -> bytes:
    return struct.pack(">HHHHi", *place, encoding)

"""RFC 6455 frames, built once and shared: header, payload, and a stateless deflated form.

Stateless deflate (RFC 7692 without context takeover): each message is compressed on its own, so
one result serves every client that negotiated permessage-deflate with a full window, whatever came
before. A client that kept its window decodes it too: the message refers to nothing earlier.
"""

import struct
import zlib

from xoproxy.sessions.frame import FrameLedger

_FIN = 0x80
_RSV1 = 0x40
_TEXT = 0x1
_BINARY = 0x2
_CLOSE = 0x8
_PING = 0x9
_PONG = 0xA
_EMPTY_BLOCK = b"\x00\x00\xff\xff"
_MAX_CONTROL_BYTES = 125


def header(opcode: int, size: int) -> bytes:
    """Build the header of an unmasked, final frame (RFC 6455, 5.2)."""
    if size < 126:  # noqa: PLR2004 - the protocol's own steps
        return bytes((opcode, size))
    if size < 1 << 16:
        return struct.pack("!BBH", opcode, 126, size)
    return struct.pack("!BBQ", opcode, 127, size)


class SharedFraming:
    """Frames for any number of clients.

    Args:
        threshold_bytes: payloads shorter than this are not worth deflating.
        level: zlib's; 1 is nearly as small as 6 for such texts at half the time.
    """

    def __init__(self, threshold_bytes: int = 512, level: int = 1) -> None:
        self.ledger = FrameLedger()
        self._threshold_bytes = threshold_bytes
        self._level = level

    def plain(self, payload: bytes, *, binary: bool) -> bytes:
        return header(_FIN | (_BINARY if binary else _TEXT), len(payload)) + payload

    def deflated(self, payload: bytes, *, binary: bool) -> bytes | None:
        if len(payload) < self._threshold_bytes:
            return None
        compressor = zlib.compressobj(self._level, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        # RFC 7692, 7.2.1: the empty block at the end is left out; the receiver puts it back.
        packed = packed.removesuffix(_EMPTY_BLOCK)
        if len(packed) >= len(payload):
            return None
        return header(_FIN | _RSV1 | (_BINARY if binary else _TEXT), len(packed)) + packed


def close_frame(code: int, reason: str) -> bytes:
    """Build a close frame; a reason that is too long is cut (RFC 6455, 5.5)."""
    text = reason.encode()[: _MAX_CONTROL_BYTES - 2].decode(errors="ignore")
    payload = struct.pack("!H", code) + text.encode()
    return header(_FIN | _CLOSE, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    return header(_FIN | _PING, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    return header(_FIN | _PONG, len(payload)) + payload

"""What may come over a socket instead of WebSocket frames (RFC 6455, 7692), by a seeded source."""

import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from tests.fuzz.messages import odd_payload

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_DATA = (_TEXT, _BINARY)
_KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
_BOMB_BYTES = 32 << 20


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    said_size: int | None = None,
    width: int | None = None,
) -> bytes:
    """Build a frame, right or wrong.

    Args:
        opcode, payload, fin, rsv, masked: its parts.
        said_size: the length in the header; the payload's own by default.
        width: bytes of the length field, 0, 2 or 8; the shortest by default.
    """
    size = len(payload) if said_size is None else said_size
    if width is None:
        width = 0 if size < 126 else 2 if size < 1 << 16 else 8
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = masked << 7
    if width == 0:
        head += bytes([bit | size & 0x7F])
    elif width == 2:
        head += struct.pack("!BH", bit | 126, size & 0xFFFF)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
    whole = int.from_bytes(payload) ^ int.from_bytes(stream)
    return head + mask + whole.to_bytes(len(payload))


def deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(b"\x00\x00\xff\xff")


_bomb = deflated(bytes(_BOMB_BYTES))


class Attacker:
    """One connection's worth of bytes after another.

    Args:
        rng: decides everything but masks.
        token: lets some connections in.
    """

    def __init__(self, rng: random.Random, token: str) -> None:
        self._rng = rng
        self._token = token
        self._frames: list[Callable[[], bytes]] = [
            self._message,
            self._message,
            self._message,
            self._odd_opcode,
            self._odd_bits,
            self._unmasked,
            self._lying_length,
            self._fragments,
            self._fragments,
            self._control,
            self._closing,
            self._garbage_deflate,
            self._deflated_message,
            self._bad_text,
            self._garbage,
            self._great,
            self._many_pings,
        ]

    def connection(self) -> Iterator[bytes]:
        """Yield what one connection sends, piece by piece."""
        rng = self._rng
        if rng.random() < 0.15:
            yield self._odd_request()
            if rng.random() < 0.5:
                return
        else:
            yield self._request()
        for _ in range(rng.choice([1, 1, 2, 4, 8, 16])):
            data = rng.choice(self._frames)()
            if rng.random() < 0.1:
                data = self._mutated(data)
            if rng.random() < 0.2 and len(data) > 1:
                cut = rng.randrange(1, len(data))
                yield data[:cut]
                yield data[cut:]
            else:
                yield data
        if rng.random() < 0.01:
            yield frame(_TEXT, _bomb, rsv=4)

    # --- requests ---

    def _request(self) -> bytes:
        rng = self._rng
        self._protocol = rng.choice(["xoproxy.v1.json", "xoproxy.v1.msgpack"])
        lines = [
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            _KEY,
        ]
        lines.append(b"Sec-WebSocket-Version: 13\r\n")
        lines.append(f"Sec-WebSocket-Protocol: {self._protocol}\r\n".encode())
        if rng.random() < 0.7:
            extension = rng.choice(["", "; client_max_window_bits", "; server_max_window_bits=9"])
            lines.append(f"Sec-WebSocket-Extensions: permessage-deflate{extension}\r\n".encode())
        if rng.random() < 0.7:
            lines.append(f"Authorization: Bearer {self._token}\r\n".encode())
        return b"".join([*lines, b"\r\n"])

    def _odd_request(self) -> bytes:
        rng = self._rng
        whole = self._request()
        return rng.choice(
            [
                lambda: self._mutated(whole),
                lambda: whole[: rng.randrange(len(whole))],
                lambda: whole.replace(_KEY, b"Sec-WebSocket-Key: x\r\n"),
                lambda: whole.replace(_KEY, b""),
                lambda: whole.replace(b"13\r\n", b"8\r\n"),
                lambda: whole.replace(b"GET", b"POST"),
                lambda: whole.replace(b"/ws", b"/ws/../../etc/passwd"),
                lambda: whole.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
                lambda: whole.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
                lambda: whole.replace(b"Host: x", b"X: " + b"y" * rng.choice([8000, 9000, 70_000])),
                lambda: whole.replace(b"Host: x\r\n", b"A: b\r\n" * 2000),
                lambda: whole.replace(b"Bearer ", b"Bearer \xff\xfe"),
                lambda: whole.replace(b"xoproxy", b"Xoproxy"),
                lambda: whole + whole,
                lambda: rng.randbytes(rng.randrange(1, 3000)),
                lambda: b"GET " + b"/" * 20_000,
                lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
            ]
        )()

    # --- frames ---

    @property
    def _kind(self) -> int:
        return _BINARY if self._protocol.endswith("msgpack") else _TEXT

    def _message(self) -> bytes:
        return frame(self._kind, odd_payload(self._rng, binary=self._kind == _BINARY))

    def _odd_opcode(self) -> bytes:
        return frame(self._rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 0]), b"abc")

    def _odd_bits(self) -> bytes:
        return frame(self._rng.choice([*_DATA, _PING]), b"{}", rsv=self._rng.randrange(8))

    def _unmasked(self) -> bytes:
        return frame(self._kind, odd_payload(self._rng, binary=False), masked=False)

    def _lying_length(self) -> bytes:
        rng = self._rng
        size = rng.choice([0, 1, 125, 126, 65_535, 65_536, 1 << 20, 1 << 31, 1 << 62, 1 << 63])
        return frame(
            self._kind, rng.randbytes(rng.choice([0, 5, 200])), said_size=size,
            width=rng.choice([0, 2, 8, 8]),
        )  # fmt: skip

    def _fragments(self) -> bytes:
        rng = self._rng
        count = rng.choice([1, 2, 3, 50, 2000])
        payload = odd_payload(rng, binary=self._kind == _BINARY)
        size = max(1, len(payload) // count)
        parts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
        built = [
            frame(self._kind if n == 0 else 0, part, fin=n == len(parts) - 1)
            for n, part in enumerate(parts)
        ]
        match rng.randrange(6):
            case 0:
                built.insert(rng.randrange(len(built) + 1), frame(_PING, b"between"))
            case 1:
                built.insert(rng.randrange(len(built) + 1), frame(self._kind, b"{}"))
            case 2:
                built.pop()
            case 3:
                built.append(frame(0, b"more"))
            case 4:
                built.insert(rng.randrange(len(built) + 1), frame(_PING, b"x", fin=False))
        return b"".join(built)

    def _control(self) -> bytes:
        rng = self._rng
        size = rng.choice([0, 1, 125, 126, 1000])
        return frame(rng.choice([_PING, _PONG, _CLOSE]), bytes(size), fin=rng.random() < 0.8)

    def _many_pings(self) -> bytes:
        return frame(_PING, b"x" * 125) * self._rng.choice([10, 1000])

    def _closing(self) -> bytes:
        rng = self._rng
        code = rng.choice([0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 65_535])
        reason = rng.choice([b"", b"bye", b"\xff\xfe", b"x" * 123])
        payload = rng.choice([b"", b"\x03", struct.pack("!H", code) + reason])
        return frame(_CLOSE, payload)

    def _deflated_message(self) -> bytes:
        packed = deflated(odd_payload(self._rng, binary=self._kind == _BINARY))
        if self._rng.random() < 0.3:
            packed = self._mutated(packed)
        return frame(self._kind, packed, rsv=4)

    def _garbage_deflate(self) -> bytes:
        rng = self._rng
        data = rng.choice([b"", b"\x00", rng.randbytes(50), b"\xff" * 100, zlib.compress(b"{}")])
        return frame(self._kind, data, rsv=4)

    def _bad_text(self) -> bytes:
        rng = self._rng
        bad = rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
        return frame(rng.choice(_DATA), b'{"type": "' + bad + b'"}')

    def _garbage(self) -> bytes:
        return self._rng.randbytes(self._rng.randrange(1, 500))

    def _great(self) -> bytes:
        """Send messages around the limits: TOO_LARGE, and the connection's end."""
        size = self._rng.choice([262_000, 262_145, 1_048_576, 1_100_000])
        return frame(self._kind, b'{"type":"ping","x":"' + b"y" * size + b'"}')

    def _mutated(self, data: bytes) -> bytes:
        rng = self._rng
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 3, 10])):
            if not changed:
                break
            at = rng.randrange(len(changed))
            match rng.randrange(4):
                case 0:
                    changed[at] ^= 1 << rng.randrange(8)
                case 1:
                    changed[at] = rng.randrange(256)
                case 2:
                    del changed[at : at + rng.randrange(1, 9)]
                case 3:
                    changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        return bytes(changed)

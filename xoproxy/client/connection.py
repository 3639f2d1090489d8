"""One WebSocket to a proxy: messages out, messages in, in either encoding."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from xoproxy import __version__
from xoproxy.client.errors import Disconnected, ProtocolFault, Unreachable

Encoding = Literal["json", "msgpack"]
Socket = aiohttp.ClientWebSocketResponse[Literal[False]]

_CONNECT_S = 10.0
_CLOSE_S = 2.0
_HEARTBEAT_S = 25.0
_WINDOW_BITS = 15
_FRAME_BYTES = 256 << 20
"""No frame may be longer: an object comes whole, but no object is as large as that."""
_FINGERPRINT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a proxy is, and how to speak to it.

    Args:
        url: of its WebSocket, "wss://proxy.example/ws".
        encoding: how messages travel.
        trust: which certificate is believed: True for those of the system's authorities.
    """

    url: str
    encoding: Encoding = "msgpack"
    trust: ssl.SSLContext | aiohttp.Fingerprint | bool = True

    @property
    def subprotocol(self) -> str:
        return f"xoproxy.v1.{self.encoding}"


def endpoint(
    url: str,
    encoding: Encoding = "msgpack",
    ca_file: str | Path | None = None,
    fingerprint: str | None = None,
) -> Endpoint:
    """Check what a caller says of an endpoint.

    Raises:
        ValueError: it cannot be used; the text says what to write.
    """
    if encoding not in {"json", "msgpack"}:
        raise ValueError(f"encoding {encoding!r} is unknown: write 'json' or 'msgpack'")
    return Endpoint(websocket_url(url), encoding, _trust(ca_file, fingerprint))


def websocket_url(url: str) -> str:
    """Return the address of a proxy's WebSocket.

    Raises:
        ValueError: the URL is none of a proxy.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not host or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no URL of a proxy: write http://host:8086")
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/ws"


def _trust(
    ca_file: str | Path | None, fingerprint: str | None
) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    if fingerprint is None:
        return True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    if ca_file is not None:
        raise ValueError("give ca_file or fingerprint, not both")
    try:
        digest = bytes.fromhex(fingerprint.replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != _FINGERPRINT_BYTES:
        raise ValueError("fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits")
    return aiohttp.Fingerprint(digest)


class Connection:
    """One open WebSocket.

    Attributes:
        received_bytes: size of all messages so far, after inflation.
        deflate: whether messages are compressed.
    """

    def __init__(self, socket: Socket, encoding: Encoding) -> None:
        self._socket = socket
        self._encoding = encoding
        self.received_bytes = 0
        self.deflate = bool(socket.compress)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message of plain JSON values.

        Raises:
            Disconnected: the connection broke.
        """
        try:
            if self._encoding == "msgpack":
                await self._socket.send_bytes(msgspec.msgpack.encode(message))
            else:
                await self._socket.send_str(msgspec.json.encode(message).decode())
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Disconnected("the connection broke") from error

    async def receive(self) -> list[object]:
        """Return the messages of the next frame.

        Raises:
            Disconnected: there are no more.
            ProtocolFault: it does not decode.
        """
        frame = await self._socket.receive()
        match frame.type:
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                self.received_bytes += len(frame.data)
                decoded = self._decode(frame.data, frame.type is aiohttp.WSMsgType.BINARY)
                return decoded if isinstance(decoded, list) else [decoded]
            case aiohttp.WSMsgType.CLOSE:
                reason = frame.extra or "the proxy closed the connection"
                raise Disconnected(reason, self._socket.close_code)
            case _:
                raise Disconnected("the connection broke")

    def _decode(self, data: bytes, is_binary: bool) -> object:  # noqa: FBT001 - of the frame
        if is_binary is not (self._encoding == "msgpack"):
            raise ProtocolFault("a frame is of the wrong kind")
        try:
            decoded: object = (
                msgspec.msgpack.decode(data) if is_binary else msgspec.json.decode(data)
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolFault("a frame does not decode") from error
        return decoded

    async def close(self, code: int, reason: str) -> None:
        """Close with a code, for the proxy's log."""
        await self._socket.close(code=code, message=reason.encode()[:100])


@asynccontextmanager
async def opened(where: Endpoint) -> AsyncIterator[Connection]:
    """Open a WebSocket, offering compression; not signed in yet.

    Raises:
        Unreachable: nobody answers, or somebody else does.
    """
    agent = {"User-Agent": f"xoproxy-client/{__version__}"}
    async with aiohttp.ClientSession(headers=agent) as session:
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await session.ws_connect(
                    where.url,
                    protocols=[where.subprotocol],
                    ssl=where.trust,
                    compress=_WINDOW_BITS,
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=_FRAME_BYTES,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(where.url, error) from error
        except TimeoutError as error:
            text = f"cannot reach {where.url}: no answer in {_CONNECT_S:g} s"
            raise Unreachable(text) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach {where.url}: {cause(error)}") from error
        async with socket:
            if socket.protocol != where.subprotocol:
                raise Unreachable(f"{where.url} does not speak {where.subprotocol}")
            yield Connection(socket, where.encoding)


def _refused(url: str, error: aiohttp.WSServerHandshakeError) -> Unreachable:
    if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
        return Unreachable(f"{url} answers HTTP {error.status}: that is no xoproxy")
    told = "" if error.headers is None else error.headers.get("Retry-After", "")
    after_s = float(told) if told.isdecimal() else None
    return Unreachable(f"{url} takes no more sessions now", after_s)


def cause(error: BaseException) -> str:
    """Word a connection failure in a few words, without aiohttp's."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"its certificate is another one: SHA-256 {error.got.hex()}"
    found = getattr(error, "certificate_error", getattr(error, "os_error", error))
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {found.verify_message}"
    if isinstance(found, ssl.SSLError):
        reason = getattr(found, "reason", None) or str(found)
        return f"TLS failed: {reason.replace('_', ' ').lower()}"
    if isinstance(found, OSError) and found.errno and found.errno > 0:
        return os.strerror(found.errno).lower()  # its own text repeats the address
    if isinstance(found, OSError) and found.strerror:
        return found.strerror.lower()  # of name resolution, whose numbers are its own
    return str(error) or type(error).__name__

"""The two encodings of the protocol: JSON in text frames, MessagePack in binary ones.

Values come as the JSON bytes that XAPI sent. In JSON they are copied as they are; for MessagePack
they are transcoded, once per shared frame.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from xoproxy.cache.diff import Operation, Put
from xoproxy.errors import ErrorCode, ProtocolError, RequestRefused
from xoproxy.sessions.messages import Call, ClientMessage, ServerMessage

_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode
_msgpack_decode = msgspec.msgpack.Decoder().decode
_msgpack_encode = msgspec.msgpack.Encoder().encode


class Codec(Enum):
    """An encoding; the value is its subprotocol."""

    JSON = "xoproxy.v1.json"
    MSGPACK = "xoproxy.v1.msgpack"

    @property
    def binary(self) -> bool:
        return self is Codec.MSGPACK

    def encode(self, message: ServerMessage | Sequence[ServerMessage]) -> bytes:
        """Encode what one frame holds: a message, or several."""
        return _msgpack_encode(message) if self.binary else _json_encode(message)

    def operation(self, operation: Operation) -> bytes:
        """Encode one JSON Patch operation."""
        if not self.binary:
            return _json_encode(operation)
        if isinstance(operation, Put):
            value = msgspec.Raw(_msgpack_encode(_json_decode(operation.value)))
            operation = Put(operation.op, operation.path, value)
        return _msgpack_encode(operation)

    def row(self, values: Sequence[msgspec.Raw]) -> bytes:
        """Encode one row of a snapshot."""
        row = _json_encode(values)
        return _msgpack_encode(_json_decode(row)) if self.binary else row

    def decode(self, frame: bytes | str) -> dict[str, Any]:
        """Decode a client's frame.

        Raises:
            ProtocolError: it is of the wrong kind, does not decode, or holds no map.
        """
        if isinstance(frame, bytes) is not self.binary:
            wanted = "binary" if self.binary else "text"
            raise ProtocolError(f"{self.value} uses {wanted} frames")
        try:
            message = _msgpack_decode(frame) if isinstance(frame, bytes) else _json_decode(frame)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProtocolError("the frame does not decode") from error
        if not isinstance(message, dict) or not all(isinstance(k, str) for k in message):
            raise ProtocolError("a message must be a map with text keys")
        return message


def client_message(message: dict[str, Any]) -> ClientMessage:
    """Check a decoded message.

    Raises:
        RequestRefused: BAD_MESSAGE: unknown type, or members that are missing or of a wrong type.
    """
    try:
        checked: ClientMessage = msgspec.convert(message, ClientMessage)
        if isinstance(checked, Call):
            _check_plain(checked.params)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RequestRefused(ErrorCode.BAD_MESSAGE, str(error)) from error
    return checked


def _check_plain(value: object) -> None:
    """Refuse what MessagePack can carry and JSON, in which XAPI is called, cannot."""
    match value:
        case dict():
            for key, member in value.items():
                if not isinstance(key, str):
                    raise msgspec.ValidationError("Map keys must be text - at `$.params`")
                _check_plain(member)
        case list():
            for member in value:
                _check_plain(member)
        case None | str() | int() | float():
            pass
        case _:
            raise msgspec.ValidationError("Binary and extension types - at `$.params`")

"""What the proxy says (docs/protocol.md), checked where it comes in.

Values of objects stay as they were decoded; the frame around them has types, so that the rest of
the client need not ask twice. Members that we do not know are ignored.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from xoproxy.client.errors import ProtocolFault

Message = dict[str, Any]
"""As decoded from a frame, or to be encoded into one."""
MessageId = int | str


class Welcome(msgspec.Struct, tag="welcome"):
    limits: dict[str, int] = {}


class ViewInfo(msgspec.Struct):
    view: int
    seq: int
    classes: list[str]
    mode: str
    pool: str | None = None
    epoch: str | None = None


class Subscribed(msgspec.Struct, tag="subscribed"):
    id: MessageId
    views: list[ViewInfo]


class Snapshot(msgspec.Struct, tag="snapshot", rename={"cls": "class"}):
    view: int
    seq: int
    last: bool
    cls: str
    fields: list[str]
    keys: list[str]
    rows: list[list[Any]]
    buckets: list[int] | None = None
    order: list[str] | UnsetType = UNSET
    total: int | UnsetType = UNSET
    facets: dict[str, dict[str, int]] | UnsetType = UNSET


class Operation(msgspec.Struct):
    op: str
    path: str
    value: Any = UNSET


class Patch(msgspec.Struct, tag="patch", rename={"from_": "from"}):
    view: int
    from_: int
    to: int
    ops: list[Operation]
    more: bool = False


class Bookmark(msgspec.Struct, tag="bookmark"):
    view: int
    seq: int
    resume: str


class Reset(msgspec.Struct, tag="reset"):
    view: int
    reason: str
    seq: int = 0
    epoch: str | None = None
    gone: bool = False


class Moved(msgspec.Struct, tag="moved", rename={"as_": "as"}):
    view: int
    as_: int
    seq: int


class Result(msgspec.Struct, tag="result"):
    id: MessageId
    result: Any = None


class ErrorMessage(msgspec.Struct, tag="error"):
    code: str
    message: str
    retry: bool = False
    id: MessageId | None = None
    data: Any = None


class Pong(msgspec.Struct, tag="pong"):
    id: MessageId | None = None


ServerMessage = (
    Welcome
    | Subscribed
    | Snapshot
    | Patch
    | Bookmark
    | Reset
    | Moved
    | Result
    | ErrorMessage
    | Pong
)

_TYPES: dict[str, type[ServerMessage]] = {
    "welcome": Welcome,
    "subscribed": Subscribed,
    "snapshot": Snapshot,
    "patch": Patch,
    "bookmark": Bookmark,
    "reset": Reset,
    "moved": Moved,
    "result": Result,
    "error": ErrorMessage,
    "pong": Pong,
}


def server_message(message: object) -> ServerMessage | None:
    """Check a message; None for one of a type that we do not know, which may come later.

    Raises:
        ProtocolFault: it is none, or members are missing or of a wrong type.
    """
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolFault("what came is no message: it has no type")
    type_ = _TYPES.get(message["type"])
    if type_ is None:
        return None
    try:
        return msgspec.convert(message, type_)
    except msgspec.ValidationError as error:
        raise ProtocolFault(f"a {message['type']} is not well-formed: {error}") from error

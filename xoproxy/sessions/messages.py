"""Every message of client protocol v1 (docs/protocol.md), as the two sides write them.

Members that the protocol makes optional are `UNSET` when absent, and then are not sent.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

MessageId = int | str


class _Client(msgspec.Struct, frozen=True, tag_field="type"):
    """A message from a client; members that we do not know are ignored."""


class Auth(_Client, frozen=True, tag="auth"):
    token: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    otp: str | UnsetType = UNSET


class ResumePoint(msgspec.Struct, frozen=True):
    token: str
    seq: int
    compare: bool = False


class Subscribe(_Client, frozen=True, tag="subscribe"):
    id: MessageId
    query: dict[str, Any]
    resume: list[ResumePoint] = []


class Unsubscribe(_Client, frozen=True, tag="unsubscribe"):
    id: MessageId


class Digests(_Client, frozen=True, tag="digests"):
    view: int
    buckets: int
    digests: str


class Window(_Client, frozen=True, tag="window"):
    id: MessageId
    window: tuple[int, int]


class Expectation(msgspec.Struct, frozen=True):
    view: int
    key: str
    seq: int


class Call(_Client, frozen=True, tag="call"):
    id: MessageId
    pool: str
    method: str
    params: dict[str, Any] = {}
    expect: list[Expectation] = []


class Ping(_Client, frozen=True, tag="ping"):
    id: MessageId | UnsetType = UNSET


ClientMessage = Auth | Subscribe | Unsubscribe | Digests | Window | Call | Ping


class _Server(msgspec.Struct, frozen=True, tag_field="type"):
    """A message to a client."""


class WelcomeUser(msgspec.Struct, frozen=True):
    name: str
    role: str


class Limits(msgspec.Struct, frozen=True):
    """What a connection may use: bytes of a message and a frame, numbers of the rest."""

    message_bytes: int = 262_144
    subscriptions: int = 100
    views: int = 2_000
    frame_bytes: int = 65_536
    calls: int = 32


class Welcome(_Server, frozen=True, tag="welcome"):
    protocol: str
    server: str
    session: str
    user: WelcomeUser
    limits: Limits


class ViewInfo(msgspec.Struct, frozen=True):
    view: int
    pool: str | None
    epoch: str
    seq: int
    classes: tuple[str, ...]
    mode: str


class Subscribed(_Server, frozen=True, tag="subscribed"):
    id: MessageId
    views: list[ViewInfo]


class Snapshot(_Server, frozen=True, tag="snapshot", rename={"class_": "class"}):
    view: int
    seq: int
    last: bool
    class_: str
    fields: tuple[str, ...]
    keys: list[str]
    rows: list[msgspec.Raw]
    buckets: list[int] | UnsetType = UNSET
    order: list[str] | UnsetType = UNSET
    total: int | UnsetType = UNSET
    facets: Mapping[str, Mapping[str, int]] | UnsetType = UNSET


class Patch(_Server, frozen=True, tag="patch", rename={"from_": "from"}):
    view: int
    from_: int
    to: int
    ops: list[msgspec.Raw]
    more: bool | UnsetType = UNSET


class Bookmark(_Server, frozen=True, tag="bookmark"):
    view: int
    seq: int
    resume: str


class Reset(_Server, frozen=True, tag="reset"):
    view: int
    reason: str
    epoch: str
    seq: int
    gone: bool | UnsetType = UNSET


class Moved(_Server, frozen=True, tag="moved", rename={"as_": "as"}):
    view: int
    as_: int
    seq: int


class Result(_Server, frozen=True, tag="result"):
    id: MessageId
    result: Any


class Error(_Server, frozen=True, tag="error"):
    code: str
    message: str
    retry: bool
    id: MessageId | UnsetType = UNSET
    data: Any = UNSET


class Pong(_Server, frozen=True, tag="pong"):
    id: MessageId | UnsetType = UNSET


ServerMessage = (
    Welcome | Subscribed | Snapshot | Patch | Bookmark | Reset | Moved | Result | Error | Pong
)

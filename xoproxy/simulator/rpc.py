"""What the two wire protocols have in common: a request, an encoder, an envelope."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from xoproxy.simulator.database import Row
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.wiretypes import Json, WireType


class MalformedError(Exception):
    """A body that is no call; XAPI answers it with an HTTP 500 page and closes.

    Args:
        text: what is wrong, for the log.
        reply: what is answered instead of the page.
    """

    def __init__(self, text: str, reply: bytes | None = None) -> None:
        super().__init__(text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it came; `id` and `version` are JSON-RPC's."""

    method: str
    params: list[Json]
    id: int | str = 0
    version: int = 2


class Codec(Protocol):
    """Encodes results; parts are bytes so that rows are encoded once and then joined."""

    def value(self, kind: WireType, value: Json) -> bytes: ...

    def count(self, number: int) -> bytes:
        """Encode the only 32-bit ints of XAPI, those of valid_ref_counts."""

    def record(self, model: ClassModel, row: Row) -> bytes:
        """Encode a whole row, from its cache while it is unchanged."""

    def struct(self, members: Iterable[tuple[str, bytes]]) -> bytes: ...

    def array(self, items: Iterable[bytes]) -> bytes: ...


class Result(Protocol):
    """A result that encodes itself, because it holds rows or has no type in the data model."""

    def encode(self, codec: Codec) -> bytes: ...


class Rpc(Protocol):
    """A wire protocol."""

    @property
    def content_type(self) -> str: ...

    @property
    def codec(self) -> Codec: ...

    def parse(self, body: bytes) -> Request:
        """Raise MalformedError."""

    def success(self, request: Request, payload: bytes) -> bytes: ...

    def failure(self, request: Request, description: list[str]) -> bytes: ...

    def early_failure(self, description: list[str]) -> bytes:
        """Answer a call that was refused before it was dispatched."""

"""The faults that can be asked for, and what each of them takes."""

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

_Asked = TypeVar("_Asked")

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]


class _Kind(Struct, tag_field="kind", forbid_unknown_fields=True):
    """A fault as it is asked for: `{"kind": .., ..}`."""


class Drop(_Kind, tag="drop"):
    """Reset all connections; with `seconds`, each new one too for so long."""

    seconds: Seconds = 0.0


class BlackHole(_Kind, tag="black_hole"):
    """Connections stay open, but nothing is answered; what waited is answered afterwards."""

    seconds: Seconds | None = None


class HalfOpen(_Kind, tag="half_open"):
    """The connections that are open now are never answered again; new ones work."""


class Delay(_Kind, tag="delay"):
    """Each answer comes `ms` later."""

    ms: Annotated[float, Meta(ge=0, le=3_600_000)]
    seconds: Seconds | None = None


class Restart(_Kind, tag="restart"):
    """Nothing listens for `seconds`; sessions die."""

    seconds: Seconds = 1.0


class OlderDatabase(_Kind, tag="older_database"):
    """A restart on a database without the newest `changes`."""

    changes: Count
    seconds: Seconds = 1.0


class Member(_Kind, tag="member"):
    """For `seconds` the host is a member of its pool; another one, at another address, leads."""

    seconds: Seconds | None = None


class ExpireSessions(_Kind, tag="expire_sessions"):
    """All sessions end at once."""


class Fail(_Kind, tag="fail"):
    """The next `count` calls of `method`, or of any, fail with `code` and `params`."""

    code: Annotated[str, Meta(min_length=1)]
    params: list[str] = []
    method: str | None = None
    count: Count = 1


class Nothing(_Kind, tag="none"):
    """End all faults."""


Fault: TypeAlias = (
    Drop
    | BlackHole
    | HalfOpen
    | Delay
    | Restart
    | OlderDatabase
    | Member
    | ExpireSessions
    | Fail
    | Nothing
)
KINDS = tuple(sorted(str(kind.__struct_config__.tag) for kind in Fault.__args__))


class AskedError(ValueError):
    """What was asked for is not to be understood; the text is one line."""


def fault(body: bytes) -> Fault:
    """Decode a fault; raises AskedError."""
    try:
        asked: Fault = decoded(_FAULT, body)
    except AskedError as error:
        raise AskedError(f"{error}; the kinds are {', '.join(KINDS)}") from error
    return asked


def decoded(decoder: msgspec.json.Decoder[_Asked], body: bytes) -> _Asked:
    """Decode a request; raises AskedError."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.DecodeError as error:
        raise AskedError(str(error)) from error


_FAULT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Fault)

"""The faults that can be asked for, and what each of them takes."""

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

_Asked = TypeVar("_Asked")

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=3_600_000)]
Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 30)]
Truncation: TypeAlias = Literal["closed", "cut"]
Nonsense: TypeAlias = Literal["garbage", "half", "html", "wrong_id", "empty"]


class _Kind(Struct, tag_field="kind", forbid_unknown_fields=True):
    """A fault as it is asked for: `{"kind": .., ..}`."""

    @property
    def name(self) -> str:
        """Its `kind`."""
        return str(self.__struct_config__.tag)


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

    ms: Milliseconds
    seconds: Seconds | None = None


class Sifting(_Kind, kw_only=True):
    """A fault that hits some of the requests.

    Attributes:
        seconds: how long it lasts; for ever without it.
        method: hits calls of this one only (`event.from`), or requests for this path.
        probability: hits so many of those.
        seed: of the chance: the same seed hits the same ones, if they come in the same order.
    """

    seconds: Seconds | None = None
    method: str | None = None
    probability: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: int = 1


class Reset(Sifting, tag="reset", kw_only=True):
    """Reset the connection in the middle of an answer, `after_bytes` of its body, or half of it."""

    after_bytes: Bytes = 100


class Jitter(Sifting, tag="jitter", kw_only=True):
    """Each answer comes up to `ms` later, at random; on top of `delay`."""

    ms: Milliseconds


class Slow(Sifting, tag="slow", kw_only=True):
    """Bodies of answers come in small pieces, `bytes_per_s`."""

    bytes_per_s: Annotated[float, Meta(ge=1, le=1e9)]


class Truncated(Sifting, tag="truncated", kw_only=True):
    """Answers end early.

    `how`: `closed`, the connection ends before all that Content-Length promised; `cut`,
    Content-Length is right, but what it counts is not whole. Without it: either, by the seed.
    """

    how: Truncation | None = None


class InvalidJson(Sifting, tag="invalid_json", kw_only=True):
    """Answers, in XML too, are none, though their head is right.

    `how`: `garbage`; the second `half` of an answer; an `html` page with status 200; `wrong_id`,
    the answer to a call that was never made (XML-RPC has no ids: an answer without a value);
    `empty`. Without it: any of them, by the seed.
    """

    how: Nonsense | None = None


class Pages(Sifting, tag="pages", kw_only=True):
    """Requests are answered by an HTML page with this `status`, and the connection closes."""

    status: Literal[500, 503] = 500


class TooManyPendingTasks(Sifting, tag="too_many_pending_tasks", kw_only=True):
    """Calls fail with TOO_MANY_PENDING_TASKS, as on a pool that has too much to do."""


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


class Promote(_Kind, tag="promote"):
    """Another host leads from now on, `host` or one by the seed: xapi restarts everywhere.

    A host is named by reference, uuid, name, host name or address, here as in the others.
    """

    host: str | None = None
    seed: int = 1


class Failover(_Kind, tag="failover"):
    """The coordinator dies, and another host leads, `host` or one by the seed.

    Attributes:
        takeover_s: until the other one leads.
        seconds: until the dead host comes back, as a member; never without it.
    """

    host: str | None = None
    takeover_s: Seconds = 1.0
    seconds: Seconds | None = None
    seed: int = 1


class HostDown(_Kind, tag="host_down"):
    """A host dies, and boots again after `seconds`; its VMs are halted then."""

    host: str
    seconds: Seconds | None = None


class Certificate(_Kind, tag="certificate"):
    """New connections meet another certificate, at `host` or at all."""

    host: str | None = None


class ClockSkew(_Kind, tag="clock_skew"):
    """The pool's clocks are `seconds` ahead from now on (negative: behind)."""

    seconds: Annotated[float, Meta(ge=-1e9, le=1e9)]


class Storm(_Kind, tag="storm"):
    """So many `changes` of all kinds of objects within `seconds`, at once if that is 0."""

    changes: Count
    seconds: Seconds = 0.0
    seed: int = 1


class ExpireSessions(_Kind, tag="expire_sessions"):
    """All sessions end at once."""


class Fail(_Kind, tag="fail"):
    """The next `count` calls of `method`, or of any, fail with `code` and `params`."""

    code: Annotated[str, Meta(min_length=1)]
    params: list[str] = []
    method: str | None = None
    count: Count = 1


Upheaval: TypeAlias = (
    Restart
    | OlderDatabase
    | Member
    | Promote
    | Failover
    | HostDown
    | Certificate
    | ClockSkew
    | Storm
    | ExpireSessions
)
"""What happens to the pool itself."""


class Nothing(_Kind, tag="none"):
    """End all faults."""


Fault: TypeAlias = (
    Drop
    | BlackHole
    | HalfOpen
    | Delay
    | Reset
    | Jitter
    | Slow
    | Truncated
    | InvalidJson
    | Pages
    | TooManyPendingTasks
    | Fail
    | Upheaval
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

"""What the protocol's core tells the shell: facts, in the order in which they happened."""

from dataclasses import dataclass
from typing import Any

from xoproxy.client.document import Delta
from xoproxy.client.errors import Refused
from xoproxy.client.messages import MessageId, Welcome
from xoproxy.client.replica import Replica
from xoproxy.client.subscription import Slot, Subscription


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The proxy took the credentials."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Asked:
    """A subscription was answered: its views are known."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Changed:
    """What a subscription shows of a pool has changed, or stands elsewhere now, or is whole.

    Args:
        slot: of which subscription and pool.
        deltas: what looks different; those that went come first.
    """

    slot: Slot
    deltas: list[Delta]


@dataclass(frozen=True, slots=True)
class Comparing:
    """The proxy waits for the digests of a view: send `Replica.digests()`."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Settled:
    """A request has its result."""

    id: MessageId
    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A request was refused; without an id it is not known which."""

    id: MessageId | None
    error: Refused


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended before the outcome of a request was known."""

    id: MessageId


Event = SignedIn | Asked | Changed | Comparing | Settled | Failed | Lost

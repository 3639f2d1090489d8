"""The port to one XAPI pool, and the plain values that describe how to reach it.

An adapter (`jsonrpc.py`) owns the connections and the one XAPI session; whoever uses the port sees
only `PoolError`s, whose texts hold neither addresses nor credentials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from xoproxy.model import PoolId, Ref, XapiClass
from xoproxy.pool.replies import EventReply

SESSION_LOST = frozenset({"SESSION_INVALID", "HOST_IS_SLAVE", "HOST_STILL_BOOTING"})
"""XAPI's codes after which only a new login helps: the server that knew our session is no more the
coordinator, or has restarted."""

NOT_LISTED = frozenset({"RBAC_PERMISSION_DENIED", "MESSAGE_METHOD_UNKNOWN", "MESSAGE_REMOVED"})
"""XAPI's codes for a class that this pool, or this account, does not list at all."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool as the operator configured it.

    Args:
        id: our name of it.
        name: for people.
        url: scheme, host and port: "https://10.0.0.1"; any other part is refused.
        username, password: of an account on the pool.
        enabled: whether to connect.
        pins: address of a host -> SHA-256 of its certificate, in hex (colons allowed). A host
            without must have a certificate that is good for the authorities.
        ca_path: authorities (PEM) beside the system's.
        uuid: of XAPI's pool, "" when it is not known yet; no other pool is taken for it.
    """

    id: PoolId
    name: str
    url: str
    username: str
    password: str = field(repr=False)
    enabled: bool = True
    pins: Mapping[str, str] = field(default_factory=dict)
    ca_path: Path | None = None
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How to talk to a pool; defaults as in docs/settings.md where the operator can set them.

    Args:
        event_timeout_s: how long XAPI may hold one `event.from`.
        event_slack_s: beyond it before the poll counts as lost; XAPI answers idle polls 0.5 to
            0.7 s late even when it has nothing to do.
        connect_timeout_s: for name, TCP and TLS.
        request_timeout_s: for one call other than the long poll, and for the first list.
        logout_timeout_s: for saying good-bye.
        backoff_min_s, backoff_max_s: between attempts to reach the pool.
        backoff_reset_s: a link that lived this long starts again at backoff_min_s, and is tried
            often for two minutes.
        auth_retry_s: between attempts when the pool refuses our password: more often could lock
            the account in a directory.
        calls: concurrent calls besides the long poll.
        calls_waiting: client calls that may wait for a free slot; more are refused with BUSY.
        tasks: XAPI tasks followed at once for clients; more are refused with BUSY.
        call_timeout_s: for a client's command, its task included.
        reply_bytes: of one reply at most.
        messages_kept: newest objects of class `message` that are cached; 0 for none.
        message_relist_s: between two full lists of the messages: XAPI counts them nowhere.
        audit_s: in which each class is listed once, only to be compared; 0 for never.
        relist_min_s, relist_max_s: between two lists of one class whose count does not agree.
        probe_after_s: of silence before we ask for a sign of life.
        probe_timeout_s: for the sign of life.
        refresh_s: between two updates of a link's counters for clients.
    """

    event_timeout_s: float = 30.0
    event_slack_s: float = 5.0
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 60.0
    logout_timeout_s: float = 2.0
    backoff_min_s: float = 1.0
    backoff_max_s: float = 30.0
    backoff_reset_s: float = 30.0
    auth_retry_s: float = 60.0
    calls: int = 8
    calls_waiting: int = 64
    tasks: int = 128
    call_timeout_s: float = 3600.0
    reply_bytes: int = 512 << 20
    messages_kept: int = 1000
    message_relist_s: float = 600.0
    audit_s: float = 600.0
    relist_min_s: float = 2.0
    relist_max_s: float = 60.0
    probe_after_s: float = 120.0
    probe_timeout_s: float = 5.0
    refresh_s: float = 5.0


class XapiClient(Protocol):
    """One XAPI session on one pool.

    Every method may raise `PoolUnreachable` (no usable answer) and `XapiFailure` (XAPI's error).
    """

    async def reach(self, members: Sequence[str]) -> None:
        """Find out which hosts of the pool accept connections; nothing is sent to them.

        Args:
            members: their addresses as far as they are known, beside the configured one.
        """

    async def login(self, uuid: str = "") -> bool:
        """Have a session on the coordinator, the one of before if it is still good.

        It is looked for among the hosts that `reach` found, and those that they name.

        Args:
            uuid: of XAPI's pool; no other one is taken for it. "" takes any.

        Returns:
            Whether it is the session of before: the same server, on the same database.

        Raises:
            PoolAuthFailed: the pool refuses our user or password.
            PoolUnreachable: with WRONG_POOL, too, when another pool answers.
        """

    async def logout(self) -> None:
        """Close the session, if there is one; a pool that does not answer is no error."""

    async def call(self, method: str, params: Sequence[object] = ()) -> msgspec.Raw:
        """Call a method within the session (`system.*` without) and return the JSON of its result.

        Raises:
            RequestRefused: the call is larger than XAPI takes.
        """

    @property
    def silence_s(self) -> float:
        """How long `events` waits at most for an answer when there is no news."""

    async def events(
        self, classes: Sequence[XapiClass], token: str, timeout_s: float
    ) -> EventReply:
        """Wait for events after `token`; "" means every object of the classes."""

    async def records(self, cls: XapiClass) -> Mapping[Ref, msgspec.Raw]:
        """List all objects of a class, reference -> record (a dict that the caller may empty)."""

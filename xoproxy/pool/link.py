"""One pool's connection as clients see it: a small table of states, and the record they get.

    connecting  enabled, and no attempt has ended yet
    live        what we hold is what the pool has, but for the last moments
    stale       what we hold was true at `since`; we are trying to catch up
    error       nothing to show, or only an operator can help (password, certificate)
    disabled    the operator said so; what we hold stays visible

A pure value: time is an argument, and nothing here waits or connects. Data stays visible in every
state; a link never makes a pool disappear.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from xoproxy.errors import PoolAuthFailed, PoolUnreachable, XapiFailure
from xoproxy.model import PoolId, Ref, XapiClass

POOL_LINK = XapiClass("pool_link")


class LinkState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    DISABLED = "disabled"
    ERROR = "error"


class LinkEvent(StrEnum):
    """What can happen to a link."""

    ENABLED = "enabled"
    """Switched on, or given another address or password: attempts begin anew."""
    DISABLED = "disabled"
    CAUGHT_UP = "caught_up"
    """A reply brought us up to date."""
    LOST = "lost"
    """An attempt failed, and the next one may succeed by itself."""
    REFUSED = "refused"
    """An attempt failed in a way that an operator must mend."""


_S, _E = LinkState, LinkEvent
_NEXT: dict[LinkState, dict[LinkEvent, LinkState]] = {
    _S.CONNECTING: {_E.CAUGHT_UP: _S.LIVE, _E.LOST: _S.ERROR, _E.REFUSED: _S.ERROR},
    _S.LIVE: {_E.ENABLED: _S.STALE, _E.LOST: _S.STALE, _E.REFUSED: _S.ERROR},
    _S.STALE: {_E.CAUGHT_UP: _S.LIVE, _E.REFUSED: _S.ERROR},
    _S.ERROR: {_E.ENABLED: _S.CONNECTING, _E.CAUGHT_UP: _S.LIVE},
    _S.DISABLED: {_E.ENABLED: _S.CONNECTING},
}
"""State -> event -> next state. What does not stand here changes nothing, so that a disabled
link ignores what its dying task still says; DISABLED leads to `disabled` from everywhere."""


@dataclass(frozen=True, slots=True)
class LinkError:
    """Why a link is not live.

    Args:
        code: UNREACHABLE, TIMEOUT, CERTIFICATE, NOT_XAPI, AUTH_FAILED, INTERNAL, or XAPI's own.
        message: one sentence for a person, without addresses or credentials.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link's state.

    Args:
        state: see the module.
        since_s: when it came to be, in seconds since 1970.
        error: of the last failed attempt; None while live.
    """

    state: LinkState
    since_s: float
    error: LinkError | None = None

    def after(self, event: LinkEvent, now_s: float, error: LinkError | None = None) -> "Link":
        """Return the state after an event; the same object when nothing changed."""
        if event is LinkEvent.DISABLED:
            target, error = LinkState.DISABLED, None
        else:
            target = _NEXT[self.state].get(event, self.state)
            if target is LinkState.DISABLED:
                error = None
        if target is not self.state:
            return Link(target, now_s, error)
        return self if error == self.error else replace(self, error=error)


_OPERATOR_MUST_ACT = frozenset({"CERTIFICATE"})


def failed(cause: Exception) -> tuple[LinkEvent, LinkError]:
    """Say what a failed attempt means for the link."""
    match cause:
        case PoolAuthFailed():
            message = "The pool refuses the user or the password."
            return LinkEvent.REFUSED, LinkError("AUTH_FAILED", message)
        case PoolUnreachable(message=message, code=code):
            event = LinkEvent.REFUSED if code in _OPERATOR_MUST_ACT else LinkEvent.LOST
            return event, LinkError(code, message)
        case XapiFailure(code=code):
            # the parameters may hold addresses or session references
            return LinkEvent.LOST, LinkError(code, f"The pool answers {code}.")
        case _:
            return LinkEvent.LOST, LinkError("INTERNAL", "The proxy failed; its log says how.")


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """All that clients may know of a link: an object of class `pool_link`.

    Args:
        pool, name: as configured.
        uuid: of XAPI's pool, "" before the first load.
        link: its state.
        master: reference of the coordinator's host, "" before the first load.
        last_event_at_s: when the pool last told a change, in seconds since 1970; None for never.
        objects: how many objects we hold.
    """

    pool: PoolId
    name: str
    uuid: str
    link: Link
    master: Ref
    last_event_at_s: float | None
    objects: int

    @property
    def ref(self) -> Ref:
        """Name the object; the dash keeps it apart from every reference of XAPI's."""
        return Ref(f"OpaqueRef:pool-link-{self.pool}")

    def record(self) -> bytes:
        """Write the object's record; dates as in XAPI's, "20240131T12:00:00Z"."""
        error = self.link.error
        return msgspec.json.encode(
            {
                "pool": self.pool,
                "name": self.name,
                "uuid": self.uuid,
                "state": self.link.state,
                "since": _date(self.link.since_s),
                "error": {"code": error.code, "message": error.message} if error else None,
                "master": self.master,
                "last_event_at": _date(self.last_event_at_s),
                "objects": self.objects,
            }
        )


def _date(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H:%M:%SZ")

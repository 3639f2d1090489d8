"""One pool's connection: a small table of phases, and the record of it that clients get.

    probing ──found──> authenticating ──logged in, same──> listing ──caught up──> live
       ^                     │                                │                     │
       │                     └────────────────┬───────────────┴─────────────────────┘
       │                                      v  lost: stale · refused: error
       └──── retry, or the operator's now ────┘

    disabled         the operator said so; what we hold stays visible
    probing          connects to all known members
    authenticating   asks all that accept to let us in, which only the coordinator does
    listing          catches up: everything after a login, else what happened meanwhile
    live             what we hold is what the pool has, but for the last moments
    stale            the attempt failed, and the next one comes by itself after a pause; or it goes
                     on, but has told nothing for too long: it may catch up yet
    error            the attempt failed in a way that an operator must mend; it is tried again, too

Clients see the phase with its cause, and the state that it means for them: `live`, `disabled`,
`error` (nothing to show, or only an operator can help), `stale` (what we hold was true at `since`)
or `connecting` (no attempt has ended yet).

A pure value: time is an argument, and nothing here waits or connects. Data stays visible in every
phase; a link never makes a pool disappear.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from xoproxy.errors import PoolAuthFailed, PoolUnreachable, XapiFailure
from xoproxy.model import PoolId, Ref, XapiClass

POOL_LINK = XapiClass("pool_link")


class LinkState(StrEnum):
    """What a link means for clients."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    DISABLED = "disabled"
    ERROR = "error"


class Phase(StrEnum):
    """What a link does."""

    DISABLED = "disabled"
    PROBING = "probing"
    AUTHENTICATING = "authenticating"
    LISTING = "listing"
    LIVE = "live"
    STALE = "stale"
    ERROR = "error"


class LinkEvent(StrEnum):
    """What can happen to a link: the cause of its phase."""

    ENABLED = "enabled"
    """Switched on, given another address or password, or told to try now."""
    DISABLED = "disabled"
    RETRY = "retry"
    """The pause after a failed attempt is over."""
    FOUND = "found"
    """Hosts of the pool accept connections."""
    LOGGED_IN = "logged_in"
    """The coordinator opened a session."""
    SAME = "same"
    """The coordinator still knows our session."""
    CAUGHT_UP = "caught_up"
    """A reply brought us up to date."""
    LOST = "lost"
    """An attempt failed, and the next one may succeed by itself."""
    REFUSED = "refused"
    """An attempt failed in a way that an operator must mend."""


_P, _E = Phase, LinkEvent
_NEXT: dict[Phase, dict[LinkEvent, Phase]] = {
    _P.DISABLED: {},
    _P.PROBING: {_E.FOUND: _P.AUTHENTICATING},
    _P.AUTHENTICATING: {_E.LOGGED_IN: _P.LISTING, _E.SAME: _P.LISTING},
    _P.LISTING: {_E.CAUGHT_UP: _P.LIVE},
    _P.LIVE: {},
    _P.STALE: {_E.RETRY: _P.PROBING, _E.CAUGHT_UP: _P.LIVE},
    _P.ERROR: {_E.RETRY: _P.PROBING},
}
_TRYING = frozenset({_P.PROBING, _P.AUTHENTICATING, _P.LISTING, _P.LIVE})
for _phase in _TRYING:
    _NEXT[_phase] |= {_E.LOST: _P.STALE, _E.REFUSED: _P.ERROR}
for _phase in _P:
    _NEXT[_phase] |= {_E.ENABLED: _P.PROBING, _E.DISABLED: _P.DISABLED}
"""Phase -> event -> next phase. What does not stand here changes nothing, so that a disabled link
ignores what its dying task still says."""


@dataclass(frozen=True, slots=True)
class LinkError:
    """Why a link is not live.

    Args:
        code: UNREACHABLE, TIMEOUT, CERTIFICATE, NOT_XAPI, WRONG_POOL, AUTH_FAILED, INTERNAL, or
            XAPI's own.
        message: one sentence for a person, without addresses or credentials.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link at a moment.

    Args:
        phase: what it does.
        since_s: when its `state` came to be, in seconds since 1970.
        cause: of the phase; None at the beginning.
        error: of the last failed attempt; kept while we try again, None once live.
        refused: whether that error is the operator's to mend.
        holds_data: whether the pool was ever listed.
    """

    phase: Phase
    since_s: float
    cause: LinkEvent | None = None
    error: LinkError | None = None
    refused: bool = False
    holds_data: bool = False

    @property
    def state(self) -> LinkState:
        """Say what the phase means for clients."""
        if self.phase in {Phase.DISABLED, Phase.LIVE}:
            return LinkState(self.phase)
        if self.refused:
            return LinkState.ERROR
        if self.holds_data:
            return LinkState.STALE
        return LinkState.ERROR if self.error else LinkState.CONNECTING

    def after(self, event: LinkEvent, now_s: float, error: LinkError | None = None) -> "Link":
        """Return the link after an event; the same object when nothing changed.

        Args:
            event: what happened.
            now_s: the present, in seconds since 1970.
            error: with LOST and REFUSED.
        """
        phase = _NEXT[self.phase].get(event)
        if phase is None:
            return self
        after = replace(self, phase=phase, cause=event)
        if event in {LinkEvent.LOST, LinkEvent.REFUSED}:
            after = replace(after, error=error, refused=event is LinkEvent.REFUSED)
        elif event in {LinkEvent.ENABLED, LinkEvent.DISABLED, LinkEvent.CAUGHT_UP}:
            after = replace(after, error=None, refused=False)
        if event is LinkEvent.CAUGHT_UP:
            after = replace(after, holds_data=True)
        return after if after.state is self.state else replace(after, since_s=now_s)


_OPERATOR_MUST_ACT = frozenset({"CERTIFICATE", "WRONG_POOL"})


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
                "phase": self.link.phase,
                "cause": self.link.cause,
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

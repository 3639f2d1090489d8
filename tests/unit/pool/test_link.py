from collections import Counter

import msgspec
import pytest

from xoproxy.errors import PoolAuthFailed, PoolUnreachable, XapiFailure
from xoproxy.model import PoolId, Ref
from xoproxy.pool.link import Link, LinkError, LinkEvent, LinkState, LinkStatus, Phase, failed

TIMEOUT = LinkError("TIMEOUT", "The pool did not answer in time.")
UP = (LinkEvent.FOUND, LinkEvent.LOGGED_IN, LinkEvent.CAUGHT_UP)


def through(
    link: Link, *events: LinkEvent, at_s: float = 5, error: LinkError | None = None
) -> Link:
    for event in events:
        link = link.after(event, at_s, error if event in {"lost", "refused"} else None)
    return link


def test_a_link_that_comes_up_breaks_and_heals():
    link = Link(Phase.PROBING, 1)
    seen = [(link.phase, link.state)]
    again = (LinkEvent.RETRY, LinkEvent.FOUND, LinkEvent.SAME, LinkEvent.CAUGHT_UP)
    for event in (*UP, LinkEvent.LOST, *again):
        link = link.after(event, 5, TIMEOUT)
        seen.append((link.phase, link.state))

    assert seen == [
        ("probing", "connecting"),
        ("authenticating", "connecting"),
        ("listing", "connecting"),
        ("live", "live"),
        ("stale", "stale"),
        ("probing", "stale"),
        ("authenticating", "stale"),
        ("listing", "stale"),
        ("live", "live"),
    ]


def test_since_is_of_the_state_and_not_of_the_phase():
    link = through(Link(Phase.PROBING, 1), *UP, at_s=3)
    link = link.after(LinkEvent.LOST, 10, TIMEOUT)
    link = link.after(LinkEvent.RETRY, 20).after(LinkEvent.LOST, 30, TIMEOUT)

    assert (link.state, link.since_s, link.error) == (LinkState.STALE, 10, TIMEOUT)


def test_a_pool_never_reached_is_in_error_and_tells_the_latest_cause():
    link = Link(Phase.PROBING, 1).after(LinkEvent.LOST, 2, TIMEOUT)
    other = LinkError("UNREACHABLE", "No.")
    assert (link.state, link.error) == (LinkState.ERROR, TIMEOUT)

    link = link.after(LinkEvent.RETRY, 3)
    assert (link.state, link.error) == (LinkState.ERROR, TIMEOUT), "until there is better news"
    link = link.after(LinkEvent.LOST, 4, other)
    assert (link.state, link.since_s, link.error) == (LinkState.ERROR, 2, other)


def test_what_we_hold_from_before_is_stale_and_no_error():
    link = Link(Phase.PROBING, 1, holds_data=True)

    assert link.state is LinkState.STALE
    assert link.after(LinkEvent.LOST, 2, TIMEOUT).state is LinkState.STALE


@pytest.mark.parametrize("phase", Phase)
def test_disabled_is_reached_from_everywhere_and_left_only_on_purpose(phase):
    link = Link(phase, 1, error=TIMEOUT).after(LinkEvent.DISABLED, 2)

    assert link.state is LinkState.DISABLED
    for event in set(LinkEvent) - {LinkEvent.ENABLED, LinkEvent.DISABLED}:
        assert link.after(event, 3, TIMEOUT) is link
    assert link.after(LinkEvent.ENABLED, 4).state is LinkState.CONNECTING


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", LinkEvent)
def test_every_change_of_phase_says_its_cause(phase, event):
    link = Link(phase, 1)
    after = link.after(event, 2, TIMEOUT)

    assert after is link or after.cause is event
    assert after.phase is not Phase.LIVE or after.error is None


def test_every_phase_can_be_left():
    reached = Counter(
        after.phase
        for phase in Phase
        for event in LinkEvent
        if (after := Link(phase, 1).after(event, 2)).phase is not phase
    )
    assert set(Phase) == set(reached)


def test_a_refused_password_is_an_error_even_with_data():
    event, error = failed(PoolAuthFailed("SESSION_AUTHENTICATION_FAILED"))

    link = through(Link(Phase.PROBING, 0), *UP).after(event, 6, error)
    assert (link.state, link.error) == (LinkState.ERROR, error)
    assert link.after(LinkEvent.RETRY, 7).state is LinkState.ERROR
    assert error.code == "AUTH_FAILED"


@pytest.mark.parametrize(
    ("cause", "event", "code"),
    [
        (PoolUnreachable("The pool did not answer in time.", "TIMEOUT"), LinkEvent.LOST, "TIMEOUT"),
        (PoolUnreachable("Untrusted.", "CERTIFICATE"), LinkEvent.REFUSED, "CERTIFICATE"),
        (PoolUnreachable("Another.", "WRONG_POOL"), LinkEvent.REFUSED, "WRONG_POOL"),
        (XapiFailure("HOST_IS_SLAVE", ("192.0.2.7",)), LinkEvent.LOST, "HOST_IS_SLAVE"),
        (ZeroDivisionError("/etc/secret"), LinkEvent.LOST, "INTERNAL"),
    ],
)
def test_causes_are_told_without_addresses(cause, event, code):
    found, error = failed(cause)

    assert (event, code) == (found, error.code)
    assert "192.0.2.7" not in error.message
    assert "secret" not in error.message


def test_the_record_is_what_clients_see():
    status = LinkStatus(
        PoolId("p1"),
        "Lab",
        "u-1",
        Link(Phase.PROBING, 1706702400, LinkEvent.RETRY, TIMEOUT, holds_data=True),
        Ref("OpaqueRef:h"),
        None,
        7,
    )

    assert msgspec.json.decode(status.record()) == {
        "pool": "p1",
        "name": "Lab",
        "uuid": "u-1",
        "state": "stale",
        "phase": "probing",
        "cause": "retry",
        "since": "20240131T12:00:00Z",
        "error": {"code": "TIMEOUT", "message": "The pool did not answer in time."},
        "master": "OpaqueRef:h",
        "last_event_at": None,
        "objects": 7,
    }
    assert status.ref == "OpaqueRef:pool-link-p1"

import msgspec
import pytest

from xoproxy.errors import PoolAuthFailed, PoolUnreachable, XapiFailure
from xoproxy.model import PoolId, Ref
from xoproxy.pool.link import Link, LinkError, LinkEvent, LinkState, LinkStatus, failed

TIMEOUT = LinkError("TIMEOUT", "The pool did not answer in time.")


def test_a_link_that_comes_up_breaks_and_heals():
    link = Link(LinkState.CONNECTING, 10)

    link = link.after(LinkEvent.CAUGHT_UP, 11)
    assert Link(LinkState.LIVE, 11) == link
    link = link.after(LinkEvent.LOST, 12, TIMEOUT)
    assert Link(LinkState.STALE, 12, TIMEOUT) == link
    link = link.after(LinkEvent.LOST, 20, TIMEOUT)
    assert Link(LinkState.STALE, 12, TIMEOUT) == link, "since: when it became stale"
    assert Link(LinkState.LIVE, 30) == link.after(LinkEvent.CAUGHT_UP, 30)


def test_a_repeated_event_gives_the_same_object():
    live = Link(LinkState.LIVE, 1)

    assert live is live.after(LinkEvent.CAUGHT_UP, 5)


def test_a_pool_never_reached_is_in_error_and_tells_the_latest_cause():
    link = Link(LinkState.CONNECTING, 1).after(LinkEvent.LOST, 2, TIMEOUT)
    other = LinkError("UNREACHABLE", "No.")

    assert Link(LinkState.ERROR, 2, TIMEOUT) == link
    assert Link(LinkState.ERROR, 2, other) == link.after(LinkEvent.LOST, 3, other)


@pytest.mark.parametrize("state", LinkState)
def test_disabled_is_reached_from_everywhere_and_left_only_on_purpose(state):
    link = Link(state, 1, TIMEOUT).after(LinkEvent.DISABLED, 2)

    assert link.state is LinkState.DISABLED
    for event in (LinkEvent.LOST, LinkEvent.REFUSED, LinkEvent.CAUGHT_UP):
        late = link.after(event, 3, TIMEOUT)
        assert (late.state, late.error) == (LinkState.DISABLED, None)
    assert Link(LinkState.CONNECTING, 4) == link.after(LinkEvent.ENABLED, 4)


def test_a_refused_password_is_an_error_even_with_data():
    event, error = failed(PoolAuthFailed("SESSION_AUTHENTICATION_FAILED"))

    link = Link(LinkState.LIVE, 1).after(event, 2, error)

    assert (link.state, link.error) == (LinkState.ERROR, error)
    assert error.code == "AUTH_FAILED"


@pytest.mark.parametrize(
    ("cause", "event", "code"),
    [
        (PoolUnreachable("The pool did not answer in time.", "TIMEOUT"), LinkEvent.LOST, "TIMEOUT"),
        (PoolUnreachable("Untrusted.", "CERTIFICATE"), LinkEvent.REFUSED, "CERTIFICATE"),
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
        Link(LinkState.STALE, 1706702400, TIMEOUT),
        Ref("OpaqueRef:h"),
        None,
        7,
    )

    assert msgspec.json.decode(status.record()) == {
        "pool": "p1",
        "name": "Lab",
        "uuid": "u-1",
        "state": "stale",
        "since": "20240131T12:00:00Z",
        "error": {"code": "TIMEOUT", "message": "The pool did not answer in time."},
        "master": "OpaqueRef:h",
        "last_event_at": None,
        "objects": 7,
    }
    assert status.ref == "OpaqueRef:pool-link-p1"

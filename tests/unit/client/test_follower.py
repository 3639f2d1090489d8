"""Which ends of a connection are the end."""

import pytest

from xoproxy.client.connection import Endpoint
from xoproxy.client.errors import (
    Disconnected,
    NotSignedIn,
    ProtocolFault,
    Refused,
    Unreachable,
)
from xoproxy.client.events import Changed, Failed, SignedIn
from xoproxy.client.follower import Follower
from xoproxy.client.messages import Welcome
from xoproxy.client.protocol import Protocol


def follower(*, may_renew=False, been=True):
    made = Follower(Endpoint("ws://h/ws"), dict, Protocol(), None, may_renew=may_renew)  # type: ignore[arg-type]
    made._been_signed_in = been
    return made


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("nobody"),
        ProtocolFault("odd"),
        *(Disconnected("gone", code) for code in (None, 1000, 1006, 4301, 4308, 4310, 4503)),
    ],
)
def test_most_are_not(error):
    assert follower()._final(error) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotSignedIn("wrong"), NotSignedIn),
        (Disconnected("no", 4501), NotSignedIn),
        (Disconnected("revoked", 4305), NotSignedIn),
        (Disconnected("what", 4502), Disconnected),
        (Refused("LIMIT", "enough"), Refused),
    ],
)
def test_some_are(error, kind):
    assert type(follower()._final(error)) is kind


@pytest.mark.parametrize("error", [Unreachable("nobody"), Disconnected("full", 4503)])
def test_some_are_before_anybody_was_there(error):
    assert type(follower(been=False)._final(error)) is Unreachable
    assert follower()._final(error) is None


def test_a_revoked_token_is_not_when_there_may_be_another():
    assert follower(may_renew=True)._final(Disconnected("revoked", 4305)) is None


class TestSigningIn:
    def test_is_over_with_welcome(self):
        made = follower(been=False)
        made._signing_in([SignedIn(Welcome())])
        assert made._been_signed_in

    def test_fails_with_a_code(self):
        with pytest.raises(NotSignedIn) as caught:
            follower()._signing_in([Failed(None, Refused("OTP_REQUIRED", "one more"))])
        assert caught.value.code == "OTP_REQUIRED"

    def test_may_be_tried_again_when_the_proxy_says_so(self):
        with pytest.raises(Disconnected, match="busy"):
            follower()._signing_in([Failed(None, Refused("BUSY", "busy", retry=True))])

    @pytest.mark.parametrize("events", [[], [Changed(None, [])]])  # type: ignore[arg-type]
    def test_is_answered_by_nothing_else(self, events):
        with pytest.raises(Disconnected, match="none of protocol v1"):
            follower()._signing_in(events)

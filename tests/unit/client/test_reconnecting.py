"""When to connect again."""

import pytest

from xoproxy.client.reconnecting import (
    RESTARTING,
    STATE_LOST,
    TOO_MANY_SESSIONS,
    Backoff,
)


def test_pauses_grow_to_half_a_minute():
    backoff = Backoff(lambda: 1.0)
    assert [backoff.pause_s(None) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_pauses_are_spread():
    assert Backoff(lambda: 0.0).pause_s(None) == 0.5


def test_after_a_good_connection_pauses_begin_anew():
    backoff = Backoff(lambda: 1.0)
    for _ in range(20):
        backoff.pause_s(None)
    backoff.succeeded()
    assert backoff.pause_s(None) == 1


@pytest.mark.parametrize("code", [RESTARTING, STATE_LOST])
def test_after_a_restart_all_clients_are_spread_over_five_seconds(code):
    backoff = Backoff(lambda: 0.5)
    assert backoff.pause_s(code) == 2.5
    assert backoff.pause_s(code) == 1.5  # but not over and over


def test_too_many_sessions_means_later():
    assert Backoff(lambda: 1.0).pause_s(TOO_MANY_SESSIONS) == 30


def test_what_the_proxy_asks_for_comes_on_top():
    assert Backoff(lambda: 1.0).pause_s(None, 20) == 21

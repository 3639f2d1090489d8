"""The throttle: free failures, growing waits, bounded memory."""

import pytest

from xoproxy.auth.throttle import Throttle, Throttled


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def wait_s(throttle, peer, name):
    try:
        throttle.check(peer, name)
    except Throttled as error:
        return error.retry_after_s
    return 0


def test_five_failures_are_free_then_the_wait_doubles_up_to_a_minute(throttle, clock):
    waits = []
    for _ in range(14):
        waits.append(wait_s(throttle, "p", "admin"))
        clock.now_s += waits[-1]
        throttle.failed("p", "admin")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_error_says_when_to_come_back(throttle):
    for _ in range(8):
        throttle.failed("p", "admin")
    with pytest.raises(Throttled, match=r"try again in 8 s") as caught:
        throttle.check("p", "admin")
    assert caught.value.retry_after_s == 8


def test_another_peer_and_another_name_are_not_held_up(throttle):
    for _ in range(8):
        throttle.failed("p", "admin")
    assert wait_s(throttle, "p", "admin") > 0
    assert wait_s(throttle, "q", "admin") == 0
    assert wait_s(throttle, "p", "other") == 0


def test_a_peer_that_tries_many_names_is_held_up_whatever_the_name(throttle):
    for number in range(50):
        throttle.failed("p", f"user {number}")
    assert wait_s(throttle, "p", "yet another") > 0
    assert wait_s(throttle, "q", "user 1") == 0


def test_success_forgives_the_name_but_not_the_peer(throttle):
    for _ in range(51):
        throttle.failed("p", "admin")
    throttle.succeeded("p", "admin")
    assert wait_s(throttle, "p", "admin") == 2  # of the peer
    for _ in range(8):
        throttle.failed("q", "admin")
    throttle.succeeded("q", "admin")
    assert wait_s(throttle, "q", "admin") == 0


def test_failures_are_forgotten_after_a_quarter_of_an_hour(throttle, clock):
    for _ in range(8):
        throttle.failed("p", "admin")
    clock.now_s += 901
    throttle.failed("p", "admin")
    assert wait_s(throttle, "p", "admin") == 0


def test_memory_is_bounded_and_thousands_of_failures_do_not_overflow(throttle):
    for _ in range(5000):
        throttle.failed("p", "admin")
    assert wait_s(throttle, "p", "admin") == 60
    for number in range(20_000):
        throttle.failed(f"peer {number}", "admin")
    assert len(throttle._failures) == 10_000

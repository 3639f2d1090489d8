"""The throttle: free failures, growing waits, lock-out, what outlives a restart, bounds."""

import pytest

from xoproxy.auth.throttle import Kind, Throttle, Throttled

ATTACKERS = [f"198.51.{block}.{host}" for block in range(2) for host in range(200)]


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wall():
    wall = Clock()
    wall.now_s = 1_700_000_000.0
    return wall


@pytest.fixture
def throttle(clock, wall):
    return Throttle(b"secret", (), clock, wall)


def wait_s(throttle, peer, name):
    try:
        throttle.check(peer, name)
    except Throttled as error:
        return error.retry_after_s
    return 0


def locked_out(throttle, name="admin"):
    for peer in ATTACKERS:
        throttle.failed(peer, name)


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


def test_an_ipv6_network_is_one_address(throttle):
    for number in range(50):
        throttle.failed(f"2001:db8:0:1::{number:x}", f"user {number}")
    assert wait_s(throttle, "2001:db8:0:1:ffff::1", "yet another") > 0
    assert wait_s(throttle, "2001:db8:0:2::1", "yet another") == 0


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


class TestSoftLockOut:
    def test_many_addresses_together_guess_no_faster_than_one(self, throttle, clock):
        locked_out(throttle)
        assert wait_s(throttle, "203.0.113.1", "admin") == 60
        assert wait_s(throttle, "203.0.113.1", "other") == 0
        clock.now_s += 60
        assert wait_s(throttle, "203.0.113.1", "admin") == 0
        throttle.failed("203.0.113.1", "admin")
        assert wait_s(throttle, "203.0.113.2", "admin") == 60

    def test_nobody_is_locked_out_where_he_signed_in_before_or_at_the_machine(self, throttle):
        throttle.succeeded("203.0.113.9", "admin")
        locked_out(throttle)
        assert wait_s(throttle, "203.0.113.9", "admin") == 0
        assert wait_s(throttle, "127.0.0.1", "admin") == 0
        assert wait_s(throttle, "::1", "admin") == 0
        assert wait_s(throttle, "203.0.113.9", "other") == 0
        locked_out(throttle, "other")
        assert wait_s(throttle, "203.0.113.9", "other") == 60  # it was another name

    def test_a_success_does_not_excuse_the_others(self, throttle):
        locked_out(throttle)
        throttle.succeeded("127.0.0.1", "admin")
        assert wait_s(throttle, "203.0.113.1", "admin") == 60

    def test_it_is_over_an_hour_after_the_last_guess(self, throttle, clock):
        locked_out(throttle)
        assert throttle.is_locked("admin")
        clock.now_s += 3601
        throttle.failed("203.0.113.1", "admin")
        assert not throttle.is_locked("admin")

    def test_unlocking_forgets_a_name_wherever_it_was_tried(self, throttle):
        locked_out(throttle)
        for _ in range(8):
            throttle.failed("203.0.113.1", "admin")
        throttle.unlock("admin")
        assert not throttle.is_locked("admin")
        assert wait_s(throttle, "203.0.113.1", "admin") == 0
        assert wait_s(throttle, "203.0.113.2", "admin") == 0


class TestRestart:
    def again(self, throttle, wall, *, away_s=0.0, secret=b"secret"):
        notes = throttle.notes()
        clock = Clock()
        clock.now_s = 5.0  # clocks begin anew with the machine
        wall.now_s += away_s
        return Throttle(secret, notes, clock, wall)

    def test_waits_go_on(self, throttle, wall):
        for _ in range(8):
            throttle.failed("p", "bob")
        locked_out(throttle)
        throttle.succeeded("203.0.113.9", "admin")
        other = self.again(throttle, wall, away_s=3.0)
        assert wait_s(other, "p", "bob") == 5
        assert wait_s(other, "203.0.113.1", "admin") == 57
        assert wait_s(other, "203.0.113.9", "admin") == 0

    def test_time_that_was_put_back_makes_nobody_wait_longer(self, throttle, wall):
        for _ in range(8):
            throttle.failed("p", "bob")
        other = self.again(throttle, wall, away_s=-1e6)
        assert wait_s(other, "p", "bob") == 8

    def test_what_was_noted_under_another_key_means_nothing(self, throttle, wall):
        locked_out(throttle)
        other = self.again(throttle, wall, secret=b"another")
        assert wait_s(other, "203.0.113.1", "admin") == 0

    def test_nothing_is_written_while_nothing_is_new(self, throttle):
        assert throttle.notes() is None
        for _ in range(1000):
            throttle.failed("p", "admin")
        assert throttle.notes() is not None
        assert throttle.notes() is None
        throttle.succeeded("p", "admin")
        assert throttle.notes() is not None
        throttle.succeeded("p", "admin")  # as every day
        assert throttle.notes() is None
        throttle.not_written()
        assert throttle.notes() is not None

    def test_notes_tell_neither_names_nor_addresses(self, throttle):
        for _ in range(10):
            throttle.failed("203.0.113.1", "my password, in the wrong field")
        text = repr(throttle.notes())
        assert "password" not in text
        assert "203.0.113" not in text

    def test_failures_that_hold_nobody_up_are_not_written(self, throttle):
        throttle.failed("203.0.113.1", "admin")
        throttle.failed("203.0.113.1", "admin")
        assert throttle.notes() == []


def test_memory_and_notes_are_bounded_and_thousands_of_failures_do_not_overflow(throttle):
    for _ in range(5000):
        throttle.failed("p", "admin")
    assert wait_s(throttle, "p", "admin") == 60
    for number in range(20_000):
        peer, name = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"user {number}"
        for _ in range(3):
            throttle.failed(peer, name)
        throttle.succeeded(peer, "admin")
    assert all(len(counts) <= 5000 for counts in throttle._counts.values())
    assert len(throttle._homes) == 1
    assert len(next(iter(throttle._homes.values()))) == 8
    notes = throttle.notes()
    for kind in Kind:
        assert len([note for note in notes if note.kind is kind]) <= 1000

"""Which address each host gets."""

import itertools

import pytest

from xoproxy.simulator.addresses import allotted, named


def test_members_stand_next_to_the_coordinator() -> None:
    known = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
    expected = {"a": "127.0.0.3", "b": "127.0.0.2", "c": "127.0.0.4"}
    assert allotted("127.0.0.2", "b", known) == {**expected, "b": "127.0.0.2", "a": "127.0.0.3"}


def test_loopback_addresses_of_records_are_kept_unless_taken() -> None:
    known = {"a": "127.0.0.9", "b": "127.0.0.2", "c": "127.0.0.2", "d": "127.0.0.1", "e": "::1"}
    assert allotted("127.0.0.1", "a", known) == {
        "a": "127.0.0.1",
        "b": "127.0.0.2",
        "c": "127.0.0.3",
        "d": "127.0.0.4",
        "e": "127.0.0.5",
    }


def test_the_end_of_the_loopback_network_is_not_passed() -> None:
    known = dict.fromkeys("abc", "")
    found = allotted("127.255.255.253", "a", known)
    assert found == {"a": "127.255.255.253", "b": "127.255.255.254", "c": "127.0.0.1"}


@pytest.mark.parametrize("listen", ["0.0.0.0", "::1", "192.0.2.1", "pool.example"])  # noqa: S104
def test_elsewhere_only_the_coordinator_listens(listen: str) -> None:
    known = {"a": "10.0.0.1", "b": "127.0.0.1"}
    assert allotted(listen, "b", known) == {"a": None, "b": listen}


def test_many_hosts_get_different_addresses() -> None:
    known = {str(number): f"127.0.0.{number}" for number in range(1, 300)}
    known |= {str(number): "" for number in range(300, 600)}
    found = allotted("localhost", "77", known)
    assert found["77"] == "localhost"
    for one, other in itertools.pairwise(sorted(set(found) - {"77"})):
        assert found[one] != found[other]
    assert len(set(found.values())) == len(known)


def test_what_records_name() -> None:
    assert named("192.0.2.1") == "192.0.2.1"
    assert named("localhost") == "127.0.0.1"
    assert named("0.0.0.0") is None  # noqa: S104
    assert named("pool.example") is None

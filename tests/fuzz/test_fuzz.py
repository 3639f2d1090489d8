"""The short, repeatable part of `make fuzz`, and what the long one found."""

import random

import pytest

from tests.fuzz.parsers import Parsers
from tests.fuzz.siege import siege
from tests.integration.by_hand import UPGRADE

INPUTS = 15_000
CONNECTIONS = 400


@pytest.mark.parametrize("seed", [1, 2])
def test_odd_content_is_refused_or_usable(seed):
    parsers = Parsers(random.Random(seed))
    for _ in range(INPUTS):
        parsers.step()


async def test_whatever_comes_over_the_wire_others_are_served_and_nothing_is_left():
    async with siege(seed=1) as here:
        await here.attack(CONNECTIONS // 2)
        await here.all_gone()
        descriptors = here.descriptors()
        await here.attack(CONNECTIONS // 2)
        await here.check()
        await here.all_gone()
        assert sum(here.outcomes.values()) == CONNECTIONS
        assert here.descriptors() <= descriptors + 8


async def test_an_upgrade_with_bytes_that_are_no_text_is_a_bad_request():
    async with siege(seed=3) as here:
        for header in (b"Upgrade: websocket", b"Connection: Upgrade", b"Version: 13", b"AAA=="):
            answer = await here.asks(UPGRADE.replace(header, header + b"\xc2"))
            assert answer.startswith(b"HTTP/1.1 400 "), answer
        await here.check()


async def test_who_is_gone_when_his_pings_are_read_is_not_answered():
    """Writing to a connection that is lost raises with uvloop, on which the proxy runs."""
    async with siege(seed=2) as here:
        await here.ping_and_vanish(40)
        await here.all_gone()
        await here.check()

"""A client that stops reading costs nearly nothing, slows nobody, and is exact afterwards."""

import asyncio

import pytest

from tests.integration.deaf import DeafClient
from tests.integration.demo import demo
from tests.integration.support import connected, logged_in
from tests.integration.test_convergence import assert_equal

CHANGES, SECONDS = 10_000, 20
MIB = 1 << 20


async def grown_bytes(*, deaf: bool) -> int:
    """Run 10,000 changes past a good client, with a deaf one or without; return how RSS grew."""
    options = ("--pools", "1", "--vms", "60", "--hosts", "2", "--rate", "0", "--seed", "5")
    async with demo(*options) as running, connected(running.url) as good:
        (view,) = await good.subscribe()
        slow = DeafClient(running.url)
        await slow.open()
        await slow.read_until_quiet(1)
        if not deaf:
            slow.close()
            await asyncio.sleep(0.5)
        before = running.rss_bytes()
        await running.sim("churn", rate=CHANGES / SECONDS, seconds=SECONDS, seed=9, lifecycle=True)
        await asyncio.sleep(SECONDS + 1)
        grown = running.rss_bytes() - before
        patches = view.patches
        assert patches > 100  # the good one was not held up
        if deaf:
            (slow_view,) = slow.views.values()
            position = slow_view.position
            await slow.read_until_quiet(2)
            assert slow_view.position > position
            assert slow_view.patches < patches / 2  # most came as one
            async with logged_in_demo(running) as xapi:
                await assert_equal([view, slow_view], xapi)
        slow.close()
        return grown


def logged_in_demo(running):
    return logged_in(running.pools[0]["url"], running.pools[0]["password"])


@pytest.mark.slow
async def test_a_stalled_client_costs_at_most_a_mebibyte_and_catches_up():
    without = await grown_bytes(deaf=False)
    with_it = await grown_bytes(deaf=True)
    print(f"grown: {without / MIB:.2f} MiB without, {with_it / MIB:.2f} MiB with a stalled client")  # noqa: T201 - the figure
    assert with_it - without <= MIB

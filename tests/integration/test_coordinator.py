"""A proxy whose pool is led by another host from one moment to the next."""

from tests.integration.watched import watched
from xoproxy.pool.link import LinkState
from xoproxy.simulator.estate import generate


async def test_a_watching_proxy_follows_to_the_other_address() -> None:
    async with watched(generate(3, 12, 1), speed=20) as world:
        await world.fault("promote", seed=2)
        await world.until(lambda: world.state is not LinkState.LIVE)
        await world.until_live()
        await world.until_equal()
        assert world.stats["sessions"] == 1

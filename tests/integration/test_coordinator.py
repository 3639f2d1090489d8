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


async def test_a_watching_proxy_follows_who_is_designated() -> None:
    async with watched(generate(3, 12, 1), speed=50) as world:
        pool = world.simulator
        new = list(pool.hosts)[1]
        session = await world.rpc("session.login_with_password", pool.user, pool.password)
        await world.rpc("pool.designate_new_master", session, new.ref)
        await world.until(lambda: world.state is not LinkState.LIVE)
        await world.until_live()
        assert pool.hosts.coordinator is new
        await world.until_equal()
        vm = pool.database.refs("VM")[0]
        pool.database.write("VM", vm, "name_label", "seen at the new one")
        await world.until_equal()

"""Waiting in event.from: how long, woken by what, and how it ends."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.unit.simulator.test_events import told
from tests.unit.simulator.worlds import VM, Client, client
from xoproxy.simulator.events import Batch

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def since(user: Client, classes: Sequence[str], token: str, timeout_s: float) -> Batch:
    batch: Batch = await user.call("event.from", list(classes), token, timeout_s)
    return batch


async def test_what_is_there_is_returned_after_the_gathering_delay():
    async with client() as user:
        start = now()
        assert len((await since(user, ["vm"], "", 30.0)).adds) == 3
        assert now() - start == pytest.approx(0.05)


async def test_an_idle_wait_ends_on_time_with_the_same_token():
    async with client() as user:
        token = str((await since(user, ["vm"], "", 0.0)).token)
        start = now()
        batch = await since(user, ["vm"], token, 7.0)

        assert (batch.events, str(batch.token)) == ([], token)
        assert now() - start == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("release", "first_s", "idle_s"), [("8.2", 0.0, 7.5), ("25.6.0", 0.0, 7.0), (None, 0.05, 7.0)]
)
async def test_releases_wait_in_their_own_way(release: str | None, first_s: float, idle_s: float):
    async with client(release) as user:
        start = now()
        token = str((await since(user, ["vm"], "", 30.0)).token)
        assert now() - start == pytest.approx(first_s)
        start = now()
        await since(user, ["vm"], token, 7.0)
        assert now() - start == pytest.approx(idle_s)


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), 1e12])
async def test_senseless_timeouts_wait_a_day(timeout_s: float):
    async with client() as user:
        token = str((await since(user, ["vm"], "", 0.0)).token)
        start = now()
        await since(user, ["vm"], token, timeout_s)

        assert now() - start == pytest.approx(24 * 3600.0)


async def test_a_change_wakes_all_who_wait_for_it():
    async with client() as user:
        token = str((await since(user, ["vm"], "", 0.0)).token)
        found: list[Batch] = []

        async def wait(*classes: str) -> None:
            found.append(await since(user, classes, token, 20.0))

        async with asyncio.TaskGroup() as group:
            start = now()
            group.create_task(wait("vm"))
            group.create_task(wait(f"vm/{VM}"))
            await asyncio.sleep(1.0)
            assert user.world.events.waiting == 2
            user.db.write("VM", VM, "name_label", "x")

        assert [told(batch) for batch in found] == [[("mod", "vm", VM)]] * 2
        assert 1.0 < now() - start <= 1.06
        assert user.world.events.waiting == 0


async def test_changes_of_other_classes_do_not_end_a_wait():
    async with client() as user:
        token = str((await since(user, ["pool"], "", 0.0)).token)

        async def disturb() -> None:
            for i in range(100):
                user.db.write("VM", VM, "name_label", str(i))
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            start = now()
            group.create_task(disturb())
            batch = await since(user, ["pool"], token, 1.5)
            assert now() - start == pytest.approx(1.5)

        assert (batch.events, str(batch.token)) == ([], token)


async def test_logging_out_ends_a_wait():
    async with client() as user:
        waiting = await user.world.sessions.login("root", "secret", "waiter")
        token = str((await since(user, ["vm"], "", 0.0)).token)
        errors: list[list[str]] = []

        async def wait() -> None:
            errors.append(await user.raw_error("event.from", waiting, ["vm"], token, 20.0))

        async with asyncio.TaskGroup() as group:
            start = now()
            group.create_task(wait())
            await asyncio.sleep(0.5)
            user.world.sessions.logout(waiting)

        assert errors == [["SESSION_INVALID", waiting]]
        assert now() - start == pytest.approx(0.5)


async def test_a_cancelled_wait_is_no_longer_counted():
    async with client() as user:
        token = str((await since(user, ["vm"], "", 0.0)).token)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await since(user, ["vm"], token, 20.0)

        assert user.world.events.waiting == 0

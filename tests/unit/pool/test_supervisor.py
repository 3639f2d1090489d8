import asyncio

import pytest
from yarl import URL

from xoproxy.cache.store import Store
from xoproxy.errors import ConfigError
from xoproxy.model import PoolId, Ref, Upsert, XapiClass
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.link import LinkState
from xoproxy.pool.supervised import Backoff
from xoproxy.pool.supervisor import Supervisor


def test_pauses_grow_to_the_bound_with_jitter():
    backoff = Backoff(1, 30, 120)

    pauses = [backoff.pause_s(0, 0) for _ in range(8)]

    for pause, nominal in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert nominal / 2 <= pause <= nominal


def test_a_long_life_forgives():
    backoff = Backoff(1, 30, 120)
    for _ in range(6):
        backoff.pause_s(119, 0)

    assert backoff.pause_s(120, 0) <= 1
    assert 1 <= backoff.pause_s(0, 1) <= 2


def test_after_a_good_time_pauses_stay_short_for_as_long_as_a_failover_takes():
    backoff = Backoff(1, 30, 30)
    backoff.pause_s(3600, 0)

    quick = [backoff.pause_s(0, now_s) for now_s in range(2, 120, 2)]
    assert max(quick) <= 2
    later = [backoff.pause_s(0, now_s) for now_s in range(120, 600, 30)]
    assert later[0] <= 2 < later[1]
    assert 15 <= later[-1] <= 30


class Sink:
    def __init__(self) -> None:
        self.states: list[tuple[str, LinkState]] = []

    def loaded(self, store) -> None:
        pass

    def committed(self, batch) -> None:
        pass

    def state(self, status) -> None:
        self.states.append((status.pool, status.link.state))


async def test_pools_that_cannot_be_are_refused_before_anything_runs():
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, Sink(), LinkSettings(), lambda pool: Store(pool, "e"))
        for bad in (
            PoolConfig(PoolId("p"), "x", "ftp://h", "u", "p"),
            PoolConfig(PoolId("p"), "x", "https://h", "u", "p", pins={"h": "12:34"}),
        ):
            with pytest.raises(ConfigError):
                supervisor.add(bad)
        assert not list(supervisor.statuses())
        await supervisor.close()


async def test_a_disabled_pool_is_shown_and_not_connected():
    sink = Sink()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, sink, LinkSettings(), lambda pool: Store(pool, "e"))
        supervisor.add(PoolConfig(PoolId("p"), "x", "http://127.0.0.1:9", "u", "p", enabled=False))
        await asyncio.sleep(0)
        await supervisor.close()

    assert sink.states == [("p", LinkState.DISABLED)]


@pytest.mark.parametrize("nonsense", [b'{"uuid":7,"master":[]}', b'{"address":{}}', b"[]", b"null"])
async def test_a_pool_that_tells_nonsense_of_itself_harms_nobody(nonsense):
    rows = [Upsert(XapiClass(cls), Ref(cls), nonsense) for cls in ("pool", "host")]
    store = Store(PoolId("p"), "e")
    prepared = store.prepare(rows)
    while prepared.step():
        pass
    store.commit(prepared, at_s=0)
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, Sink(), LinkSettings(), lambda _: store)
        supervisor.add(PoolConfig(PoolId("p"), "x", "http://127.0.0.1:9", "u", "p", enabled=False))
        (status,) = supervisor.statuses()
        assert (status.uuid, status.master, status.objects) == ("", "", 2)
        assert supervisor.hosts(PoolId("p"), URL("http://127.0.0.1:9")) == []
        await supervisor.close()


def test_a_password_is_not_shown():
    assert "hunter2" not in repr(PoolConfig(PoolId("p"), "x", "https://h", "u", "hunter2"))

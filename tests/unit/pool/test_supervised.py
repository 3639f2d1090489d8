"""What one pool's link says of itself, against a scripted pool."""

import asyncio

import pytest

from tests.unit.pool.fakes import ScriptedClient, mod, told
from xoproxy.cache.store import Store
from xoproxy.model import PoolId
from xoproxy.pool.client import LinkSettings, PoolConfig
from xoproxy.pool.link import LinkState
from xoproxy.pool.supervised import SupervisedPool

CONFIG = PoolConfig(PoolId("p"), "x", "https://h", "u", "p")
SETTINGS = LinkSettings(
    event_timeout_s=10, event_slack_s=5, connect_timeout_s=10, messages_kept=0, audit_s=1e-9
)
"""A class is compared after each poll but the first (audits have a clock of their own)."""
METHODS = ["VM.get_all_records", "pool.get_all_records"]


class Idle(ScriptedClient):
    """A pool without news, that takes its time to list a class."""

    def __init__(self, list_s: float, poll_s: float | None = None) -> None:
        super().__init__({"system.listMethods": [METHODS] * 9})
        self._list_s = list_s
        self._poll_s = poll_s

    @property
    def silence_s(self) -> float:
        return self._poll_s or 15.0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def events(self, classes, token, timeout_s):  # noqa: ARG002 - a port
        if token:
            await asyncio.sleep(self._poll_s or timeout_s + 0.6)
        return told("1,0", *([] if token else [mod("pool", "p", uuid="u")]))

    async def records(self, cls):
        await asyncio.sleep(self._list_s)
        return await super().records(cls)


class Sink:
    def __init__(self) -> None:
        self.states: list[tuple[float, LinkState]] = []

    def loaded(self, store) -> None:
        pass

    def committed(self, batch) -> None:
        pass

    def state(self, status) -> None:
        if not self.states or self.states[-1][1] is not status.link.state:
            now_s = asyncio.get_running_loop().time()
            self.states.append((now_s, status.link.state))


async def states_with_lists_of(
    list_s: float, poll_s: float | None = None
) -> list[tuple[float, LinkState]]:
    """Follow a pool for a minute, and for as long as one of its lists takes."""
    sink = Sink()
    client = Idle(list_s, poll_s)
    pool = SupervisedPool(
        CONFIG,
        Store(CONFIG.id, "e"),
        sink,
        SETTINGS,
        lambda *_: client,  # type: ignore[arg-type]
        lambda _: None,
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60 + list_s):
            await pool.run()
    return sink.states


@pytest.mark.looptime
async def test_a_pool_that_lists_quickly_is_live():
    assert [state for _, state in await states_with_lists_of(1)] == ["connecting", "live"]


@pytest.mark.looptime
async def test_an_old_pool_chooses_how_long_it_is_silent():
    """`event.next` has no time-out: XAPI's heartbeat ends it after half a minute or so."""
    states = await states_with_lists_of(1, poll_s=50)
    assert [state for _, state in states] == ["connecting", "live"]


@pytest.mark.looptime
async def test_while_a_list_keeps_news_waiting_a_pool_is_stale():
    """No poll goes on beside a list: nobody can tell whether the pool is still there."""
    _, (live_s, live), (stale_s, stale), (again_s, again), *_ = await states_with_lists_of(50)

    assert [live, stale, again] == ["live", "stale", "live"]
    assert stale_s - live_s == pytest.approx(2 * 10.6 + 15.5, abs=0.5)
    assert again_s - stale_s == pytest.approx(50 - 15.5 + 10.6, abs=0.5)
